"""Sorting, extreme positions and running sums. Of equal elements, the one of the lower index comes first."""

from __future__ import annotations

from collections.abc import Sequence

from graphrewrite.ir import DataType, Node
from graphrewrite.targets.coreml.dialect.op import MilBody, define


@define("reduce_argmax", "reduce_argmin", operands="x", result="INT32")
def arg(node: Node, body: MilBody) -> Sequence[str]:
    op_type = "ArgMax" if node.op_type == "reduce_argmax" else "ArgMin"
    axis, keep = body.int_("axis", -1), body.int_("keep_dims", 0)
    return [body.cast(body.op(op_type, body.inputs[0], axis=axis, keepdims=keep), DataType.INT32)]


@define("topk", operands="x", result="T INT32")
def topk(node: Node, body: MilBody) -> Sequence[str]:
    """The `k` largest along `axis` (smallest with `ascending`) in order, and where they lie; k = -1 is all of them."""
    axis, count = body.int_("axis", -1), body.int_("k", 1)
    return _sorted(body, axis, body.const([count]) if count != -1 else _length(body, axis))


@define("argsort", operands="x", result="INT32")
def argsort(node: Node, body: MilBody) -> Sequence[str]:
    axis = body.int_("axis", -1)
    return _sorted(body, axis, _length(body, axis))[1:]


def _length(body: MilBody, axis: int) -> str:
    axis %= body.rank()
    return body.op("Shape", body.inputs[0], start=axis, end=axis + 1)


def _sorted(body: MilBody, axis: int, count: str) -> list[str]:
    largest = 1 - body.int_("ascending", 0)
    values, places = body.ops("TopK", body.inputs[0], count, outputs=2, axis=axis, largest=largest)
    return [values, body.cast(places, DataType.INT32)]


@define("cumsum", operands="x")
def cumsum(node: Node, body: MilBody) -> Sequence[str]:
    flags = {name: body.int_(name, 0) for name in ("exclusive", "reverse")}
    return [body.op("CumSum", body.inputs[0], body.const(body.int_("axis", 0)), **flags)]


@define("reverse", operands="x", moves=True)
def reverse(node: Node, body: MilBody) -> Sequence[str]:
    """Along `axes`, all of them where not given."""
    axes = body.ints("axes", range(body.rank()))
    first, last = [-1] * len(axes), [-(2**31)] * len(axes)
    operands = (body.const(first), body.const(last), body.const(axes), body.const(first))
    return [body.op("Slice", body.inputs[0], *operands)]


@define("reverse_sequence", operands="x lengths", moves=True)
def reverse_sequence(node: Node, body: MilBody) -> Sequence[str]:
    """The first `lengths[i]` elements along `seq_axis` of each entry i of `batch_axis`."""
    rank, axis, batch = body.rank(), body.int_("seq_axis", 0), body.int_("batch_axis", 0)
    axis, batch = axis % rank, batch % rank
    size = body.op("Squeeze", body.op("Shape", body.inputs[0], start=axis, end=axis + 1))
    steps = body.op("Range", body.const(0), size, body.const(1))
    place = body.op("Reshape", steps, body.const([-1 if i == axis else 1 for i in range(rank)]))
    lengths = body.op("Reshape", body.int64(1), body.const([-1 if i == batch else 1 for i in range(rank)]))
    turned = body.op("Sub", body.op("Sub", lengths, body.const(1)), place)
    index = body.op("Where", body.op("Less", place, lengths), turned, place)
    index = body.op("Expand", index, body.op("Shape", body.inputs[0]))
    return [body.op("GatherElements", body.inputs[0], index, axis=axis)]


@define("range_1d", operands="end start step", data=(0, 1, 2))
def range_1d(node: Node, body: MilBody) -> Sequence[str]:
    """From `start` on in steps, `end` excluded."""
    end, start, step = body.inputs
    return [body.op("Range", start, end, step)]
