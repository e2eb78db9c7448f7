"""What a rewriter tells its listeners. The worklist, the diff, the counters and the report are all listeners."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Protocol

from graphrewrite.ir import Node, Value


@dataclasses.dataclass(frozen=True)
class RewriteRecord:
    """One application of a rule: where, what went and what came."""

    index: int
    """Position in the whole run, from 0: stable for a given model, pipeline and version."""
    rule: str
    root: str
    """Source name of the root node."""
    group: int
    """Position of the first of the rewrites that leave a whole graph only together; its own where it stands alone."""


class Listener(Protocol):
    """Receives every change of the graph as it happens."""

    def rewrite_started(self, record: RewriteRecord) -> None:
        """A rule begins to change the graph."""

    def node_added(self, node: Node) -> None:
        """`node` is in the graph, its outputs are inferred."""

    def node_changed(self, node: Node) -> None:
        """An input, an attribute or an inferred type of `node` is new."""

    def node_removed(self, node: Node) -> None:
        """`node` has left the graph; its inputs are still readable on it for this call."""

    def value_replaced(self, old: Value, new: Value, users: Sequence[Node]) -> None:
        """`users`, which read `old`, now read `new`."""


class BaseListener:
    """A listener that ignores everything; override what is needed."""

    def rewrite_started(self, record: RewriteRecord) -> None: ...

    def node_added(self, node: Node) -> None: ...

    def node_changed(self, node: Node) -> None: ...

    def node_removed(self, node: Node) -> None: ...

    def value_replaced(self, old: Value, new: Value, users: Sequence[Node]) -> None: ...


@dataclasses.dataclass
class AddedNodes(BaseListener):
    """Collects the nodes that are added."""

    nodes: list[Node]

    def node_added(self, node: Node) -> None:
        """Keep it."""
        self.nodes.append(node)


class Listeners(list[Listener]):
    """Tells each of them, in order."""

    def rewrite_started(self, record: RewriteRecord) -> None:
        """See `Listener`."""
        for listener in self:
            listener.rewrite_started(record)

    def node_added(self, node: Node) -> None:
        """See `Listener`."""
        for listener in self:
            listener.node_added(node)

    def node_changed(self, node: Node) -> None:
        """See `Listener`."""
        for listener in self:
            listener.node_changed(node)

    def node_removed(self, node: Node) -> None:
        """See `Listener`."""
        for listener in self:
            listener.node_removed(node)

    def value_replaced(self, old: Value, new: Value, users: Sequence[Node]) -> None:
        """See `Listener`."""
        for listener in self:
            listener.value_replaced(old, new, users)
