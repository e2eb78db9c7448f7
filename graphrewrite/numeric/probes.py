"""Graphs that give, in the place of their outputs, how large their values and the sums inside their operators become.

Everything is reduced to scalars right behind the node that computes it, so that a session of such a graph needs little more
memory than one of the graph itself.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper

from graphrewrite.ir import Node, Value, constant_array
from graphrewrite.numeric.accumulate import estimate
from graphrewrite.numeric.flat import Flat

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


@dataclasses.dataclass
class Extremes:
    """Over all samples: the largest absolute value, and that of the sums behind it.

    Of a misfit and its reader (see `Misfit.key`) `shift` is by how much the result changes, relatively, where the constant is
    rounded to float16.
    """

    largest: float = 0.0
    summed: float = 0.0
    shift: float = 0.0


@dataclasses.dataclass(frozen=True)
class Misfit:
    """A constant that float16 can't hold, and the nodes of the main graph that read it."""

    value: Value
    size: float
    reason: str
    readers: tuple[Node, ...]

    def key(self, reader: str) -> str:
        """Name of the measurement of the node called `reader`."""
        return f"{self.value.name}@{reader}"


@dataclasses.dataclass(frozen=True)
class Probe:
    """One scalar of the value `source`: which extreme of which value of the graph it is, and a factor for it."""

    source: str
    value: str
    extreme: str
    factor: float = 1.0

    def note(self, scalar: float, found: dict[str, Extremes]) -> None:
        """Take it in; what is no number (of an empty tensor, too) says nothing."""
        if self.extreme != "shift" and not math.isfinite(scalar):
            return
        if self.extreme == "summed" and abs(scalar) >= _SENTINEL:
            return
        entry = found.setdefault(self.value, Extremes())
        size = math.inf if math.isnan(scalar) else abs(scalar) * self.factor
        setattr(entry, self.extreme, max(getattr(entry, self.extreme), size))


class Probes:
    """A flat graph with probes behind each of its operators; `outputs` are its outputs."""

    def __init__(self, flat: Flat) -> None:
        self.flat = flat
        self.proto = flat.proto
        self.outputs: dict[str, Probe] = {}
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
                self.watch_input(item.name)
        for _, group in itertools.groupby(nodes, lambda node: flat.owners.get(node.output[0], "")):
            operator = list(group)
            graph.node.extend(operator)
            self.watch(operator)

    def watch_input(self, name: str) -> None:
        """Add probes for an input of the graph."""

    def watch(self, nodes: list[onnx.NodeProto]) -> None:
        """Add probes for an operator, which is one node of the graph or the nodes inside of one."""
        raise NotImplementedError

    def _result(self, name: str) -> str:
        """The graph's value that `name` is, or that the operator with `name` inside of it computes."""
        return self._results.get(self.flat.owners[name], name) if self.flat.is_inside(name) else name

    def _add(self, op_type: str, inputs: list[str], name: str, **attributes: Any) -> str:
        self.proto.graph.node.append(onnx.helper.make_node(op_type, inputs, [name], **attributes))
        return name

    def _output(self, name: str, probe: Probe) -> None:
        self.proto.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, []))
        self.outputs[name] = probe


class ValueProbes(Probes):
    """Extremes of every value, and what rounding a misfit does; infinities of the values `masked` are left out."""

    def __init__(self, flat: Flat, misfits: Mapping[str, Misfit], masked: Collection[str]) -> None:
        self.misfits = misfits
        self.masked = masked
        super().__init__(flat)

    def watch_input(self, name: str) -> None:
        """Its extremes."""
        self._extremes(name)

    def watch(self, nodes: list[onnx.NodeProto]) -> None:
        """Extremes of what it computes, inside too, and shifts by the misfits that it reads."""
        for node in nodes:
            if node.op_type != "Constant":
                for name in filter(None, node.output):
                    self._extremes(name)
        read = {name for node in nodes for name in node.input}
        for name in sorted(read & self.misfits.keys()):
            self._shift(nodes, self.misfits[name])

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
            self._output(reduced, Probe(name, self._result(name), "summed" if inside else "largest"))

    def _shift(self, nodes: list[onnx.NodeProto], item: Misfit) -> None:
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
        for name in [item for item in names if item != constant]:
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
        self._output(largest, Probe(name, key, "shift"))


class SumProbes(Probes):
    """Estimates of the sums inside the nodes whose first outputs are `wanted`."""

    def __init__(self, flat: Flat, wanted: Collection[str]) -> None:
        self.wanted = wanted
        super().__init__(flat)

    def watch(self, nodes: list[onnx.NodeProto]) -> None:
        """The estimate of each."""
        for node in nodes:
            if node.output[0] in self.wanted:
                self._sums(node)

    def _sums(self, node: onnx.NodeProto) -> None:
        made = estimate(node, self.flat)
        if made is None:
            return
        nodes, total, factor = made
        self.proto.graph.node.extend(nodes)
        largest = self._add("ReduceMax", [total], f"{total}//ReduceMax", keepdims=0)
        self._output(largest, Probe(node.output[0], self._result(node.output[0]), "summed", factor))
