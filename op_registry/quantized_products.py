"""MatMulInteger, ConvInteger, QLinearMatMul and QLinearConv as float32 products that are exact.

float32 holds every whole number up to 2^24. Sums that could grow beyond are split into parts that can't, and the parts are
added in int32, as the specification demands.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphrewrite.ir import DataType, Value, constant_array, rank, static_dims
from graphrewrite.registry import Onnx, OpNode, expansion

_EXACT = 1 << 24
"""float32 holds every integer up to here."""
_CONV = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")


def _shifted(b: Onnx, x: Value, zero_point: Value | None, shape: list[int] | None = None) -> Value:
    """`x` minus its zero point, as float32; a zero point of rank 1 with several elements takes `shape`."""
    result = b.cast(x, DataType.FLOAT)
    if zero_point is None:
        return result
    zero = b.cast(zero_point, DataType.FLOAT)
    if rank(zero) == 1:
        zero = b.reshape(zero, [] if static_dims(zero) == (1,) or shape is None else shape)
    return b.op("Sub", result, zero)


def _bound(x: Value, zero_point: Value | None) -> int:
    """Largest magnitude of `x` minus its zero point."""
    limits = np.iinfo((x.dtype or DataType.UINT8).numpy())
    low, high = int(limits.min), int(limits.max)
    zero = np.zeros(1, np.int64) if zero_point is None else constant_array(zero_point)
    if zero is None or zero.size == 0:
        return high - low
    array = constant_array(x)
    if array is not None and array.size:
        low, high = int(array.min()), int(array.max())
    return max(abs(low - int(zero.max())), abs(high - int(zero.min())), 1)


def _sum(node: OpNode, b: Onnx, length: int, bound: int, part: Callable[[int, int], Value]) -> Value:
    """The sum of `part(begin, end)` over ranges of `length` whose sums are exact; float32 if it is one part, else int32."""
    step = _EXACT // bound
    if step < 1:
        node.refuse("one product of its kernel may exceed 2^24 and is not exact in float32", "dequantise it")
    if length <= step:
        return part(0, length)
    total = b.cast(part(0, step), DataType.INT32)
    for begin in range(step, length, step):
        total = b.op("Add", total, b.cast(part(begin, min(begin + step, length)), DataType.INT32))
    return total


def _matmul(node: OpNode, b: Onnx, left: tuple[int, int | None], right: tuple[int, int | None]) -> Value:
    """Exact product of two operands, each (index of the data, index of the zero point)."""
    x, y = node.input(left[0]), node.input(right[0])
    x_zero = None if left[1] is None else node.optional(left[1])
    y_zero = None if right[1] is None else node.optional(right[1])
    length = node.dims(left[0])[-1]
    if not isinstance(length, int):
        node.refuse("the length of its sums is known only at run time", "fix the shapes with --shape")
    a = _shifted(b, x, x_zero, [-1, 1])
    c = _shifted(b, y, y_zero, [-1])
    row_axis = 0 if rank(y) == 1 else -2

    def part(begin: int, end: int) -> Value:
        if (begin, end) == (0, length):
            return b.op("MatMul", a, c)
        first = b.op("Slice", a, b.i64([begin]), b.i64([end]), b.i64([-1]))
        return b.op("MatMul", first, b.op("Slice", c, b.i64([begin]), b.i64([end]), b.i64([row_axis])))

    return _sum(node, b, length, _bound(x, x_zero) * _bound(y, y_zero), part)


def _conv(node: OpNode, b: Onnx, left: tuple[int, int], right: tuple[int, int]) -> Value:
    """Exact convolution of two operands, each (index of the data, index of the zero point)."""
    x, w = node.input(left[0]), node.input(right[0])
    x_zero, w_zero = node.optional(left[1]), node.optional(right[1])
    shape = node.static(right[0])
    attributes: dict[str, Any] = {name: node.attr(name) for name in _CONV}
    group, channels = int(attributes["group"] or 1), int(shape[1])
    a = _shifted(b, x, x_zero)
    k = _shifted(b, w, w_zero, [-1] + [1] * (len(shape) - 1))

    def part(begin: int, end: int) -> Value:
        if (begin, end) == (0, channels):
            return b.op("Conv", a, k, **attributes)
        index = [g * channels + i for g in range(group) for i in range(begin, end)]
        kernel = b.op("Slice", k, b.i64([begin]), b.i64([end]), b.i64([1]))
        return b.op("Conv", b.op("Gather", a, b.i64(index), axis=1), kernel, **attributes)

    taps = int(np.prod(shape[2:]))
    return _sum(node, b, channels, _bound(x, x_zero) * _bound(w, w_zero) * taps, part)


def _requantised(node: OpNode, b: Onnx, sums: Value, scales: list[Value], y_scale: int) -> Value:
    """round(sums x_scale w_scale / y_scale) + zero point, saturated; operands y_scale and y_scale + 1 are the output's.

    The scales are combined first, as ONNX Runtime does, so that halves round alike.
    """
    own = b.cast(node.input(y_scale), DataType.FLOAT)
    scale = b.op("Div", b.op("Mul", *scales), b.reshape(own, []) if static_dims(own) == (1,) else own)
    values = b.op("Mul", b.cast(sums, DataType.FLOAT), scale)
    zero = node.optional(y_scale + 1)
    if zero is not None and static_dims(zero) == (1,):
        zero = b.reshape(zero, [])
    return b.op("QuantizeLinear", values, b.const(1, DataType.FLOAT), zero)


def _scale(node: OpNode, b: Onnx, index: int, shape: list[int]) -> Value:
    scale = b.cast(node.input(index), DataType.FLOAT)
    if rank(scale) == 1:
        return b.reshape(scale, [] if static_dims(scale) == (1,) else shape)
    return scale


@expansion("MatMulInteger")
def mat_mul_integer(node: OpNode, b: Onnx) -> Value:
    return b.cast(_matmul(node, b, (0, 2), (1, 3)), DataType.INT32)


@expansion("ConvInteger")
def conv_integer(node: OpNode, b: Onnx) -> Value:
    return b.cast(_conv(node, b, (0, 2), (1, 3)), DataType.INT32)


@expansion("QLinearMatMul")
def q_linear_mat_mul(node: OpNode, b: Onnx) -> Value:
    sums = _matmul(node, b, (0, 2), (3, 5))
    return _requantised(node, b, sums, [_scale(node, b, 1, [-1, 1]), _scale(node, b, 4, [-1])], 6)


@expansion("QLinearConv")
def q_linear_conv(node: OpNode, b: Onnx) -> Value:
    sums, by_channel = _conv(node, b, (0, 2), (3, 5)), [-1] + [1] * (node.rank() - 2)
    if node.has(8):
        bias = b.reshape(node.input(8), by_channel)
        sums = b.op("Add", b.cast(sums, DataType.INT32), bias)
    return _requantised(node, b, sums, [_scale(node, b, 1, []), _scale(node, b, 4, by_channel)], 6)
