"""ArgMax and ArgMin: the first or the last position of the extreme value along an axis."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphrewrite.ir import DataType, Value
from graphrewrite.registry import OpNode, lowering

from .views import dim_value, insert_axis

if TYPE_CHECKING:
    from graphrewrite.targets.coreml.builder import MIL
    from graphrewrite.targets.tflite.builder import TFLite


@lowering("tflite", "ArgMax", "ArgMin")
def arg(node: OpNode, t: TFLite) -> Value:
    """ARG_MAX finds the first; the last is the first from the other end."""
    x, axis = node.input(0), node.axis()
    if node.rank() == 0:
        return t.const(0, DataType.INT64)
    kernel = "ARG_MAX" if node.op_type == "ArgMax" else "ARG_MIN"
    operand = t.i32([axis])
    if x.dtype in (DataType.INT64, DataType.UINT32):
        # ARG_MAX has no kernel for them; it finds where the extreme value is
        extreme = t.op("REDUCE" + kernel[3:], x, operand, keep_dims=True)
        x, kernel = t.op("EQUAL", x, extreme), "ARG_MAX"
    last = bool(node.attr("select_last_index"))
    if last:
        x = t.op("REVERSE_V2", x, operand)
    found = t.op(kernel, x, t.i32(axis), output_type="INT64")
    if last:
        end = t.op("SUB", t.cast(dim_value(t, x, axis), DataType.INT64), t.i64([1]))
        found = t.op("SUB", end if node.rank() > 1 else t.reshape(end, []), found)
    return insert_axis(t, found, axis) if node.attr("keepdims") else found


@lowering("coreml", "ArgMax", "ArgMin")
def mil_arg(node: OpNode, m: MIL) -> Value:
    """Core ML does not promise which of equal elements it names: integers, where they are common, and the last are computed."""
    x, axis, dtype = node.input(0), node.axis(), node.dtype()
    if node.rank() == 0:
        return m.const(0, DataType.INT64)
    keep, last = bool(node.attr("keepdims")), bool(node.attr("select_last_index"))
    if dtype.is_floating_point() and not last:
        found = m.op(f"reduce_{node.op_type.lower()}", x, axis=axis, keep_dims=keep)
        return m.cast(found, DataType.INT64)
    extreme = m.op(f"reduce_{node.op_type[3:].lower()}", x, axes=[axis], keep_dims=True)
    hit = m.cast(m.op("equal", x, extreme), DataType.INT32)
    places = m.reshape(m.line(x, axis), [-1, *[1] * (node.rank() - axis - 1)])
    if last:
        found = m.op("reduce_max", m.op("mul", hit, places), axes=[axis], keep_dims=keep)
    else:
        size = m.reshape(m.dim(x, axis), [])
        behind = m.op("mul", hit, m.op("sub", size, places))
        found = m.op("sub", size, m.op("reduce_max", behind, axes=[axis], keep_dims=keep))
    return m.cast(found, DataType.INT64)
