"""One conversion of a golden's model: the file against the recorded outputs, and every state on its way to it."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from graphrewrite.api import Result, run
from graphrewrite.conversion import judge
from graphrewrite.ir import Array, Model
from graphrewrite.numeric.check import CheckReport
from graphrewrite.numeric.golden import Found
from graphrewrite.numeric.golden_file import Golden
from graphrewrite.numeric.golden_outputs import Recorded, Recording, read_recording
from graphrewrite.numeric.inputs import Sample
from graphrewrite.numeric.noise import NoisePlan
from graphrewrite.numeric.state import state_runner
from graphrewrite.pipeline import BaseInstrument, Pass, PassRecord, Stage, build, run_pipeline
from graphrewrite.sources.opening import Opening
from graphrewrite.targets.base import Target

ORIGIN = "original"
"""The state before any pass."""
FILE = "file"
"""The written file in the target's runtime."""
STATES = (ORIGIN, *(stage.name.lower() for stage in Stage), FILE)
"""A model's states on its way, by name: all but the last run in ONNX Runtime."""

STAGE_SLACK = 10.0
"""States before the file may be this many times as far off as the file: another runtime adds up in another order."""


class StageStates(BaseInstrument):
    """Keeps the graph as it stands after each stage; where a stage changes nothing, that of the one before."""

    def __init__(self) -> None:
        self.models: dict[str, Model] = {}
        self._stage: Stage | None = None
        self._changed = True

    def before_pass(self, item: Pass, model: Model) -> None:
        """Keep the graph where `item` begins a stage."""
        if self._stage is not None and item.stage != self._stage:
            self._keep(model)
        self._stage = item.stage

    def after_pass(self, item: Pass, model: Model, record: PassRecord) -> None:
        """Note whether there is something new to keep."""
        self._changed |= record.rewrites > 0 or record.nodes_before != record.nodes_after

    def _keep(self, model: Model) -> None:
        assert self._stage is not None
        last = next(reversed(self.models.values()), None)
        if last is None or self._changed:
            last = model.clone()
            last.meta.update(model.meta)
        self.models[self._stage.name.lower()] = last
        self._changed = False

    def at(self, state: str) -> Model | None:
        """The graph after the stage of that name, or after the last one before it; None where it is the finished one."""
        if self._stage is None or Stage[state.upper()] >= self._stage:
            return None
        before = [name for name in self.models if Stage[name.upper()] <= Stage[state.upper()]]
        return self.models[before[-1]] if before else None


@dataclasses.dataclass
class Attempt:
    """One conversion for a golden: what it came to, and the states on its way where they were kept."""

    golden: Golden
    target: Target
    model: Model
    recorded: Recorded
    found: Found
    states: StageStates | None

    def at(self, state: str) -> CheckReport:
        """One of STATES except FILE, run in ONNX Runtime, against the recorded outputs.

        Raises:
            NotChecked: ONNX Runtime can't run it.
        """
        reference = self.recorded.open()
        final = NoisePlan.of(self.model, reference)
        if state == ORIGIN:
            noise = final.reference_feeds(self.recorded.samples)(0)

            def original(sample: Sample) -> Mapping[str, Array]:
                given = self.recorded.prepare(sample)
                return reference.run({name: given[name] for name in reference.inputs} | noise)

            return self.recorded.judge({"onnxruntime": original}, self.target.tolerance)
        assert self.states is not None
        model = self.states.at(state) or self.model
        # What a later pass makes of random values is what the outputs were recorded with.
        plan = NoisePlan.of(model, reference, final)
        runners = {"onnxruntime": state_runner(model, plan)}
        return self.recorded.compare(model, plan, runners, tolerance=self.target.tolerance)


def attempt(golden: Golden, target: Target, *, states: bool = False) -> Attempt:
    """Convert the golden's model and run the file on the recorded inputs.

    Raises:
        GraphRewriteError: the model or the recording can't be read, can't be converted any more, or could not run.
    """
    recorded = recorded_outputs(golden, read_recording(golden.samples_path))
    kept = StageStates() if states else None
    with tempfile.TemporaryDirectory(prefix="graphrewrite-golden.") as folder:
        result = convert(golden, target, Path(folder), [] if kept is None else [kept])
        found = found_in(result, target, recorded)
    return Attempt(golden, target, result.model, recorded, found, kept)


def convert(
    golden: Golden, target: Target, folder: Path, instruments: Sequence[BaseInstrument] = ()
) -> Result:
    """The golden's model converted into `folder`; nothing is checked."""
    return run(
        golden.model_path,
        target,
        golden.passes,
        folder / f"model{target.suffix}",
        shape=golden.shape,
        inputs=golden.inputs,
        outputs=golden.outputs,
        image=golden.image,
        normalize=golden.normalize,
        io_layout=golden.io_layout,
        check=False,
        instruments=instruments,
    )


def found_in(result: Result, target: Target, recorded: Recorded) -> Found:
    """What a conversion came to, by the recorded outputs.

    Raises:
        NotChecked: the file could not run.
    """
    assert result.path is not None
    verdict, _ = judge(recorded, result.model, target, result.path)
    return Found.of(result.report, result.model, verdict.outputs)


def recorded_outputs(golden: Golden, recording: Recording) -> Recorded:
    """The original with its recorded outputs.

    Raises:
        UsageError: the recorded inputs do not fit the model, or what is asked of it does not.
        NotChecked: ONNX Runtime can't load it.
    """
    original, model = opening(golden).begin(golden.model_path)
    run_pipeline(model, [item for item in build("none", "") if item.stage == Stage.IMPORT])
    return Recorded.of(original, model, recording)


def opening(golden: Golden) -> Opening:
    """What the golden asks of its model before any pass.

    Raises:
        UsageError: something is not written as it should be.
    """
    return Opening.of(
        golden.shape, golden.inputs, golden.outputs, golden.image, golden.normalize, golden.io_layout
    )
