"""Squeeze, Unsqueeze and reductions whose axes are computed at run time: how many axes there are is known."""

from __future__ import annotations

from typing import NoReturn

from graphrewrite.ir import DataType, Value
from graphrewrite.registry import Onnx, OpNode, expansion


def refuse_run_time_axes(node: OpNode) -> NoReturn:
    """Where a row takes constant axes only: the expansion below has the rest."""
    node.refuse("its axes are computed at run time", "make them a constant")


@expansion("Squeeze")
def squeeze(node: OpNode, b: Onnx) -> Value:
    """The dimensions that the axes do not name, picked from the shape."""
    if not node.has(1) or node.ints(1) is not None:
        node.refuse("its axes are known")
    rank = node.rank()
    (count,) = node.static(1)
    if count == rank:
        return b.reshape(node.input(0), [])
    kept = b.reshape(b.op("NonZero", b.op("Not", _named(node, b, rank))), [rank - count])
    return b.reshape(node.input(0), b.op("Gather", b.op("Shape", node.input(0)), kept))


@expansion("Unsqueeze")
def unsqueeze(node: OpNode, b: Onnx) -> Value:
    """Ones at the named places, the dimensions of the operand in order at the others."""
    if node.ints(1) is not None:
        node.refuse("its axes are known")
    (count,) = node.static(1)
    rank = node.rank() + count
    if node.rank() == 0:
        return b.reshape(node.input(0), [1] * rank)
    new = _named(node, b, rank)
    before = b.op("CumSum", b.cast(b.op("Not", new), DataType.INT64), b.i64(0))
    place = b.op("Max", b.op("Sub", before, b.i64(1)), b.i64(0))
    old = b.op("Gather", b.op("Shape", node.input(0)), place)
    return b.reshape(node.input(0), b.op("Where", new, b.i64([1] * rank), old))


@expansion("ReduceSum", "ReduceMean", "ReduceProd", "ReduceMax", "ReduceMin")
def reduction(node: OpNode, b: Onnx) -> Value:
    """Axis by axis: reduced and spread again, or left as it is; of the axes that are named, one element is kept at the end."""
    if not node.has(1) or node.ints(1) is not None:
        node.refuse("its axes are known")
    if node.static(1) == (0,) or 0 in node.dims():
        node.refuse("it reduces over no axes, or over an empty one")
    x, rank = node.input(0), node.rank()
    named = _named(node, b, rank)
    for axis in range(rank):
        reduced = b.op(node.op_type, x, b.i64([axis]), keepdims=1)
        x = b.op("Where", b.op("Gather", named, b.i64(axis)), reduced, x)
    sizes = b.op("Where", named, b.i64([1] * rank), b.op("Shape", x))
    kept = b.op("Slice", x, b.i64([0] * rank), sizes, b.i64(list(range(rank))))
    return kept if node.attr("keepdims") else b.op("Squeeze", kept, node.input(1))


def _named(node: OpNode, b: Onnx, rank: int) -> Value:
    """A bool vector of `rank`: True at the axes that operand 1 names, counted from the end where negative."""
    axes = b.op("Mod", node.input(1), b.i64(rank))
    hits = b.op("Equal", b.reshape(axes, [-1, 1]), b.const([list(range(rank))], DataType.INT64))
    return b.cast(b.op("ReduceMax", b.cast(hits, DataType.INT32), b.i64([0]), keepdims=0), DataType.BOOL)
