"""Softmax, LogSoftmax and Hardmax along any axis."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphrewrite.ir import DataType, Value
from graphrewrite.registry import OpNode, lowering

from .precision import in_float32
from .views import dim_value

if TYPE_CHECKING:
    from graphrewrite.targets.coreml.builder import MIL
    from graphrewrite.targets.tflite.builder import TFLite

_RANK = 4
"""Up to this rank every delegate takes SOFTMAX."""


@lowering("tflite", "Softmax", "LogSoftmax")
def softmax(node: OpNode, t: TFLite) -> Value:
    """Over the last dimension, the only one that the kernels know; XNNPACK's float16 SOFTMAX is right to 2 digits only."""
    axis, rank = node.axis(), node.rank()
    perm = [index for index in range(rank) if index != axis] + [axis]
    back = [*range(axis), rank - 1, *range(axis, rank - 1)]
    kernel = "SOFTMAX" if node.op_type == "Softmax" else "LOG_SOFTMAX"
    return in_float32(node, t, lambda x: t.transpose(_last(t, kernel, t.transpose(x, perm)), back))


def _last(t: TFLite, kernel: str, x: Value) -> Value:
    options = {"beta": 1.0} if kernel == "SOFTMAX" else {}
    shape = [dim if isinstance(dim, int) else -1 for dim in (x.shape.dims if x.shape is not None else ())]
    if len(shape) <= _RANK or -1 in shape or 0 in shape:
        return t.op(kernel, x, **options)
    return t.reshape(t.op(kernel, t.reshape(x, [-1, shape[-1]]), **options), shape)


@lowering("tflite", "Hardmax")
def hardmax(node: OpNode, t: TFLite) -> Value:
    """One at the first of the largest values along the axis, zero elsewhere."""
    x, axis, depth = node.input(0), node.axis(), dim_value(t, node.input(0), node.axis())
    if (
        node.rank() == 1
    ):  # the position of a vector's largest value is a scalar, which ONNX's OneHot does not take
        x, axis = t.reshape(x, [1, -1]), 1
    first = t.op("ARG_MAX", x, t.i32(axis), output_type="INT32")
    on, off = t.const(1, DataType.FLOAT), t.const(0, DataType.FLOAT)
    hot = t.op("ONE_HOT", first, t.reshape(depth, []), on, off, axis=axis)
    return t.cast(t.reshape(hot, [-1]) if node.rank() == 1 else hot, node.dtype())


@lowering("coreml", "Softmax")
def mil_softmax(node: OpNode, m: MIL) -> Value:
    return m.op("softmax", node.input(0), axis=node.axis())


@lowering("coreml", "LogSoftmax")
def mil_log_softmax(node: OpNode, m: MIL) -> Value:
    """x - max - log(sum(exp(x - max))): the logarithm of softmax itself would be -inf wherever that rounds to 0."""
    x, axis = node.input(0), [node.axis()]
    shifted = m.op("sub", x, m.op("reduce_max", x, axes=axis, keep_dims=True))
    total = m.op("reduce_sum", m.op("exp", shifted), axes=axis, keep_dims=True)
    return m.op("sub", shifted, m.op("log", total, epsilon=0.0))


@lowering("coreml", "Hardmax")
def mil_hardmax(node: OpNode, m: MIL) -> Value:
    """One where the position is that of the first of the largest values along the axis."""
    x, axis = node.input(0), node.axis()
    first = m.op("reduce_argmax", x, axis=axis, keep_dims=True)
    places = m.reshape(m.line(x, axis), [-1, *[1] * (node.rank() - axis - 1)])
    return m.cast(m.op("equal", first, places), node.dtype())
