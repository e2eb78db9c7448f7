"""float16 rounding: which nodes must compute in float32 because the roundings of a whole float16 program add up to too much.

Nothing need be near float16's limits for that: where outputs are small differences of large sums, each layer's 2^-11 grows on
its way. What each rounding alone does to the outputs is measured in ONNX Runtime; independent errors add up in power, so the
nodes behind the largest are kept in float32 until the rest is small enough.
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
from graphrewrite.ir import Array, DataType, Model, Node, Value, bodies, keep_float, keeps_float, source_name
from graphrewrite.numeric.check import CheckReport
from graphrewrite.numeric.flat import Flat
from graphrewrite.numeric.metrics import Comparison, Tolerance
from graphrewrite.numeric.noise import NoisePlan
from graphrewrite.numeric.original import Original, fed
from graphrewrite.numeric.reference import create_session

_UNITS = 128
"""Roundings measured apart, each in a run of its own; in longer graphs neighbours are measured together."""
_ROUNDS = 4
"""How often nodes are marked, and the file written and checked again."""
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
    """Roundings that are measured together: of the inputs or results `values`, and of the constants that `nodes` read.

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
        self._noise: Array = np.zeros((0, 0))
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
            self._units = _units(self.model)
            try:
                self._noise = _measure(self.model, self.original, self._units)
            except NotChecked:
                return False
        else:
            self._reserve += max(lacking) + _RESERVE / 2
        limit = 10 ** (-(self.tolerance.sqnr + self._reserve) / 10)
        chosen = {node for index in cheapest(self._noise, limit) for node in self._units[index].cure}
        new = chosen - self._marked
        for node in new:
            keep_float(node)
        self._marked |= new
        if new:
            self._tell(min(failed, key=lambda item: item.sqnr), rounds + 1)
        return bool(new)

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


def cheapest(noise: Array, limit: float) -> list[int]:
    """The fewest rows to take out of `noise` [units, outputs], the loudest first, so that no column's sum exceeds `limit`."""
    order = np.argsort(-noise.max(axis=1, initial=0.0), kind="stable")
    left = np.cumsum(noise[order][::-1], axis=0)[::-1].max(axis=1, initial=0.0)
    return [int(index) for index in order[: np.count_nonzero(left > limit)]]


def _units(model: Model) -> list[Unit]:
    """The roundings of a float16 program in topological order, without those that marks avoid already."""
    found = [_unit(value, (), model) for value in model.graph.inputs]
    for node in model.graph:
        found.append(_unit(node.outputs, () if keeps_float(node) else (node,), model))
    found = [unit for unit in found if unit.cure]
    size = -(-len(found) // _UNITS) or 1
    return [_joined(found[start : start + size]) for start in range(0, len(found), size)]


def _unit(made: Value | Sequence[Value], nodes: tuple[Node, ...], model: Model) -> Unit:
    values = [made] if isinstance(made, Value) else made
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
    """Noise power over signal power [units, samples * float outputs] that each unit alone adds at the outputs.

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
    noise = np.zeros((len(units), len(original.samples) * len(outputs)))
    for place, sample in enumerate(original.samples):
        exact = runner(sample)
        for index in range(len(units)):
            switches[index] = True
            moved = runner(sample)
            switches[index] = False
            columns = slice(place * len(outputs), (place + 1) * len(outputs))
            noise[index, columns] = [_power(exact[name], moved[name]) for name in outputs]
    return noise


def _power(exact: Array, moved: Array) -> float:
    """Of the error, relative to the signal; infinite where rounding makes an end of a finite number."""
    finite = np.isfinite(exact)
    signal = float(np.square(exact[finite], dtype=np.float64).sum())
    error = float(np.square(moved[finite].astype(np.float64) - exact[finite]).sum())
    if not signal or not error:
        return 0.0
    return error / signal if math.isfinite(error) else math.inf


_FLOAT = onnx.TensorProto.FLOAT


def _switched(flat: Flat, units: Sequence[Unit]) -> onnx.ModelProto:
    """The graph with one more input, bools [units]: where one is set, what its unit rounds is rounded."""
    graph = flat.proto.graph
    by_value = {value.name: index for index, unit in enumerate(units) for value in unit.values}
    by_node = {node.name: index for index, unit in enumerate(units) for node in unit.nodes}
    constants = {item.name for item in graph.initializer if item.data_type == _FLOAT}
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
        half = add("Cast", [name], f"{result}//half", to=onnx.TensorProto.FLOAT16)
        wide = add("Cast", [half], f"{result}//wide", to=_FLOAT)
        return add("Where", [f"{_SWITCHES}/{index}", wide, name], result)

    inputs = {
        item.name: rounded(item.name, by_value[item.name], f"{item.name}//rounded")
        for item in graph.input
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
            node.input[:] = [(own | exact).get(name, inputs.get(name, name)) for name in node.input]
            node.output[:] = [exact.get(name, name) for name in node.output]
            graph.node.append(node)
        for name in made:
            rounded(exact[name], by_value[name], name)
    return flat.proto
