"""Judging a state of the graph by running it in ONNX Runtime against the source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from graphrewrite.errors import NotChecked
from graphrewrite.ir import Array, Model, to_runnable_proto
from graphrewrite.numeric.check import Runner
from graphrewrite.numeric.inputs import Sample
from graphrewrite.numeric.metrics import FP32, Tolerance
from graphrewrite.numeric.noise import NoisePlan
from graphrewrite.numeric.original import Original
from graphrewrite.numeric.reference import create_session
from graphrewrite.pipeline.bisect import Verdict

_NO_KERNEL = "NOT_IMPLEMENTED"
"""What ONNX Runtime says of a valid graph that it lacks a kernel for."""


def state_runner(model: Model, plan: NoisePlan) -> Runner:
    """`model`, at any stage between the import and the file, in ONNX Runtime.

    Raises:
        NotChecked: ONNX Runtime can't load it.
    """
    session = create_session(to_runnable_proto(plan.externalised(model)))
    names = [entry.name for entry in session.get_outputs()]

    def run(sample: Sample) -> Mapping[str, Array]:
        return dict(zip(names, session.run(names, sample), strict=True))

    return run


def judge_state(
    original: Original,
    model: Model,
    *,
    tolerance: Tolerance = FP32,
    samples: Sequence[Sample] | None = None,
) -> Verdict:
    """Whether `model`, at any stage between the import and the file, computes what the source does.

    A graph that ONNX Runtime has no kernel for can't be judged; one that it finds invalid, or that fails while it runs, is wrong.

    Raises:
        NotChecked: the source itself can't run.
    """
    plan = NoisePlan.of(model, original.open())
    try:
        runner = state_runner(model, plan)
    except NotChecked as error:
        return Verdict(None if _NO_KERNEL in str(error) else False, str(error))
    try:
        result = original.compare(model, plan, {"onnxruntime": runner}, tolerance=tolerance, samples=samples)
    except NotChecked:
        raise
    except Exception as error:  # ONNX Runtime raises many types
        return Verdict(False, f"ONNX Runtime fails on the graph: {str(error).strip().splitlines()[0][:200]}")
    bad = next((entry for entry in result.outputs if not entry.passed), None)
    return Verdict(True) if bad is None else Verdict(False, f"output '{bad.name}': {bad.problem}")
