"""Recording goldens."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from graphrewrite.conversion import Progress
from graphrewrite.errors import OutputsDiffer, UsageError
from graphrewrite.golden.attempt import convert, found_in, opening, recorded_outputs
from graphrewrite.numeric.golden import Found
from graphrewrite.numeric.golden_file import SUFFIX, Golden
from graphrewrite.numeric.golden_outputs import Recording, framework_outputs
from graphrewrite.numeric.noise import NoisePlan
from graphrewrite.numeric.original import Original
from graphrewrite.pipeline import Stage, build, run_pipeline
from graphrewrite.targets.base import Target, TargetSpec, targets

ORIGINAL = "ONNX Runtime"
"""What `recorded_from` says of outputs that the original gave."""


def _silent(text: str) -> None:
    """No progress."""


def record(
    folder: str | os.PathLike[str],
    model: str | os.PathLike[str],
    target: TargetSpec = "tflite",
    passes: str = "default",
    *,
    name: str | None = None,
    shape: Sequence[str] = (),
    inputs: Sequence[str] = (),
    outputs: Sequence[str] = (),
    image: Sequence[str] = (),
    normalize: Sequence[str] = (),
    io_layout: Sequence[str] = (),
    samples: str | os.PathLike[str] | None = None,
    seed: int = 0,
    replace: bool = False,
    progress: Progress = _silent,
) -> Golden:
    """Make a golden of `model` in `folder`: its inputs and outputs, and what its conversion comes to.

    Args:
        folder: made where it does not exist.
        model: path of the ONNX model; the golden refers to it where it lies.
        target: those of which something is to be expected.
        passes: the pass specification.
        name: of the golden; the model's by default.
        shape, inputs, outputs, image, normalize, io_layout: what is taken of the source and with which ends, as
            `graphrewrite.run` takes them from the command line: `["x=1,3,512,512"]`.
        samples: .npz of inputs, as `graphrewrite.run` takes them; outputs in it (`sample0.output.NAME`) are recorded instead of
            those that ONNX Runtime gives. Seeded random inputs by default.
        seed: of the random inputs.
        replace: overwrite a golden of that name.

    Raises:
        UsageError: there is such a golden already, or the model or samples can't be read.
        OutputsDiffer: a written file does not meet the outputs to be recorded.
        GraphRewriteError: as `graphrewrite.run`.
    """
    folder, source = Path(folder), Path(model)
    if not source.exists():
        raise UsageError(f"there is no file '{source}'")
    title = name or source.stem
    path = folder / f"{title}{SUFFIX}"
    if path.exists() and not replace:
        raise UsageError(
            f"'{path}' exists already: `golden bless` accepts changes, --replace records all of it anew, and --name gives this "
            "model another name"
        )
    golden = Golden(
        path,
        Path(os.path.relpath(source.resolve(), folder.resolve())).as_posix(),
        f"{title}.npz",
        ORIGINAL,
        passes,
        shape=tuple(shape),
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        image=tuple(image),
        normalize=tuple(normalize),
        io_layout=tuple(io_layout),
    )
    chosen = targets(target)
    original = _drawn(golden, samples, seed)
    with tempfile.TemporaryDirectory(prefix="graphrewrite-golden.") as temporary:
        results = {}
        for index, item in enumerate(chosen):
            progress(f"{title}: converting to {item.spec}")
            results[item.spec] = convert(golden, item, Path(temporary) / str(index))
        progress(f"{title}: recording")
        plan = NoisePlan.of(results[chosen[0].spec].model, original.open())
        recording = outputs_of(original, plan)
        if samples is not None:
            given = framework_outputs(Path(samples), original.open().outputs, original.samples)
            if given is not None:
                recording = dataclasses.replace(recording, outputs=given)
                golden.recorded_from = Path(samples).name
        recorded = recorded_outputs(golden, recording)
        for item in chosen:
            found = found_in(results[item.spec], item, recorded)
            if not found.passed:
                raise OutputsDiffer(_difference(title, item, found, golden))
            golden.expected[item.spec] = found.expectation(None, golden.size_tolerance)
    folder.mkdir(parents=True, exist_ok=True)
    recording.write(folder / golden.samples)
    golden.write()
    return golden


def _drawn(golden: Golden, samples: str | os.PathLike[str] | None, seed: int) -> Original:
    """The original with its samples, drawn after the import, where integer inputs can be followed to their use."""
    original, model = opening(golden).begin(golden.model_path)
    run_pipeline(model, [item for item in build("none", "") if item.stage == Stage.IMPORT])
    original.draw(model, samples, seed)
    return original


def _difference(title: str, target: Target, found: Found, golden: Golden) -> str:
    bad = next(item for item in found.outputs if not item.passed)
    hint = (
        "`graphrewrite run` says more"
        if golden.recorded_from == ORIGINAL
        else "`graphrewrite run` says whether the conversion is wrong; if it is not, the export is"
    )
    return (
        f"'{title}' as {target.spec} does not give the outputs of {golden.recorded_from}: output '{bad.name}': {bad.problem}; "
        f"nothing was recorded; {hint}"
    )


def outputs_of(original: Original, plan: NoisePlan) -> Recording:
    """What the original gives for its samples, fed with the noise of `plan`.

    Raises:
        NotChecked: ONNX Runtime can't run it.
    """
    reference = original.open()
    scores = [item.scores for item in original.margin.values()]
    noise = plan.reference_feeds(original.samples)
    outputs, behind = [], []
    for index, sample in enumerate(original.samples):
        given = original.prepare(sample)
        feeds = {name: given[name] for name in reference.inputs} | noise(index)
        found = reference.run(feeds, dict.fromkeys([*reference.outputs, *scores]))
        outputs.append({name: found[name] for name in reference.outputs})
        behind.append({name: found[name] for name in scores})
    return Recording(original.samples, outputs, behind)
