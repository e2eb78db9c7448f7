"""The Python API: what the command line does, as functions."""

from __future__ import annotations

import dataclasses
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from graphrewrite.errors import NotChecked, OutputsDiffer, UsageError
from graphrewrite.ir import Array, Model, Source, layout, load, to_runnable_proto
from graphrewrite.ir.inputs import ShapeSpec, parse_shapes, set_shapes
from graphrewrite.numeric.check import CheckReport, Margin, Runner, check, margins
from graphrewrite.numeric.inputs import SAMPLES, Sample, checked_sample, load_samples, make_samples
from graphrewrite.numeric.noise import NoisePlan
from graphrewrite.numeric.reference import Reference, create_session, open_reference
from graphrewrite.pipeline import Instrument, Pass, PassRecord, Stage, build, run_pipeline
from graphrewrite.pipeline.collector import settled_heap
from graphrewrite.report.repro import leave_repro
from graphrewrite.targets.base import Target, Written
from graphrewrite.targets.base import target as find_target


@dataclasses.dataclass
class Result:
    """What `run` did.

    `path` is None where nothing was written (a dry run); `report` is the stable JSON schema; `record` is one entry a pass.
    """

    path: Path | None
    report: dict[str, Any]
    record: list[PassRecord]
    model: Model


Progress = Callable[[str], None]


def _silent(text: str) -> None:
    """No progress."""


@dataclasses.dataclass
class _Job:
    """One source on its way to one target."""

    source: Source
    target: Target
    model: Model
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)
    samples: list[Sample] = dataclasses.field(default_factory=list)
    reference: Reference | None = None
    margin: dict[str, Margin] = dataclasses.field(default_factory=dict)

    def open_reference(self) -> Reference:
        """The reference session, opened once; arg-max scores are made extra outputs."""
        if self.reference is None:
            self.margin = margins(_proto(self.source))
            self.reference = open_reference(
                self.source, extra_outputs=dict.fromkeys(item.scores for item in self.margin.values())
            )
        return self.reference


def run(
    model: Source,
    target: str = "tflite",
    passes: str | Sequence[str] = "default",
    output: str | os.PathLike[str] | None = None,
    *,
    shape: ShapeSpec | Sequence[str] = (),
    samples: Sequence[Sample] | str | os.PathLike[str] | None = None,
    seed: int = 0,
    check: bool = True,
    allow_unchecked: bool = False,
    instruments: Sequence[Instrument] = (),
    numeric_each: bool = False,
    rewrite_limit: int | None = None,
    debug: bool = False,
    repro: str | os.PathLike[str] | None = None,
    progress: Progress = _silent,
) -> Result:
    """Convert `model` and check the file against it.

    Args:
        model: path, bytes or ModelProto.
        target: name of the target.
        passes: pass specification (see `graphrewrite.pipeline.spec`).
        output: file to write; by default the model's name with the target's suffix, beside the working directory.
        shape: dimensions to fix, as a mapping or as `["x=1,3,512,512"]`.
        samples: inputs for the check: arrays by input name, or a .npz; seeded random ones by default.
        seed: of the random samples.
        check: run the file against the original. Without it nothing is proven, and the file is written as it is.
        allow_unchecked: keep the file where the check could not run.
        instruments: watchers of the pipeline.
        numeric_each: run the graph after every pass; a guilty pass is rolled back and reported.
        rewrite_limit: stop rewriting after that many rewrites (bisection).
        debug: verify the graph after each pass.
        repro: folder for the reproducer of a mismatch (default: `repro/` beside the output).
        progress: called with one line a stage.

    Returns:
        Result with the path, the report and the record of the passes.

    Raises:
        InvalidModel, UsageError, NotExpressible, OutputsDiffer, NotChecked: see `graphrewrite.errors`.
    """
    found = find_target(target)
    found.require()
    path = _output_path(model, output, found)
    job = _Job(model, found, _load(model, shape, progress))
    ordered = build(passes, target)
    with settled_heap():
        records = _rewrite(
            job, ordered, instruments, numeric_each, rewrite_limit, debug, samples, seed, progress, check
        )
        if any(instrument.should_stop(ordered[len(records) - 1]) for instrument in instruments if records):
            return Result(None, _report(job, records, None, None, None), records, job.model)
        return _write_and_check(job, path, records, check, allow_unchecked, repro, progress)


def _load(source: Source, shape: ShapeSpec | Sequence[str], progress: Progress) -> Model:
    progress("loading")
    model = load(source)
    shapes = shape if isinstance(shape, Mapping) else parse_shapes(list(shape))
    set_shapes(model, shapes)
    return model


def _rewrite(
    job: _Job,
    ordered: Sequence[Pass],
    instruments: Sequence[Instrument],
    numeric_each: bool,
    rewrite_limit: int | None,
    debug: bool,
    samples: Sequence[Sample] | str | os.PathLike[str] | None,
    seed: int,
    progress: Progress,
    check: bool,
) -> list[PassRecord]:
    """The pipeline in two halves: samples are drawn in between, while integer inputs can still be followed to their use."""
    started = time.perf_counter()
    head = [item for item in ordered if item.stage == Stage.IMPORT]
    tail = [item for item in ordered if item.stage != Stage.IMPORT]
    records = run_pipeline(job.model, head, instruments=instruments, debug=debug)
    if any(instrument.should_stop(head[-1]) for instrument in instruments if head):
        return records
    sampling = time.perf_counter()
    if check or numeric_each:
        job.samples = _samples(job.model, samples, seed)
    started += time.perf_counter() - sampling
    progress(f"rewriting with {len(ordered)} passes")
    guard = _Guard(job) if numeric_each else None
    records += run_pipeline(
        job.model,
        tail,
        instruments=instruments,
        rewrite_limit=rewrite_limit,
        debug=debug,
        guard=guard,
        first=len(head),
    )
    job.seconds["passes"] = time.perf_counter() - started
    return records


def _samples(
    model: Model, samples: Sequence[Sample] | str | os.PathLike[str] | None, seed: int
) -> list[Sample]:
    inputs = {value.name or "": value for value in model.graph.inputs}
    if samples is None:
        static = all(value.shape is not None and value.shape.is_static() for value in model.graph.inputs)
        count = 1 if static and not inputs else SAMPLES
        return make_samples(model.graph, count, seed)
    if isinstance(samples, str | os.PathLike):
        return load_samples(samples, inputs)
    return [checked_sample(sample, inputs) for sample in samples]


class _Guard:
    """Runs the graph after a pass in ONNX Runtime; says what went wrong."""

    def __init__(self, job: _Job) -> None:
        self.job = job

    def __call__(self, item: Pass, model: Model) -> str:
        reference = self.job.open_reference()
        plan = NoisePlan.of(model, reference)
        try:
            session = create_session(to_runnable_proto(plan.externalised(model)))
        except (
            NotChecked
        ):  # ONNX Runtime lacks a kernel for this state (random ops of unknown shape); the next may run
            return ""
        names = [entry.name for entry in session.get_outputs()]

        def runner(sample: Sample) -> Mapping[str, Array]:
            return dict(zip(names, session.run(names, sample), strict=True))

        try:
            result = check(
                reference,
                self.job.samples[:1],
                {"onnxruntime": _fed(runner, plan, model)},
                margin=self.job.margin,
                noise=plan.reference_feeds(self.job.samples),
            )
        except NotChecked:
            raise
        except Exception as error:  # ONNX Runtime raises many types; the graph before the pass did run
            return f"ONNX Runtime fails on the graph: {str(error).strip().splitlines()[0][:200]}"
        bad = next((entry for entry in result.outputs if not entry.passed), None)
        return "" if bad is None else f"output '{bad.name}': {bad.problem}"


def _write_and_check(
    job: _Job,
    path: Path,
    records: list[PassRecord],
    wanted: bool,
    allow_unchecked: bool,
    repro: str | os.PathLike[str] | None,
    progress: Progress,
) -> Result:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    candidate = Path(name)
    try:
        progress("writing")
        started = time.perf_counter()
        written = job.target.write(job.model, candidate)
        job.seconds["write"] = time.perf_counter() - started
        verdict: CheckReport | None = None
        unchecked = "" if wanted else "the check was switched off"
        if wanted:
            progress("checking against the original")
            started = time.perf_counter()
            try:
                verdict, facts = _check(job, candidate)
                written.details |= facts
            except NotChecked as error:
                if not allow_unchecked:
                    raise
                unchecked = str(error)
            job.seconds["check"] = time.perf_counter() - started
        report = _report(job, records, written, verdict, unchecked)
        if verdict is not None and not verdict.passed:
            folder = leave_repro(
                Path(repro) if repro is not None else path.parent / "repro",
                path.stem,
                source=job.source,
                candidate=candidate,
                samples=job.samples,
                report=report,
            )
            raise OutputsDiffer(_difference(verdict, folder))
        os.replace(candidate, path)
        report["path"] = str(path)
        return Result(path, report, records, job.model)
    finally:
        candidate.unlink(missing_ok=True)


def _difference(verdict: CheckReport, folder: Path) -> str:
    bad = [item for item in verdict.outputs if not item.passed]
    lines = [f"  '{item.name}': {item.problem}" for item in bad[:10]]
    return "\n".join(
        [
            f"{len(bad)} of {len(verdict.outputs)} outputs differ from the original ({verdict.failing_runner}, "
            f"sample {verdict.failing_sample}):",
            *lines,
            f"nothing was written; what is needed to reproduce it lies in {folder}",
        ]
    )


def _check(job: _Job, candidate: Path) -> tuple[CheckReport, dict[str, Any]]:
    """The verdict, and what the runtime said of the file on the way."""
    reference = job.open_reference()
    plan = NoisePlan.of(job.model, reference)
    own = job.target.runners(candidate)
    if not plan.inputs:
        return _compare(job, reference, plan, own), job.target.facts(own)
    # Random operators can't be compared: a twin of the file takes their values as inputs. The file itself must run, too.
    twin = candidate.with_name(f".{candidate.stem}.twin{candidate.suffix}")
    try:
        job.target.write(plan.externalised(job.model), twin)
        verdict = _compare(job, reference, plan, job.target.runners(twin))
        main = next(iter(own.values()))
        _fed(main, dataclasses.replace(plan, inputs=()), job.model)(job.samples[0])
        return verdict, job.target.facts(own)
    finally:
        twin.unlink(missing_ok=True)


def _compare(job: _Job, reference: Reference, plan: NoisePlan, runners: Mapping[str, Runner]) -> CheckReport:
    return check(
        reference,
        job.samples,
        {name: _fed(runner, plan, job.model) for name, runner in runners.items()},
        margin=job.margin,
        noise=plan.reference_feeds(job.samples),
        first_sample_only=frozenset(list(runners)[1:]),
    )


def _fed(runner: Runner, plan: NoisePlan, model: Model) -> Runner:
    """`runner` in the source's dimension order: inputs and outputs that the model stores in another are permuted."""
    inputs = {value.name: layout(value) for value in model.graph.inputs if value.name}
    outputs = {value.name: layout(value) for value in model.graph.outputs if value.name}

    def run(sample: Sample) -> Mapping[str, Array]:
        feeds = plan.candidate_feeds(sample)
        fed = {name: feeds[name] for name in [*inputs, *plan.inputs] if name in feeds}
        for name, facet in inputs.items():
            if facet is not None and name in fed:
                fed[name] = np.ascontiguousarray(fed[name].transpose(facet.perm))
        found = dict(runner(fed))
        for name, facet in outputs.items():
            if facet is not None and name in found:
                found[name] = found[name].transpose(np.argsort(facet.perm))
        return found

    return run


def _output_path(source: Source, output: str | os.PathLike[str] | None, found: Target) -> Path:
    if output is not None:
        path = Path(output)
        if path.is_dir():
            if not isinstance(source, str | os.PathLike):
                raise UsageError(f"'{path}' is a folder: name the file to write")
            return path / (Path(source).stem + found.suffix)
        return path
    if isinstance(source, str | os.PathLike):
        return Path(Path(source).stem + found.suffix)
    raise UsageError("a model given as bytes or proto has no name: say where to write with output=")


def _proto(source: Source) -> onnx.ModelProto:
    if isinstance(source, onnx.ModelProto):
        return source
    if isinstance(source, bytes):
        proto = onnx.ModelProto()
        proto.ParseFromString(source)
        return proto
    return onnx.load(os.fspath(source), load_external_data=False)


def _report(
    job: _Job,
    records: Sequence[PassRecord],
    written: Written | None,
    verdict: CheckReport | None,
    unchecked: str | None,
) -> dict[str, Any]:
    """The report in its stable JSON schema; `docs/report.md` describes it."""
    from graphrewrite.report.schema import report

    return report(
        job.target.name,
        job.model,
        records,
        written,
        verdict,
        unchecked or "",
        job.seconds,
        source=_label(job.source),
    )


def _label(source: Source) -> str:
    return os.fspath(source) if isinstance(source, str | os.PathLike) else "<memory>"


__all__ = ["Result", "run"]
