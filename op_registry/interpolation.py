"""ONNX's interpolation formulas for one axis, on numbers known at conversion and on numbers known only at run time.

Every function takes NumPy float32 arrays or `Computed` values alike; arithmetic is float32 in the order that ONNX Runtime has,
because rounding decides which element `nearest` takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphrewrite.ir import Array, DataType, Value, keep_float


class Computed:
    """A float32 value of the graph, with arithmetic. `t` builds with TFLite's operators; see `MilComputed` for Core ML's."""

    def __init__(self, t: Any, value: Value) -> None:
        self.t = t
        self.value = value

    def made(self, name: str, *operands: Any) -> Computed:
        """The result of TFLite's operator `name` on numbers, constants or values."""
        values = [
            item.value if isinstance(item, Computed) else self.t.const(item, DataType.FLOAT)
            for item in operands
        ]
        fused = {"fused_activation_function": "NONE"} if name in ("ADD", "SUB", "MUL", "DIV") else {}
        return Computed(self.t, self.t.op(name, *values, **fused))

    def shaped(self, shape: Sequence[int]) -> Computed:
        """The same numbers in another shape."""
        return type(self)(self.t, self.t.reshape(self.value, shape))

    def is_positive(self) -> Computed:
        """1 where it is greater than 0, else 0."""
        above = self.t.op("GREATER", self.value, self.t.const(0, DataType.FLOAT))
        return Computed(self.t, self.t.cast(above, DataType.FLOAT))

    def __add__(self, other: Any) -> Computed:
        return self.made("ADD", self, other)

    def __radd__(self, other: Any) -> Computed:
        return self.made("ADD", other, self)

    def __sub__(self, other: Any) -> Computed:
        return self.made("SUB", self, other)

    def __rsub__(self, other: Any) -> Computed:
        return self.made("SUB", other, self)

    def __mul__(self, other: Any) -> Computed:
        return self.made("MUL", self, other)

    def __rmul__(self, other: Any) -> Computed:
        return self.made("MUL", other, self)

    def __truediv__(self, other: Any) -> Computed:
        return self.made("DIV", self, other)

    def __rtruediv__(self, other: Any) -> Computed:
        return self.made("DIV", other, self)


_MIL = {
    "ADD": "add",
    "SUB": "sub",
    "MUL": "mul",
    "DIV": "real_div",
    "MINIMUM": "minimum",
    "MAXIMUM": "maximum",
    "FLOOR": "floor",
    "CEIL": "ceil",
    "ABS": "abs",
    "ROUND": "round",
    "FLOOR_MOD": "mod",
}


class MilComputed(Computed):
    """A `Computed` of Core ML's operators. In half precision positions stay float32: float16 has no fractions beyond 2048."""

    def made(self, name: str, *operands: Any) -> MilComputed:
        values = [
            item.value if isinstance(item, Computed) else self.t.const(item, DataType.FLOAT)
            for item in operands
        ]
        return MilComputed(self.t, single(self.t.op(_MIL[name], *values)))

    def is_positive(self) -> MilComputed:
        above = self.t.op("greater", self.value, self.t.const(0, DataType.FLOAT))
        return MilComputed(self.t, single(self.t.cast(above, DataType.FLOAT)))


def single(value: Value) -> Value:
    """`value`, computed in float32 in half precision, too."""
    producer = value.producer()
    if producer is not None:
        keep_float(producer)
    return value


Number = Any
"""A NumPy float32 array or scalar, or a `Computed`."""


def floor(x: Number) -> Number:
    return x.made("FLOOR", x) if isinstance(x, Computed) else np.floor(x)


def ceil(x: Number) -> Number:
    return x.made("CEIL", x) if isinstance(x, Computed) else np.ceil(x)


def absolute(x: Number) -> Number:
    return x.made("ABS", x) if isinstance(x, Computed) else np.abs(x)


def least(a: Number, b: Number) -> Number:
    found = next((item for item in (a, b) if isinstance(item, Computed)), None)
    return found.made("MINIMUM", a, b) if found is not None else np.minimum(a, b)


def most(a: Number, b: Number) -> Number:
    found = next((item for item in (a, b) if isinstance(item, Computed)), None)
    return found.made("MAXIMUM", a, b) if found is not None else np.maximum(a, b)


def clip(x: Number, low: Number, high: Number) -> Number:
    return least(most(x, low), high)


def positive(x: Number) -> Number:
    """1 where x > 0, else 0."""
    if isinstance(x, Computed):
        return x.is_positive()
    return np.where(np.asarray(x) > 0, np.float32(1), np.float32(0))


def choose(condition: Number, yes: Number, no: Number) -> Number:
    """`yes` where the 0/1 number `condition` is 1. Both must be finite."""
    return condition * yes + (1 - condition) * no


def inside(x: Number, size: Number) -> Number:
    """1 where 0 <= x <= size - 1, else 0."""
    return (1 - positive(0 - x)) * (1 - positive(x - (size - 1)))


def coordinates(
    mode: str, place: Number, scale: Number, size: Number, out: Number, roi: tuple[Number, Number]
) -> Number:
    """Where each output element `place` (0, 1, ...) lies in the input.

    `size` and `out` are the axis's input and output sizes; `roi` its start and end for tf_crop_and_resize.

    Raises:
        KeyError: ONNX has no such mode.
    """
    if mode == "asymmetric":
        return place / scale
    if mode == "half_pixel":
        return (place + 0.5) / scale - 0.5
    if mode == "pytorch_half_pixel":
        return positive(out - 1) * ((place + 0.5) / scale - 0.5)
    if mode == "tf_half_pixel_for_nn":
        return (place + 0.5) / scale
    if mode == "half_pixel_symmetric":
        adjustment = out / (scale * size)
        offset = size / 2.0 * (1 - adjustment)
        return offset + (place + 0.5) / scale - 0.5
    if mode == "align_corners":
        return place * (size - 1) / most(out - 1, np.float32(1))
    if mode == "tf_crop_and_resize":
        start, end = roi
        several = start * (size - 1) + place * (end - start) * (size - 1) / most(out - 1, np.float32(1))
        return choose(positive(out - 1), several, 0.5 * (start + end) * (size - 1))
    raise KeyError(mode)


def nearest(mode: str, x: Number, size: Number) -> Number:
    """Index of the element that `nearest` takes at coordinate x, as a float.

    Raises:
        KeyError: ONNX has no such rounding.
    """
    if mode == "floor":
        index = floor(x)
    elif mode == "ceil":
        index = ceil(x)
    elif mode == "round_prefer_floor":
        index = ceil(x - 0.5)
    elif mode == "round_prefer_ceil":
        index = floor(x + 0.5)
    else:
        raise KeyError(mode)
    return clip(index, np.float32(0), size - 1)


def linear_taps(x: Number, size: Number) -> list[tuple[Number, Number]]:
    """(index, weight) of the two neighbours."""
    x = clip(x, np.float32(0), size - 1)
    base = floor(x)
    share = x - base
    return [(base, 1 - share), (least(base + 1, size - 1), share)]


def cubic_weights(share: Number, a: float) -> list[Number]:
    """Weights of the elements at -1, 0, 1 and 2 for a point `share` (0 to 1) behind element 0."""
    return [
        ((a * (share + 1) - 5 * a) * (share + 1) + 8 * a) * (share + 1) - 4 * a,
        ((a + 2) * share - (a + 3)) * share * share + 1,
        ((a + 2) * (1 - share) - (a + 3)) * (1 - share) * (1 - share) + 1,
        ((a * (2 - share) - 5 * a) * (2 - share) + 8 * a) * (2 - share) - 4 * a,
    ]


def cubic_taps(x: Number, size: Number, a: float, *, exclude_outside: bool) -> list[tuple[Number, Number]]:
    """(index, weight) of the four neighbours, for the cubic convolution kernel with coefficient `a`."""
    base = floor(x)
    weights = cubic_weights(x - base, a)
    indices = [base + offset for offset in (-1, 0, 1, 2)]
    if exclude_outside:
        weights = [weight * inside(index, size) for index, weight in zip(indices, weights)]
        total = weights[0] + weights[1] + weights[2] + weights[3]
        weights = [weight / total for weight in weights]
    return [(clip(index, np.float32(0), size - 1), weight) for index, weight in zip(indices, weights)]


def antialias_taps(
    mode: str, x: Array, scale: float, size: int, a: float, *, exclude_outside: bool
) -> list[tuple[Array, Array]]:
    """(index, weight) for a downscale whose kernel is stretched over the elements that fall together."""
    scale = min(scale, 1.0)
    support = 1 if mode == "linear" else 2
    first = int(np.floor(-support / scale) + 1)
    count = 2 * (1 - first)
    exact = x.astype(np.float64)
    base = np.ceil(exact) - 1  # a coordinate on an element counts as the end of the interval before it
    share = exact - base
    distances = [np.abs((first + step - share) * scale) for step in range(count)]
    if mode == "linear":
        weights = [linear_kernel(distance) for distance in distances]
    else:
        weights = [cubic_kernel(distance, a) for distance in distances]
    indices = [base + first + step for step in range(count)]
    if exclude_outside:
        weights = [w * ((index >= 0) & (index < size)) for w, index in zip(weights, indices)]
    total = np.sum(weights, axis=0)
    return [(np.clip(index, 0, size - 1), w / total) for index, w in zip(indices, weights)]


def linear_kernel(distance: Number) -> Number:
    """Weight of an element at `distance` >= 0."""
    return most(1 - distance, np.float32(0))


def cubic_kernel(distance: Number, a: float) -> Number:
    """Weight of an element at `distance` >= 0 for the cubic convolution kernel with coefficient `a`."""
    near = ((a + 2) * distance - (a + 3)) * distance * distance + 1
    far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    beyond = positive(distance - 1)
    return choose(beyond, far * positive(2 - distance), near)


def matrix(taps: Sequence[tuple[Array, Array]], size: int) -> Array:
    """[out, size] float64 matrix that interpolates a vector."""
    count = len(taps[0][0])
    found = np.zeros((count, size))
    for index, weight in taps:
        np.add.at(found, (np.arange(count), index.astype(np.int64)), weight)
    return found
