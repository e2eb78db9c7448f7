"""Recorded inputs and outputs: an .npz of `sample0.input.NAME`, `sample0.output.NAME` and so on.

Beside them may lie `sample0.scores.NAME`: the values that an arg-max of the model chose from, so that a near tie may be decided
either way (see `graphrewrite.numeric.check.margins`).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from graphrewrite.errors import UsageError
from graphrewrite.ir import Array, Model
from graphrewrite.numeric.check import CheckReport, Runner, check_recorded
from graphrewrite.numeric.inputs import Sample, checked_sample, read_arrays
from graphrewrite.numeric.metrics import FP32, Tolerance
from graphrewrite.numeric.noise import NoisePlan
from graphrewrite.numeric.npz import save_npz
from graphrewrite.numeric.original import Original, fed
from graphrewrite.numeric.rounded import rounded_outputs

_KEY = re.compile(r"sample(\d+)\.(input|output|scores)\.(.+)", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Recording:
    """Samples and, for each, the outputs that were recorded and the scores behind an arg-max, by name."""

    samples: list[Sample]
    outputs: list[dict[str, Array]]
    scores: list[dict[str, Array]]

    def write(self, path: Path) -> None:
        """Write the .npz."""
        arrays: dict[str, Array] = {}
        for kind, entries in (("input", self.samples), ("output", self.outputs), ("scores", self.scores)):
            for index, entry in enumerate(entries):
                arrays |= {f"sample{index}.{kind}.{name}": array for name, array in entry.items()}
        save_npz(path, arrays)


def read_recording(path: Path) -> Recording:
    """What `path` holds.

    Raises:
        UsageError: it can't be read, or holds no outputs.
    """
    found: dict[int, dict[str, dict[str, Array]]] = {}
    for key, array in read_arrays(path).items():
        match = _KEY.fullmatch(key)
        if match is not None:
            entry = found.setdefault(int(match[1]), {"input": {}, "output": {}, "scores": {}})
            entry[match[2]][match[3]] = array
    entries = [found[index] for index in sorted(found)]
    if not entries or not all(entry["output"] for entry in entries):
        raise UsageError(f"'{path}' holds no recorded outputs: they are called sample0.output.NAME")
    return Recording(*([entry[kind] for entry in entries] for kind in ("input", "output", "scores")))


def framework_outputs(
    path: Path, names: Sequence[str], samples: Sequence[Sample]
) -> list[dict[str, Array]] | None:
    """Outputs that the user's .npz of samples brings along, by sample; None where it has none.

    They are called `sample0.output.NAME` and so on, or in an .npz of a single sample like the outputs themselves.

    Raises:
        UsageError: some are there and others missing.
    """
    content = read_arrays(path)
    found = []
    for index in range(len(samples)):
        keys = {name: f"sample{index}.output.{name}" for name in names}
        if len(samples) == 1 and not any(key in content for key in keys.values()):
            keys = {name: name for name in names}
        found.append({name: content[key] for name, key in keys.items() if key in content})
    if not any(found):
        return None
    missing = [
        f"'{name}' of sample {k}" for k, entry in enumerate(found) for name in names if name not in entry
    ]
    if missing:
        raise UsageError(f"'{path}' brings outputs, but not {', '.join(missing[:5])}")
    return found


@dataclasses.dataclass
class Recorded(Original):
    """A source model whose outputs are those that were recorded."""

    recording: Recording = dataclasses.field(kw_only=True)

    @classmethod
    def of(cls, original: Original, model: Model, recording: Recording) -> Recorded:
        """`model` is the imported source.

        Raises:
            UsageError: the recorded inputs do not fit the model's.
            NotChecked: ONNX Runtime can't load the source.
        """
        fields = {field.name: getattr(original, field.name) for field in dataclasses.fields(original)}
        made = cls(**fields, recording=recording)
        run_time = made.open().inputs
        inputs = {value.name: value for value in model.graph.inputs if value.name in run_time}
        made.rounded = rounded_outputs(model)
        made.samples = [checked_sample(sample, inputs, "the golden") for sample in recording.samples]
        return made

    def compare(
        self,
        model: Model,
        plan: NoisePlan,
        runners: Mapping[str, Runner],
        *,
        tolerance: Tolerance = FP32,
        samples: Sequence[Sample] | None = None,
    ) -> CheckReport:
        """Judge `runners` of what `model` became by the recorded outputs; see `Original.compare`."""
        return self.judge(
            {name: fed(runner, plan, model) for name, runner in runners.items()}, tolerance, samples
        )

    def judge(
        self, runners: Mapping[str, Runner], tolerance: Tolerance, samples: Sequence[Sample] | None = None
    ) -> CheckReport:
        """Judge runners that take and give the source's own values; `samples` are the first ones of the recording.

        Raises:
            NotChecked: one could not run.
        """
        self.open()
        recorded = self.recording
        held = set(recorded.scores[0])
        return check_recorded(
            lambda index: recorded.outputs[index] | recorded.scores[index],
            self.samples if samples is None else samples,
            runners,
            names=list(recorded.outputs[0]),
            tolerance=tolerance,
            margin={name: item for name, item in self.margin.items() if item.scores in held},
            rounded=self.rounded,
            first_sample_only=frozenset(list(runners)[1:]),
        )
