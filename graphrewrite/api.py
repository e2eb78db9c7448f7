"""The Python API: what the command line does, as functions."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from graphrewrite.conversion import Conversion, Progress, Settings, shared_head
from graphrewrite.errors import exit_code
from graphrewrite.ir import Model, Source
from graphrewrite.ir.inputs import ShapeSpec
from graphrewrite.numeric.inputs import Sample
from graphrewrite.pipeline import Instrument, Pass, PassRecord, build
from graphrewrite.pipeline.collector import settled_heap
from graphrewrite.sources.images import Images
from graphrewrite.sources.metadata import LabelsSpec, Texts
from graphrewrite.sources.opening import Layouts, Names, Opening, Scales
from graphrewrite.targets.base import Target, TargetSpec, targets
from graphrewrite.targets.base import target as find_target
from graphrewrite.targets.files import output_paths


@dataclasses.dataclass
class Result:
    """What `run` did.

    `path` is None where nothing was written (a dry run); `report` is the stable JSON schema; `record` is one entry a pass.
    """

    path: Path | None
    report: dict[str, Any]
    record: list[PassRecord]
    model: Model


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of one of several targets: a `result`, or the `error` that ended it."""

    target: Target
    result: Result | None = None
    error: Exception | None = None

    @property
    def exit_code(self) -> int:
        """Exit code of the command line for this target alone."""
        return 0 if self.error is None else exit_code(self.error)


_DRY = "pre-flight: nothing was written"


def _silent(text: str) -> None:
    """No progress."""


def run(
    model: Source,
    target: str | Target = "tflite",
    passes: str | Sequence[str] = "default",
    output: str | os.PathLike[str] | None = None,
    *,
    precision: str | None = None,
    minimum_deployment_target: str | None = None,
    shape: ShapeSpec | Sequence[str] = (),
    inputs: Names = (),
    outputs: Names = (),
    image: Images = (),
    normalize: Scales = (),
    io_layout: Layouts = (),
    metadata: Texts = (),
    labels: LabelsSpec | None = None,
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
    """Convert `model` to one target and check the file against it.

    Args:
        model: path, bytes or ModelProto.
        target: the target's name, with options where it has some: `"coreml{minimum_deployment_target=iOS16}"`.
        passes: pass specification (see `graphrewrite.pipeline.spec`).
        output: file to write, a folder, or a pattern (see `graphrewrite.targets.files.output_paths`); by default the model's
            name with the target's suffix, in the working directory.
        precision: `fp32` or `fp16`; the target's own default where it is not given.
        minimum_deployment_target: the oldest system that the model must run on, for targets that have several.
        shape: sizes of dimensions, as a mapping or as `["x=1,3,224|256,?", "batch=1..8"]` (see `graphrewrite.ir.inputs`).
        inputs: values to cut the model at: they become its inputs.
        outputs: values that become the model's outputs; what they do not need goes.
        image: inputs that are one picture of whole numbers from 0 to 255, of which the source takes `pixel * scale + bias`:
            `{"x": {"color": "rgb", "scale": 1 / 255, "bias": [0.1, 0.2, 0.3]}}`, with `rgb`, `bgr` or `gray`; scale and bias are
            one number, or one a channel in that order. A Core ML model takes it as an image feature, others as a tensor of the
            pixels.
        normalize: mean and standard deviation by input, `{"image": (127.5, 127.5)}`, each one number or one a channel: the
            written model takes raw images and normalises them itself; of an `image`, behind scale and bias.
        io_layout: `"nhwc"` for every image (rank 4), or `{"image": "nhwc"}`: channels last in the written model. An image
            feature of Core ML has no order.
        metadata: what the written model says of itself: `author`, `license`, `description`, `version`, and texts under keys with
            a dot. The report says what the target has a place for.
        labels: names of the classes whose scores an output gives, as a file with one a line or a list, by the output's name where
            several would fit: `{"scores": ["cat", "dog"]}`. A Core ML model becomes a classifier.
        samples: inputs for the check: arrays by input name, or a .npz; seeded random ones by default. In the source's order of
            dimensions, and before `image` and `normalize`.
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
    common = {"precision": precision, "minimum_deployment_target": minimum_deployment_target}
    settings = Settings(
        samples=samples,
        seed=seed,
        check=check,
        allow_unchecked=allow_unchecked,
        numeric_each=numeric_each,
        rewrite_limit=rewrite_limit,
        debug=debug,
        repro=repro,
    )
    chosen = [find_target(target, common)]
    opening = Opening.of(shape, inputs, outputs, image, normalize, io_layout, metadata, labels)
    (outcome,) = _run(model, chosen, passes, output, opening, settings, instruments, progress)
    if outcome.result is None:
        assert outcome.error is not None
        raise outcome.error
    return outcome.result


def run_all(
    model: Source,
    target: TargetSpec,
    passes: str | Sequence[str] = "default",
    output: str | os.PathLike[str] | None = None,
    *,
    precision: str | None = None,
    minimum_deployment_target: str | None = None,
    shape: ShapeSpec | Sequence[str] = (),
    inputs: Names = (),
    outputs: Names = (),
    image: Images = (),
    normalize: Scales = (),
    io_layout: Layouts = (),
    metadata: Texts = (),
    labels: LabelsSpec | None = None,
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
) -> dict[str, Outcome]:
    """Convert `model` to several targets and check each file; a target that fails does not stop the others.

    The source is loaded once, its reference opened once, samples are drawn once, and the passes that the targets have in common
    at the beginning of their pipelines run once.

    Args:
        model: as for `run`, like all arguments that are not listed here.
        target: `"tflite,coreml"`, or a sequence of names or `Target`s; the same name may come twice with different options.
        output: a folder or a pattern such as `"out/{stem}-{precision}{suffix}"`.
        precision: for every target that has the option.
        minimum_deployment_target: for every target that has the option.

    Returns:
        What became of each target, by its specification (`Target.spec`), in the order given.

    Raises:
        InvalidModel, UsageError: what is wrong for all targets alike. What is wrong for one stands in its Outcome.
    """
    common = {"precision": precision, "minimum_deployment_target": minimum_deployment_target}
    settings = Settings(
        samples=samples,
        seed=seed,
        check=check,
        allow_unchecked=allow_unchecked,
        numeric_each=numeric_each,
        rewrite_limit=rewrite_limit,
        debug=debug,
        repro=repro,
    )
    chosen = targets(target, common)
    opening = Opening.of(shape, inputs, outputs, image, normalize, io_layout, metadata, labels)
    found = _run(model, chosen, passes, output, opening, settings, instruments, progress)
    return {outcome.target.spec: outcome for outcome in found}


def preflight(
    model: Source,
    target: TargetSpec = "tflite",
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
    metadata: Texts = (),
    labels: LabelsSpec | None = None,
    debug: bool = False,
    progress: Progress = _silent,
) -> dict[str, Outcome]:
    """What stands between `model` and each target: everything that `run_all` does but for writing and running files.

    The arguments are those of `run_all`. Outcomes with a result mean that a file will be written; errors are NotExpressible with
    every blocker, or MissingExtra.

    Raises:
        InvalidModel, UsageError: what is wrong for all targets alike.
    """
    common = {"precision": precision, "minimum_deployment_target": minimum_deployment_target}
    settings = Settings(check=False, debug=debug)
    opening = Opening.of(shape, inputs, outputs, image, normalize, io_layout, metadata, labels)
    found = _run(model, targets(target, common), passes, None, opening, settings, (), progress, write=False)
    return {outcome.target.spec: outcome for outcome in found}


def _run(
    source: Source,
    chosen: list[Target],
    passes: str | Sequence[str],
    output: str | os.PathLike[str] | None,
    opening: Opening,
    settings: Settings,
    instruments: Sequence[Instrument],
    progress: Progress,
    *,
    write: bool = True,
) -> list[Outcome]:
    missing = {item.spec: error for item in chosen if (error := _missing(item)) is not None}
    able = [item for item in chosen if item.spec not in missing]
    paths: Sequence[Path | None] = output_paths(source, output, able) if write else [None] * len(able)
    pipelines = [build(passes, item.name, item.options) for item in able]
    found: dict[str, Outcome] = {}
    if able:
        with settled_heap() as settle:
            start = Conversion.begin(source, opening, settings, progress)
            settle()
            for item, outcome in zip(able, _convert(start, able, pipelines, paths, instruments), strict=True):
                found[item.spec] = outcome
    return [
        found[item.spec] if item.spec in found else Outcome(item, error=missing[item.spec]) for item in chosen
    ]


def _missing(target: Target) -> Exception | None:
    try:
        target.require()
    except Exception as error:  # as in `_convert`
        return error
    return None


def _convert(
    start: Conversion,
    chosen: Sequence[Target],
    pipelines: Sequence[Sequence[Pass]],
    paths: Sequence[Path | None],
    instruments: Sequence[Instrument],
) -> list[Outcome]:
    """The shared passes once, then each target by itself; nothing is written where there is no path."""
    shared = shared_head(pipelines)
    alone = len(chosen) == 1
    start.progress(
        f"rewriting with {len(pipelines[0])} passes" if alone else f"rewriting with {shared} passes for all"
    )
    with start.original.blamed():
        stopped = not start.rewrite(pipelines[0][:shared], instruments)
    outcomes = []
    for target, passes, path in zip(chosen, pipelines, paths, strict=True):
        own = start.fork("" if alone else target.spec, last=target is chosen[-1])
        watchers = instruments if alone else [item.fork(target.spec) for item in instruments]
        try:
            if not stopped and not alone:
                own.progress(f"rewriting with {len(passes) - shared} passes of its own")
            with own.original.blamed():
                ended = stopped or not own.rewrite_for(target, passes[shared:], watchers)
            if ended:
                outcomes.append(Outcome(target, Result(None, own.report(target), own.records, own.model)))
                continue
            found = own.report(target, unchecked=_DRY) if path is None else own.finish(target, path)
            outcomes.append(Outcome(target, Result(path, found, own.records, own.model)))
        except (
            Exception
        ) as error:  # whatever is wrong with one target, the others go on; the caller tells of it
            outcomes.append(Outcome(target, error=error))
    return outcomes


__all__ = ["Outcome", "Result", "preflight", "run", "run_all"]
