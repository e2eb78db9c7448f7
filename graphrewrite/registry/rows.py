"""Op rows: what graphrewrite knows of each ONNX op, one file a family in `op_registry/`.

@lowering("tflite", "Conv")
def conv(node: OpNode, t: TFLite) -> Value: ...

@expansion("Hardmax")                      # in simpler ONNX ops, for every target without a lowering of its own
def hardmax(node: OpNode, b: Onnx) -> Value: ...

refusal("tflite", "Unique", "its output size depends on the data", "...")

@upgrade("Squeeze", before=13)             # an older opset's spelling becomes today's
def squeeze(node: OpNode, b: Onnx) -> Value: ...
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from graphrewrite.discovery import import_tree
from graphrewrite.errors import InternalError

Rewrite = Callable[..., Any]
"""(OpNode, builder) -> Value | Sequence[Value | None]: new values for the node's outputs."""

F = TypeVar("F", bound=Rewrite)


@dataclasses.dataclass
class OpRow:
    """One ONNX op."""

    op_type: str
    lowerings: dict[str, Rewrite] = dataclasses.field(default_factory=dict)
    expansion: Rewrite | None = None
    refusals: dict[str, tuple[str, str]] = dataclasses.field(default_factory=dict)
    upgrades: list[tuple[int, Rewrite]] = dataclasses.field(default_factory=list)
    """(before, rewrite): applies to nodes of opsets < before; oldest first."""
    notes: dict[str, str] = dataclasses.field(default_factory=dict)
    """What a target's lowering does not take, for the generated op table."""


_ROWS: dict[str, OpRow] = {}


def _row(op_type: str) -> OpRow:
    return _ROWS.setdefault(op_type, OpRow(op_type))


def lowering(target: str, *op_types: str, note: str = "") -> Callable[[F], F]:
    """Register how `op_types` are written in `target`. `note` says which forms are refused, for the op table."""

    def register(function: F) -> F:
        for op_type in op_types:
            row = _row(op_type)
            if target in row.lowerings:
                raise InternalError(
                    f"{op_type} has two {target} lowerings: {row.lowerings[target]} and {function}"
                )
            row.lowerings[target] = function
            if note:
                row.notes[target] = note
        return function

    return register


def expansion(*op_types: str) -> Callable[[F], F]:
    """Register how `op_types` are expressed in other ONNX ops (used where a target has no lowering, or it refuses)."""

    def register(function: F) -> F:
        for op_type in op_types:
            row = _row(op_type)
            if row.expansion is not None:
                raise InternalError(f"{op_type} has two expansions")
            row.expansion = function
        return function

    return register


def refusal(target: str, op_types: str | Sequence[str], reason: str, hint: str = "") -> None:
    """Register that `target` can't hold `op_types` at all, and why."""
    for op_type in [op_types] if isinstance(op_types, str) else op_types:
        _row(op_type).refusals[target] = (reason, hint)


def upgrade(*op_types: str, before: int) -> Callable[[F], F]:
    """Register how nodes of opsets older than `before` are spelled from `before` on."""

    def register(function: F) -> F:
        for op_type in op_types:
            row = _row(op_type)
            row.upgrades.append((before, function))
            row.upgrades.sort(key=lambda item: item[0])
        return function

    return register


@functools.lru_cache(maxsize=1)
def rows() -> dict[str, OpRow]:
    """Every row by op type: those of `op_registry/` and of installed packages (entry points `graphrewrite.ops`)."""
    for _ in import_tree("graphrewrite.op_registry"):
        pass
    for entry in importlib.metadata.entry_points(group="graphrewrite.ops"):
        entry.load()
    return dict(sorted(_ROWS.items()))
