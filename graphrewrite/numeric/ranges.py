"""float16 safety: which values and sums of a graph come near float16's limits on the check's samples.

Every value of the rewritten graph, and every sum inside its operators, is reduced to its extremes within one ONNX Runtime
session, so that nothing but scalars leaves it and memory stays what a plain run needs.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper

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
from graphrewrite.numeric.accumulate import estimate
from graphrewrite.numeric.flat import Flat
from graphrewrite.numeric.half import LARGEST, ROUNDING, SMALLEST_NORMAL, misfit
from graphrewrite.numeric.noise import NoisePlan
from graphrewrite.numeric.original import Original, fed
from graphrewrite.numeric.reference import create_session

MARGIN = 4.0
"""How near to the limit a value is reported, and kept in float32: other inputs may give more than the samples do."""

_SENTINEL = 1e38
"""Padding of maxima inside operators; no value that anyone computes with."""

_FLOATS = frozenset(
    {
        onnx.TensorProto.FLOAT,
        onnx.TensorProto.DOUBLE,
        onnx.TensorProto.FLOAT16,
        onnx.TensorProto.BFLOAT16,
    }
)


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

    def to_json(self) -> dict[str, Any]:
        """Stable schema of the report's field `half`."""
        return dataclasses.asdict(self) | {"hazards": [item.to_json() for item in self.hazards]}


@dataclasses.dataclass
class _Extremes:
    """Over all samples: the largest absolute value, and that of the sums behind it.

    Of a misfit and its reader (see `_Misfit.key`) `shift` is by how much the result changes, relatively, where the constant is
    rounded to float16.
    """

    largest: float = 0.0
    summed: float = 0.0
    shift: float = 0.0


@dataclasses.dataclass(frozen=True)
class _Misfit:
    """A constant that float16 can't hold, and the nodes of the main graph that read it."""

    value: Value
    size: float
    reason: str
    readers: tuple[Node, ...]

    def key(self, reader: str) -> str:
        """Name of the measurement of the node called `reader`."""
        return f"{self.value.name}@{reader}"


def _misfits(model: Model) -> dict[str, _Misfit]:
    found = {}
    for value in model.graph.initializers.values():
        array = constant_array(value) if value.dtype == DataType.FLOAT else None
        reason = misfit(array) if array is not None else ""
        readers = tuple(dict.fromkeys(use.node for use in value.uses() if use.node.graph is model.graph))
        if reason and readers and array is not None:
            size = float(np.abs(array[np.isfinite(array)]).max(initial=0.0))
            found[value.name or ""] = _Misfit(value, size, reason, readers)
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

    def __init__(self, model: Model, measured: Mapping[str, _Extremes]) -> None:
        self.model = model
        self.measured = measured
        self.hazards: list[Hazard] = []
        self.marked: set[Node] = set()

    def constants(self, misfits: Iterable[_Misfit]) -> None:
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


def _measure(model: Model, original: Original, misfits: Mapping[str, _Misfit]) -> dict[str, _Extremes]:
    """Extremes of every value of the main graph by name.

    Raises:
        NotChecked: ONNX Runtime can't run the source or the graph.
    """
    plan = NoisePlan.of(model, original.open())
    twin = plan.externalised(model)
    found, infinite = _run(_Probes(Flat.of(twin), misfits, frozenset()), plan, model, original)
    if infinite:  # they are the same in float16: what counts is the largest of the other values
        found, _ = _run(_Probes(Flat.of(twin), misfits, infinite), plan, model, original)
    return found


def _run(
    probes: _Probes, plan: NoisePlan, model: Model, original: Original
) -> tuple[dict[str, _Extremes], frozenset[str]]:
    """The extremes, and the names of the values that had infinite ones."""
    session = create_session(probes.proto)
    names = list(probes.outputs)
    found: dict[str, _Extremes] = {}
    infinite: set[str] = set()

    def run(sample: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            return dict(zip(names, session.run(names, sample), strict=True))
        except Exception as error:  # ONNX Runtime raises many types; each means that there are no ranges
            raise NotChecked(f"ONNX Runtime fails on the graph: {str(error).strip()[:200]}") from error

    runner = fed(run, plan, model)
    for sample in original.samples:
        for name, scalar in runner(sample).items():
            probe = probes.outputs[name]
            probe.note(float(scalar), found)
            if math.isinf(scalar) and probe.extreme != "shift":
                infinite.add(probe.source)
    return found, frozenset(infinite)


@dataclasses.dataclass(frozen=True)
class _Probe:
    """One scalar of the value `source`: which extreme of which value of the graph it is, and a factor for it."""

    source: str
    value: str
    extreme: str
    factor: float = 1.0

    def note(self, scalar: float, found: dict[str, _Extremes]) -> None:
        """Take it in; what is no number (of an empty tensor, too) says nothing."""
        if self.extreme != "shift" and not math.isfinite(scalar):
            return
        if self.extreme == "summed" and abs(scalar) >= _SENTINEL:
            return
        entry = found.setdefault(self.value, _Extremes())
        size = math.inf if math.isnan(scalar) else abs(scalar) * self.factor
        setattr(entry, self.extreme, max(getattr(entry, self.extreme), size))


class _Probes:
    """A flat graph with the extremes of its values as its outputs; infinities of the values `masked` are left out."""

    def __init__(self, flat: Flat, misfits: Mapping[str, _Misfit], masked: frozenset[str]) -> None:
        self.flat = flat
        self.misfits = misfits
        self.masked = masked
        self.proto = flat.proto
        self.outputs: dict[str, _Probe] = {}
        self._results: dict[str, str] = {}
        for name, owner in flat.owners.items():
            if not flat.is_inside(name):
                self._results.setdefault(owner, name)
        graph = self.proto.graph
        nodes = list(graph.node)
        constants = {item.name for item in graph.initializer}
        del graph.output[:]
        del graph.node[:]
        for item in graph.input:
            if item.name not in constants:
                self._extremes(item.name)
        for _, group in itertools.groupby(nodes, lambda node: flat.owners.get(node.output[0], "")):
            self._operator(list(group))

    def _operator(self, nodes: list[onnx.NodeProto]) -> None:
        """The nodes of one operator, and right behind them its probes, so that its results need not be kept for longer."""
        for node in nodes:
            self.proto.graph.node.append(node)
            if node.op_type != "Constant":
                for name in filter(None, node.output):
                    self._extremes(name)
                self._sums(node)
        read = {name for node in nodes for name in node.input}
        for name in sorted(read & self.misfits.keys()):
            self._shift(nodes, self.misfits[name])

    def _shift(self, nodes: list[onnx.NodeProto], item: _Misfit) -> None:
        """The operator once more, with the constant rounded: how far its results move, relative to each element."""
        constant = item.value.name or ""
        tag = f"//rounded/{constant}"
        array = constant_array(item.value)
        assert array is not None
        with np.errstate(over="ignore"):
            rounded = array.astype(np.float16).astype(np.float32)
        self.proto.graph.initializer.append(
            onnx.numpy_helper.from_array(rounded, f"{nodes[0].output[0]}{tag}")
        )
        names = {name: f"{name}{tag}/out" for node in nodes for name in node.output if name}
        names[constant] = f"{nodes[0].output[0]}{tag}"
        for node in nodes:
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            copy.name = f"{node.name}{tag}"
            copy.input[:] = [names.get(name, name) for name in node.input]
            copy.output[:] = [names.get(name, name) for name in node.output]
            self.proto.graph.node.append(copy)
        owner = self.flat.owners.get(nodes[0].output[0], "")
        for name in names.keys() - {constant}:
            if self.flat.types.get(name) == onnx.TensorProto.FLOAT and not self.flat.is_inside(name):
                self._relative(name, names[name], item.key(owner))

    def _relative(self, name: str, moved: str, key: str) -> None:
        """The largest |moved - value| / |value|; no distance is none even from zero."""
        difference = self._add("Sub", [moved, name], f"{moved}/Sub")
        distance = self._add("Abs", [difference], f"{moved}/Abs")
        size = self._add("Abs", [name], f"{moved}/size")
        ratio = self._add("Div", [distance, size], f"{moved}/Div")
        equal = self._add("Equal", [moved, name], f"{moved}/Equal")
        zero = self._add("Constant", [], f"{moved}/zero", value_float=0.0)
        counted = self._add("Where", [equal, zero, ratio], f"{moved}/Where")
        largest = self._add("ReduceMax", [counted], f"{moved}/ReduceMax", keepdims=0)
        self._output(largest, _Probe(name, key, "shift"))

    def _result(self, name: str) -> str:
        """The graph's value that `name` is, or that the operator with `name` inside of it computes."""
        return self._results.get(self.flat.owners[name], name) if self.flat.is_inside(name) else name

    def _extremes(self, name: str) -> None:
        dtype = self.flat.types.get(name)
        if dtype not in _FLOATS:
            return
        inside = self.flat.is_inside(name)
        source = name
        if dtype != onnx.TensorProto.FLOAT:
            source = self._add("Cast", [name], f"{name}//float", to=onnx.TensorProto.FLOAT)
        if name in self.masked:
            infinite = self._add("IsInf", [source], f"{name}//IsInf")
            zero = self._add("Constant", [], f"{name}//zero", value_float=0.0)
            source = self._add("Where", [infinite, zero, source], f"{name}//finite")
        for op_type in ("ReduceMax", "ReduceMin"):
            reduced = self._add(op_type, [source], f"{name}//{op_type}", keepdims=0)
            self._output(reduced, _Probe(name, self._result(name), "summed" if inside else "largest"))

    def _sums(self, node: onnx.NodeProto) -> None:
        if self.flat.types.get(node.output[0]) != onnx.TensorProto.FLOAT:
            return
        made = estimate(node, self.flat)
        if made is None:
            return
        nodes, total, factor = made
        self.proto.graph.node.extend(nodes)
        largest = self._add("ReduceMax", [total], f"{total}//ReduceMax", keepdims=0)
        self._output(largest, _Probe(node.output[0], self._result(node.output[0]), "summed", factor))

    def _add(self, op_type: str, inputs: list[str], name: str, **attributes: Any) -> str:
        self.proto.graph.node.append(onnx.helper.make_node(op_type, inputs, [name], **attributes))
        return name

    def _output(self, name: str, probe: _Probe) -> None:
        self.proto.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, []))
        self.outputs[name] = probe
