"""What made the outputs wrong: the pass and the rewrite, or what comes after the last pass."""

from __future__ import annotations

import dataclasses
import enum
import itertools
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from graphrewrite.conversion import Progress, judge
from graphrewrite.errors import (
    GraphRewriteError,
    InternalError,
    InvalidModel,
    NotChecked,
    NotExpressible,
    UsageError,
)
from graphrewrite.ir import Model, Source
from graphrewrite.ir.inputs import ShapeSpec
from graphrewrite.numeric.check import CheckReport, Runner
from graphrewrite.numeric.inputs import Sample
from graphrewrite.numeric.metrics import Comparison
from graphrewrite.numeric.noise import NoisePlan
from graphrewrite.numeric.original import Original, feeder
from graphrewrite.numeric.ranges import examine
from graphrewrite.numeric.rounding import Rounding
from graphrewrite.numeric.state import judge_state
from graphrewrite.numeric.values import compare_states, compare_values, first_difference, state_values
from graphrewrite.pipeline import BaseInstrument, Pass, Stage, build, describe, run_pipeline
from graphrewrite.pipeline.bisect import (
    GuiltyRewrite,
    Journal,
    Verdict,
    copied,
    guilty_passes,
    guilty_rewrite,
)
from graphrewrite.pipeline.instruments import Listening
from graphrewrite.rewrite import Rewriter, RewriteRecord, RuleStatistics
from graphrewrite.sources.images import Images
from graphrewrite.sources.opening import Layouts, Names, Opening, Scales
from graphrewrite.targets.base import Target
from graphrewrite.targets.base import target as find_target


class Guilt(str, enum.Enum):
    """What is to blame. The value is what `--json` prints."""

    NOTHING = "nothing"
    """The file matches."""
    REWRITE = "rewrite"
    """One rewrite of one pass (or several that are done together)."""
    PASS = "pass"
    """A pass, or one of several between which no state can be run."""
    FILE = "file"
    """Every state of the graph is right; writing it, or the target's runtime, is to blame."""


@dataclasses.dataclass(frozen=True)
class Bisection:
    """The answer.

    Attributes:
        guilt: what is to blame.
        problem: what is wrong, at the first state where something is.
        passes: the guilty pass; several where the states between can't be run.
        index: its position in the pipeline.
        rewrites: the guilty rewrite; several where they leave a whole graph only together.
        number: how many rewrites of the pass lead to the first wrong state.
        total: how many the pass makes.
        value: the first one that the guilty rewrite changes, or that differs inside the file from the source's of its name.
        states: how many states of the graph were run.
        stops: what to give `graphrewrite run --stop-after` for the last right and the first wrong state; only the former where
            the pass ends with an error.
    """

    guilt: Guilt
    problem: str = ""
    passes: tuple[str, ...] = ()
    index: int = -1
    rewrites: tuple[RewriteRecord, ...] = ()
    number: int = 0
    total: int = 0
    value: Comparison | None = None
    states: int = 0
    stops: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As in `graphrewrite bisect --json`."""
        return {
            "guilt": self.guilt.value,
            "problem": self.problem,
            "passes": list(self.passes),
            "index": self.index,
            "rewrites": [
                {"index": item.index, "rule": item.rule, "node": item.root} for item in self.rewrites
            ],
            "number": self.number,
            "total": self.total,
            "value": None if self.value is None else self.value.to_json(),
            "states": self.states,
            "stops": list(self.stops),
        }


def bisect(
    model: Source,
    target: str | Target = "tflite",
    passes: str | Sequence[str] = "default",
    *,
    precision: str | None = None,
    minimum_deployment_target: str | None = None,
    shape: ShapeSpec | Sequence[str] = (),
    inputs: Names = (),
    outputs: Names = (),
    image: Images = (),
    normalize: Scales = (),
    io_layout: Layouts = (),
    samples: Sequence[Sample] | str | os.PathLike[str] | None = None,
    seed: int = 0,
    progress: Progress = lambda text: None,
) -> Bisection:
    """Find the first pass, and in it the first rewrite, after which the graph computes something else than the source.

    The pipeline runs once, and about log2(passes) + log2(rewrites) more times in part; each state is run on the one sample that
    showed the mismatch, and the source once on each sample.

    Args:
        model: path, bytes or ModelProto; the other arguments are those of `graphrewrite.run`.

    Raises:
        InvalidModel, UsageError, NotExpressible: as `graphrewrite.run`.
        NotChecked: the source itself can't run.
    """
    chosen = find_target(
        target, {"precision": precision, "minimum_deployment_target": minimum_deployment_target}
    )
    chosen.require()
    ordered = build(passes, chosen.name, chosen.options)
    progress("loading")
    opening = Opening.of(shape, inputs, outputs, image, normalize, io_layout)
    original, start = opening.begin(model)
    head = [item for item in ordered if item.stage == Stage.IMPORT]
    tail = [item for item in ordered if Stage.IMPORT < item.stage < Stage.STORE]
    store = [item for item in ordered if item.stage >= Stage.STORE]
    marks = [_Step("mark-half", lambda graph: examine(graph, original))] if chosen.half else []
    staged = [*head, _Step("arrange-ends", opening.arrange), *tail, *marks, *store]
    search = _Search(original, chosen, staged, start, samples, seed, progress)
    found = search.run()
    index = next((i for i, item in enumerate(ordered) if describe(item) in found.passes), -1)
    return dataclasses.replace(found, index=index, states=search.states)


class _Step(Pass):
    """What a conversion does between passes: it arranges the ends, or marks what float16 can't hold."""

    mandatory = True

    def __init__(self, name: str, act: Callable[[Model], object]) -> None:
        self._name = name
        self._act = act

    @property
    def name(self) -> str:
        """Of the step."""
        return self._name

    def run(self, model: Model, rewriter: Rewriter) -> dict[str, RuleStatistics]:
        """Do it."""
        self._act(model)
        return {}


@dataclasses.dataclass
class _Search:
    original: Original
    target: Target
    passes: Sequence[Pass]
    start: Model
    samples: Sequence[Sample] | str | os.PathLike[str] | None
    seed: int
    progress: Progress
    states: int = 0
    shown: list[Sample] = dataclasses.field(default_factory=list)
    """The samples that show the mismatch."""
    runner: str = ""
    """The runner that shows it."""

    def run(self) -> Bisection:
        model = copied(self.start)
        head = [item for item in self.passes if item.stage == Stage.IMPORT]
        self.progress(f"rewriting with {len(self.passes)} passes")
        crash = self._rewrite(model, head)
        if crash is not None:
            return crash
        self.original.draw(model, self.samples, self.seed)
        crash = self._rewrite(model, self.passes[len(head) :])
        if crash is not None:
            return crash
        with tempfile.TemporaryDirectory() as folder:
            return self._judge_file(model, Path(folder))

    def _rewrite(self, model: Model, passes: Sequence[Pass]) -> Bisection | None:
        """Run passes; where one breaks, what it was doing then."""
        journal = Journal()
        log = _Log(journal)
        try:
            run_pipeline(model, passes, instruments=[log, Listening(journal)])
        except (NotExpressible, InvalidModel, UsageError):
            raise
        except Exception as error:  # a defect of a pass may raise anything: that is what is looked for
            at = len(log.started) - 1
            last = tuple(journal.records[log.started[at] :][-1:])
            return Bisection(
                Guilt.REWRITE if last else Guilt.PASS,
                str(error) if isinstance(error, GraphRewriteError) else f"{type(error).__name__}: {error}",
                (describe(passes[at]),),
                rewrites=last,
                number=last[0].index + 1 if last else 0,
                stops=(f"{passes[at].name}:{last[0].index if last else 0}",),
            )
        return None

    def _judge_file(self, model: Model, folder: Path) -> Bisection:
        """The file first, as a conversion comes to it: where it matches there is nothing to find."""
        self.progress("checking the file")
        half = self.target.computes_half
        rounding = Rounding(model, self.original, self.target.tolerance) if half else None
        paths = (folder / f"model{count}{self.target.suffix}" for count in itertools.count())
        try:
            found = self._judged(model, path := next(paths))
            while not found.passed and rounding is not None and rounding.mark(found):
                found = self._judged(model, path := next(paths))
        except (NotChecked, InternalError) as error:
            self.shown = self.original.samples
            problem = str(error)
        else:
            if found.passed:
                return Bisection(Guilt.NOTHING)
            bad = next(item for item in found.outputs if not item.passed)
            problem = f"output '{bad.name}': {bad.problem}"
            self.shown = [self.original.samples[found.failing_sample]]
            self.runner = found.failing_runner
        self.progress("checking the graph after the last pass")
        verdict = self._verdict(model)
        if verdict.right:
            return Bisection(Guilt.FILE, problem, value=self._first_in_file(model, path))
        return self._first_pass(verdict if verdict.right is False else Verdict(False, problem))

    def _judged(self, model: Model, path: Path) -> CheckReport:
        self.target.write(model, path)
        return judge(self.original, model, self.target, path)[0]

    def _verdict(self, model: Model) -> Verdict:
        self.states += 1
        return judge_state(self.original, model, tolerance=self.target.tolerance, samples=self.shown)

    def _first_pass(self, verdict: Verdict) -> Bisection:
        self.progress("looking for the pass")
        found = guilty_passes(self.start, self.passes, verdict, self._verdict)
        specs = tuple(describe(item) for item in found.passes)
        self.progress(f"looking for the rewrite in {' or '.join(specs)}")
        answer = Bisection(Guilt.PASS, found.verdict.problem, specs)
        item = found.passes[0]
        rewrite = (
            guilty_rewrite(found.before, item, found.verdict, self._verdict) if len(specs) == 1 else None
        )
        if rewrite is None:
            return dataclasses.replace(answer, stops=_stops(item, None))
        value, records = self._pin(found.before, rewrite)
        return dataclasses.replace(
            answer,
            guilt=Guilt.REWRITE,
            problem=rewrite.verdict.problem,
            rewrites=records,
            number=rewrite.number,
            total=rewrite.total,
            value=value,
            stops=_stops(item, rewrite),
        )

    def _pin(
        self, before: Model, rewrite: GuiltyRewrite
    ) -> tuple[Comparison | None, tuple[RewriteRecord, ...]]:
        """The first value that `rewrite` has changed, and of several rewrites the one that computes it."""
        # A rewrite may hold others of its rule and root: it is named once.
        once = {(item.rule, item.root): item for item in reversed(rewrite.records)}
        records = tuple(reversed(once.values()))
        model = rewrite.after
        try:
            compared = compare_states(self._fed(before), self._fed(model), self.target.tolerance)
        except NotChecked:  # the state does not run at all
            return None, records
        first = first_difference(compared)
        if first is None or len(records) == 1:
            return first, records
        value = next(item for node in model.graph for item in node.outputs if item.name == first.name)
        right = {item.name for item in compared if item.passed}
        record = rewrite.journal.behind(value, right)
        return first, (record,) if record in rewrite.records else records

    def _fed(self, model: Model) -> tuple[Model, Sample]:
        """A state that takes its random values from outside, and inputs for it."""
        plan = NoisePlan.of(model, self.original.open())
        return plan.externalised(model), feeder(plan, model)(self.shown[0])

    def _first_in_file(self, model: Model, path: Path) -> Comparison | None:
        """The first value that differs inside the file, where one can look into it."""
        plan = NoisePlan.of(model, self.original.open())
        if plan.inputs or not path.exists():
            return None

        def probe(asked: Sequence[str]) -> Runner:
            found = self.target.probes(path, asked)
            return found.get(self.runner) or next(iter(found.values()))

        try:
            found = compare_values(
                self.original,
                probe,
                self.target.values(path, self.original.computed()),
                perms=state_values(model),
                tolerance=self.target.tolerance,
                sample=self.shown[0],
                feed=feeder(plan, model),
                noise=plan.reference_feeds(self.shown)(0),
            )
        except NotChecked:
            return None
        return first_difference(found)


class _Log(BaseInstrument):
    """How many rewrites there had been when each pass began."""

    def __init__(self, journal: Journal) -> None:
        self.started: list[int] = []
        self._journal = journal

    def before_pass(self, item: Pass, model: Model) -> None:
        """Note it."""
        self.started.append(len(self._journal.records))


def _stops(item: Pass, rewrite: GuiltyRewrite | None) -> tuple[str, ...]:
    """Where to stop for the last right state and the first wrong one."""
    if rewrite is None:
        return f"{item.name}:0", item.name
    return f"{item.name}:{rewrite.before}", f"{item.name}:{rewrite.number}"
