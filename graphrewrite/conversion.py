"""One source on its way to one or several targets: the passes they share once, then each target's own, the file and its proof."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from graphrewrite.errors import NotChecked, OutputsDiffer, UsageError
from graphrewrite.ir import Model, Source
from graphrewrite.numeric.check import CheckReport
from graphrewrite.numeric.inputs import Sample
from graphrewrite.numeric.metrics import FP32, Tolerance
from graphrewrite.numeric.noise import NoisePlan
from graphrewrite.numeric.original import Original, fed
from graphrewrite.numeric.ranges import HalfReport, examine
from graphrewrite.numeric.rounding import Rounding
from graphrewrite.numeric.state import judge_state
from graphrewrite.pipeline import Instrument, Pass, PassRecord, Stage, describe, run_pipeline
from graphrewrite.pipeline.bisect import copied
from graphrewrite.report.repro import leave_repro
from graphrewrite.report.schema import report
from graphrewrite.sources.opening import Opening
from graphrewrite.targets.base import Target, Written
from graphrewrite.targets.files import publish, staged

Progress = Callable[[str], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """How to convert and check; the fields are those arguments of `graphrewrite.run` that hold for all targets."""

    samples: Sequence[Sample] | str | os.PathLike[str] | None = None
    seed: int = 0
    check: bool = True
    allow_unchecked: bool = False
    numeric_each: bool = False
    rewrite_limit: int | None = None
    debug: bool = False
    repro: str | os.PathLike[str] | None = None


@dataclasses.dataclass
class Conversion:
    """A model on its way: the original, the graph as far as it has come, what the passes did, and where time went."""

    opening: Opening
    original: Original
    model: Model
    settings: Settings
    progress: Progress
    records: list[PassRecord] = dataclasses.field(default_factory=list)
    half: HalfReport | None = None
    undrawn: UsageError | None = None
    applied: int = 0
    """Rewrites of optional passes so far, which `rewrite_limit` bounds."""
    seconds: dict[str, float] = dataclasses.field(default_factory=lambda: {"passes": 0.0})

    @classmethod
    def begin(cls, source: Source, opening: Opening, settings: Settings, progress: Progress) -> Conversion:
        """Load `source` as `opening` wants it."""
        progress("loading")
        original, model = opening.begin(source)
        return cls(opening, original, model, settings, progress)

    def rewrite(
        self, passes: Sequence[Pass], instruments: Sequence[Instrument], tolerance: Tolerance = FP32
    ) -> bool:
        """Run `passes` after those that have run; False where an instrument ended the pipeline.

        Samples are drawn after the import, while integer inputs can still be followed to their use; then the ends are arranged.
        With `numeric_each` the graph is held to `tolerance` after each pass.
        """
        head = [item for item in passes if item.stage == Stage.IMPORT]
        tail = [item for item in passes if item.stage != Stage.IMPORT]
        if head:
            if not self._run(head, instruments, None):
                return False
            if self.settings.check or self.settings.numeric_each:
                self._draw()
            self.opening.arrange(self.model)
        guard = Guard(self.original, tolerance) if self.settings.numeric_each else None
        return not tail or self._run(tail, instruments, guard)

    def _draw(self) -> None:
        """Draw samples; that none can be drawn is told later, where no target refuses what they are of."""
        try:
            self.original.draw(self.model, self.settings.samples, self.settings.seed)
        except UsageError as error:
            if self.settings.samples is not None or self.settings.numeric_each:
                raise
            self.undrawn = error

    def rewrite_for(self, target: Target, passes: Sequence[Pass], instruments: Sequence[Instrument]) -> bool:
        """Run the passes of `target` alone; where it uses float16, with a look at what does not fit before the last stage."""
        store = [item for item in passes if item.stage >= Stage.STORE]
        if not self.rewrite(passes[: len(passes) - len(store)], instruments):
            return False
        if target.half and self.settings.check:
            self.progress("looking for what float16 can't hold")
            with self._timed("ranges"):
                self.half = examine(self.model, self.original)
        return self.rewrite(store, instruments, target.tolerance)

    def _run(self, passes: Sequence[Pass], instruments: Sequence[Instrument], guard: Guard | None) -> bool:
        limit = self.settings.rewrite_limit
        started = time.perf_counter()
        records = run_pipeline(
            self.model,
            passes,
            instruments=instruments,
            rewrite_limit=None if limit is None else max(limit - self.applied, 0),
            debug=self.settings.debug,
            guard=guard,
            first=len(self.records),
        )
        self.seconds["passes"] += time.perf_counter() - started
        ran = passes[: len(records)]
        self.records += records
        self.applied += sum(
            record.rewrites for item, record in zip(ran, records, strict=True) if not item.mandatory
        )
        return not any(instrument.should_stop(item) for instrument in instruments for item in ran[-1:])

    def fork(self, label: str, *, last: bool) -> Conversion:
        """The same state for one target to go on from; the `last` one takes this model itself.

        Lines of progress begin with `label`, where there is one.
        """
        model = self.model if last else copied(self.model)
        return dataclasses.replace(
            self,
            model=model,
            records=list(self.records),
            seconds=dict(self.seconds),
            progress=(lambda text: self.progress(f"{label}: {text}")) if label else self.progress,
        )

    def finish(self, target: Target, path: Path) -> dict[str, Any]:
        """Write the lowered model, prove it, and give it its name; the report.

        Raises:
            OutputsDiffer, NotChecked: nothing has the final name then.
            UsageError: no samples could be drawn.
        """
        if self.undrawn is not None:
            raise self.undrawn
        rounding = Rounding(self.model, self.original, target.tolerance) if target.computes_half else None
        while True:
            with staged(path) as candidate:
                written = self._written(target, candidate)
                verdict, unchecked = self._verdict(target, candidate, written)
                failed = verdict if verdict is not None and not verdict.passed else None
                if failed is not None and rounding is not None and self._mark(rounding, failed):
                    continue
                found = self.report(target, written, verdict, unchecked)
                if failed is not None:
                    folder = leave_repro(
                        path.parent / "repro" if self.settings.repro is None else Path(self.settings.repro),
                        path.stem,
                        source=self.original.source,
                        target=target,
                        flags=self.opening.flags,
                        candidate=candidate,
                        samples=self.original.samples,
                        report=found,
                    )
                    raise OutputsDiffer(_difference(failed, folder))
                publish(target, candidate, path)
            found["path"] = str(path)
            return found

    def _written(self, target: Target, candidate: Path) -> Written:
        self.progress("writing")
        with self._timed("write"):
            return target.write(self.model, candidate)

    def _mark(self, rounding: Rounding, verdict: CheckReport) -> bool:
        """Keep more nodes in float32; False where that is no cure."""
        self.progress("looking for what loses most in float16")
        with self._timed("ranges"):
            marked = rounding.mark(verdict)
        if marked and self.half is not None:
            self.half = dataclasses.replace(self.half, rounding=rounding.report)
        return marked

    @contextlib.contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        """Add the seconds inside to those of `stage`."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - started

    def _verdict(self, target: Target, candidate: Path, written: Written) -> tuple[CheckReport | None, str]:
        """The verdict, or why there is none."""
        if not self.settings.check:
            return None, "the check was switched off"
        self.progress("checking against the original")
        try:
            with self._timed("check"):
                verdict, facts = judge(self.original, self.model, target, candidate)
        except NotChecked as error:
            if not self.settings.allow_unchecked:
                raise
            return None, str(error)
        written.details |= facts
        return verdict, ""

    def report(
        self,
        target: Target,
        written: Written | None = None,
        verdict: CheckReport | None = None,
        unchecked: str = "",
    ) -> dict[str, Any]:
        """The report in its stable JSON schema; `docs/report.md` describes it."""
        source = self.original.source
        label = os.fspath(source) if isinstance(source, str | os.PathLike) else "<memory>"
        return report(
            target,
            self.model,
            self.records,
            written,
            verdict,
            unchecked,
            self.seconds,
            source=label,
            half=self.half,
        )


def shared_head(pipelines: Sequence[Sequence[Pass]]) -> int:
    """How many passes at the beginning of all `pipelines` are the same, options included, and for any target."""
    count = 0
    for passes in zip(*pipelines, strict=False):
        same = len({(type(item), describe(item)) for item in passes}) == 1
        if not same or passes[0].targets is not None:
            break
        count += 1
    return count


def judge(
    original: Original, model: Model, target: Target, candidate: Path
) -> tuple[CheckReport, dict[str, Any]]:
    """The verdict over the model written at `candidate`, and what the runtime said of it on the way.

    Raises:
        NotChecked: the original or the written model could not run.
    """
    plan = NoisePlan.of(model, original.open())
    own = target.runners(candidate)
    if not plan.inputs:
        return original.compare(model, plan, own, tolerance=target.tolerance), target.facts(own)
    # Random operators can't be compared: a twin of the file takes their values as inputs. The file itself must run, too.
    with staged(candidate.with_name(f"twin{candidate.suffix}")) as twin:
        target.write(plan.externalised(model), twin)
        verdict = original.compare(model, plan, target.runners(twin), tolerance=target.tolerance)
    main = next(iter(own.values()))
    fed(main, dataclasses.replace(plan, inputs=()), model)(original.samples[0])
    return verdict, target.facts(own)


class Guard:
    """Runs the graph after a pass in ONNX Runtime; says what went wrong."""

    def __init__(self, original: Original, tolerance: Tolerance) -> None:
        self.original = original
        self.tolerance = tolerance

    def __call__(self, item: Pass, model: Model) -> str:
        """Why the pass must be undone; empty where the outputs are still right, or the state can't be run and the next may."""
        verdict = judge_state(
            self.original, model, tolerance=self.tolerance, samples=self.original.samples[:1]
        )
        return verdict.problem if verdict.right is False else ""


def _difference(verdict: CheckReport, folder: Path) -> str:
    bad = [item for item in verdict.outputs if not item.passed]
    lines = [f"  '{item.name}': {item.problem}" for item in bad[:10]]
    return "\n".join(
        [
            f"{len(bad)} of {len(verdict.outputs)} outputs differ from the original ({verdict.failing_runner}, "
            f"sample {verdict.failing_sample}):",
            *lines,
            f"nothing was written; what is needed to reproduce it lies in {folder}; `graphrewrite bisect` finds the reason",
        ]
    )
