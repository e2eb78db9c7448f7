"""What changed between two states of a graph, matched by value name: linear in the nodes, where a line diff is not.

A node is known by the name of its first output. Source names survive rewriting, so a node that another one took the place
of shows as changed, not as one that went and one that came.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator
from typing import Any

from graphrewrite.ir import Model, Node, Value, node_line, origin, value_type
from graphrewrite.rewrite import all_nodes, operator

CONTEXT = 2
"""Unchanged lines shown around a change."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """One node, graph input or graph output.

    `operator` is "" for inputs and outputs; `origin` holds the source names; `state` is what `line` was printed from.
    """

    key: str
    operator: str
    origin: tuple[str, ...]
    line: str
    state: tuple[Any, ...] = dataclasses.field(repr=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        """As in `graphrewrite diff --json`."""
        return {"value": self.key, "operator": self.operator, "from": list(self.origin), "line": self.line}

    def described(self) -> str:
        """The line with the source names behind it."""
        if not self.origin:
            return self.line
        more = f" and {len(self.origin) - 3} more" if len(self.origin) > 3 else ""
        return f"{self.line}    # from {', '.join(repr(name) for name in self.origin[-3:])}{more}"


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """A state of a model, cheap to compare; it stays valid when the model changes."""

    entries: dict[str, Entry]
    operators: Counter[str]
    parameters: int
    weight_bytes: int

    @classmethod
    def of(cls, model: Model, previous: Snapshot | None = None) -> Snapshot:
        """The present state; lines that stand as they did in `previous` are not printed again."""
        known = previous.entries if previous is not None else {}
        entries: dict[str, Entry] = {}
        operators: Counter[str] = Counter()
        for value in model.graph.inputs:
            _add(entries, known, f"input {value.name}", value)
        for node in all_nodes(model.graph):
            operators[operator(node)] += 1
            _add(entries, known, (node.outputs[0].name if node.outputs else node.name) or "", node)
        for value in model.graph.outputs:
            _add(entries, known, f"output {value.name}", value)
        tensors = [
            value.const_value
            for graph in (model.graph, *model.graph.subgraphs())
            for value in graph.initializers.values()
            if value.const_value is not None
        ]
        return cls(
            entries, operators, sum(item.size for item in tensors), sum(item.nbytes for item in tensors)
        )


def _add(entries: dict[str, Entry], known: dict[str, Entry], key: str, item: Node | Value) -> None:
    name, number = key, 1
    while name in entries:  # bodies side by side may use a name twice
        number += 1
        name = f"{key}#{number}"
    state = _node_state(item) if isinstance(item, Node) else (_value_state(item),)
    old = known.get(name)
    if old is not None and old.state == state:
        entries[name] = old
    elif isinstance(item, Node):
        entries[name] = Entry(name, operator(item), origin(item), node_line(item), state)
    else:
        entries[name] = Entry(name, "", (), f"{key.partition(' ')[0]} %{item.name}:{value_type(item)}", state)


def _value_state(value: Value) -> tuple[Any, ...]:
    return value.name, value.type, value.shape


def _node_state(node: Node) -> tuple[Any, ...]:
    """Everything that `node_line` prints, by reference."""
    return (
        node.domain,
        node.op_type,
        tuple(None if item is None else (*_value_state(item), item.const_value) for item in node.inputs),
        tuple(_value_state(item) for item in node.outputs),
        tuple(node.attributes.values()),
    )


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
        """`-`, `+` and `~` lines, one a node, in graph order within each kind."""
        for entry in self.removed:
            yield f"- {entry.described()}"
        for entry in self.added:
            yield f"+ {entry.described()}"
        for old, new in self.changed:
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
            elif old.line != entry.line:
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
    return GraphDiff(
        before,
        after,
        tuple(entry for key, entry in old.items() if key not in new),
        tuple(entry for key, entry in new.items() if key not in old),
        tuple(
            (old[key], entry)
            for key, entry in new.items()
            if key in old and old[key] is not entry and old[key].line != entry.line
        ),
    )
