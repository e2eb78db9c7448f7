"""Patterns: small expressions over ops that match backwards from a root value.

    x, s = value("x"), scalar("s")
    pattern = op("Mul", x, op("Sigmoid", op("Mul", x, s)))

Operands of Add, Mul, Max, Min, And, Or, Xor and Equal match in either order. A name bound twice must be the same value
(or an equal constant). Inner nodes may be used only inside the match unless `shared=True`. When nothing matches,
`MatchFailure` holds the reason of the attempt that came furthest.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from graphrewrite.ir import Array, Node, Value, constant_array, is_constant, node_line, use_count

COMMUTATIVE = frozenset({"Add", "Mul", "Max", "Min", "And", "Or", "Xor", "Equal"})


class MatchFailure(Exception):
    """A rule does not apply here; `reason` is for the reader of `graphrewrite explain`, `culprit` the value or node."""

    def __init__(self, reason: str, culprit: Value | Node | None = None) -> None:
        self.reason = reason
        self.culprit = culprit
        super().__init__(reason)

    def untraced(self) -> MatchFailure:
        """The same without a traceback, to keep or to raise later.

        One that is kept in a frame of its own traceback keeps alive all that these frames hold until it is collected.
        """
        return MatchFailure(self.reason, self.culprit)


@dataclasses.dataclass
class Match:
    """What a pattern found: named values and nodes, and every node that is part of it."""

    root: Node
    values: dict[str, Value | None]
    named: dict[str, Node]
    nodes: tuple[Node, ...]

    def __getitem__(self, name: str) -> Value:
        """The value captured as `name`.

        Raises:
            KeyError: nothing of that name was captured (an absent optional operand: use `get`).
        """
        found = self.values[name]
        if found is None:
            raise KeyError(name)
        return found

    def get(self, name: str) -> Value | None:
        """The value captured as `name`, None where the operand was absent."""
        return self.values.get(name)

    def array(self, name: str) -> Array:
        """The content of the constant captured as `name`."""
        array = constant_array(self[name])
        if array is None:
            raise MatchFailure(f"'{name}' is not a constant", self[name])
        return array

    def node(self, name: str) -> Node:
        """The node captured as `name`."""
        return self.named[name]

    def fail(self, reason: str, culprit: Value | Node | None = None) -> None:
        """Say that the rule does not apply after all.

        Raises:
            MatchFailure: always.
        """
        raise MatchFailure(reason, culprit)


_State = tuple[Mapping[str, Value | None], Mapping[str, Node], tuple[Node, ...], tuple[Node, ...]]
"""Captured values, captured nodes, matched nodes, and those of them that may be used outside the match."""


class _Trace:
    """Keeps the failure that came furthest."""

    def __init__(self) -> None:
        self.depth = -1
        self.reason = "nothing matched"
        self.culprit: Value | Node | None = None

    def fail(self, state: _State, reason: str, culprit: Value | Node | None) -> None:
        if len(state[2]) > self.depth:
            self.depth, self.reason, self.culprit = len(state[2]), reason, culprit


class Pattern:
    """Base of all patterns over one value."""

    def matches(self, value: Value | None, state: _State, trace: _Trace) -> Iterator[_State]:
        """Yield every way in which `value` matches, given what is captured already."""
        raise NotImplementedError

    def __or__(self, other: Pattern) -> Pattern:
        return AnyOf((self, other))


@dataclasses.dataclass(frozen=True)
class ValuePattern(Pattern):
    """Any value, captured by name; optionally only constants, or with a test of its own."""

    name: str | None = None
    constant: bool = False
    optional: bool = False
    test: Callable[[Value], bool] | None = None
    describe: str = "the value does not meet the pattern's test"

    def matches(self, value: Value | None, state: _State, trace: _Trace) -> Iterator[_State]:
        values, named, nodes, shared = state
        if value is None:
            if self.optional:
                yield ({**values, self.name: None} if self.name else values), named, nodes, shared
            else:
                trace.fail(state, f"operand '{self.name}' is absent", None)
            return
        if self.constant and not is_constant(value):
            trace.fail(state, f"'{value.name}' is not a constant", value)
            return
        if self.test is not None and not self.test(value):
            trace.fail(state, self.describe, value)
            return
        if self.name is None:
            yield state
            return
        if self.name in values:
            if _same(values[self.name], value):
                yield state
            else:
                trace.fail(
                    state,
                    f"'{value.name}' is not the same value as '{self.name}' elsewhere in the match",
                    value,
                )
            return
        yield {**values, self.name: value}, named, nodes, shared


def _same(a: Value | None, b: Value | None) -> bool:
    if a is b:
        return True
    if a is None or b is None:
        return False
    x, y = constant_array(a), constant_array(b)
    return (
        x is not None
        and y is not None
        and x.dtype == y.dtype
        and x.shape == y.shape
        and bool(np.array_equal(x, y))
    )


@dataclasses.dataclass(frozen=True)
class OpPattern(Pattern):
    """The first output of a node of one of `op_types`, with patterns for its operands."""

    op_types: tuple[str, ...]
    operands: tuple[Pattern, ...]
    name: str | None
    output: str | None
    attributes: Mapping[str, Any]
    domain: str
    shared: bool
    variadic: bool
    index: int = 0

    def matches(self, value: Value | None, state: _State, trace: _Trace) -> Iterator[_State]:
        if value is None:
            trace.fail(state, f"a {'/'.join(self.op_types)} is expected where the operand is absent", None)
            return
        node = value.producer()
        if node is None or node.op_type not in self.op_types or node.domain != self.domain:
            what = "a constant" if is_constant(value) else "an input" if node is None else node.op_type
            trace.fail(state, f"'{value.name}' comes from {what}, not from {'/'.join(self.op_types)}", value)
            return
        if node.outputs[self.index] is not value:
            trace.fail(state, f"'{value.name}' is not output {self.index} of {node.op_type}", value)
            return
        for name, wanted in self.attributes.items():
            if not _attribute_matches(node, name, wanted):
                trace.fail(state, f"attribute {name} of {node_line(node)} is not {wanted}", node)
                return
        values, named, nodes, shared = state
        if self.output:
            values = {**values, self.output: value}
        if self.name:
            named = {**named, self.name: node}
        nodes = nodes if node in nodes else (*nodes, node)
        started: _State = (values, named, nodes, (*shared, node) if self.shared else shared)
        if len(node.inputs) > len(self.operands) and not self.variadic:
            trace.fail(started, f"{node_line(node)} has more inputs than the pattern", node)
            return
        orders: Sequence[tuple[Pattern, ...]] = [self.operands]
        if node.op_type in COMMUTATIVE and len(self.operands) == 2 and len(node.inputs) == 2:
            orders = [self.operands, self.operands[::-1]]
        inputs = [*node.inputs, *itertools.repeat(None, max(len(self.operands) - len(node.inputs), 0))]
        for order in orders:
            yield from _all(order, inputs, started, trace)


def _all(
    patterns: Sequence[Pattern], values: Sequence[Value | None], state: _State, trace: _Trace
) -> Iterator[_State]:
    if not patterns:
        yield state
        return
    for inner in patterns[0].matches(values[0], state, trace):
        yield from _all(patterns[1:], values[1:], inner, trace)


def _attribute_matches(node: Node, name: str, wanted: Any) -> bool:
    attribute = node.attributes.data.get(name)
    found = attribute.value if attribute is not None else None
    if callable(wanted):
        return bool(wanted(found))
    if isinstance(found, tuple | list):
        return list(found) == list(wanted)
    return bool(found == wanted)


@dataclasses.dataclass(frozen=True)
class AnyOf(Pattern):
    """The first alternative that matches (all are tried in turn when the rest of the match fails)."""

    alternatives: tuple[Pattern, ...]

    def matches(self, value: Value | None, state: _State, trace: _Trace) -> Iterator[_State]:
        for alternative in self.alternatives:
            yield from alternative.matches(value, state, trace)


def value(
    name: str | None = None, *, test: Callable[[Value], bool] | None = None, describe: str = ""
) -> Pattern:
    """Any value. `test` narrows it; `describe` says why it failed."""
    return ValuePattern(name, test=test, describe=describe or "the value does not meet the pattern's test")


def constant(name: str | None = None) -> Pattern:
    """A constant of any shape."""
    return ValuePattern(name, constant=True)


def optional(name: str) -> Pattern:
    """An operand that may be absent."""
    return ValuePattern(name, optional=True)


def scalar(number: float | None = None, *, name: str | None = None, tolerance: float = 1e-6) -> Pattern:
    """A constant of one element of any rank; equal to `number` within a relative `tolerance` where one is given."""

    def test(candidate: Value) -> bool:
        array = constant_array(candidate)
        if array is None or array.size != 1 or array.dtype.kind not in "iubf":
            return False
        found = float(array.reshape(-1)[0])
        return number is None or abs(found - number) <= tolerance * max(abs(number), 1.0)

    what = "a scalar constant" if number is None else f"the constant {number}"
    return ValuePattern(name, constant=True, test=test, describe=f"the operand is not {what}")


def op(
    op_types: str | tuple[str, ...],
    *operands: Pattern,
    name: str | None = None,
    output: str | None = None,
    attributes: Mapping[str, Any] | None = None,
    domain: str = "",
    shared: bool = False,
    variadic: bool = False,
    index: int = 0,
) -> OpPattern:
    """A node. `name` captures it, `output` captures its value; an attribute may be given as a value or a test.

    `shared` allows its output to be used outside the match; `variadic` allows more inputs than operands; `index` picks the
    output that the match goes through.
    """
    types = (op_types,) if isinstance(op_types, str) else op_types
    return OpPattern(types, operands, name, output, dict(attributes or {}), domain, shared, variadic, index)


def match(pattern: OpPattern, root: Node) -> Match:
    """Match `pattern` with its root at `root`.

    Raises:
        MatchFailure: with the reason of the attempt that came furthest.
    """
    trace = _Trace()
    empty: _State = ({}, {}, (), ())
    for values, named, nodes, shared in pattern.matches(root.outputs[pattern.index], empty, trace):
        outside = _used_outside(root, nodes, shared)
        if outside is None:
            return Match(root, dict(values), dict(named), nodes)
        trace.fail(
            (values, named, nodes, shared), f"'{outside.name}' is also used outside the match", outside
        )
    raise MatchFailure(trace.reason, trace.culprit)


def _used_outside(root: Node, nodes: tuple[Node, ...], shared: tuple[Node, ...]) -> Value | None:
    operands = sum(len(node.inputs) for node in nodes)
    for node in nodes:
        if node is root or node in shared:
            continue
        for output in node.outputs:
            if use_count(output) > operands:
                return output
            if output.is_graph_output() or any(use.node not in nodes for use in output.uses()):
                return output
    return None
