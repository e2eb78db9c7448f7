"""Legalising: what a target that reads ONNX can't read as it is becomes ONNX that it reads."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from graphrewrite.errors import Blocker, Code, InternalError, NotExpressible
from graphrewrite.ir import Model, Node, bodies, is_used, node_line
from graphrewrite.registry.blockers import blocked_by, causes, ends, foreign
from graphrewrite.registry.builder import Onnx
from graphrewrite.registry.lower import MAX_DEPTH, expand, try_row
from graphrewrite.registry.opnode import Refusal
from graphrewrite.registry.rows import OpRow, rows
from graphrewrite.rewrite import AddedNodes, Rewriter

Unreadable = Callable[[Model, Collection[Node]], Mapping[Node, str]]
"""(model, nodes to leave aside) -> every other node that the target can't read, with the reason."""


def legalize(model: Model, rewriter: Rewriter, target: str, unreadable: Unreadable) -> None:
    """Rewrite `model` until `target` reads all of it.

    A node whose row has a lowering for `target` becomes what that returns: other ONNX nodes, to which their own rows apply
    (those of the same op are what it should be), or its own outputs where it may stay. Then whatever `unreadable` names is
    expanded by its row or by the specification's function body, until it names nothing that can be.

    Raises:
        NotExpressible: with every blocker of the whole model; the model is then of no further use.
    """
    rewriter.collect_garbage()
    run = _Run(rewriter, target)
    rewriter.listeners.append(run.added)
    try:
        run.apply_rows(model.graph)
        at_ends = ends(model.graph)
        for _ in range(MAX_DEPTH):
            refused = {} if at_ends else unreadable(model, run.blockers)  # which asks for tensors at the ends
            if not [node for node, why in refused.items() if run.expanded(node, why)]:
                break
        else:
            raise InternalError(f"expanding goes in circles at {node_line(next(iter(refused)))}")
    finally:
        rewriter.listeners.remove(run.added)
    found = at_ends + causes(run.blockers)
    if found:
        raise NotExpressible(target, found)
    rewriter.collect_garbage()


class _Run:
    """One model on its way; a node that is no obstacle any more leaves the graph, one that is stays with its blocker."""

    def __init__(self, rewriter: Rewriter, target: str) -> None:
        self.rewriter = rewriter
        self.target = target
        self.added = AddedNodes([])
        self.blockers: dict[Node, Blocker] = {}

    def apply_rows(self, nodes: Iterable[Node], depth: int = 0) -> None:
        """Lower each node that has a row, and then what came of it."""
        stack = [(node, depth) for node in nodes]
        stack.reverse()
        while stack:
            node, depth = stack.pop()
            if node.graph is None or not any(is_used(value) for value in node.outputs):
                continue
            if node.domain != "":
                self.blockers[node] = foreign(node)
                continue
            made = self._lowered(node, depth)
            stack += [(item, depth + 1) for item in reversed(made) if item.op_type != node.op_type]
            if node.graph is not None:  # bodies of a node that has gone are no obstacle any more
                stack += [(item, depth) for body in bodies(node) for item in body]

    def _lowered(self, node: Node, depth: int) -> list[Node]:
        """The nodes made by the row of `node`, or by expanding it where the row refuses."""
        row = rows().get(node.op_type)
        self.added.nodes = []
        if row is not None and self.target in row.lowerings:
            if depth > MAX_DEPTH:
                raise InternalError(f"lowering goes in circles at {node_line(node)}")
            refused = try_row(node, self.rewriter, row.lowerings[self.target], Onnx(self.rewriter))
            if refused is not None:
                refused = expand(node, row, self.target, self.rewriter, refused, refused)
            if refused is not None:
                self._block(node, refused)
        return self.added.nodes

    def expanded(self, node: Node, why: str) -> bool:
        """Expand a node that the target can't read; False where nothing can, with the blocker noted."""
        row = rows().get(node.op_type) or OpRow(node.op_type)
        self.added.nodes = []
        unread = Refusal(Code.NOT_IMPLEMENTED, why, "`tools/new_op` writes the skeleton of a row")
        refused = expand(node, row, self.target, self.rewriter, None, unread)
        if refused is not None:
            self._block(node, refused)
            return False
        self.apply_rows(list(self.added.nodes), 1)
        return True

    def _block(self, node: Node, refusal: Refusal) -> None:
        self.blockers[node] = blocked_by(node, refusal, self.rewriter.model.graph)
