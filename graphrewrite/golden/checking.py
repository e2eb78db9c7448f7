"""Checking goldens, and accepting what they come to."""

from __future__ import annotations

import dataclasses
import os
import shlex
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from graphrewrite.conversion import Progress
from graphrewrite.errors import OutputsDiffer, UsageError, exit_code
from graphrewrite.golden.attempt import ORIGIN, STATES, Attempt, attempt, convert, opening, recorded_outputs
from graphrewrite.golden.recording import ORIGINAL, outputs_of
from graphrewrite.numeric.golden import changes, worse_outputs
from graphrewrite.numeric.golden_file import Golden, find
from graphrewrite.numeric.golden_outputs import read_recording
from graphrewrite.numeric.noise import NoisePlan
from graphrewrite.targets.base import TargetSpec, targets
from graphrewrite.targets.base import target as find_target


def _silent(text: str) -> None:
    """No progress."""


@dataclasses.dataclass
class Checked:
    """What became of one golden and target: changes in words, none where all is as expected, or the error that ended it."""

    golden: Golden
    spec: str
    changes: list[str] = dataclasses.field(default_factory=list)
    error: Exception | None = None
    seconds: float = 0.0

    @property
    def exit_code(self) -> int:
        """0 as expected, 4 changed, or that of the error."""
        if self.error is not None:
            return exit_code(self.error)
        return OutputsDiffer.exit_code if self.changes else 0


def check(
    folder: str | os.PathLike[str], target: TargetSpec | None = None, progress: Progress = _silent
) -> Iterator[Checked]:
    """Convert and run the goldens of `folder`, one after the other, for those of their targets that `target` names.

    Raises:
        UsageError: a golden can't be read, or none has such a target.
    """
    for golden, specs in _chosen(folder, target):
        if not golden.expected:
            nothing = UsageError(
                "nothing is expected of any target: `golden bless --target NAME` writes down what it comes to"
            )
            yield Checked(golden, "", error=nothing)
        for spec in specs:
            progress(f"{golden.name} {spec}")
            yield _guarded(golden, spec, check_one)


def check_one(golden: Golden, spec: str) -> list[str]:
    """What changed for one target, in words.

    Raises:
        GraphRewriteError: as `attempt`.
    """
    made = attempt(golden, find_target(spec))
    expected = golden.expected[spec]
    lines = changes(expected, made.found, golden.size_tolerance)
    worse = worse_outputs(expected, made.found.outputs)
    if worse:
        lines.append(_where(attempt(golden, made.target, states=True), next(iter(worse.values())).required))
    return lines


def _where(made: Attempt, required: float) -> str:
    """The first state that is about as far off as the file, which needs a relative tolerance of `required`."""
    for state in STATES[:-1]:
        if any(item.required >= required / 2 for item in made.at(state).outputs):
            if state == ORIGIN:
                return "the original model gives other outputs than the recorded ones, too: it has changed, not its conversion"
            return f"the first graph with other outputs is the one after stage '{state}': {_bisect(made)} says more"
    return f"every graph on the way has the recorded outputs, the file or its runtime has not: {_bisect(made)} says more"


def _bisect(made: Attempt) -> str:
    """The command that names the pass and the rewrite, or the value in the file."""
    golden = made.golden
    model, samples = (os.path.relpath(path) for path in (golden.model_path, golden.samples_path))
    flags = ["--target", made.target.spec, "--passes", golden.passes, *opening(golden).flags]
    return shlex.join(["graphrewrite", "bisect", model, *flags, "--samples", samples])


def _guarded(golden: Golden, spec: str, work: Callable[[Golden, str], list[str]]) -> Checked:
    started = time.perf_counter()
    result = Checked(golden, spec)
    try:
        result.changes = work(golden, spec)
    except Exception as error:  # whatever is wrong with one golden, the others go on; the caller tells of it
        result.error = error
    result.seconds = time.perf_counter() - started
    return result


def _chosen(folder: str | os.PathLike[str], target: TargetSpec | None) -> list[tuple[Golden, list[str]]]:
    """The goldens with those of their targets that have the specification or the name of one of `target`."""
    goldens = find(Path(folder))
    if target is None:
        return [(golden, sorted(golden.expected)) for golden in goldens]
    wanted = {item.spec for item in targets(target)}
    chosen = [
        (golden, [spec for spec in sorted(golden.expected) if {spec, spec.partition("{")[0]} & wanted])
        for golden in goldens
    ]
    if not any(specs for _, specs in chosen):
        raise UsageError(
            f"no golden in '{os.fspath(folder)}' expects anything of {', '.join(sorted(wanted))}"
        )
    return chosen


def bless(
    folder: str | os.PathLike[str],
    target: TargetSpec | None = None,
    *,
    outputs: bool = False,
    progress: Progress = _silent,
) -> Iterator[Checked]:
    """Expect from now on what the goldens of `folder` come to; what still holds stays as it is.

    A target of `target` that a golden does not have yet is added. With `outputs`, what the original gives today is recorded
    first. The lines of each result say what is expected otherwise now.

    Raises:
        UsageError: a golden can't be read.
    """
    wanted = None if target is None else [item.spec for item in targets(target)]
    for golden in find(Path(folder)):
        specs = sorted(golden.expected) if wanted is None else wanted
        for index, spec in enumerate(specs):
            progress(f"{golden.name} {spec}")
            again = outputs and index == 0
            yield _guarded(golden, spec, _bless_with_outputs if again else _bless_one)


def _bless_one(golden: Golden, spec: str) -> list[str]:
    found = attempt(golden, find_target(spec)).found
    if not found.passed:
        bad = next(item for item in found.outputs if not item.passed)
        raise OutputsDiffer(
            f"output '{bad.name}' is not the recorded one ({bad.problem}), which can't be blessed; if the model itself has "
            "changed and is right, --outputs records what it gives today"
        )
    before = golden.expected.get(spec)
    lines = ["is expected now"] if before is None else changes(before, found, golden.size_tolerance)
    if lines:
        golden.expected[spec] = found.expectation(before, golden.size_tolerance)
        golden.write()
    return lines


def _bless_with_outputs(golden: Golden, spec: str) -> list[str]:
    if golden.recorded_from != ORIGINAL:
        raise UsageError(
            f"the outputs of '{golden.name}' were recorded from {golden.recorded_from}, which can't be run from here: record "
            "them again with graphrewrite golden record --replace --samples FILE.npz"
        )
    recorded = recorded_outputs(golden, read_recording(golden.samples_path))
    with tempfile.TemporaryDirectory(prefix="graphrewrite-golden.") as folder:
        model = convert(golden, find_target(spec), Path(folder)).model
    outputs_of(recorded, NoisePlan.of(model, recorded.open())).write(golden.samples_path)
    return ["other outputs are recorded", *_bless_one(golden, spec)]
