"""float16 rounding: which nodes must compute in float32 because the roundings of a whole float16 program add up to too much.

Nothing need be near float16's limits for that: where outputs are small differences of large sums, each layer's 2^-11 grows on
its way. What each rounding alone does to the outputs is measured in ONNX Runtime; independent errors add up in power, so the
nodes behind the largest are kept in float32 until the rest is small enough. Large weights count apart: a node may compute in
float32 with weights that are stored in float16.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx.helper

from graphrewrite.errors import NotChecked
from graphrewrite.ir import (
    Array,
    DataType,
    Model,
    Node,
    Value,
    bodies,
    is_constant,
    keep_float,
    keeps_float,
    quant,
    source_name,
    store_half,
)
from graphrewrite.numeric.check import CheckReport
from graphrewrite.numeric.flat import Flat
from graphrewrite.numeric.half import misfit
from graphrewrite.numeric.inputs import Sample
from graphrewrite.numeric.metrics import Comparison, Tolerance
from graphrewrite.numeric.noise import NoisePlan
from graphrewrite.numeric.original import Original, fed
from graphrewrite.numeric.reference import create_session

_UNITS = 96
"""Roundings measured apart, each in a run of its own; in longer graphs neighbours are measured together."""
_ROUNDS = 4
"""How often nodes are marked, and the file written and checked again."""
_LARGE = 4096
"""Elements from which on a constant counts apart; smaller ones go with the node that reads them."""
_RESERVE = 2.0
"""dB by which the estimate must meet the tolerance, since errors of either sign do not add up in power exactly."""
_SWITCHES = "//switches"


@dataclasses.dataclass(frozen=True)
class RoundingReport:
    """Why nodes compute in float32 though float16 holds all that they compute, and which."""

    sqnr: float
    """dB of the worst output, where nothing is kept in float32 for it."""
    needed: float
    """dB that the tolerance asks for."""
    problem: str
    """What the first check found."""
    rounds: int
    """How often the file was written and checked again."""
    nodes: tuple[str, ...]
    """Source names of the nodes; one node of the source may have become several."""
    kept: int
    """Nodes of the written graph that were marked."""
    total: int
    """All nodes of the written graph."""


@dataclasses.dataclass(frozen=True)
class Unit:
    """Roundings measured together: of inputs, results and large constants, `values`, and of the small constants of `nodes`.

    `cure` are the nodes that compute in float32 so that they do not happen: those that make and those that read what is rounded.
    """

    values: tuple[Value, ...]
    nodes: tuple[Node, ...]
    cure: tuple[Node, ...]


class Rounding:
    """Marks nodes of a lowered `model` (`ir.keeps_float`) until its file meets `tolerance`; the state between checks."""

    def __init__(self, model: Model, original: Original, tolerance: Tolerance) -> None:
        self.model = model
        self.original = original
        self.tolerance = tolerance
        self.report: RoundingReport | None = None
        self._units: list[Unit] = []
        """The loudest first."""
        self._noise: Array = np.zeros((0, 0))
        self._chosen = 0
        self._reserve = _RESERVE
        self._marked: set[Node] = set()

    def mark(self, verdict: CheckReport) -> bool:
        """Mark more nodes after a failed check; False where roundings do not explain it, or there were enough rounds."""
        failed = [item for item in verdict.outputs if not item.passed]
        lacking = [self._shortfall(item) for item in failed]
        rounds = self.report.rounds if self.report is not None else 0
        if not all(map(math.isfinite, lacking)) or rounds == _ROUNDS:
            return False
        if self.report is None:
            units = _units(self.model)
            try:
                noise = _measure(self.model, self.original, units)
            except NotChecked:
                return False
            order = np.argsort(-noise.max(axis=1, initial=0.0), kind="stable")
            self._units, self._noise = [units[index] for index in order], noise[order]
        else:
            self._reserve += max(lacking) + _RESERVE / 2
        limit = 10 ** (-(self.tolerance.sqnr + self._reserve) / 10)
        enough = int(np.count_nonzero(left(self._noise) > limit))
        if rounds:  # what rounds to whole numbers does not add up: an estimate that promises too much is no reason to stop
            enough = max(enough, self._chosen + math.ceil((len(self._units) - self._chosen) / 4))
        if enough == self._chosen:
            return False
        self._chosen = enough
        self._apply()
        self._tell(min(failed, key=lambda item: item.sqnr), rounds + 1)
        return True

    def _apply(self) -> None:
        """Mark what cures the first `_chosen` units; large weights of the others are stored in float16."""
        for unit in self._units[: self._chosen]:
            self._marked.update(unit.cure)
        for node in self._marked:
            keep_float(node)
        for index, unit in enumerate(self._units):
            for value in filter(is_constant, unit.values):
                store_half(value, index >= self._chosen)

    def _shortfall(self, item: Comparison) -> float:
        """dB that lack; infinite where an output is wrong in another way than by an error of some size."""
        if item.mismatch or not math.isfinite(item.sqnr) or not math.isfinite(item.required):
            return math.inf
        peak = 20 * math.log10(item.required / self.tolerance.max_abs) if item.required else 0.0
        return max(self.tolerance.sqnr - item.sqnr, peak)

    def _tell(self, worst: Comparison, rounds: int) -> None:
        first = self.report
        ordered = [node for node in self.model.graph if node in self._marked]
        self.report = RoundingReport(
            first.sqnr if first is not None else worst.sqnr,
            self.tolerance.sqnr,
            first.problem if first is not None else worst.problem,
            rounds,
            tuple(dict.fromkeys(map(source_name, ordered))),
            len(ordered),
            len(self.model.graph),
        )


def left(noise: Array) -> Array:
    """What `noise` [units, outputs] comes to in the worst output without the first k units, for every k [units]."""
    worst: Array = np.cumsum(noise[::-1], axis=0)[::-1].max(axis=1, initial=0.0)
    return worst


def _units(model: Model) -> list[Unit]:
    """The roundings of a float16 program in topological order, without those that marks avoid already."""
    found = [_unit([value], (), model) for value in model.graph.inputs]
    seen: set[Value] = set()
    for node in model.graph:
        for value in node.inputs:
            if value is not None and value not in seen and _is_large(value):
                seen.add(value)
                found.append(_unit([value], (), model))
        found.append(_unit(node.outputs, () if keeps_float(node) else (node,), model))
    found = [unit for unit in found if unit.cure]
    size = -(-len(found) // _UNITS) or 1
    return [_joined(found[start : start + size]) for start in range(0, len(found), size)]


def _is_large(value: Value) -> bool:
    """Whether it is a constant that may be stored in float16 while those that read it compute in float32."""
    tensor = value.const_value if is_constant(value) else None
    if tensor is None or tensor.dtype != DataType.FLOAT or tensor.size < _LARGE or quant(value) is not None:
        return False
    return not any(keeps_float(use.node) for use in value.uses()) and not misfit(tensor.numpy())


def _unit(values: Sequence[Value], nodes: tuple[Node, ...], model: Model) -> Unit:
    rounded, around = [], list(nodes)
    for value in values:
        producer = value.producer()
        touched = [use.node for use in value.uses() if use.node.graph is model.graph]
        touched += [producer] if producer is not None else []
        if value.dtype == DataType.FLOAT and not all(map(keeps_float, touched)):
            rounded.append(value)
            around += touched
    cure = [node for node in dict.fromkeys(around) if not keeps_float(node) and not any(bodies(node))]
    return Unit(tuple(rounded), nodes, tuple(cure))


def _joined(units: Sequence[Unit]) -> Unit:
    return Unit(
        tuple(value for unit in units for value in unit.values),
        tuple(node for unit in units for node in unit.nodes),
        tuple(dict.fromkeys(node for unit in units for node in unit.cure)),
    )


def _measure(model: Model, original: Original, units: Sequence[Unit]) -> Array:
    """Noise power over signal power [units, float outputs] that each unit alone adds, on the sample where all add most.

    Raises:
        NotChecked: ONNX Runtime can't run the source or the graph.
    """
    plan = NoisePlan.of(model, original.open())
    flat = Flat.of(plan.externalised(model))
    outputs = [item.name for item in flat.proto.graph.output if flat.types.get(item.name) == _FLOAT]
    session = create_session(_switched(flat, units))
    switches = np.zeros(len(units), np.bool_)

    def run(sample: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            found = session.run(outputs, {**sample, _SWITCHES: switches})
        except Exception as error:  # ONNX Runtime raises many types; each means that nothing is measured
            raise NotChecked(f"ONNX Runtime fails on the graph: {str(error).strip()[:200]}") from error
        return dict(zip(outputs, found, strict=True))

    runner = fed(run, plan, model)

    def noise(sample: Sample, exact: Mapping[str, Array], on: slice) -> list[float]:
        switches[on] = True
        moved = runner(sample)
        switches[on] = False
        return [_power(exact[name], moved[name]) for name in outputs]

    worst = max(
        original.samples, key=lambda sample: max(noise(sample, runner(sample), slice(None)), default=0.0)
    )
    exact = runner(worst)
    return np.array([noise(worst, exact, slice(index, index + 1)) for index in range(len(units))])


def _power(exact: Array, moved: Array) -> float:
    """Of the error, relative to the signal; infinite where rounding makes an end of a finite number."""
    finite = np.isfinite(exact)
    signal = float(np.square(exact[finite], dtype=np.float64).sum())
    error = float(np.square(moved[finite].astype(np.float64) - exact[finite]).sum())
    if not signal or not error:
        return 0.0
    return error / signal if math.isfinite(error) else math.inf


_FLOAT = onnx.TensorProto.FLOAT


def _branch(nodes: Sequence[onnx.NodeProto]) -> onnx.GraphProto:
    """A graph that gives the last node's result."""
    name = nodes[-1].output[0]
    output = onnx.helper.make_tensor_value_info(name, _FLOAT, None)
    return onnx.helper.make_graph(nodes, name, [], [output])


def _switched(flat: Flat, units: Sequence[Unit]) -> onnx.ModelProto:
    """The graph with one more input, bools [units]: where one is set, what its unit rounds is rounded."""
    graph = flat.proto.graph
    by_value = {value.name: index for index, unit in enumerate(units) for value in unit.values}
    by_node = {node.name: index for index, unit in enumerate(units) for node in unit.nodes}
    constants = {item.name for item in graph.initializer if item.data_type == _FLOAT} - by_value.keys()
    old = list(graph.node)
    del graph.node[:]
    graph.input.append(onnx.helper.make_tensor_value_info(_SWITCHES, onnx.TensorProto.BOOL, [len(units)]))

    def add(op_type: str, inputs: list[str], name: str, **attributes: Any) -> str:
        graph.node.append(onnx.helper.make_node(op_type, inputs, [name], **attributes))
        return name

    for index in range(len(units)):
        place = add("Constant", [], f"{_SWITCHES}/{index}/place", value_int=index)
        add("Gather", [_SWITCHES, place], f"{_SWITCHES}/{index}")

    def rounded(name: str, index: int, result: str) -> str:
        half = onnx.helper.make_node("Cast", [name], [f"{result}//half"], to=onnx.TensorProto.FLOAT16)
        wide = onnx.helper.make_node("Cast", [half.output[0]], [f"{result}//wide"], to=_FLOAT)
        exact = onnx.helper.make_node("Identity", [name], [f"{result}//same"])
        branches = {"then_branch": _branch([half, wide]), "else_branch": _branch([exact])}
        return add("If", [f"{_SWITCHES}/{index}"], result, **branches)

    given = {
        item.name: rounded(item.name, by_value[item.name], f"{item.name}//rounded")
        for item in [*graph.input, *graph.initializer]
        if item.name in by_value
    }
    for owner, group in itertools.groupby(old, lambda node: flat.owners.get(node.output[0], "")):
        operator = list(group)
        unit = by_node.get(owner)
        read = dict.fromkeys(name for node in operator for name in node.input if name in constants)
        own = {name: rounded(name, unit, f"{owner}//{name}") for name in read} if unit is not None else {}
        made = [name for node in operator for name in node.output if name in by_value]
        exact = {name: f"{name}//exact" for name in made}
        for node in operator:
            node.input[:] = [(own | exact).get(name, given.get(name, name)) for name in node.input]
            node.output[:] = [exact.get(name, name) for name in node.output]
            graph.node.append(node)
        for name in made:
            rounded(exact[name], by_value[name], name)
    return flat.proto
