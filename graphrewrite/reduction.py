"""The smallest part of a model that still can't be converted, or that a command of the user's still fails on."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
import shlex
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx

from graphrewrite import api
from graphrewrite.conversion import Progress
from graphrewrite.errors import GraphRewriteError, NotChecked, OutputsDiffer, UsageError
from graphrewrite.ir import load, to_runnable_proto
from graphrewrite.ir.inputs import ShapeSpec
from graphrewrite.numeric.inputs import Sample
from graphrewrite.numeric.npz import save_npz
from graphrewrite.numeric.reduce import Memory, Reducer
from graphrewrite.numeric.submodel import Submodel, Whole
from graphrewrite.pipeline import Pass, Stage, build, run_pipeline
from graphrewrite.sources.opening import Names, Opening
from graphrewrite.targets.base import Target
from graphrewrite.targets.base import target as find_target

FEW = 8
"""A model of more nodes than this is searched again in the form that passes give it."""
_CANT_RUN = (126, 127)
"""Exit codes of a shell whose command can't be run or does not exist."""


@dataclasses.dataclass(frozen=True)
class Reduction:
    """What is left.

    Attributes:
        path: the reduced model.
        samples: the .npz of its inputs.
        nodes: how many nodes it has.
        source_nodes: how many the whole model has, constants not counted.
        checks: models that were tried in this run.
        failure: what is wrong with it.
        model: the model and its inputs.
        random: the same with random weights and inputs, where that was asked for.
        random_fails: whether that fails as well.
    """

    path: Path
    samples: Path
    nodes: int
    source_nodes: int
    checks: int
    failure: str
    model: Submodel
    random: Submodel | None = None
    random_fails: bool = False


def reduce(
    model: str | os.PathLike[str],
    target: str | Target = "tflite",
    passes: str | Sequence[str] = "default",
    output: str | os.PathLike[str] | None = None,
    *,
    command: str | None = None,
    precision: str | None = None,
    minimum_deployment_target: str | None = None,
    shape: ShapeSpec | Sequence[str] = (),
    inputs: Names = (),
    outputs: Names = (),
    samples: Sequence[Sample] | str | os.PathLike[str] | None = None,
    seed: int = 0,
    random_weights: bool = False,
    progress: Progress = lambda text: None,
) -> Reduction:
    """Reduce `model` to a few nodes that still fail in the same way.

    The values that cross into the part that is left become inputs, with what the whole model computes for the sample; those that
    only depend on shapes become constants. The best model so far is always in `output`, and what has been tried in a file
    beside it, so that a search that was stopped goes on where it was.

    Args:
        model: path of the model; the arguments that are not listed are those of `graphrewrite.run`.
        output: the reduced model, `NAME.reduced.onnx` in the working directory by default; its inputs lie beside it as .npz.
        command: what must go on failing, as a shell command with {} for the path of the model and {samples} for its inputs: it
            fails where its exit code is not 0. By default the conversion and its check.
        random_weights: try at the end whether it fails with random weights and inputs, too.

    Raises:
        UsageError: the model does not fail, or the command can't be run.
        NotChecked: the model does not run, or draws random numbers.
    """
    path = Path(model)
    chosen = find_target(
        target, {"precision": precision, "minimum_deployment_target": minimum_deployment_target}
    )
    progress("loading")
    original, imported = Opening.of(shape, inputs, outputs).begin(path)
    run_pipeline(imported, [item for item in build("none", "tflite") if item.stage == Stage.IMPORT])
    original.draw(imported, samples, seed)
    if original.open().noise:
        raise NotChecked(
            f"'{path}' draws random numbers, so no part of it does the same twice: save it without them first, with "
            "--passes none,noise-policy{policy=freeze} --stop-after noise-policy"
        )
    final = Path(output) if output is not None else Path(f"{path.stem}.reduced.onnx")
    check = _Command(command) if command is not None else _Conversion(chosen, passes)
    proto = original.part if original.part is not None else onnx.load(path, load_external_data=False)
    assert isinstance(proto, onnx.ModelProto)
    progress("looking for a sample that fails")
    for sample in original.samples:
        whole = Whole(proto, sample, path.resolve().parent)
        start = whole.all_of_it(static=bool(shape))
        built = whole.build(start)
        if built is not None and check.first(built):
            break
    else:
        raise UsageError(f"there is nothing to reduce: {check.fine}")
    memory = Memory(final.with_suffix(".tried.jsonl"), f"{_digest(path, sample)} {check.subject}")
    memory.put(start.key, True)
    kept = _Kept(final)
    reducer = Reducer(whole, check, memory, kept.keep, progress, start)
    reducer.run()
    tried = reducer.tried
    if reducer.left > FEW:
        progress("letting passes that are not to blame run beforehand")
        simpler = _after_passes(reducer, build(passes, chosen.name, chosen.options))
        tried += simpler.tried
        reducer = min(reducer, simpler, key=lambda item: item.left)
    best = reducer.whole.build(reducer.best)
    if best is None or not check(best):
        raise NotChecked(
            "the check does not give the same answer twice for the same model: make it repeatable first"
        )
    kept.keep(best)
    found = Reduction(
        final, kept.samples, len(best.proto.graph.node), len(whole.nodes), tried, check.failure, best
    )
    if not random_weights:
        return found
    part = dataclasses.replace(reducer.best, seed=seed)
    return dataclasses.replace(found, random=reducer.whole.build(part), random_fails=reducer.fails(part))


def _after_passes(reducer: Reducer, passes: Sequence[Pass]) -> Reducer:
    """The search in what the pipeline makes of the best part, just before it goes wrong: a graph of fewer, larger nodes.

    Where the faulty pass has run already, the fault is in the model itself and its conversion succeeds; so the last state that
    still fails is the one before it.
    """
    best = reducer.whole.build(reducer.best)
    assert best is not None  # it has been checked
    states: list[Whole] = []
    model = load(best.proto)
    for item in passes:
        if item.stage >= Stage.LEGALIZE:
            break
        run_pipeline(model, [item])
        states.append(Whole(to_runnable_proto(model), best.sample, None))
    tried = 0
    found = reducer
    low, high = 0, len(states)
    while low < high:
        middle = (low + high) // 2
        start = states[middle].all_of_it(static=True)
        label = f"{reducer.best.key}/{middle}/"
        next_one = dataclasses.replace(reducer, whole=states[middle], best=start, label=label, tried=0)
        fails = next_one.fails(start)
        tried += next_one.tried
        if fails:
            found, low = next_one, middle + 1
        else:
            high = middle
    if found is reducer:
        return dataclasses.replace(reducer, tried=tried)
    found.tried = tried
    found.run()
    return found


def _digest(path: Path, sample: Sample) -> str:
    digest = hashlib.sha256(path.read_bytes())
    for name, array in sample.items():
        digest.update(f"{name} {array.dtype} {array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


class _Kept:
    """The best model so far and its inputs, on disk; each replaces the last one in one step."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.samples = path.with_suffix(".npz")
        path.parent.mkdir(parents=True, exist_ok=True)

    def keep(self, model: Submodel) -> None:
        """Write both."""
        write_part(model, self.path, self.samples)


def write_part(model: Submodel, path: Path, samples: Path) -> None:
    """Write a model and its inputs under their names when both are complete."""
    with tempfile.TemporaryDirectory(prefix=f".{path.stem}.", dir=path.parent) as folder:
        staged = Path(folder) / "model.onnx", Path(folder) / "samples.npz"
        staged[0].write_bytes(model.proto.SerializeToString(deterministic=True))
        save_npz(staged[1], model.sample)
        os.replace(staged[0], path)
        os.replace(staged[1], samples)


class _Conversion:
    """Fails where converting and checking ends with the error that the whole model ends with."""

    fine = "the file matches the original"

    def __init__(self, target: Target, passes: str | Sequence[str]) -> None:
        self._target = target
        self._passes = passes
        self._wanted = ""
        self.failure = ""

    @property
    def subject(self) -> str:
        """What is checked, for the memory."""
        return f"{self._target.spec} {self._passes} {self._wanted}"

    def first(self, model: Submodel) -> bool:
        """Whether `model` fails in any way; that is the way from now on."""
        error = self._error(model)
        if error is None:
            return False
        if isinstance(error, GraphRewriteError) and error.exit_code in (2, 3):
            raise error
        self._wanted, self.failure = _kind(error), str(error)
        return True

    def __call__(self, model: Submodel) -> bool:
        error = self._error(model)
        if error is None or _kind(error) != self._wanted:
            return False
        self.failure = str(error)
        return True

    def _error(self, model: Submodel) -> Exception | None:
        with tempfile.TemporaryDirectory() as folder:
            try:
                api.run(
                    model.proto,
                    self._target,
                    self._passes,
                    Path(folder) / f"model{self._target.suffix}",
                    samples=[model.sample],
                )
            except OutputsDiffer as error:  # without the last line, which names a folder that is gone
                return OutputsDiffer("\n".join(str(error).splitlines()[:-1]))
            except Exception as error:  # whatever it is, another model may end the same way
                return error
        return None


def _kind(error: Exception) -> str:
    """The same for the same failure of another model: the type, and for all but a mismatch the words without the names."""
    if isinstance(error, OutputsDiffer):
        return "OutputsDiffer"
    first = (str(error).splitlines() or [""])[0]
    words = re.sub(r"'[^']*'|[0-9]+", "", first)
    return f"{type(error).__name__}: {words}"


class _Command:
    """Fails where a command of the user's does."""

    fine = "the command succeeds on the whole model"

    def __init__(self, command: str) -> None:
        if "{}" not in command:
            raise UsageError(f"--check must say with {{}} where the model's path goes, not '{command}'")
        self._command = command
        self.failure = ""

    @property
    def subject(self) -> str:
        """What is checked, for the memory."""
        return self._command

    def first(self, model: Submodel) -> bool:
        """As for every other model."""
        return self(model)

    def __call__(self, model: Submodel) -> bool:
        with tempfile.TemporaryDirectory() as folder:
            path, samples = Path(folder) / "model.onnx", Path(folder) / "model.npz"
            write_part(model, path, samples)
            command = self._command.replace("{}", shlex.quote(str(path)))
            command = command.replace("{samples}", shlex.quote(str(samples)))
            done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
        if done.returncode in _CANT_RUN:
            raise UsageError(f"the command can't be run: {done.stderr.strip() or command}")
        if done.returncode == 0:
            return False
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        self.failure = ": ".join([f"the command's exit code is {done.returncode}", *last])
        return True
