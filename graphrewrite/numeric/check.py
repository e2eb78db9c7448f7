"""Running a written file against the original and judging every output."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx

from graphrewrite.ir import Array
from graphrewrite.numeric.inputs import Sample
from graphrewrite.numeric.metrics import FP16, FP32, Comparison, Tolerance, compare
from graphrewrite.numeric.reference import Reference

Runner = Callable[[Sample], Mapping[str, Array]]
"""Runs the candidate on one sample; outputs by source name."""

_FORWARDING = frozenset({"Cast", "Identity", "Squeeze", "Unsqueeze", "Reshape", "Flatten"})


@dataclasses.dataclass(frozen=True)
class CheckReport:
    """The verdict. `outputs` holds each output's worst comparison over all samples and runners.

    `weak` says of an output, by name, why its samples prove little.
    """

    passed: bool
    outputs: tuple[Comparison, ...]
    samples: int
    runners: tuple[str, ...]
    failing_runner: str = ""
    failing_sample: int = -1
    weak: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Stable schema of `--json`."""
        return {
            "passed": self.passed,
            "samples": self.samples,
            "runners": list(self.runners),
            "failing_runner": self.failing_runner,
            "failing_sample": self.failing_sample,
            "outputs": [item.to_json() for item in self.outputs],
            "weak": dict(self.weak),
        }


@dataclasses.dataclass(frozen=True)
class Margin:
    """Where an integer output comes from an arg-max or arg-min: the scores' value name, the axis, and which of the two."""

    scores: str
    axis: int
    largest: bool

    def of(self, scores: Array, shape: tuple[int, ...]) -> Array:
        """Distance between the best two scores, in the shape of the output."""
        ordered = np.sort(scores.astype(np.float64), axis=self.axis)
        best, second = (-1, -2) if self.largest else (0, 1)
        if ordered.shape[self.axis] < 2:
            return np.full(shape, np.inf)
        gap = np.abs(ordered.take(best, self.axis) - ordered.take(second, self.axis))
        reshaped: Array = gap.reshape(shape)
        return reshaped


def margins(proto: onnx.ModelProto) -> dict[str, Margin]:
    """Outputs of the source that are the result of ArgMax or ArgMin, through ops that only move elements."""
    producers = {name: node for node in proto.graph.node for name in node.output}
    found = {}
    for output in proto.graph.output:
        node = producers.get(output.name)
        while node is not None and node.op_type in _FORWARDING:
            node = producers.get(node.input[0])
        if node is not None and node.op_type in ("ArgMax", "ArgMin"):
            attributes = {a.name: a.i for a in node.attribute}
            found[output.name] = Margin(
                node.input[0],
                attributes.get("axis", 0),
                node.op_type == "ArgMax",
            )
    return found


def check(
    reference: Reference,
    samples: Sequence[Sample],
    runners: Mapping[str, Runner],
    *,
    tolerance: Tolerance = FP32,
    outputs: Sequence[str] | None = None,
    margin: Mapping[str, Margin] | None = None,
    rounded: frozenset[str] = frozenset(),
    noise: Callable[[int], Sample] | None = None,
    prepare: Callable[[Sample], Sample] = dict,
    first_sample_only: frozenset[str] = frozenset(),
) -> CheckReport:
    """Compare each runner with the reference on each sample.

    Args:
        reference: the source model.
        samples: inputs by source name.
        runners: by name; those in `first_sample_only` run the first sample only (slow second opinions).
        tolerance: for float32 outputs; float16 outputs of the source, and those in `rounded`, are held to FP16.
        outputs: names to compare, all by default.
        margin: see `margins`.
        rounded: outputs that the source computes in float16; see `graphrewrite.numeric.rounded`.
        noise: extra feeds of the reference for sample k (the outputs of random nodes).
        prepare: makes of a sample what the reference takes.

    Raises:
        NotChecked: the reference or a runner could not run.
    """
    names = list(outputs) if outputs is not None else list(reference.outputs)
    scores = {name: item for name, item in (margin or {}).items() if name in names}
    wanted_names = names + [item.scores for item in scores.values()]

    def wanted(index: int) -> Mapping[str, Array]:
        given = prepare(samples[index])
        feeds = {name: given[name] for name in reference.inputs}
        return reference.run(feeds | (noise(index) if noise is not None else {}), dict.fromkeys(wanted_names))

    return check_recorded(
        wanted,
        samples,
        runners,
        names=names,
        tolerance=tolerance,
        margin=scores,
        rounded=rounded,
        first_sample_only=first_sample_only,
    )


def check_recorded(
    wanted: Callable[[int], Mapping[str, Array]],
    samples: Sequence[Sample],
    runners: Mapping[str, Runner],
    *,
    names: Sequence[str],
    tolerance: Tolerance,
    margin: Mapping[str, Margin],
    rounded: frozenset[str] = frozenset(),
    first_sample_only: frozenset[str],
) -> CheckReport:
    """As `check`, by outputs that are known: `wanted(k)` gives those of sample k, and the scores that `margin` names.

    Raises:
        NotChecked: a runner could not run.
    """
    worst: dict[str, Comparison] = {}
    failing = ("", -1)
    strength = _Strength(names, tolerance)
    for index, sample in enumerate(samples):
        known = wanted(index)
        strength.see(known)
        for label, run in runners.items():
            if index > 0 and label in first_sample_only:
                continue
            found = run(sample)
            for name in names:
                item = _compare(name, known, found, margin.get(name), _limit(name, known, rounded, tolerance))
                if not item.passed and failing[1] < 0:
                    failing = (label, index)
                if name not in worst or _badness(item) > _badness(worst[name]):
                    worst[name] = item
    results = tuple(worst[name] for name in names if name in worst)
    passed = all(item.passed for item in results)
    return CheckReport(passed, results, len(samples), tuple(runners), *failing, strength.weak())


class _Strength:
    """What the original's outputs are worth as evidence.

    Where another sample's output would have passed, a file that ignores its inputs would have, too; and NaN matches any NaN.
    """

    def __init__(self, names: Sequence[str], tolerance: Tolerance) -> None:
        self.tolerance = tolerance
        self.samples = 0
        self.first: dict[str, Array | None] = dict.fromkeys(names)
        """The first sample's output, of those that have not differed since."""
        self.infinite = set(names)
        """Outputs without a finite element so far."""

    def see(self, known: Mapping[str, Array]) -> None:
        """Take in the outputs of one more sample."""
        for name in self.infinite & known.keys():
            if known[name].dtype.kind != "f" or not known[name].size or np.isfinite(known[name]).any():
                self.infinite.discard(name)
        for name in [name for name in self.first if name in known]:
            first = self.first[name]
            if first is None:
                self.first[name] = known[name]
            elif not compare(name, first, known[name], self.tolerance).passed:
                del self.first[name]
        self.samples += 1

    def weak(self) -> dict[str, str]:
        """Why, by output."""
        found = {}
        if self.samples > 1:
            text = f"the original gives the same on all {self.samples} samples"
            found = {name: text for name, value in self.first.items() if value is not None and value.size}
        return found | dict.fromkeys(sorted(self.infinite), "the original gives no finite number")


def _compare(
    name: str,
    wanted: Mapping[str, Array],
    found: Mapping[str, Array],
    margin: Margin | None,
    tolerance: Tolerance,
) -> Comparison:
    reference = wanted[name]
    if name not in found:
        return compare(name, reference, np.empty((0,) * max(reference.ndim, 1), reference.dtype), tolerance)
    gap = margin.of(wanted[margin.scores], reference.shape) if margin is not None else None
    return compare(name, reference, np.asarray(found[name]), tolerance, gap)


def _limit(
    name: str, wanted: Mapping[str, Array], rounded: frozenset[str], tolerance: Tolerance
) -> Tolerance:
    """FP16 where the source itself computes in float16, whose roundings another order of sums does not repeat."""
    half = name in rounded or wanted[name].dtype == np.float16
    return FP16 if half and tolerance is FP32 else tolerance


def _badness(item: Comparison) -> tuple[bool, float, float]:
    return (not item.passed, item.required, -item.sqnr)
