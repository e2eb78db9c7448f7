"""QuantizeLinear and DequantizeLinear as float32 arithmetic: halves to even, saturating, by tensor, axis or block."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from graphrewrite.ir import Array, DataType, Value, constant_array, keep_float, rank, static_dims
from graphrewrite.registry import Onnx, OpNode, expansion, lowering

from .precision import FLOATS, SMALL_INTEGERS

if TYPE_CHECKING:
    from graphrewrite.targets.coreml.builder import MIL
    from graphrewrite.targets.tflite.builder import TFLite

_QUANTIZED = SMALL_INTEGERS - {DataType.BOOL}


@expansion("DequantizeLinear")
def constant_dequantized(node: OpNode, b: Onnx) -> Value:
    """What it gives of constants: so weights of 4 bits or of float8 are read, which kernels do not compute with."""
    data, scale, zero = node.const(0), node.const(1), node.const(2) if node.has(2) else None
    if data is None or scale is None or (node.has(2) and zero is None):
        node.refuse("it dequantises what is computed at run time", "make the weights constants, or use int8")
    real = data.astype(np.float32)
    if zero is not None:
        real -= _broadcast(node, zero.astype(np.float32), data.ndim)
    real *= _broadcast(node, scale.astype(np.float32), data.ndim)
    return b.const(real, node.outputs[0].dtype or DataType.FLOAT)


def _broadcast(node: OpNode, array: Array, count: int) -> Array:
    """A constant scale or zero point so that it broadcasts against data of rank `count`."""
    block = node.attr("block_size")
    if block:
        length = node.dims()[node.axis()]
        assert isinstance(length, int)  # of a constant
        return np.repeat(array, block, node.axis()).take(np.arange(length), node.axis())
    if array.size == 1:
        return array.reshape(())
    return array.reshape([-1 if index == node.axis() else 1 for index in range(count)])


@lowering("tflite", "QuantizeLinear", note="to 8 and 16 bits")
def quantize_linear(node: OpNode, t: TFLite) -> Value:
    """saturate(round(x / scale) + zero point)."""
    given = node.attr("output_dtype")
    target = node.dtype(2) if node.has(2) else DataType(given) if given else DataType.UINT8
    if target not in _QUANTIZED:
        node.refuse(f"it quantises to {target.name.lower()}, which TFLite has no kernels for", "use int8")
    x = t.cast(node.input(0), DataType.FLOAT)
    scale = _along(node, t, t.cast(node.input(1), DataType.FLOAT))
    y = t.op("ROUND", t.op("DIV", x, scale))
    if node.has(2) and not _is_zero(node.input(2)):
        y = t.op("ADD", y, _along(node, t, t.cast(node.input(2), DataType.FLOAT)))
    limits = np.iinfo(target.numpy())
    y = t.op("MINIMUM", t.op("MAXIMUM", y, t.like(limits.min, y)), t.like(limits.max, y))
    return t.cast(y, target)


@lowering("tflite", "DequantizeLinear", note="from 8, 16 and 32 bits; from 4 bits of constants")
def dequantize_linear(node: OpNode, t: TFLite) -> Value:
    """(x - zero point) scale."""
    x, source = node.input(0), node.dtype()
    given = node.attr("output_dtype")
    target = DataType(given) if given else node.dtype(1)
    if source not in _QUANTIZED | {DataType.INT32} or target not in FLOATS:
        node.refuse(f"TFLite has no arithmetic from {source.name.lower()} to {target.name.lower()}")
    shifted = node.has(2) and not _is_zero(node.input(2))
    if shifted and source == DataType.INT32:
        x = t.op("SUB", x, _along(node, t, node.input(2)))
    x = t.cast(x, DataType.FLOAT)
    if shifted and source != DataType.INT32:
        x = t.op("SUB", x, _along(node, t, t.cast(node.input(2), DataType.FLOAT)))
    y = t.op("MUL", x, _along(node, t, t.cast(node.input(1), DataType.FLOAT)))
    return t.cast(y, target)


def _is_zero(value: Value) -> bool:
    array = constant_array(value)
    return array is not None and not np.any(array)


def _along(node: OpNode, t: TFLite, value: Value) -> Value:
    def gather(index: Array, axis: int) -> Value:
        return t.op("GATHER", value, t.const(index, DataType.INT32), axis=axis, batch_dims=0)

    return _spread(node, t, value, gather)


def _spread(
    node: OpNode, builder: TFLite | MIL, value: Value, gather: Callable[[Array, int], Value]
) -> Value:
    """A scale or zero point so that it broadcasts against the data; `gather(index, axis)` repeats what a block shares."""
    count, size, block = node.rank(), rank(value), node.attr("block_size")
    if size == 0 or (size == 1 and static_dims(value) == (1,) and not block):
        return builder.reshape(value, [])
    axis = node.axis()
    if not block:
        return builder.reshape(value, [-1 if index == axis else 1 for index in range(count)])
    length = node.dims()[axis]
    if not isinstance(length, int):
        node.refuse("the length of the axis that has blocks is known only at run time", "fix it with --shape")
    index = np.arange(length, dtype=np.int32) // block
    array = constant_array(value)
    if array is not None:
        return builder.like(np.take(array, index, axis), value)
    return gather(index, axis)


# -- Core ML ---------------------------------------------------------------------------------------------------------------


@lowering("coreml", "QuantizeLinear", note="to 8 and 16 bits")
def mil_quantize_linear(node: OpNode, m: MIL) -> Value:
    """saturate(round(x / scale) + zero point); 16 bits are computed in float32 always, as float16 does not hold them."""
    given = node.attr("output_dtype")
    target = node.dtype(2) if node.has(2) else DataType(given) if given else DataType.UINT8
    if target not in _QUANTIZED:
        node.refuse(f"it quantises to {target.name.lower()}, which Core ML does not compute with", "use int8")
    if target.bitwidth == 8 and m.has("quantize") and _mil_comes_back(node):
        return m.rewriter.op(
            "quantize",
            *_mil_plain_operands(node, m),
            domain="mil",
            output_dtype=target.name.lower(),
            **_mil_axis(node),
        )
    x, scale = m.cast(node.input(0), DataType.FLOAT), m.cast(node.input(1), DataType.FLOAT)
    steps = [m.op("real_div", x, _mil_along(node, m, scale))]
    steps.append(m.op("round", steps[-1]))
    if node.has(2) and not _is_zero(node.input(2)):
        zero = m.cast(node.input(2), DataType.FLOAT)
        steps.append(m.op("add", steps[-1], _mil_along(node, m, zero)))
    limits = np.iinfo(target.numpy())
    steps.append(m.op("clip", steps[-1], alpha=float(limits.min), beta=float(limits.max)))
    if target.bitwidth > 8:
        _stay_wide(*steps)
    return m.within(m.cast(steps[-1], DataType.INT32), target)


@lowering("coreml", "DequantizeLinear", note="from 8, 16 and 32 bits; from 4 bits of constants")
def mil_dequantize_linear(node: OpNode, m: MIL) -> Value:
    """(x - zero point) scale, with the difference in int32."""
    source, given = node.dtype(), node.attr("output_dtype")
    target = DataType(given) if given else node.dtype(1)
    if source not in _QUANTIZED | {DataType.INT32} or target not in FLOATS:
        node.refuse(f"Core ML has no arithmetic from {source.name.lower()} to {target.name.lower()}")
    producer = node.input(0).producer()
    if producer is not None and (producer.domain, producer.op_type) == ("mil", "quantize"):
        return m.rewriter.op("dequantize", *_mil_plain_operands(node, m), domain="mil", **_mil_axis(node))
    x = m.cast(node.input(0), DataType.INT32)
    if node.has(2) and not _is_zero(node.input(2)):
        x = m.op("sub", x, _mil_along(node, m, m.cast(node.input(2), DataType.INT32)))
    number = m.cast(x, DataType.FLOAT)
    y = m.op("mul", number, _mil_along(node, m, m.cast(node.input(1), DataType.FLOAT)))
    if source.bitwidth > 8:
        _stay_wide(number, y)
    return m.cast(y, target)


def _mil_comes_back(node: OpNode) -> bool:
    """True where a QuantizeLinear is read by DequantizeLinear only, so that 8 bits need not be computed with.

    Core ML knows the pair, from iOS17 on, and runs what lies between in 8 bits where the device can.
    """
    result = node.outputs[0]
    readers = [use.node for use in result.uses()]
    return (
        not result.is_graph_output()
        and _mil_is_plain(node)
        and all(reader.op_type == "DequantizeLinear" and _mil_is_plain(OpNode(reader)) for reader in readers)
    )


def _mil_is_plain(node: OpNode) -> bool:
    """Constant scales in float32, one or one a slice, and constant zero points."""
    scale = node.const(1)
    return (
        scale is not None
        and scale.dtype == np.float32
        and bool(scale.all())
        and scale.ndim < 2
        and (not node.has(2) or node.const(2) is not None)
        and not node.attr("block_size")
        and DataType.FLOAT in (node.dtype(), node.outputs[0].dtype)
        and node.rank() > 0
    )


def _mil_plain_operands(node: OpNode, m: MIL) -> list[Value | None]:
    """Data, scale and zero point, the last two as scalars where they are the same for all."""
    found: list[Value | None] = [node.input(0)]
    for index in (1, 2):
        content = node.const(index) if node.has(index) else None
        if content is None:
            found.append(None)
        else:
            found.append(m.rewriter.constant(content.reshape(()) if content.size == 1 else content))
    return found


def _mil_axis(node: OpNode) -> dict[str, int]:
    scale = node.const(1)
    return {} if scale is None or scale.size == 1 else {"axis": node.axis()}


def _stay_wide(*values: Value) -> None:
    for value in values:
        producer = value.producer()
        if producer is not None:
            keep_float(producer)


def _mil_along(node: OpNode, m: MIL, value: Value) -> Value:
    def gather(index: Array, axis: int) -> Value:
        return m.op("gather", value, m.rewriter.constant(index), axis=axis)

    return _spread(node, m, value, gather)
