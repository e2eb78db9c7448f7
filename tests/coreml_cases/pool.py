"""Pools, against windows written out."""

from __future__ import annotations

from typing import Any

import numpy as np

from coreml_cases.case import Array, Case, floats
from coreml_cases.conv import padded_pairs


def windows(x: Array, parameters: dict[str, Any], fill: float) -> Array:
    """[N, C, out..., taps...]"""
    taps, strides = parameters["kernel_sizes"], parameters["strides"]
    pad = padded_pairs(parameters["pad_type"], parameters["pad"], x.shape[2:], taps, strides, [1] * len(taps))
    x = np.pad(x, [(0, 0), (0, 0), *zip(pad[::2], pad[1::2])], constant_values=fill)
    found = np.lib.stride_tricks.sliding_window_view(x, taps, tuple(range(2, x.ndim)))
    return found[(slice(None), slice(None), *(slice(None, None, step) for step in strides))]


def _max(x: Array, **parameters: Any) -> Case:
    axes = tuple(range(-len(parameters["kernel_sizes"]), 0))
    return Case("max_pool", [x], parameters, lambda x: windows(x, parameters, -np.inf).max(axes))


def _average(x: Array, **parameters: Any) -> Case:
    """The sum of each window over the number of elements that count."""
    axes = tuple(range(-len(parameters["kernel_sizes"]), 0))
    inner = 0.0 if parameters.get("exclude_padding_from_average") else 1.0

    def expected(x: Array) -> Array:
        count = windows(np.ones_like(x), parameters, inner).sum(axes)
        return np.asarray(windows(x, parameters, 0.0).sum(axes) / count, np.float32)

    return Case("avg_pool", [x], parameters, expected)


CASES = [
    _average(floats(2, 3, 8), kernel_sizes=[3], strides=[2], pad_type="custom", pad=[1, 0]),
    _average(
        floats(1, 2, 7, 8),
        kernel_sizes=[3, 2],
        strides=[2, 1],
        pad_type="custom",
        pad=[1, 2, 0, 1],
        exclude_padding_from_average=True,
    ),
    _average(
        floats(1, 2, 7, 8),
        kernel_sizes=[3, 3],
        strides=[2, 1],
        pad_type="same",
        pad=[0] * 4,
        exclude_padding_from_average=True,
    ),
    _average(floats(1, 2, 4, 5, 6), kernel_sizes=[2, 2, 3], strides=[1, 2, 1], pad_type="valid", pad=[0] * 6),
    _max(floats(2, 3, 8), kernel_sizes=[3], strides=[2], pad_type="custom", pad=[1, 0]),
    _max(floats(1, 2, 7, 8), kernel_sizes=[3, 2], strides=[2, 1], pad_type="same", pad=[0] * 4),
    _max(floats(1, 2, 7, 8), kernel_sizes=[3, 2], strides=[2, 1], pad_type="same_lower", pad=[0] * 4),
    _max(floats(1, 2, 4, 5, 6), kernel_sizes=[2, 2, 3], strides=[1, 2, 1], pad_type="valid", pad=[0] * 6),
]
