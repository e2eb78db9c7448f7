"""What changed between two states of a graph, matched by value name: linear in the nodes, where a line diff is not.

A node is known by the name of its first output. Source names survive rewriting, so a node that another one took the place
of shows as changed, not as one that went and one that came.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

from graphrewrite.ir import (
    ConstantRecord,
    Graph,
    Model,
    Node,
    NodeRecord,
    Value,
    ValueRecord,
    bodies,
    origin,
    record_constant,
    record_line,
    record_node,
    record_value,
    type_text,
)
from graphrewrite.rewrite import BaseListener, all_nodes

_new = tuple.__new__  # as where nodes are recorded
_operator = attrgetter("operator")

CONTEXT = 2
"""Unchanged lines shown around a change."""


class Entry(NamedTuple):
    """One node, graph input or graph output, as it stood. `origin` holds a node's source names."""

    key: str
    record: NodeRecord | ValueRecord
    origin: tuple[str, ...]
    operator: str
    """`Conv`; "" for inputs and outputs."""

    @property
    def line(self) -> str:
        """As the graph is printed."""
        record = self.record
        if isinstance(record, NodeRecord):
            return record_line(record)
        return f"{self.key.partition(' ')[0]} %{record.name}:{type_text(record.dtype, record.dims)}"

    def to_json(self) -> dict[str, Any]:
        """As in `graphrewrite diff --json`."""
        return {"value": self.key, "operator": self.operator, "from": list(self.origin), "line": self.line}

    def described(self) -> str:
        """The line with the source names behind it."""
        record = self.record
        result = record.results[0] if isinstance(record, NodeRecord) and record.results else None
        remarks = []
        if self.origin:
            more = f" and {len(self.origin) - 3} more" if len(self.origin) > 3 else ""
            remarks.append(f"from {', '.join(repr(name) for name in self.origin[-3:])}{more}")
        if result is not None and result.layout is not None:
            remarks.append(f"dimensions in the order {list(result.layout.perm)}")
        return f"{self.line}    # {'; '.join(remarks)}" if remarks else self.line


class Touched(BaseListener):
    """The nodes that a pass made or changed, as the rewriter tells of them."""

    def __init__(self) -> None:
        self.nodes: set[Node] = set()

    def node_added(self, node: Node) -> None:
        self.nodes.add(node)

    def node_changed(self, node: Node) -> None:
        self.nodes.add(node)

    def node_removed(self, node: Node) -> None:
        self.nodes.discard(node)

    def value_replaced(self, old: Value, new: Value, users: Sequence[Node]) -> None:
        self.nodes.update(users)
        for value in (old, new):  # one may have taken the other's name
            producer = value.producer()
            if producer is not None:
                self.nodes.add(producer)


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """A state of a model, cheap to compare; it stays valid when the model changes."""

    entries: dict[str, Entry]
    operators: Counter[str]
    parameters: int
    weight_bytes: int
    _nodes: dict[Node, Entry] = dataclasses.field(repr=False)
    _holders: set[Node] = dataclasses.field(repr=False)
    """Nodes with subgraphs."""
    _constants: dict[Value | None, ConstantRecord] = dataclasses.field(repr=False)

    @classmethod
    def of(
        cls, model: Model, previous: Snapshot | None = None, touched: Iterable[Node] | None = None
    ) -> Snapshot:
        """The present state.

        With `touched`, all that has been made or changed since `previous`, the other nodes are taken from there: the cost of
        a look at each node is a tenth of that of recording it.
        """
        taken = cls({}, Counter(), 0, 0, {}, set(), {})
        for value in model.graph.inputs:
            taken._add_value("input", value)
        taken._add_graph(
            model.graph,
            {} if previous is None or touched is None else previous._known(touched),
            {} if previous is None else previous._constants,
        )
        for value in model.graph.outputs:
            taken._add_value("output", value)
        return dataclasses.replace(
            taken,
            operators=Counter(map(_operator, taken._nodes.values())),
            parameters=sum([item.elements for item in taken._constants.values()]),
            weight_bytes=sum([item.bytes for item in taken._constants.values()]),
        )

    def _add_graph(
        self, graph: Graph, known: dict[Node, Entry], before: dict[Value | None, ConstantRecord]
    ) -> None:
        """Add the constants and nodes of `graph`, those of subgraphs before the node that holds them."""
        constants, entries, nodes = self._constants, self.entries, self._nodes
        for value in graph.initializers.values():
            tensor = value.const_value
            if tensor is not None:
                old = before.get(value)
                if old is None or old.tensor is not tensor or old.name != value.name:
                    old = record_constant(value, tensor)
                constants[value] = old
        for node in graph:
            entry = known.get(node)
            if entry is None or entry.key in entries:
                inner = bodies(node) if node.attributes.data else ()
                for body in inner:
                    self._add_graph(body, known, before)
                if inner:
                    self._holders.add(node)
                outputs = node.outputs
                key = (outputs[0].name if outputs else node.name) or ""
                if key in entries:
                    key = _free(entries, key)
                record = record_node(node, constants)
                entry = _new(Entry, (key, record, origin(node), record.operator))
            entries[entry.key] = nodes[node] = entry

    def _add_value(self, kind: str, value: Value) -> None:
        key = _free(self.entries, f"{kind} {value.name}")
        self.entries[key] = Entry(key, record_value(value), (), "")

    def _known(self, touched: Iterable[Node]) -> dict[Node, Entry]:
        """What still holds, as far as the graph has only changed at `touched`."""
        known = dict(self._nodes)
        stale = {*touched, *self._holders}
        for node in self._holders:
            for body in bodies(node):
                stale.update(all_nodes(body))
        for node in stale:
            old = known.pop(node, None)
            if old is not None and isinstance(old.record, NodeRecord):
                for value, record in zip(node.outputs, old.record.results):
                    if value.name != record.name:  # whoever reads it now prints otherwise
                        for use in value.uses():
                            known.pop(use.node, None)
        return known

    def totals(self) -> Snapshot:
        """This without the nodes: what is left to say where only the changes are kept."""
        return Snapshot({}, self.operators, self.parameters, self.weight_bytes, {}, set(), {})


def _some(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
    return ", ".join(f"%{key}" for key in keys[:3]) + more


def _only_typed(old: NodeRecord | ValueRecord, new: NodeRecord | ValueRecord) -> bool:
    """Whether the node is the one it was, but for types that were not known. Constants it reads may be initializers since."""
    if not (isinstance(old, NodeRecord) and isinstance(new, NodeRecord)):
        return False
    known = new._replace(results=old.results)
    if any(item.dtype is None for item in old.results):
        known = known._replace(operands=old.operands)
    return known == old and all(
        was.name == now.name
        and was.layout == now.layout
        and was.dtype in (None, now.dtype)
        and (was.dims is None or was.dims == now.dims)
        for was, now in zip(old.results, new.results, strict=True)
    )


def _free(entries: dict[str, Entry], key: str) -> str:
    """`key`, numbered where it is taken: bodies side by side may use a name twice."""
    name, number = key, 1
    while name in entries:
        number += 1
        name = f"{key}#{number}"
    return name


@dataclasses.dataclass(frozen=True)
class GraphDiff:
    """The difference of two states; false where there is none."""

    before: Snapshot
    after: Snapshot
    removed: tuple[Entry, ...]
    added: tuple[Entry, ...]
    changed: tuple[tuple[Entry, Entry], ...]

    def __bool__(self) -> bool:
        return bool(
            self.removed or self.added or self.changed or self.before.weight_bytes != self.after.weight_bytes
        )

    def alone(self) -> GraphDiff:
        """This without the nodes that did not change: all but `unified` works as before."""
        return dataclasses.replace(self, before=self.before.totals(), after=self.after.totals())

    def operators(self) -> dict[str, int]:
        """Operators by how many more (or fewer) there are now."""
        names = sorted(self.before.operators.keys() | self.after.operators.keys())
        delta = {name: self.after.operators[name] - self.before.operators[name] for name in names}
        return {name: count for name, count in delta.items() if count}

    def summary(self) -> list[str]:
        """Operators and parameters, a line each, where they changed."""
        lines = []
        if self.operators():
            lines.append("ops: " + ", ".join(f"{name} {count:+}" for name, count in self.operators().items()))
        if self.before.weight_bytes != self.after.weight_bytes:
            lines.append(
                f"parameters: {self.before.parameters:,} -> {self.after.parameters:,} "
                f"({self.before.weight_bytes:,} -> {self.after.weight_bytes:,} bytes)"
            )
        return lines

    def nodes(self) -> Iterator[str]:
        """`-`, `+` and `~` lines, one a node, in graph order within each kind.

        `Constant` nodes that went share a line, and so do nodes whose types became known and that are as they were else: the
        import makes initializers of hundreds, and infers the types of nearly all.
        """
        constants = [entry.key for entry in self.removed if entry.operator == "Constant"]
        if constants:
            yield f"- {len(constants)} Constant: {_some(constants)}"
        for entry in self.removed:
            if entry.operator != "Constant":
                yield f"- {entry.described()}"
        for entry in self.added:
            yield f"+ {entry.described()}"
        typed = [new.key for old, new in self.changed if _only_typed(old.record, new.record)]
        if typed:
            yield f"~ {len(typed)} whose types are known now: {_some(typed)}"
        for old, new in self.changed:
            if not _only_typed(old.record, new.record):
                yield f"~ {old.line}"
                yield f"  -> {new.described()}"

    def unified(self, context: int = CONTEXT) -> Iterator[str]:
        """The new graph with `-` and `+` lines, cut down to the surroundings of each change."""
        shown = 0
        waiting: list[str] = []
        skipped = False
        for mark, line in self._merged():
            if mark == " " and shown == 0:
                waiting.append(line)
                if len(waiting) > context:
                    waiting.pop(0)
                    skipped = True
                continue
            if mark != " ":
                if skipped:
                    yield "@@"
                yield from (f"  {item}" for item in waiting)
                waiting, skipped, shown = [], False, context
            else:
                shown -= 1
            yield f"{mark} {line}"
        yield from self.summary()

    def _merged(self) -> Iterator[tuple[str, str]]:
        before, after = self.before.entries, self.after.entries
        gone: dict[str, list[Entry]] = {}
        run: list[Entry] = []
        for key, entry in before.items():
            if key not in after:
                run.append(entry)
            elif run:
                gone[key], run = run, []
        for key, entry in after.items():
            yield from (("-", item.line) for item in gone.get(key, ()))
            old = before.get(key)
            if old is None:
                yield "+", entry.line
            elif old is not entry and old.record != entry.record:
                yield "-", old.line
                yield "+", entry.line
            else:
                yield " ", entry.line
        yield from (("-", item.line) for item in run)

    def to_json(self) -> dict[str, Any]:
        """As in `graphrewrite diff --json`."""
        return {
            "operators": self.operators(),
            "parameters": [self.before.parameters, self.after.parameters],
            "weight_bytes": [self.before.weight_bytes, self.after.weight_bytes],
            "removed": [entry.to_json() for entry in self.removed],
            "added": [entry.to_json() for entry in self.added],
            "changed": [
                {"value": new.key, "before": old.to_json(), "after": new.to_json()}
                for old, new in self.changed
            ],
        }


def diff(before: Snapshot, after: Snapshot) -> GraphDiff:
    """What turns `before` into `after`. A mere change of order is none."""
    old, new = before.entries, after.entries
    added: list[Entry] = []
    changed: list[tuple[Entry, Entry]] = []
    for key, entry in new.items():
        was = old.get(key)
        if was is entry:  # carried on
            continue
        if was is None:
            added.append(entry)
        elif was.record != entry.record:
            changed.append((was, entry))
    removed = [entry for key, entry in old.items() if key not in new]
    return GraphDiff(before, after, tuple(removed), tuple(added), tuple(changed))
