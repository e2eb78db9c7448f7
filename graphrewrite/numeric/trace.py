"""The error along a pipeline: every state runs, so each pass can be held against the state before it and the source."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphrewrite.errors import NotChecked
from graphrewrite.ir import Array, Model, to_runnable_proto
from graphrewrite.numeric.inputs import Sample
from graphrewrite.numeric.metrics import FP16, FP32, Comparison, Tolerance, compare
from graphrewrite.numeric.noise import NoisePlan
from graphrewrite.numeric.original import Original, fed, feeder
from graphrewrite.numeric.reference import create_session
from graphrewrite.numeric.values import compare_values, state_probe, state_values
from graphrewrite.pipeline import PassRecord, Stage
from graphrewrite.pipeline.diff import GraphDiff
from graphrewrite.rewrite.names import GENERATED


@dataclasses.dataclass(frozen=True)
class StageError:
    """One output after one pass.

    Attributes:
        output: its name.
        added: against the state before the pass; None where that could not run, or the pass changed the noise that is fed.
        total: against the source model.
    """

    output: str
    added: Comparison | None
    total: Comparison

    def to_json(self) -> dict[str, Any]:
        """As in `graphrewrite diff --json`."""
        return {
            "output": self.output,
            "added": self.added.to_json() if self.added is not None else None,
            "total": self.total.to_json(),
        }


class NumericTrace:
    """Runs the graph after each pass in ONNX Runtime, on one sample.

    `stages` holds what was found, by the pass's number; `problems` why a state could not run.
    """

    def __init__(
        self,
        original: Original,
        samples: Sequence[Sample] | str | os.PathLike[str] | None = None,
        seed: int = 0,
        tolerance: Tolerance = FP32,
    ) -> None:
        self.stages: dict[int, list[StageError]] = {}
        self.problems: dict[int, str] = {}
        self._original = original
        self._samples, self._seed = samples, seed
        self._tolerance = tolerance
        self._before: Mapping[str, Array] = {}
        self._fixed: dict[str, Array] = {}
        self._wanted: dict[str, Array] | None = None

    def changed(self, found: GraphDiff, model: Model, record: PassRecord) -> None:
        """The pass of `record` made `model` what it is.

        Raises:
            NotChecked: the source model can't run.
            UsageError: the samples do not fit its inputs.
        """
        if not self._original.samples:  # integer inputs can still be followed to their use
            self._original.draw(model, self._samples, self._seed)
        reference, sample = self._original.open(), self._original.samples[0]
        if record.stage == Stage.IMPORT:  # the ends are still the source's
            sample = self._original.prepare(sample)
        plan = NoisePlan.of(model, reference)
        if self._wanted is None or plan.fixed.keys() != self._fixed.keys():
            first = self._wanted is None and not plan.fixed
            self._wanted, self._fixed = self._reference(plan), plan.fixed
            self._before = self._wanted if first else {}
        before, self._before = self._before, {}
        try:
            after = fed(_runner(plan.externalised(model)), plan, model)(sample)
        except NotChecked as error:
            self.problems[record.index] = str(error)
            return
        self.stages[record.index] = [
            StageError(
                name,
                self._compare(name, before[name], after) if name in before else None,
                self._compare(name, self._wanted[name], after),
            )
            for name in reference.outputs
        ]
        self._before = after

    def _reference(self, plan: NoisePlan) -> dict[str, Array]:
        """The source's outputs, and the scores behind those that are the result of an arg-max."""
        reference, sample = self._original.open(), self._original.samples[0]
        given = self._original.prepare(sample)
        feeds = {name: given[name] for name in reference.inputs} | plan.reference_feeds([sample])(0)
        scores = [item.scores for item in self._original.margin.values()]
        return reference.run(feeds, dict.fromkeys([*reference.outputs, *scores]))

    def _compare(self, name: str, wanted: Array, found: Mapping[str, Array]) -> Comparison:
        tolerance = FP16 if wanted.dtype == np.float16 and self._tolerance is FP32 else self._tolerance
        margin = self._original.margin.get(name)
        gap = None
        if margin is not None and self._wanted is not None:
            gap = margin.of(self._wanted[margin.scores], wanted.shape)
        got = found.get(name)
        return compare(name, wanted, np.empty(0, wanted.dtype) if got is None else got, tolerance, gap)

    def values(self, model: Model) -> dict[str, Comparison]:
        """Every value of `model` that bears the name of a value of the source, against that.

        A name that a pass made up is left out, though the source may have had one like it. Empty where one side can't run with
        those values as outputs.
        """
        if not self._original.samples:
            return {}
        plan = NoisePlan.of(model, self._original.open())
        made = {value.name for node in model.graph for value in node.outputs if value.meta.get(GENERATED)}
        state = plan.externalised(model)
        perms = {name: perm for name, perm in state_values(state).items() if name not in made}
        sample = self._original.samples[0]
        try:
            found = compare_values(
                self._original,
                state_probe(state),
                perms,
                perms=perms,
                tolerance=self._tolerance,
                feed=feeder(plan, model),
                noise=plan.reference_feeds([sample])(0),
            )
        except NotChecked:
            return {}
        return {item.name: item for item in found}


def _runner(model: Model) -> Any:
    session = create_session(to_runnable_proto(model))
    names = [entry.name for entry in session.get_outputs()]

    def run(sample: Sample) -> Mapping[str, Array]:
        try:
            return dict(zip(names, session.run(names, sample), strict=True))
        except (
            Exception
        ) as error:  # ONNX Runtime raises many types; each means that this state can't be judged
            raise NotChecked(f"ONNX Runtime fails on the graph: {str(error).strip()[:200]}") from error

    return run
