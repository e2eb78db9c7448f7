"""Running a pipeline: one pass after the other, watched by instruments."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

from graphrewrite.errors import InternalError
from graphrewrite.ir import Model, fingerprint, verify
from graphrewrite.pipeline.passes import Pass, Stage
from graphrewrite.pipeline.spec import describe
from graphrewrite.rewrite import Census, LimitReached, Listener, Rewriter, RuleStatistics, all_nodes, operator


@dataclasses.dataclass
class PassRecord:
    """What one pass did."""

    index: int
    name: str
    spec: str
    label: str
    rewrites: int
    seconds: float
    nodes_before: int
    nodes_after: int
    rules: dict[str, RuleStatistics] = dataclasses.field(default_factory=dict)
    notes: list[str] = dataclasses.field(default_factory=list)
    rolled_back: str = ""
    """Why the pass's changes were undone; empty where they stand."""
    stage: Stage = Stage.CANONICALIZE


class Instrument(Protocol):
    """Watches a pipeline. Every method may be left as it is."""

    def pipeline_started(self, model: Model, passes: Sequence[Pass]) -> None:
        """Nothing has run yet."""

    def before_pass(self, item: Pass, model: Model) -> None:
        """`item` is about to run."""

    def listeners(self, item: Pass) -> Sequence[Listener]:
        """What is told of every change that `item` makes, asked for after `before_pass`."""
        return ()

    def after_pass(self, item: Pass, model: Model, record: PassRecord) -> None:
        """`item` has run; the model is verified."""

    def limit(self, item: Pass) -> int | None:
        """How many rewrites `item` may make, mandatory or not; None for any number.

        The graph in between may be of no dialect alone; it still runs.
        """
        return None

    def should_stop(self, item: Pass) -> bool:
        """True ends the pipeline after `item`."""
        return False

    def fork(self, target: str) -> Instrument:
        """What watches the passes of one of several targets, from where they part; the same instrument will do for most."""
        return self


class BaseInstrument:
    """An instrument that does nothing; override what is needed."""

    def pipeline_started(self, model: Model, passes: Sequence[Pass]) -> None: ...

    def before_pass(self, item: Pass, model: Model) -> None: ...

    def listeners(self, item: Pass) -> Sequence[Listener]:
        return ()

    def after_pass(self, item: Pass, model: Model, record: PassRecord) -> None: ...

    def limit(self, item: Pass) -> int | None:
        return None

    def should_stop(self, item: Pass) -> bool:
        return False

    def fork(self, target: str) -> BaseInstrument:
        return self


Guard = Callable[[Pass, Model], str]
"""Looks at the model after a pass: why the pass must be undone, or "" where all is well."""


def histogram(model: Model) -> Counter[str]:
    """Operators of the whole model, subgraphs included, by count."""
    return Counter(operator(node) for node in all_nodes(model.graph))


def run_pipeline(
    model: Model,
    passes: Sequence[Pass],
    *,
    instruments: Sequence[Instrument] = (),
    rewrite_limit: int | None = None,
    debug: bool = False,
    guard: Guard | None = None,
    first: int = 0,
) -> list[PassRecord]:
    """Run `passes` on `model` in place.

    `first` is the number of the first pass in the records.

    `rewrite_limit` ends rewriting after that many rewrites of optional passes (mandatory ones go on, so that the result is
    still a whole model; an instrument may limit any pass). `guard` looks at the model after each pass that changed it; where
    it finds a reason, an optional pass is rolled back, and a mandatory one stands with the reason in its record. `debug`
    verifies the graph after each pass and catches one that changed it without the rewriter.

    Raises:
        InternalError: a pass broke an invariant.
        NotExpressible: a lowering pass met what the target can't hold.
    """
    records: list[PassRecord] = []
    for instrument in instruments:
        instrument.pipeline_started(model, passes)
    applied = 0
    census: Census | None = None
    for index, item in enumerate(passes, first):
        for instrument in instruments:
            instrument.before_pass(item, model)
        left = None if rewrite_limit is None or item.mandatory else max(rewrite_limit - applied, 0)
        limits = [left, *(instrument.limit(item) for instrument in instruments)]
        limit = min((number for number in limits if number is not None), default=None)
        told = [one for instrument in instruments for one in instrument.listeners(item)]
        rewriter = Rewriter(model, limit=limit, listeners=told, census=census)
        before = len(rewriter.census())
        print_before = fingerprint(model) if debug else ""
        snapshot = model.clone() if guard is not None and not item.mandatory else None
        meta = dict(model.meta)
        started = time.perf_counter()
        try:
            rules = item.run(model, rewriter) or {}
        except LimitReached:
            rules = {}
        seconds = time.perf_counter() - started
        if not item.mandatory:
            applied += rewriter.count
        if debug:
            verify(model, item.name)
            if rewriter.count == 0 and fingerprint(model) != print_before:
                raise InternalError(f"pass '{item.name}' changed the graph without the rewriter")
        census = rewriter.census()
        record = PassRecord(
            index,
            item.name,
            describe(item),
            item.label.value,
            rewriter.count,
            seconds,
            before,
            len(census),
            rules,
            rewriter.notes,
            stage=item.stage,
        )
        records.append(record)
        if guard is not None and rewriter.count:
            reason = guard(item, model)
            if reason:
                record.notes.append(f"{item.name}: {reason}")
                if snapshot is not None:
                    model.graph = snapshot.graph
                    model.meta.clear()
                    model.meta.update(meta)
                    record.rolled_back, record.nodes_after = reason, before
                    census = None
        for instrument in instruments:
            instrument.after_pass(item, model, record)
        if any(instrument.should_stop(item) for instrument in instruments):
            break
    return records
