"""Names of nodes and values: none is given twice, and those we made up are told apart from the source's."""

from __future__ import annotations

from graphrewrite.ir import Graph, all_graphs

GENERATED = "graphrewrite.generated_name"
"""Key of a value's `meta`: its name is ours, so it stands for no value of the source."""


class Names:
    """The names in use in `graph` and its subgraphs."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._used: set[str] | None = None
        """Collected when a name is first asked for: most passes change nothing."""
        self._suffix: dict[str, int] = {}

    def unique(self, hint: str) -> str:
        """`hint`, or `hint` with the next free number; in use from now on."""
        if self._used is None:
            self._used = _used(self._graph)
        name = hint
        while name in self._used:
            self._suffix[hint] = self._suffix.get(hint, 0) + 1
            name = f"{hint}_{self._suffix[hint]}"
        self._used.add(name)
        return name

    def take(self, name: str) -> None:
        """Note that something in the graph goes by `name`."""
        if self._used is not None:
            self._used.add(name)


def _used(graph: Graph) -> set[str]:
    found: set[str] = set()
    for inner in all_graphs(graph):
        found.update(value.name or "" for value in (*inner.inputs, *inner.initializers.values()))
        for node in inner:
            found.add(node.name or "")
            found.update([value.name or "" for value in node.outputs])
    return found
