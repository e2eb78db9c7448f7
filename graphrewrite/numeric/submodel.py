"""Parts of a model that run by themselves: some of its nodes, fed with what the rest computes for one sample."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import onnx
import onnx.external_data_helper
import onnx.helper
import onnx.numpy_helper

from graphrewrite.errors import NotChecked
from graphrewrite.ir import Array
from graphrewrite.ir.evaluate import IMPURE
from graphrewrite.numeric.inputs import Sample
from graphrewrite.numeric.reference import open_reference

_SHAPES = frozenset({"Shape", "Size"})
_PREFETCH = 64
"""Up to this many nodes, all that they compute is fetched in one run."""


@dataclasses.dataclass(frozen=True)
class Part:
    """Which part of a model.

    Attributes:
        nodes: positions of its nodes, ascending.
        outputs: names of its outputs; None for all values that no node of it reads, and the model's outputs.
        bypassed: nodes that are left out by letting their readers read an input instead: (node, number of that input).
        static: its inputs have the sample's shapes, where not those of the model.
        seed: of the random numbers that take the place of weights and inputs; None keeps both.
    """

    nodes: tuple[int, ...]
    outputs: tuple[str, ...] | None = None
    bypassed: tuple[tuple[int, int], ...] = ()
    static: bool = True
    seed: int | None = None

    @property
    def key(self) -> str:
        """The same for the same part of the same model, in every process."""
        return hashlib.sha256(repr(dataclasses.astuple(self)).encode()).hexdigest()[:16]


@dataclasses.dataclass(frozen=True)
class Submodel:
    """A part as a model of its own, and the sample that it is run on."""

    proto: onnx.ModelProto
    sample: Sample


class Whole:
    """A model that parts are taken of, and what it computes for `sample`.

    Constant nodes are made initializers, and every node has a name. Functions of the model stay.
    """

    def __init__(
        self, proto: onnx.ModelProto, sample: Sample, base_dir: str | os.PathLike[str] | None
    ) -> None:
        self.sample = sample
        self._folder = None if base_dir is None else os.fspath(base_dir)
        self._proto = onnx.ModelProto()
        self._proto.CopyFrom(proto)
        graph = self._proto.graph
        kept = []
        for node in graph.node:
            tensor = next((a.t for a in node.attribute if a.name == "value"), None)
            if node.op_type == "Constant" and node.domain in ("", "ai.onnx") and tensor is not None:
                graph.initializer.add().CopyFrom(tensor)
                graph.initializer[-1].name = node.output[0]
            else:
                kept.append(node)
        del graph.node[:]
        graph.node.extend(_sorted(kept))
        self.nodes: Sequence[onnx.NodeProto] = list(graph.node)
        for node in self.nodes:
            node.name = node.name or next((name for name in node.output if name), node.op_type)
        self.outputs = tuple(value.name for value in graph.output)
        self._inputs = {value.name: value for value in graph.input}
        self._weights = {tensor.name: tensor for tensor in graph.initializer}
        self._producer = {name: i for i, node in enumerate(self.nodes) for name in node.output if name}
        self._read = {name for node in self.nodes for name in _reads(node)}
        self._static = self._find_static()
        self._arrays: dict[str, Array] = dict(sample)

    def _find_static(self) -> set[str]:
        """Values that no input decides: from constants and shapes alone."""
        found = set(self._weights) - set(self._inputs)
        for node in self.nodes:
            reads = list(_reads(node))
            known = node.op_type in _SHAPES or (reads and all(name in found for name in reads))
            if known and node.op_type not in IMPURE:
                found.update(node.output)
        return found

    def all_of_it(self, *, static: bool = False) -> Part:
        """The part that is the whole model."""
        return Part(tuple(range(len(self.nodes))), static=static)

    def ancestors(self, outputs: Iterable[str]) -> tuple[int, ...]:
        """The nodes that `outputs` depend on."""
        seen: set[int] = set()
        stack = list(outputs)
        while stack:
            position = self._producer.get(stack.pop())
            if position is not None and position not in seen:
                seen.add(position)
                stack += _reads(self.nodes[position])
        return tuple(sorted(seen))

    def outputs_of(self, part: Part) -> tuple[str, ...]:
        """Names of the outputs that `part` has."""
        if part.outputs is not None:
            return part.outputs
        renamed = self._renamed(part)
        nodes = self._kept(part)
        read = {renamed(name) for i in nodes for name in _reads(self.nodes[i])}
        made = [name for i in nodes for name in self.nodes[i].output if name]
        return tuple(
            name for name in made if name in self.outputs or (name in self._read and name not in read)
        )

    def bypasses(self, part: Part) -> Iterator[tuple[int, int]]:
        """The nodes of `part` that have an input of their output's shape and type, with it."""
        nodes = self._kept(part)
        self._fetch([name for i in nodes for name in (*_reads(self.nodes[i]), *self.nodes[i].output)], nodes)
        for i in nodes:
            node = self.nodes[i]
            result = self._arrays.get(node.output[0]) if node.output else None
            for number, name in enumerate(node.input):
                array = self._arrays.get(name)
                if (
                    result is not None
                    and array is not None
                    and name not in self._weights
                    and (array.shape, array.dtype) == (result.shape, result.dtype)
                ):
                    yield i, number

    def build(self, part: Part) -> Submodel | None:
        """The part as a model; None where it has no node or output, or needs a value that is no tensor."""
        nodes, renamed = self._kept(part), self._renamed(part)
        outputs = self.outputs_of(part)
        if not nodes or not outputs:
            return None
        made = {name for i in nodes for name in self.nodes[i].output}
        reads = dict.fromkeys(renamed(name) for i in nodes for name in _reads(self.nodes[i]))
        open_names = [name for name in reads if name not in made and name not in self._weights]
        try:
            self._fetch([*open_names, *outputs], nodes)
        except NotChecked:
            return None
        if not all(isinstance(self._arrays.get(name), np.ndarray) for name in [*open_names, *outputs]):
            return None
        return self._assemble(
            part, nodes, open_names, [name for name in reads if name in self._weights], outputs
        )

    def _assemble(
        self,
        part: Part,
        nodes: Sequence[int],
        open_names: Sequence[str],
        weights: Sequence[str],
        outputs: Sequence[str],
    ) -> Submodel:
        renamed = self._renamed(part)
        proto = onnx.ModelProto(
            ir_version=self._proto.ir_version,
            opset_import=self._proto.opset_import,
            functions=self._proto.functions,
        )
        graph = proto.graph
        graph.name = self._proto.graph.name or "reduced"
        for i in nodes:
            node = graph.node.add()
            node.CopyFrom(self.nodes[i])
            node.input[:] = [renamed(name) for name in node.input]
        sample: Sample = {}
        for name in open_names:
            array = self._arrays[name]
            if name in self._static and name not in self._inputs:
                graph.initializer.append(onnx.numpy_helper.from_array(array, name))
                continue
            sample[name] = array if part.seed is None else _random(name, array, part.seed)
            graph.input.append(self._value_info(name, part.static))
        for name in weights:
            tensor = graph.initializer.add()
            tensor.CopyFrom(self._weights[name])
            if self._folder is not None and tensor.data_location == onnx.TensorProto.EXTERNAL:
                onnx.external_data_helper.load_external_data_for_tensor(tensor, self._folder)
                tensor.data_location = onnx.TensorProto.DEFAULT
                del tensor.external_data[:]
            if part.seed is not None:
                array = onnx.numpy_helper.to_array(tensor)
                tensor.CopyFrom(onnx.numpy_helper.from_array(_random(name, array, part.seed), name))
        graph.output.extend(self._value_info(name, part.static) for name in outputs)
        return Submodel(proto, sample)

    def _value_info(self, name: str, static: bool) -> onnx.ValueInfoProto:
        array = self._arrays[name]
        dtype = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
        known = None if static else self._shapes.get(name)
        shape = list(array.shape) if static else known or [None] * array.ndim
        return onnx.helper.make_tensor_value_info(name, dtype, shape)

    @functools.cached_property
    def _shapes(self) -> dict[str, list[int | str | None]]:
        """What ONNX can infer of the values' shapes, dynamic dimensions by their names."""
        inferred = onnx.shape_inference.infer_shapes(self._proto).graph
        return {
            value.name: [
                dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None
                for dim in value.type.tensor_type.shape.dim
            ]
            for value in (*inferred.input, *inferred.value_info, *inferred.output)
            if value.type.tensor_type.HasField("shape")
        }

    def _kept(self, part: Part) -> list[int]:
        gone = {node for node, _ in part.bypassed}
        return [i for i in part.nodes if i not in gone]

    def _renamed(self, part: Part) -> functools.partial[str]:
        aliases = {
            self.nodes[node].output[0]: self.nodes[node].input[number] for node, number in part.bypassed
        }
        return functools.partial(_resolve, aliases)

    def _fetch(self, names: Iterable[str], nodes: Sequence[int]) -> None:
        """Compute values for the sample, those of `nodes` with them where these are few.

        Raises:
            NotChecked: the model does not run.
        """
        missing = [name for name in dict.fromkeys(names) if name and name not in self._arrays]
        for name in [name for name in missing if name in self._weights]:
            self._arrays[name] = onnx.numpy_helper.to_array(self._weights[name], self._folder or "")
            missing.remove(name)
        if not missing:
            return
        if len(nodes) <= _PREFETCH:
            every = [
                name for i in nodes for name in self.nodes[i].output if name and name not in self._arrays
            ]
            with contextlib.suppress(NotChecked):  # some of them may be no tensors
                self._run([*missing, *every])
                return
        self._run(missing)

    def _run(self, names: Iterable[str]) -> None:
        wanted = list(dict.fromkeys(names))
        reference = open_reference(self._proto, extra_outputs=wanted, base_dir=self._folder)
        feeds = {name: self.sample[name] for name in reference.inputs if name in self.sample}
        self._arrays |= reference.run(feeds, wanted)


def _resolve(aliases: Mapping[str, str], name: str) -> str:
    while name in aliases:
        name = aliases[name]
    return name


def _reads(node: onnx.NodeProto) -> Iterator[str]:
    """What a node reads, its bodies' free names included."""
    yield from (name for name in node.input if name)
    for attribute in node.attribute:
        for body in [attribute.g] if attribute.HasField("g") else attribute.graphs:
            yield from _free(body)


def _free(body: onnx.GraphProto) -> Iterator[str]:
    own = {value.name for value in body.input} | {tensor.name for tensor in body.initializer}
    own |= {name for node in body.node for name in node.output}
    yield from (name for node in body.node for name in _reads(node) if name not in own)
    yield from (value.name for value in body.output if value.name not in own)


def _sorted(nodes: Sequence[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """In an order in which each node comes after those that it reads; as they are, where that holds already."""
    producer = {name: i for i, node in enumerate(nodes) for name in node.output if name}
    done: dict[int, None] = {}
    for first in range(len(nodes)):
        stack = [first]
        while stack:
            ready = [producer[name] for name in _reads(nodes[stack[-1]]) if name in producer]
            waits = [i for i in ready if i not in done and i != stack[-1]]
            if waits:
                stack += waits
            else:
                done.setdefault(stack.pop())
    return [nodes[i] for i in done]


def _random(name: str, array: Array, seed: int) -> Array:
    """Random numbers of the mean and spread of `array`, never negative where it is not; integers and single numbers stay."""
    if array.dtype.kind != "f" or array.size <= 1:
        return array
    rng = np.random.default_rng([seed, *name.encode()])
    drawn = rng.normal(float(array.mean(dtype=np.float64)), float(array.std(dtype=np.float64)), array.shape)
    return (np.abs(drawn) if np.all(array >= 0) else drawn).astype(array.dtype)
