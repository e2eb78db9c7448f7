"""Wrong contents for the constants of a Core ML package: which parameters can be wrong, and how."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

PARAMETERS = {
    "axis": ("axis", "axes"),
    "perm": ("perm",),
    "pads": ("pad",),
    "strides": ("strides",),
    "dilations": ("dilations",),
    "window": ("kernel_sizes", "groups"),
    "bounds": ("begin", "end", "size", "stride", "indices", "reps", "split_sizes"),
    "masks": ("begin_mask", "end_mask", "squeeze_mask"),
    "number": ("epsilon", "alpha", "beta", "constant_val", "scale", "shift", "k"),
    "mode": ("mode", "pad_type", "sampling_mode", "padding_mode", "interpolation_mode"),
    "flag": (
        "transpose_x",
        "transpose_y",
        "exclude_padding_from_average",
        "align_corners",
        "half_pixel_centers",
        "exclusive",
        "reverse",
        "ascending",
        "keep_dims",
    ),
    "shape": ("shape",),
}
"""Kinds of corruption, and MIL's names of the parameters that they strike."""
_OTHER_MODES = {
    "constant": "reflect",
    "reflect": "replicate",
    "replicate": "reflect",
    "EXACT": "SIGMOID_APPROXIMATION",
    "TANH_APPROXIMATION": "SIGMOID_APPROXIMATION",
    "valid": "same",
    "custom": "same",
    "same": "same_lower",
    "same_lower": "same",
    "STRICT_ALIGN_CORNERS": "UNALIGN_CORNERS",
    "ALIGN_CORNERS": "UNALIGN_CORNERS",
    "UNALIGN_CORNERS": "STRICT_ALIGN_CORNERS",
    "DEFAULT": "UNALIGN_CORNERS",
    "LINEAR": "NEAREST_NEIGHBOR",
    "border": "reflection",
    "zeros": "border",
}


def _scaled(array: Array, rng: np.random.Generator, dims: list[int]) -> Array:
    place = rng.choice(np.flatnonzero(array) if array.any() else array.size)
    array.reshape(-1)[place] = array.reshape(-1)[place] * 1.5 if array.any() else 0.1
    return array


def _negated(array: Array, rng: np.random.Generator, dims: list[int]) -> Array:
    array.reshape(-1)[rng.choice(np.flatnonzero(array) if array.any() else array.size)] *= -1
    return array


def _permuted(array: Array, rng: np.random.Generator, dims: list[int]) -> Array:
    axis = int(rng.choice(np.flatnonzero(np.asarray(array.shape) > 1)))
    first, second = rng.choice(array.shape[axis], 2, replace=False)
    order = np.arange(array.shape[axis])
    order[[first, second]] = order[[second, first]]
    return array.take(order, axis)


SPOILT: dict[str, Callable[..., Any]] = {
    "weight scaled": _scaled,
    "weight negated": _negated,
    "weights permuted": _permuted,
}
"""What can happen to weights, by kind."""


def _other_axis(array: Array, rng: np.random.Generator, dims: list[int]) -> Array:
    """Of the same size where there is one, so that the shape stays."""
    flat, rank = array.reshape(-1), max(len(dims), 1)
    place = rng.integers(flat.size)
    held = {int(axis) % rank for axis in flat}
    free = [axis for axis in range(len(dims)) if axis not in held]
    alike = [axis for axis in free if dims[axis] == dims[int(flat[place]) % rank] > 1]
    flat[place] = rng.choice(alike or free or [rank])
    return array


def _other_order(array: Array, rng: np.random.Generator, dims: list[int]) -> Array:
    """Two axes of one size exchanged where there are such, so that the shape stays."""
    pairs = list(itertools.combinations(range(array.size), 2))
    alike = [(i, j) for i, j in pairs if len(dims) == array.size and dims[array[i]] == dims[array[j]] > 1]
    return _exchanged(array, *rng.choice(alike or pairs)) if pairs else array


def _exchanged_pair(array: Array, rng: np.random.Generator, dims: list[int]) -> Array:
    pairs = [(i, j) for i, j in itertools.combinations(range(array.size), 2) if array[i] != array[j]]
    return _exchanged(array, *rng.choice(pairs)) if pairs else array


def _exchanged(array: Array, first: int, second: int) -> Array:
    array[[first, second]] = array[[second, first]]
    return array


def _moved_pad(array: Array, rng: np.random.Generator, dims: list[int]) -> Array:
    """One more in front and one less behind where there is one, so that the shape stays."""
    behind = np.flatnonzero(array[1::2] > 0)
    pair = 2 * int(rng.choice(behind) if behind.size else rng.integers(array.size // 2))
    array[pair : pair + 2] += np.asarray([1, -1 if behind.size else 0], array.dtype)
    return array


def _one_more(array: Array, rng: np.random.Generator, dims: list[int]) -> Array:
    array.reshape(-1)[rng.integers(array.size)] += 1
    return array


def _other_bound(array: Array, rng: np.random.Generator, dims: list[int]) -> Array:
    array.reshape(-1)[rng.integers(array.size)] += rng.choice([-1, 1])
    return array


def _flipped(array: Array, rng: np.random.Generator, dims: list[int]) -> Array:
    array.reshape(-1)[rng.integers(array.size)] ^= True
    return array


def _other_number(array: Array, rng: np.random.Generator, dims: list[int]) -> Array:
    return array * 1.5 + 0.01 if np.all(np.isfinite(array)) else np.zeros_like(array)


def _other_mode(text: str, rng: np.random.Generator, dims: list[int]) -> str:
    return _OTHER_MODES[text]


OTHER: dict[str, Callable[..., Any]] = {
    "axis": _other_axis,
    "perm": _other_order,
    "pads": _moved_pad,
    "strides": _one_more,
    "dilations": _one_more,
    "window": _one_more,
    "bounds": _other_bound,
    "masks": _flipped,
    "number": _other_number,
    "mode": _other_mode,
    "flag": _flipped,
    "shape": _exchanged_pair,
}
"""What can happen to a parameter, by kind: (content, random numbers, dimensions of the op's x) -> other content of that shape."""
