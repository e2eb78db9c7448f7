"""Convolutions, against sums written out element by element."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from coreml_cases.case import Array, Case, floats


def padded_pairs(
    kind: str, pad: list[int], sizes: Any, taps: Any, strides: list[int], dilations: list[int]
) -> list[int]:
    """[before, after] of each axis."""
    if kind == "valid":
        return [0, 0] * len(taps)
    if kind == "custom":
        return pad
    found = []
    for size, count, stride, dilation in zip(sizes, taps, strides, dilations):
        total = max((-(-size // stride) - 1) * stride + (count - 1) * dilation + 1 - size, 0)
        less, more = total // 2, total - total // 2
        found += [more, less] if kind == "same_lower" else [less, more]
    return found


def convolution(
    x: Array,
    w: Array,
    b: Array | None = None,
    *,
    strides: list[int],
    dilations: list[int],
    groups: int,
    pad_type: str,
    pad: list[int],
) -> Array:
    """The definition, float64."""
    taps = w.shape[2:]
    before_after = padded_pairs(pad_type, pad, x.shape[2:], taps, strides, dilations)
    pairs = list(zip(before_after[::2], before_after[1::2]))
    x = np.pad(np.asarray(x, np.float64), [(0, 0), (0, 0), *pairs])
    reach = [(count - 1) * dilation + 1 for count, dilation in zip(taps, dilations)]
    out = [(size - r) // s + 1 for size, r, s in zip(x.shape[2:], reach, strides)]
    y = np.zeros((x.shape[0], w.shape[0], *out))
    per_in, per_out = x.shape[1] // groups, w.shape[0] // groups
    for place in itertools.product(*(range(size) for size in out)):
        for tap in itertools.product(*(range(count) for count in taps)):
            at = tuple(p * s + t * d for p, s, t, d in zip(place, strides, tap, dilations))
            for o in range(w.shape[0]):
                first = o // per_out * per_in
                y[(slice(None), o, *place)] += (
                    x[(slice(None), slice(first, first + per_in), *at)] @ w[(o, slice(None), *tap)]
                )
    return y if b is None else y + np.reshape(b, [1, -1, *[1] * len(taps)])


def transposed(
    x: Array,
    w: Array,
    b: Array | None = None,
    *,
    strides: list[int],
    dilations: list[int],
    groups: int,
    pad: list[int],
) -> Array:
    """What each input element spreads, summed; then `pad` is cut off."""
    taps = w.shape[2:]
    full = [(n - 1) * s + (t - 1) * d + 1 for n, s, t, d in zip(x.shape[2:], strides, taps, dilations)]
    per_in, per_out = x.shape[1] // groups, w.shape[1]
    y = np.zeros((x.shape[0], per_out * groups, *full))
    for place in itertools.product(*(range(size) for size in x.shape[2:])):
        for tap in itertools.product(*(range(count) for count in taps)):
            at = tuple(p * s + t * d for p, s, t, d in zip(place, strides, tap, dilations))
            for c in range(x.shape[1]):
                first = c // per_in * per_out
                y[(slice(None), slice(first, first + per_out), *at)] += np.outer(
                    x[(slice(None), c, *place)], w[(c, slice(None), *tap)]
                )
    cut = tuple(slice(a, size - z) for a, z, size in zip(pad[::2], pad[1::2], full))
    y = y[(slice(None), slice(None), *cut)]
    return y if b is None else y + np.reshape(b, [1, -1, *[1] * len(taps)])


def _conv(x: Array, w: Array, bias: bool = True, **given: Any) -> Case:
    count = w.ndim - 2
    parameters = {
        "strides": [1] * count,
        "dilations": [1] * count,
        "groups": 1,
        "pad_type": "valid",
        "pad": [0] * (2 * count),
    } | given
    operands = [x, w, floats(w.shape[0])] if bias else [x, w]
    return Case("conv", operands, parameters, lambda *arrays: convolution(*arrays, **parameters), atol=1e-5)


def _transposed(x: Array, w: Array, bias: bool = True, **given: Any) -> Case:
    count = w.ndim - 2
    parameters = {
        "strides": [1] * count,
        "dilations": [1] * count,
        "groups": 1,
        "pad": [0] * (2 * count),
    } | given
    operands = [x, w, floats(w.shape[1] * int(parameters["groups"]))] if bias else [x, w]
    kind = "custom" if any(parameters["pad"]) else "valid"
    return Case(
        "conv_transpose",
        operands,
        parameters | {"pad_type": kind},
        lambda *arrays: transposed(*arrays, **parameters),
        constant=[1],
        atol=1e-5,
    )


CASES = [
    _conv(floats(2, 3, 9), floats(4, 3, 3), strides=[2], pad_type="custom", pad=[1, 2]),
    _conv(
        floats(1, 4, 7, 8),
        floats(6, 2, 3, 2),
        groups=2,
        dilations=[2, 1],
        pad_type="custom",
        pad=[0, 1, 2, 0],
    ),
    _conv(floats(1, 4, 7, 8), floats(4, 1, 3, 3), groups=4, strides=[2, 2], pad_type="same"),
    _conv(floats(1, 2, 8, 8), floats(3, 2, 3, 3), bias=False, strides=[2, 2], pad_type="same_lower"),
    _conv(floats(1, 2, 8, 8), floats(3, 2, 4, 4), pad_type="same"),
    _conv(floats(1, 2, 4, 5, 6), floats(3, 2, 2, 3, 2), strides=[1, 2, 1]),
    _transposed(floats(2, 3, 5), floats(3, 2, 3), strides=[2], pad=[1, 0]),
    _transposed(floats(1, 4, 4, 5), floats(4, 3, 3, 2), groups=2, strides=[2, 3], dilations=[1, 2]),
    _transposed(
        floats(1, 4, 4, 5), floats(4, 1, 4, 4), bias=False, groups=4, strides=[2, 2], pad=[1, 1, 1, 1]
    ),
    _transposed(floats(1, 2, 3, 3, 3), floats(2, 2, 2, 2, 2), strides=[2, 2, 2]),
]
