"""Lowering: every ONNX node becomes target nodes by its row, and everything that can't is reported at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphrewrite.errors import Blocker, Code, GraphRewriteError, InternalError, NotExpressible
from graphrewrite.ir import (
    AttributeType,
    Graph,
    Model,
    Node,
    ShapeConflict,
    Value,
    is_constant,
    is_used,
    node_line,
    schema,
    source_name,
)
from graphrewrite.registry.blockers import blocked_by, causes, ends, foreign
from graphrewrite.registry.builder import Onnx
from graphrewrite.registry.functions import function_body, inline
from graphrewrite.registry.opnode import OpNode, Refusal
from graphrewrite.registry.rows import OpRow, Rewrite, rows
from graphrewrite.rewrite import AddedNodes, Rewriter, all_nodes

MAX_DEPTH = 40
"""Expansions nest (Attention -> Softmax -> ...); deeper than this they go in circles."""


def lower(
    model: Model,
    rewriter: Rewriter,
    target: str,
    builder: Callable[[Rewriter], Any],
    dialect: str | None = None,
) -> None:
    """Rewrite every ONNX node of `model` into the dialect of `target` (named like it where `dialect` is not given).

    `builder(rewriter)` makes what the rows of that target build with. Control flow is unrolled by its row's expansion where that
    accepts; otherwise the nodes of its subgraphs are lowered before the node that holds them.

    Raises:
        NotExpressible: with every blocker of the whole model; the model is then half-lowered and of no further use.
    """
    domain = dialect or target
    rewriter.collect_garbage()
    blockers: dict[Node, Blocker] = {}
    added = AddedNodes([])
    rewriter.listeners.append(added)
    stack = [(node, 0, False) for node in reversed(list(model.graph))]
    make = builder(rewriter)
    try:
        while stack:
            node, depth, entered = stack.pop()
            if node.domain != "" or node.graph is None or not _needed(node):
                if node.domain not in ("", domain) and node.graph is not None:
                    blockers[node] = foreign(node)
                continue
            added.nodes = []
            bodies = [] if entered else _bodies(node)
            if bodies and not _unroll(node, rewriter):
                stack.append((node, depth, True))
                inner = [(item, depth, False) for body in bodies for item in body]
                stack.extend(reversed(inner))
                continue
            if bodies:
                stack.extend((item, depth + 1, False) for item in reversed(added.nodes) if item.domain == "")
                continue
            try:
                _lower_node(node, rewriter, target, make, depth)
            except Refusal as refusal:
                blockers[node] = blocked_by(node, refusal, model.graph)
            stack.extend((item, depth + 1, False) for item in reversed(added.nodes) if item.domain == "")
    finally:
        rewriter.listeners.remove(added)
    refused = ends(model.graph) + causes(blockers)
    if refused:
        raise NotExpressible(target, refused)
    rewriter.collect_garbage()
    left = next((node for node in all_nodes(model.graph) if node.domain != domain), None)
    if left is not None:
        raise InternalError(f"left after lowering to {target}: {node_line(left)}")


def _bodies(node: Node) -> list[Graph]:
    return [item.as_graph() for item in node.attributes.data.values() if item.type is AttributeType.GRAPH]


def _unroll(node: Node, rewriter: Rewriter) -> bool:
    """Resolve control flow that is known now (a constant condition, a constant trip count) before its bodies are lowered.

    So branches that are never taken are no obstacle.
    """
    row = rows().get(node.op_type)
    if row is None or row.expansion is None:
        return False
    return try_row(node, rewriter, row.expansion, Onnx(rewriter)) is None


def _needed(node: Node) -> bool:
    return any(is_used(value) for value in node.outputs)


def _lower_node(node: Node, rewriter: Rewriter, target: str, make: Any, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise InternalError(
            f"expanding {node.op_type} '{source_name(node)}' goes in circles: {node_line(node)}"
        )
    if node.op_type != "Identity" and _fold(node, rewriter):
        return
    row = rows().get(node.op_type) or OpRow(node.op_type)
    refused: Refusal | None = None
    if target in row.lowerings:
        refused = try_row(node, rewriter, row.lowerings[target], make)
        if refused is None:
            return
    refused = expand(node, row, target, rewriter, refused, _no_row(node))
    if refused is not None:
        raise refused


def expand(
    node: Node, row: OpRow, target: str, rewriter: Rewriter, refused: Refusal | None, otherwise: Refusal
) -> Refusal | None:
    """Express `node` in simpler ops: by its row, else by the body that the specification gives.

    Returns the reason where neither does: `refused` (by the target's own lowering) before the expansion's before the one that
    is registered, and `otherwise` where there is none.
    """
    if row.expansion is not None:
        second = try_row(node, rewriter, row.expansion, Onnx(rewriter))
        if second is None:
            return None
        refused = refused or second
    if refused is None and target in row.refusals:
        reason, hint = row.refusals[target]
        refused = Refusal(Code.NOT_EXPRESSIBLE, reason, hint)
    if row.expansion is None and _inline_function(node, rewriter):
        return None
    return refused or otherwise


def _fold(node: Node, rewriter: Rewriter) -> bool:
    """Bodies of expanded ops hold chains of constants (Shape, Range, Where, ...) that only now are known to be constant."""
    if not all(value is None or is_constant(value) for value in node.inputs):
        return False
    with rewriter.rewrite(f"fold-{node.op_type}", node):
        values = rewriter.fold(node)
        if values is None:
            return False
        rewriter.replace(node, values)
    return True


def try_row(node: Node, rewriter: Rewriter, rewrite: Rewrite, make: Any) -> Refusal | None:
    """Replace `node` by what its row makes with `make`; nothing changes where that is the node's own outputs."""
    with rewriter.rewrite(f"lower-{node.op_type}", node):
        try:
            values = rewrite(OpNode(node), make)
        except Refusal as refusal:
            return refusal
        except (GraphRewriteError, ShapeConflict):
            raise
        except (
            Exception
        ) as error:  # a row stumbles over what it takes for granted: the place must not be lost
            raise InternalError(
                f"{node.op_type} '{source_name(node)}' can't be lowered: {type(error).__name__}: {error}"
            ) from error
        if isinstance(values, Value) or values is None:
            values = [values]
        if list(values) != list(node.outputs):
            rewriter.replace(node, values)
    return None


def _inline_function(node: Node, rewriter: Rewriter) -> bool:
    function = function_body(node)
    if function is None:
        return False
    with rewriter.rewrite(f"expand-{node.op_type}", node):
        try:
            result = inline(node, function, rewriter)
        except ShapeConflict:  # some bodies are only valid for floats, though their op takes integers
            return False
        if result is None:
            return False
        rewriter.replace(node, result[0])
    return True


def _no_row(node: Node) -> Refusal:
    if schema(node.op_type) is None:
        return Refusal(
            Code.NOT_EXPRESSIBLE,
            f"ONNX has no operator named {node.op_type}",
            "it is a leftover of the framework that exported the model: see `graphrewrite passes strip-tf-leftovers`, or "
            "rewrite it with a pass of your own",
        )
    return Refusal(
        Code.NOT_IMPLEMENTED, "no row for this op yet", "`tools/new_op` writes the skeleton of one"
    )
