"""If and Loop for Core ML: cond and while_loop, whose blocks read outer values as ONNX's subgraphs do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphrewrite.ir import DataType, Graph, Shape, Value, constant_ints, dims
from graphrewrite.registry import OpNode, lowering
from graphrewrite.registry.subgraphs import copy_graph

if TYPE_CHECKING:
    from graphrewrite.targets.coreml.builder import MIL


def _body(node: OpNode, m: MIL, name: str) -> Graph:
    """A copy of a subgraph, whose nodes have been lowered already."""
    return copy_graph(m.rewriter, node.node.attributes[name].as_graph())


@lowering("coreml", "If", note="both branches give results of one rank")
def mil_if(node: OpNode, m: MIL) -> list[Value]:
    branches = {name: _body(node, m, name) for name in ("then_branch", "else_branch")}
    for index, (one, other) in enumerate(zip(*(graph.outputs for graph in branches.values()), strict=True)):
        ranks = [None if value.shape is None else len(value.shape) for value in (one, other)]
        if one.dtype != other.dtype or ranks[0] != ranks[1]:
            node.refuse(
                f"result {index} has another type or rank in one branch than in the other",
                "compute what differs after the branches",
            )
    condition = m.reshape(node.input(0), [])
    return list(m.rewriter.ops("cond", condition, outputs=len(node.outputs), domain="mil", **branches))


@lowering("coreml", "Loop", note="scan outputs need one round at least")
def mil_loop(node: OpNode, m: MIL) -> list[Value]:
    """while_loop over (round, condition, states, scan outputs so far)."""
    body = _body(node, m, "body")
    states = [node.input(index) for index in range(2, len(node))]
    first = 1 + len(states)
    around = (
        [*states, *(value for value in node.node.graph.inputs)] if node.node.graph is not None else states
    )
    gathered = [_nothing_yet(node, m, value, around) for value in body.outputs[first:]]
    go = m.reshape(node.input(1), _declared(body, 1)) if node.has(1) else m.const(True, DataType.BOOL)
    counter = m.reshape(m.const(0, DataType.INT64), _declared(body, 0))
    limit = m.reshape(m.cast(node.input(0), DataType.INT32), []) if node.has(0) else None
    operands = [counter, go, *states, *gathered]
    _grow(m, body, first)
    results = m.rewriter.ops(
        "while_loop",
        *operands,
        outputs=len(operands),
        domain="mil",
        cond=_condition(m, body, limit),
        body=body,
    )
    for result, inner in zip(results, body.inputs, strict=True):
        result.type = inner.type
        if result.shape is None:
            result.shape = inner.shape
    return [*results[2 : 1 + first], *(m.crop(value, {0: (1, 0)}) for value in results[1 + first :])]


def _declared(body: Graph, index: int) -> list[int]:
    """[1] where the body takes its counter or condition as a vector, [] for a scalar."""
    return [1] * len(dims(body.inputs[index]) or ())


def _nothing_yet(node: OpNode, m: MIL, scan: Value, around: list[Value]) -> Value:
    """A scan output [1, ...] whose one row is dropped at the end: Core ML has no empty tensors.

    Dimensions known only at run time are read from a value `around` the loop that has the same.
    """
    known = dims(scan)
    if known is None or scan.dtype is None:
        node.refuse(*_NO_ROW)
    parts = [m.i32([1])]
    for dim in known:
        if isinstance(dim, int):
            parts.append(m.i32([dim]))
            continue
        source = next((value for value in around if dim is not None and dim in (dims(value) or ())), None)
        if source is None:
            node.refuse(*_NO_ROW)
        parts.append(m.dim(source, (dims(source) or ()).index(dim)))
    sizes = [constant_ints(part) for part in parts]
    static = [size[0] for size in sizes if size is not None]
    shape = m.i32(static) if len(static) == len(parts) else m.op("concat", *parts, axis=0)
    return m.op("fill", shape, m.const(0, scan.dtype))


_NO_ROW = (
    "the shape of one round's scan output is known only at run time",
    "fix the input shapes with --shape",
)


def _grow(m: MIL, body: Graph, first: int) -> None:
    """Turn `body` into one from (round, condition, states, scan outputs so far) to the same."""
    results, counter = list(body.outputs), body.inputs[0]
    so_far = [_stand_in(m, value, Shape([None, *(dims(value) or ())])) for value in results[first:]]
    with m.rewriter.inside(body):
        following = m.op("add", counter, m.const(1, DataType.INT64))
        go = m.reshape(results[0], _declared(body, 1))
        longer = [
            m.op("concat", old, m.op("expand_dims", item, axes=[0]), axis=0)
            for old, item in zip(so_far, results[first:], strict=True)
        ]
    body.inputs.extend(so_far)
    body.outputs.clear()
    body.outputs.extend([following, go, *results[1:first], *longer])


def _condition(m: MIL, body: Graph, limit: Value | None) -> Graph:
    """States -> bool: below the limit, and what the last round said."""
    operands = [_stand_in(m, value, value.shape) for value in body.inputs]
    graph = Graph(operands, [], nodes=[], name=m.rewriter.unique_name("loop/condition"))
    with m.rewriter.inside(graph):
        result = m.reshape(operands[1], [])
        if limit is not None:
            result = m.op("logical_and", m.op("less", m.reshape(operands[0], []), limit), result)
    graph.outputs.append(result)
    return graph


def _stand_in(m: MIL, value: Value, shape: Shape | None) -> Value:
    return Value(name=m.rewriter.unique_name("loop/state"), type=value.type, shape=shape)
