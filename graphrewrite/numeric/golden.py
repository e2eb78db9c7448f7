"""What is expected of a converted model, and what changed, in words.

An expectation is what a reviewer wants to see move: operators, transposes and the bytes they move, the file's size, and how far
each output is from the recorded one. Figures that depend on the machine are kept as classes only: an output's error is rounded up
to a power of ten with room to spare, so that another processor's rounding stays inside it and a changed weight does not.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from graphrewrite.ir import Model, source_name
from graphrewrite.layout.report import weighed_transposes
from graphrewrite.numeric.metrics import Comparison
from graphrewrite.pipeline import histogram

SIZE_TOLERANCE = 0.01
"""Share by which a file may grow or shrink; names and versions in it may change without a word."""

_HEADROOM = 3.0
"""An allowed error is at least this many times the one that was measured: other processors round in another order."""
_BETTER = 30.0
"""An error whose class is farther than this below the allowed one is an improvement: two powers of ten, one is left to chance."""
_ROUNDING = 1e-6
"""Of the largest value of an output: what float32 loses over a few operators. Below it, errors tell nothing."""
_LISTED = 3
"""Transposes named in a message, the heaviest first."""


@dataclasses.dataclass(frozen=True)
class Limit:
    """How far an output may be from the recorded one.

    `max_abs` is in the output's own unit. Outputs that are not floats have `mismatch` instead, the share of elements that may
    differ.
    """

    max_abs: float | None = None
    mismatch: float | None = None

    @classmethod
    def of(cls, item: Comparison) -> Limit:
        """The class of the error that was measured."""
        if not item.dtype.startswith("float"):
            return cls(mismatch=_power_of_ten(_HEADROOM * item.mismatch))
        return cls(max_abs=_power_of_ten(max(_HEADROOM * item.max_abs, _ROUNDING * item.ref_max)))

    def excess(self, item: Comparison, slack: float = 1.0) -> str:
        """What is wrong with the output; empty where it is at most `slack` times as far off as it may be."""
        if math.isinf(item.max_abs) or (self.max_abs is None) == item.dtype.startswith("float"):
            return f"output '{item.name}': {item.problem or f'is {item.dtype} now'}"
        allowed, found, what = self._measured(item)
        if found > allowed * slack:
            return f"output '{item.name}' {what} {found:.2g} where {allowed * slack:g} was allowed"
        return "" if item.passed else f"output '{item.name}': {item.problem}"

    def change(self, item: Comparison) -> str:
        """What is wrong with the output, or better than it was; empty where it is as expected."""
        excess = self.excess(item)
        if excess:
            return excess
        allowed, found, what = self._measured(item)
        if allowed > _BETTER * Limit.of(item)._measured(item)[0]:
            return f"output '{item.name}' {what} {found:.2g} where {allowed:g} was needed: better"
        return ""

    def _measured(self, item: Comparison) -> tuple[float, float, str]:
        """What is allowed, what was found, and what that is."""
        if self.max_abs is None:
            return self.mismatch or 0.0, item.mismatch, "share of elements that differ"
        return self.max_abs, item.max_abs, "max abs"


def _power_of_ten(number: float) -> float:
    """The smallest power of ten that is not less; 0 for 0."""
    return float(f"1e{math.ceil(math.log10(number) - 1e-9)}") if number > 0 else 0.0


@dataclasses.dataclass(frozen=True)
class Expectation:
    """What is expected of a model's conversion to one target.

    Attributes:
        size: bytes of what is written.
        transposes: how many are left.
        transpose_bytes: what they move a run.
        operators: count by operator.
        outputs: how far each output may be from the recorded one.
        rewrites: what each pass did. That it did something is held to; how much is told where something else has changed.
    """

    size: int
    transposes: int
    transpose_bytes: int
    operators: Mapping[str, int]
    outputs: Mapping[str, Limit]
    rewrites: Mapping[str, int]


@dataclasses.dataclass(frozen=True)
class Found:
    """What a conversion came to.

    `transposes` are source name and bytes of each, the heaviest first; `outputs` holds the worst comparison of each.
    """

    size: int
    transposes: Sequence[tuple[str, int]]
    operators: Mapping[str, int]
    outputs: Sequence[Comparison]
    rewrites: Mapping[str, int]

    @classmethod
    def of(cls, report: Mapping[str, Any], model: Model, outputs: Sequence[Comparison]) -> Found:
        """From the report of a run, its lowered graph, and the comparisons with the recorded outputs."""
        rewrites: Counter[str] = Counter()
        for item in report["passes"]:
            rewrites[item["name"]] += 0 if item["rolled_back"] else item["rewrites"]
        return cls(
            report["size"],
            [(source_name(node), size) for size, node in weighed_transposes(model)],
            report["details"].get("operators") or histogram(model),
            outputs,
            dict(sorted((+rewrites).items())),
        )

    @property
    def transpose_bytes(self) -> int:
        """What the transposes move a run."""
        return sum(size for _, size in self.transposes)

    @property
    def passed(self) -> bool:
        """Whether every output meets the target's own tolerance; where one does not, nothing may be expected of the rest."""
        return all(item.passed for item in self.outputs)

    def expectation(self, before: Expectation | None, size_tolerance: float) -> Expectation:
        """What to expect from now on; figures of `before` that still hold stay as they are."""
        held = before.outputs if before is not None else {}
        limits = {
            item.name: held[item.name]
            if item.name in held and not held[item.name].change(item)
            else Limit.of(item)
            for item in self.outputs
        }
        keep = before is not None and not _size_change(before.size, self.size, size_tolerance)
        return Expectation(
            before.size if before is not None and keep else self.size,
            len(self.transposes),
            self.transpose_bytes,
            self.operators,
            limits,
            self.rewrites,
        )


def changes(expected: Expectation, found: Found, size_tolerance: float) -> list[str]:
    """What changed, for worse or better, a line each; none where everything is as expected."""
    lines = [
        *_graph_changes(expected, found),
        _size_change(expected.size, found.size, size_tolerance),
        *_output_changes(expected, found),
        *_pass_changes(expected, found, held=True),
    ]
    kept = [line for line in lines if line]
    return kept + _pass_changes(expected, found, held=False) if kept else []


def _graph_changes(expected: Expectation, found: Found) -> list[str]:
    parts = []
    more = len(found.transposes) - expected.transposes
    moved = found.transpose_bytes - expected.transpose_bytes
    if more or moved:
        head = f"{more:+} TRANSPOSE, {moved:+} bytes" if more else f"TRANSPOSE moves {moved:+} bytes"
        heaviest = ", ".join(f"{size} at '{name}'" for name, size in found.transposes[:_LISTED])
        parts.append(f"{head} ({len(found.transposes)} left{f': {heaviest}' if heaviest else ''})")
    for name in sorted({*expected.operators, *found.operators}):
        before, now = expected.operators.get(name, 0), found.operators.get(name, 0)
        if before != now and (name.upper() != "TRANSPOSE" or not more):
            parts.append(f"{name} {before} -> {now}")
    return ["; ".join(parts)] if parts else []


def _size_change(before: int, now: int, tolerance: float) -> str:
    if abs(now - before) <= tolerance * before:
        return ""
    return f"size {before} -> {now} bytes ({(now - before) / max(before, 1):+.1%}, {tolerance:.3g} of it is allowed)"


def _output_changes(expected: Expectation, found: Found) -> list[str]:
    names = {item.name for item in found.outputs}
    lines = [f"output '{name}' is gone" for name in expected.outputs if name not in names]
    for item in found.outputs:
        limit = expected.outputs.get(item.name)
        lines.append(f"output '{item.name}' is new" if limit is None else limit.change(item))
    return lines


def worse_outputs(
    expected: Expectation, outputs: Sequence[Comparison], slack: float = 1.0
) -> dict[str, Comparison]:
    """Those that are farther from the recorded ones than `slack` times what is allowed, by what is wrong with each."""
    judged = [
        (expected.outputs[item.name].excess(item, slack), item)
        for item in outputs
        if item.name in expected.outputs
    ]
    return {line: item for line, item in judged if line}


def _pass_changes(expected: Expectation, found: Found, *, held: bool) -> list[str]:
    """Passes that acted otherwise: where `held`, those that did nothing before or do nothing now, and else the others."""
    lines = []
    for name in sorted({*expected.rewrites, *found.rewrites}):
        before, now = expected.rewrites.get(name, 0), found.rewrites.get(name, 0)
        if before != now and held == (min(before, now) == 0):
            lines.append(f"pass {name}: {before or 'no'} rewrites before, {now or 'none'} now")
    return lines
