"""If, Loop and Scan: resolved where the condition or the trip count is known, IF and WHILE otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from graphrewrite.ir import (
    DataType,
    Graph,
    Shape,
    TensorType,
    Value,
    constant_ints,
    dims,
    is_constant,
)
from graphrewrite.registry import Onnx, OpNode, expansion, lowering
from graphrewrite.registry.subgraphs import captures, close, splice

if TYPE_CHECKING:
    from graphrewrite.targets.tflite.builder import TFLite

_UNROLLED_NODES = 4096
"""Loops are unrolled up to this many nodes; longer ones stay loops."""


def _body(node: OpNode, name: str = "body") -> Graph:
    return node.node.attributes[name].as_graph()


def _truth(value: Value) -> bool | None:
    content = constant_ints(value)
    return None if not content else bool(content[0])


# -- If ----------------------------------------------------------------------------------------------------------------


@expansion("If")
def if_known(node: OpNode, b: Onnx) -> list[Value]:
    """The branch that a constant condition takes."""
    truth = _truth(node.input(0))
    if truth is None:
        node.refuse("its condition is known only at run time")
    return splice(b.rewriter, _body(node, "then_branch" if truth else "else_branch"), [])


@lowering("openvino", "If")
def if_kept(node: OpNode, b: Onnx) -> Sequence[Value]:
    """Branches that are never taken may hold what nothing can read."""
    return node.outputs if _truth(node.input(0)) is None else if_known(node, b)


@lowering("tflite", "If")
def if_(node: OpNode, t: TFLite) -> list[Value]:
    branches = [_body(node, name) for name in ("then_branch", "else_branch")]
    captured = list(dict.fromkeys(value for branch in branches for value in captures(branch)))
    closed = [close(t.rewriter, branch, captured) for branch in branches]
    for branch in closed:
        _own_outputs(t, branch)
    return list(
        t.rewriter.ops(
            "IF",
            node.input(0),
            *captured,
            outputs=len(node.outputs),
            domain="tflite",
            then_branch=closed[0],
            else_branch=closed[1],
        )
    )


def _own_outputs(t: TFLite, graph: Graph) -> None:
    """Copy the outputs that are inputs, constants, or given twice: each must come from an operator of the subgraph."""
    seen: set[Value] = set()
    for index, value in enumerate(graph.outputs):
        producer = value.producer()
        if producer is None or producer.graph is not graph or value in seen:
            with t.rewriter.inside(graph):
                graph.outputs[index] = t.rewriter.op("RESHAPE", value, t.shape_of(value), domain="tflite")
        seen.add(value)


# -- Loop --------------------------------------------------------------------------------------------------------------


@expansion("Loop")
def loop_unrolled(node: OpNode, b: Onnx) -> list[Value | None]:
    """Round by round, where the condition of each is constant once the round before is known."""
    body = _body(node)
    limit = node.ints(0) if node.has(0) else None
    if node.has(0) and limit is None:
        node.refuse("its trip count is known only at run time")
    go = _truth(node.input(1)) if node.has(1) else True
    states = [node.input(index) for index in range(2, len(node))]
    rows: list[list[Value]] = [[] for _ in range(len(body.outputs) - 1 - len(states))]
    done = made = 0
    while True:
        if go is None:
            node.refuse("its condition is known only at run time")
        if not go or (limit is not None and done >= limit[0]):
            break
        made += len(body)
        if made > _UNROLLED_NODES:
            node.refuse(f"unrolled it would be more than {_UNROLLED_NODES} nodes")
        keep_on, *rest = splice(b.rewriter, body, [b.i64(done), b.const(True, DataType.BOOL), *states])
        states = rest[: len(states)]
        for row, item in zip(rows, rest[len(states) :], strict=True):
            row.append(item)
        go, done = _truth(keep_on), done + 1
    return [
        *states,
        *(_stacked(node, b, row, value) for row, value in zip(rows, body.outputs[1 + len(states) :])),
    ]


def _stacked(node: OpNode, b: Onnx, row: list[Value], inner: Value, axis: int = 0) -> Value:
    """The values of all rounds along a new axis."""
    if row:
        return b.op("Concat", *(b.op("Unsqueeze", item, b.i64([axis])) for item in row), axis=axis)
    known = dims(inner)
    if known is None or not all(isinstance(dim, int) for dim in known) or inner.dtype is None:
        node.refuse(
            "it makes no round, and the shape of its scan output is unknown", "drop the loop from the model"
        )
    return b.const(np.zeros((0, *known)), inner.dtype)


@lowering("tflite", "Loop")
def loop(node: OpNode, t: TFLite) -> list[Value]:
    """WHILE over (round, condition, states, scan outputs so far, limit, captured values)."""
    body = _body(node)
    states = [node.input(index) for index in range(2, len(node))]
    scans = body.outputs[1 + len(states) :]
    captured = captures(body)
    limit = node.optional(0)
    extra = [limit] if limit is not None and not is_constant(limit) else []
    go = node.optional(1) or t.const(True, DataType.BOOL)
    gathered = [_nothing_yet(node, t, value, [*states, *captured]) for value in scans]
    operands = [t.i64(0), go, *states, *gathered, *extra, *captured]
    inner = _round(t, close(t.rewriter, body, captured), len(states), len(scans), extra)
    condition = _condition(t, inner, limit, 2 + len(states) + len(scans) if extra else None)
    results = t.rewriter.ops(
        "WHILE", *operands, outputs=len(operands), domain="tflite", cond=condition, body=inner
    )
    for index, result in enumerate(results):
        result.type = inner.inputs[index].type
        if result.shape is None:
            result.shape = inner.inputs[index].shape
    last = 2 + len(states)
    return [*results[2:last], *(_rows(t, value) for value in results[last : last + len(scans)])]


def _rows(t: TFLite, gathered: Value) -> Value:
    """All rows but the first."""
    rank = len(gathered.shape or ())
    skip = [1] + [0] * (rank - 1)
    return t.op("SLICE", gathered, t.i32(skip), t.i32([-1] * rank))


def _nothing_yet(node: OpNode, t: TFLite, scan: Value, around: list[Value]) -> Value:
    """A scan output [1, ...] whose one row is dropped at the end: WHILE does not carry tensors without elements.

    Dimensions known only at run time are read from a value `around` the loop that has the same.
    """
    known = dims(scan)
    if known is None or scan.dtype is None:
        node.refuse(*_NO_ROW)
    if all(isinstance(dim, int) for dim in known):
        return t.const(np.zeros((1, *known)), scan.dtype)
    parts = [t.i32([1])]
    for dim in known:
        if isinstance(dim, int):
            parts.append(t.i32([dim]))
            continue
        source = next((value for value in around if dim is not None and dim in (dims(value) or ())), None)
        if source is None:
            node.refuse(*_NO_ROW)
        axis = (dims(source) or ()).index(dim)
        parts.append(t.op("SLICE", t.shape_of(source), t.i32([axis]), t.i32([1])))
    return t.op("FILL", t.op("CONCATENATION", *parts, axis=0), t.const(0, scan.dtype))


_NO_ROW = (
    "the shape of one round's scan output is known only at run time",
    "fix the input shapes with --shape",
)


def _stand_in(t: TFLite, name: str, value: Value, shape: Shape | None) -> Value:
    return Value(name=t.rewriter.unique_name(name), type=value.type, shape=shape)


def _round(t: TFLite, body: Graph, states: int, scans: int, extra: list[Value]) -> Graph:
    """`body` from (round, condition, states, captured) to the same states that WHILE holds."""
    first, passed_on = body.inputs[: 2 + states], list(body.inputs[2 + states :])
    results = list(body.outputs)
    so_far = []
    for value in results[1 + states :]:
        known = dims(value) or ()
        so_far.append(_stand_in(t, "loop/gathered", value, Shape([None, *known])))
    limits = [_stand_in(t, "loop/limit", value, value.shape) for value in extra]
    counter = body.inputs[0]
    with t.rewriter.inside(body):
        following = t.op("ADD", counter, t.const(1, DataType.INT64))
        longer = []
        for old, item in zip(so_far, results[1 + states :], strict=True):
            grown = t.op("CONCATENATION", old, t.op("EXPAND_DIMS", item, t.i32(0)), axis=0)
            longer.append(grown)
    body.inputs.clear()
    body.inputs.extend([*first, *so_far, *limits, *passed_on])
    body.outputs.clear()
    body.outputs.extend([following, *results[: 1 + states], *longer, *limits, *passed_on])
    _own_outputs(t, body)
    return body


def _condition(t: TFLite, body: Graph, limit: Value | None, limit_place: int | None) -> Graph:
    """States -> bool: below the limit (a constant, or the state at `limit_place`), and what the last round said."""
    operands = [_stand_in(t, "loop/state", value, value.shape) for value in body.inputs]
    graph = Graph(operands, [], nodes=[], name=t.rewriter.unique_name("loop/condition"))
    result = operands[1]
    with t.rewriter.inside(graph):
        if limit is not None:
            below = t.op("LESS", operands[0], limit if limit_place is None else operands[limit_place])
            result = t.op("LOGICAL_AND", below, result)
    graph.outputs.append(result)
    _own_outputs(t, graph)
    return graph


# -- Scan --------------------------------------------------------------------------------------------------------------


@expansion("Scan")
def scan(node: OpNode, b: Onnx) -> list[Value | None]:
    """One copy of the body for each element of the sequences; a Loop where their length is known only at run time."""
    body = _body(node)
    count = node.attr("num_scan_inputs")
    operands = [node.input(index) for index in range(len(node))]
    states, sequences = operands[: len(operands) - count], operands[len(operands) - count :]
    axes = node.attr("scan_input_axes") or [0] * count
    backwards = node.attr("scan_input_directions") or [0] * count
    length = _length(sequences, axes)
    if length is None:
        return _as_loop(node, b, operands, axes, backwards)
    if length * len(body) > _UNROLLED_NODES * 4:
        node.refuse(
            f"it is unrolled, and {length} rounds of {len(body)} nodes are too many",
            "shorten the sequence with --shape, and run the model over it piece by piece",
        )
    columns: list[list[Value]] = []
    for value, axis, flipped in zip(sequences, axes, backwards, strict=True):
        axis %= len(dims(value) or (0,))
        parts = (
            b.ops("Split", value, outputs=length, axis=axis, num_outputs=length) if length > 1 else (value,)
        )
        items = [b.op("Squeeze", part, b.i64([axis])) for part in parts]
        columns.append(items[::-1] if flipped else items)
    outputs = len(body.outputs) - len(states)
    rows: list[list[Value]] = [[] for _ in range(outputs)]
    for elements in zip(*columns, strict=True):
        results = splice(b.rewriter, body, [*states, *elements])
        states = results[: len(states)]
        for row, item in zip(rows, results[len(states) :], strict=True):
            row.append(item)
    out_axes = node.attr("scan_output_axes") or [0] * outputs
    out_backwards = node.attr("scan_output_directions") or [0] * outputs
    stacked = []
    for row, inner, axis, flipped in zip(
        rows, body.outputs[len(states) :], out_axes, out_backwards, strict=True
    ):
        axis %= len(dims(row[0]) or ()) + 1 if row else 1
        stacked.append(_stacked(node, b, row[::-1] if flipped else row, inner, axis))
    return [*states, *stacked]


def _length(sequences: list[Value], axes: list[int]) -> int | None:
    for value, axis in zip(sequences, axes, strict=True):
        known = dims(value)
        if known is not None and isinstance(size := known[axis], int):
            return size
    return None


def _as_loop(
    node: OpNode, b: Onnx, operands: list[Value], axes: list[int], backwards: list[int]
) -> list[Value | None]:
    """A Loop whose body takes its elements from the sequences by its counter."""
    body, count = _body(node), len(operands) - len(axes)
    states, sequences = operands[:count], operands[count:]
    axes = [axis % len(dims(value) or (0,)) for value, axis in zip(sequences, axes, strict=True)]
    shape = b.op("Shape", sequences[0], start=axes[0], end=axes[0] + 1)
    limit = b.reshape(shape, [])
    last = b.op("Sub", limit, b.i64(1)) if any(backwards) else limit
    unique = b.rewriter.unique_name
    counter = Value(name=unique("scan/round"), type=TensorType(DataType.INT64), shape=Shape([]))
    go = Value(name=unique("scan/go"), type=TensorType(DataType.BOOL), shape=Shape([]))
    inner = [Value(name=unique("scan/state"), type=value.type, shape=value.shape) for value in states]
    graph = Graph([counter, go, *inner], [], nodes=[], name=unique("scan/body"))
    with b.rewriter.inside(graph):
        elements = [
            b.op("Gather", value, b.op("Sub", last, counter) if flipped else counter, axis=axis)
            for value, axis, flipped in zip(sequences, axes, backwards, strict=True)
        ]
        results = splice(b.rewriter, body, [*inner, *elements])
        graph.outputs.extend([b.op("Identity", go), *results])
    made = b.ops("Loop", limit, None, *states, outputs=len(results), body=graph)
    out_axes = node.attr("scan_output_axes") or [0] * (len(results) - count)
    out_backwards = node.attr("scan_output_directions") or [0] * (len(results) - count)
    stacked = [
        _placed(b, value, axis, bool(flipped))
        for value, axis, flipped in zip(made[count:], out_axes, out_backwards, strict=True)
    ]
    return [*made[:count], *stacked]


def _placed(b: Onnx, value: Value, axis: int, flipped: bool) -> Value:
    """The rounds of `value` in reverse order where `flipped`, and along dimension `axis` in place of the first."""
    if flipped:
        start, end = b.i64([-1]), b.i64([np.iinfo(np.int64).min])
        value = b.op("Slice", value, start, end, b.i64([0]), b.i64([-1]))
    rank = len(dims(value) or (0,))
    order = list(range(1, rank))
    order.insert(axis % rank, 0)
    return value if order == list(range(rank)) else b.op("Transpose", value, perm=order)
