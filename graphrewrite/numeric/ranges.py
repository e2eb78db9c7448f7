"""float16 safety: which values and sums of a graph come near float16's limits on the check's samples.

Every value of the rewritten graph is reduced to its extremes in ONNX Runtime, so that nothing but scalars leaves the session;
then so are the sums inside those operators whose weights and operands do not exclude large ones.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from graphrewrite.errors import NotChecked
from graphrewrite.ir import (
    DataType,
    Model,
    Node,
    Value,
    bodies,
    constant_array,
    keep_float,
    source_name,
)
from graphrewrite.numeric.accumulate import suspects
from graphrewrite.numeric.flat import Flat
from graphrewrite.numeric.half import LARGEST, ROUNDING, SMALLEST_NORMAL, misfit
from graphrewrite.numeric.noise import NoisePlan
from graphrewrite.numeric.original import Original, fed
from graphrewrite.numeric.probes import Extremes, Misfit, Probes, SumProbes, ValueProbes
from graphrewrite.numeric.reference import create_session
from graphrewrite.numeric.rounding import RoundingReport

MARGIN = 4.0
"""How near to the limit a value is reported, and kept in float32: other inputs may give more than the samples do."""


@dataclasses.dataclass(frozen=True)
class Hazard:
    """One thing that float16 may not hold.

    `kind` is `value` (an operator's result), `sum` (an upper estimate of what the operator adds up inside), `underflow` (a result
    wholly below float16's normal range) or `constant`. `size` is the largest absolute value over all samples.
    """

    kind: str
    value: str
    node: str
    """Source name of the node that computes the value, or reads the constant."""
    op: str
    size: float
    kept: bool
    """Whether nodes were marked to stay in float32 for it."""
    reason: str

    def to_json(self) -> dict[str, Any]:
        """Plain numbers and words; an infinite size becomes a string that JSON can hold."""
        found = dataclasses.asdict(self)
        return found | {"size": self.size if math.isfinite(self.size) else str(self.size)}


@dataclasses.dataclass(frozen=True)
class HalfReport:
    """What `examine` found; the worst first."""

    samples: int
    hazards: tuple[Hazard, ...]
    kept: tuple[str, ...]
    """Source names of the nodes that must stay in float32 in a float16 program."""
    unmeasured: tuple[str, ...]
    """Source names of the nodes that hold graphs: values inside of those are not seen."""
    problem: str = ""
    """Why nothing was measured; empty where it was."""
    rounding: RoundingReport | None = None
    """Of the nodes that compute in float32 since the roundings of all together were too much; None where there are none."""

    def to_json(self) -> dict[str, Any]:
        """Stable schema of the report's field `half`."""
        return dataclasses.asdict(self) | {"hazards": [item.to_json() for item in self.hazards]}


def _misfits(model: Model) -> dict[str, Misfit]:
    found = {}
    for value in model.graph.initializers.values():
        array = constant_array(value) if value.dtype == DataType.FLOAT else None
        reason = misfit(array) if array is not None else ""
        readers = tuple(dict.fromkeys(use.node for use in value.uses() if use.node.graph is model.graph))
        if reason and readers and array is not None:
            size = float(np.abs(array[np.isfinite(array)]).max(initial=0.0))
            found[value.name or ""] = Misfit(value, size, reason, readers)
    return found


def examine(model: Model, original: Original) -> HalfReport:
    """Measure `model` on the samples of `original`, and mark the nodes that must stay in float32 (`ir.keeps_float`).

    A node is marked where its result, or one that it reads, comes within `MARGIN` of float16's largest value or lies below its
    normal range, where a constant that it reads does not fit, or where the sums inside of it may overflow. Two marked nodes pass
    their value on in float32; every other value may be float16.
    """
    holders = tuple(source_name(node) for node in model.graph if any(bodies(node)))
    misfits = _misfits(model)
    try:
        measured = _measure(model, original, misfits)
    except NotChecked as error:
        return HalfReport(0, (), (), holders, str(error))
    found = _Judgement(model, measured)
    found.constants(misfits.values())
    found.values()
    kept = [node for node in model.graph if node in found.marked]
    for node in kept:
        keep_float(node)
    worst = sorted(found.hazards, key=lambda item: (not item.kept, -item.size))
    names = dict.fromkeys(source_name(node) for node in kept)
    return HalfReport(len(original.samples), tuple(worst), tuple(names), holders)


class _Judgement:
    """Turns extremes into hazards and the nodes to mark."""

    def __init__(self, model: Model, measured: Mapping[str, Extremes]) -> None:
        self.model = model
        self.measured = measured
        self.hazards: list[Hazard] = []
        self.marked: set[Node] = set()

    def constants(self, misfits: Iterable[Misfit]) -> None:
        """A constant only counts where rounding it changes a result: an epsilon beside large values does not."""
        for item in misfits:
            readers = [node for node in item.readers if self._shift(item.key(node.name or "")) > ROUNDING]
            if readers:
                self._add("constant", item.value, readers[0], item.size, readers, item.reason)

    def _shift(self, key: str) -> float:
        return self.measured[key].shift if key in self.measured else math.inf

    def values(self) -> None:
        for value in self._computed():
            extremes = self.measured.get(value.name or "")
            if extremes is None:
                continue
            node = value.producer()
            around = [use.node for use in value.uses() if use.node.graph is self.model.graph]
            if node is not None:
                around.append(node)
            if not around:
                continue
            at, size = node or around[0], extremes.largest
            if size * MARGIN >= LARGEST:
                how = "beyond" if size > LARGEST else f"within a factor of {MARGIN:g} of"
                self._add("value", value, at, size, around, f"{size:.3g} is {how} float16's largest, 65504")
            elif 0 < size < SMALLEST_NORMAL:
                reason = f"no value is above {size:.3g}; float16's normal range ends at 6.1e-05"
                self._add("underflow", value, at, size, around, reason)
            if node is not None and extremes.summed * MARGIN >= LARGEST:
                over = extremes.summed > LARGEST
                reason = f"its partial sums may reach {extremes.summed:.3g}" + (
                    "" if over else ", near 65504"
                )
                self._add("sum", value, node, extremes.summed, [node] if over else [], reason)

    def _computed(self) -> Iterable[Value]:
        yield from self.model.graph.inputs
        for node in self.model.graph:
            yield from node.outputs

    def _add(self, kind: str, value: Value, node: Node, size: float, marked: list[Node], reason: str) -> None:
        self.marked.update(marked)
        found = Hazard(kind, value.name or "", source_name(node), node.op_type, size, bool(marked), reason)
        self.hazards.append(found)


def _measure(model: Model, original: Original, misfits: Mapping[str, Misfit]) -> dict[str, Extremes]:
    """Extremes of every value of the main graph by name.

    Raises:
        NotChecked: ONNX Runtime can't run the source or the graph.
    """
    plan = NoisePlan.of(model, original.open())
    twin = plan.externalised(model)
    found = _run(ValueProbes(Flat.of(twin), misfits, ()), plan, model, original)
    if found.infinite:  # they are the same in float16: what counts is the largest of the other values
        found = _run(ValueProbes(Flat.of(twin), misfits, found.infinite), plan, model, original)
    flat = Flat.of(twin)
    wanted = suspects(flat, found.largest, LARGEST / MARGIN)
    if wanted:
        sums = _run(SumProbes(flat, wanted), plan, model, original)
        for name, extremes in sums.values.items():
            entry = found.values.setdefault(name, Extremes())
            entry.summed = max(entry.summed, extremes.summed)
    return found.values


@dataclasses.dataclass
class _Measured:
    """Extremes of the graph's values by name; the largest absolute value of every flat one; those that had infinite elements."""

    values: dict[str, Extremes] = dataclasses.field(default_factory=dict)
    largest: dict[str, float] = dataclasses.field(default_factory=dict)
    infinite: set[str] = dataclasses.field(default_factory=set)


def _run(probes: Probes, plan: NoisePlan, model: Model, original: Original) -> _Measured:
    session = create_session(probes.proto)
    names = list(probes.outputs)
    found = _Measured()

    def run(sample: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            return dict(zip(names, session.run(names, sample), strict=True))
        except Exception as error:  # ONNX Runtime raises many types; each means that there are no ranges
            raise NotChecked(f"ONNX Runtime fails on the graph: {str(error).strip()[:200]}") from error

    runner = fed(run, plan, model)
    for sample in original.samples:
        for name, scalar in runner(sample).items():
            probe = probes.outputs[name]
            probe.note(float(scalar), found.values)
            if probe.extreme == "shift":
                continue
            if math.isinf(scalar):
                found.infinite.add(probe.source)
            elif abs(scalar) >= found.largest.get(probe.source, 0.0):
                found.largest[probe.source] = float(abs(scalar))
    return found
