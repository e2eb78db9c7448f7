"""Runs a saved `.mlpackage` where there is no Core ML: the file's program is read back as a graph of the `mil` dialect, whose
meanings run in ONNX Runtime.

Nothing here knows how our own files are written, so it reads other converters' packages too. Types are the file's: int32 wraps as
int32, and each op of a half-precision program is rounded to float16.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir

from graphrewrite.errors import NotChecked
from graphrewrite.ir import (
    OPSET,
    Array,
    Attr,
    DataType,
    Graph,
    Model,
    Node,
    Shape,
    Tensor,
    TensorType,
    Value,
    to_runnable_proto,
)
from graphrewrite.targets.coreml.classifier import CLASSIFY, Classifier
from graphrewrite.targets.coreml.decode import Weights, decompress, numpy_type
from graphrewrite.targets.coreml.dialect import DOMAIN, defined, target_op
from graphrewrite.targets.coreml.images import ImageFeature, image_features
from graphrewrite.targets.coreml.package import model_file
from graphrewrite.targets.coreml.ports import METADATA, Port, from_metadata, identifier
from graphrewrite.targets.failures import RunFailed

_BLOCKS = {"cond": ("then_branch", "else_branch"), "while_loop": ("cond", "body")}
"""The graph attributes of control flow, in the order of MIL's blocks."""


@dataclasses.dataclass(frozen=True)
class Package:
    """What a saved package holds.

    Attributes:
        model: its main function, of the `mil` dialect; of a classifier, with the scores as the tensor that they are made of.
        metadata: what else its maker has noted.
        images: the inputs that are pictures, by name.
        classifier: what ends it, if it is one.
        ports: how its inputs and outputs stand to those of a source: as they are, where its maker has not noted it.
    """

    model: Model
    metadata: Mapping[str, str]
    images: Mapping[str, ImageFeature]
    classifier: Classifier | None

    @functools.cached_property
    def ports(self) -> tuple[list[Port], list[Port]]:
        """Of inputs and of outputs."""
        found = from_metadata(self.metadata)
        graph = self.model.graph
        return found if found is not None else (_own(graph.inputs), _own(graph.outputs))


class Evaluator:
    """A loaded package. Call it with arrays by input name; it returns arrays by output name, in the file's order.

    Names, types and shapes are the source model's where the file records them (see `ports`), else the file's own. An input that
    is an image takes `Pixels`, and puts their channels in the order that the file asks for. The scores of a classifier are a
    tensor, by the name of the dictionary and, in others' packages, by the name of what it is made of, and its label is a text or
    number. The values called `inner` in the source (see `inner_names`) are returned as well, as they are in the file.

    Raises:
        NotChecked: the package can't be read, or holds ops that have no meaning here (all of them are named).
    """

    def __init__(self, path: Path, inner: Sequence[str] = ()) -> None:
        from graphrewrite.numeric.reference import create_session

        self.package = read_package(path)
        self.inputs, self.outputs = self.package.ports
        self._inner = inner
        graph = self.package.model.graph
        if METADATA in self.package.metadata:
            _check_names(path, "recorded", (self.inputs, self.outputs), _names(graph))
        wanted = {identifier(name) for name in inner} - {value.name for value in graph.outputs}
        graph.outputs.extend(item for node in graph for item in node.outputs if item.name in wanted)
        self._names = [value.name or "" for value in graph.outputs]
        self._session = create_session(to_runnable_proto(self.package.model), strict=True)

    def __call__(self, sample: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs for one set of inputs."""
        feeds = {}
        for item in self.inputs:
            if item.source in sample:
                image, array = self.package.images.get(item.name), sample[item.source]
                feeds[item.name] = item.to_file(array if image is None else image.planes(array, item.source))
        try:
            results = self._session.run(self._names, feeds)
        except Exception as error:  # ONNX Runtime raises many types
            raise RunFailed(f"the decoded package does not run: {error}") from error
        found = dict(zip(self._names, results, strict=True))
        given = {item.source: item.from_file(found[item.name]) for item in self.outputs}
        return {name: found[identifier(name)] for name in self._inner} | given | self._classified(found)

    def _classified(self, found: Mapping[str, Array]) -> dict[str, Array]:
        """What a classifier gives besides the scores by their name."""
        classifier = self.package.classifier
        if classifier is None:
            return {}
        scores = found[classifier.scores]
        other = {} if METADATA in self.package.metadata else {classifier.source: scores}
        return {classifier.label: classifier.best(scores)} | other


def inner_names(path: Path, names: Collection[str]) -> tuple[str, ...]:
    """Those of `names` whose identifier the main function of a package computes; where two have one identifier, neither.

    Raises:
        NotChecked: see `Evaluator`.
    """
    held = {value.name for node in read_package(path).model.graph for value in node.outputs}
    identifiers = Counter(map(identifier, names))
    return tuple(name for name in names if identifier(name) in held and identifiers[identifier(name)] == 1)


def _own(values: Iterable[Value]) -> list[Port]:
    """Ports that change nothing."""
    return [
        Port(
            value.name or "",
            value.dtype or DataType.FLOAT,
            False,
            value.name or "",
            value.dtype or DataType.FLOAT,
        )
        for value in values
    ]


def read_package(path: Path) -> Package:
    """What the package at `path` holds.

    Raises:
        NotChecked: see `Evaluator`.
    """
    from coremltools.proto import Model_pb2

    spec = Model_pb2.Model()
    try:
        file = model_file(path)
        spec.ParseFromString(file.read_bytes())
    except (OSError, KeyError, json.JSONDecodeError, ValueError) as error:
        raise NotChecked(f"'{path}' is no readable .mlpackage: {error}") from error
    if spec.WhichOneof("Type") != "mlProgram":
        raise NotChecked(
            f"'{path}' is no ML Program (it is a {spec.WhichOneof('Type')}), and can't be evaluated"
        )
    function = spec.mlProgram.functions["main"]
    block = function.block_specializations[function.opset]
    _check_known(block)
    ends = [item.name for item in function.inputs], block.outputs
    described = spec.description
    _check_names(path, "described", (described.input, described.output), ends)
    reader = _Reader(Weights(file.parent))
    inputs = [reader.declare(item) for item in function.inputs]
    graph = reader.block(block, inputs, "main")
    graph.opset_imports[""] = OPSET
    for value in reader.initializers:
        graph.register_initializer(value)
    images = image_features(described)
    for value in inputs:
        image = images.get(value.name or "")
        if image is not None:
            image.check(value)
    if reader.classifier is not None:
        reader.classifier.check(described)
    return Package(
        Model(graph, ir_version=10), dict(described.metadata.userDefined), images, reader.classifier
    )


def _names(graph: Graph) -> tuple[list[str], list[str]]:
    """Of inputs and outputs."""
    return [value.name or "" for value in graph.inputs], [value.name or "" for value in graph.outputs]


def _check_names(
    path: Path, how: str, features: Sequence[Iterable[Any]], ends: Sequence[Iterable[str]]
) -> None:
    """Core ML feeds and reads a program by the names that the file gives its inputs and outputs: they must be the program's.

    Raises:
        NotChecked: they are others.
    """
    for kind, named, names in zip(("inputs", "outputs"), features, ends, strict=True):
        given, own = sorted(item.name for item in named), sorted(names)
        if given != own:
            raise NotChecked(
                f"'{path}' is damaged: its {kind} are {how} as {', '.join(given)}, and those of its program are "
                f"{', '.join(own)}"
            )


def _check_known(block: Any) -> None:
    known = defined()
    lacking: dict[str, None] = {}
    stack = [block]
    while stack:
        for operation in stack.pop().operations:
            name = operation.type
            stack.extend(operation.blocks)
            if (
                name not in ("const", CLASSIFY)
                and not name.startswith("constexpr_")
                and name not in known
                and name not in _BLOCKS
            ):
                lacking[name] = None
    if lacking:
        raise NotChecked(f"the package holds ops that can't be evaluated here: {', '.join(sorted(lacking))}")


class _Reader:
    """Turns MIL blocks into graphs."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self.values: dict[str, Value] = {}
        self.constants: dict[str, Any] = {}
        self.initializers: list[Value] = []
        self.classifier: Classifier | None = None

    def declare(self, item: Any) -> Value:
        """A value of the declared name and type."""
        tensor = item.type.tensorType
        dims: list[int | str | None] = [
            dim.constant.size if dim.WhichOneof("dimension") == "constant" else None
            for dim in tensor.dimensions
        ]
        dtype = DataType.from_numpy(np.dtype(numpy_type(tensor.dataType)))
        value = Value(name=item.name, type=TensorType(dtype), shape=Shape(dims))
        self.values[item.name] = value
        self.constants.pop(item.name, None)
        return value

    def block(self, block: Any, inputs: list[Value], name: str) -> Graph:
        """The operations of a block as a graph; names of outer blocks stay visible."""
        nodes: list[Node] = []
        for operation in block.operations:
            if operation.type == "const":
                self.constants[operation.outputs[0].name] = self.weights.value(operation.attributes["val"])
            elif operation.type.startswith("constexpr_"):
                self._decompressed(operation)
            elif operation.type == CLASSIFY:
                self.classifier = Classifier.of(operation)
            else:
                nodes.append(self._node(operation))
        outputs = []
        for output in block.outputs:
            classifier = self.classifier
            if classifier is not None and output == classifier.label:
                continue  # a text, which is told from the scores
            if classifier is not None and output == classifier.scores:
                outputs.append(_passed(nodes, self._operand(classifier.source), output))
                continue
            value = self._operand(output)
            if value.producer() is None:  # a graph of ONNX gives what its own nodes made
                value = _passed(nodes, value, f"{output}/out")
            outputs.append(value)
        return Graph(inputs, outputs, nodes=nodes, name=name)

    def _decompressed(self, operation: Any) -> None:
        given = {
            name: self.weights.value(value) for name, value in operation.attributes.items() if name != "name"
        }
        for name, argument in operation.inputs.items():
            given[name] = self._content(argument.arguments[0], operation.type, name)
        for output, content in zip(operation.outputs, decompress(operation.type, given), strict=True):
            self.constants[output.name] = content

    def _node(self, operation: Any) -> Node:
        name = operation.outputs[0].name if operation.outputs else operation.type
        if operation.type in _BLOCKS:
            operands, attributes = self._control_flow(operation)
        else:
            operands, attributes = self._arguments(operation)
        outputs = [self.declare(item) for item in operation.outputs]
        return Node(
            DOMAIN, operation.type, operands, attributes, outputs=outputs, name=f"{name}/{operation.type}"
        )

    def _arguments(self, operation: Any) -> tuple[list[Value | None], list[Attr]]:
        entry = target_op(operation.type)
        operands: list[Value | None] = []
        for index in range(len(entry.operands)):
            given = (
                operation.inputs[entry.slot(index)].arguments if entry.slot(index) in operation.inputs else []
            )
            found = [self._bound(item) for item in given]
            operands += found if found or entry.variadic else [None]
        while operands and operands[-1] is None:
            operands.pop()
        slots = {entry.slot(index) for index in range(len(entry.operands))}
        attributes = [
            _attribute(name, [self._content(item, operation.type, name) for item in argument.arguments])
            for name, argument in sorted(operation.inputs.items())
            if name not in slots
        ]
        return operands, attributes

    def _control_flow(self, operation: Any) -> tuple[list[Value | None], list[Attr]]:
        slot = "pred" if operation.type == "cond" else "loop_vars"
        operands: list[Value | None] = [self._bound(item) for item in operation.inputs[slot].arguments]
        attributes = []
        for name, block in zip(_BLOCKS[operation.type], operation.blocks, strict=True):
            inputs = [self.declare(item) for item in block.inputs]
            attributes.append(onnx_ir.AttrGraph(name, self.block(block, inputs, name)))
        return operands, attributes

    def _bound(self, binding: Any) -> Value:
        if binding.WhichOneof("binding") == "value":
            return self._initializer(self.weights.value(binding.value), "literal")
        return self._operand(binding.name)

    def _operand(self, name: str) -> Value:
        if name in self.constants:
            self.values[name] = self._initializer(self.constants.pop(name), name)
        if name not in self.values:
            raise NotChecked(f"the program reads '{name}', which it does not define: the file is damaged")
        return self.values[name]

    def _initializer(self, content: Any, name: str) -> Value:
        if not isinstance(content, np.ndarray):
            raise NotChecked(f"the program computes with the text '{content}'")
        tensor = Tensor(content)
        value = Value(
            name=f"{name}/{len(self.initializers)}",
            type=TensorType(tensor.dtype),
            shape=Shape(list(content.shape)),
            const_value=tensor,
        )
        self.initializers.append(value)
        return value

    def _content(self, binding: Any, op_type: str, slot: str) -> Any:
        if binding.WhichOneof("binding") == "value":
            return self.weights.value(binding.value)
        if binding.name in self.constants:
            return self.constants[binding.name]
        known = self.values.get(binding.name)
        if known is not None and known.const_value is not None:
            return known.const_value.numpy()
        raise NotChecked(f"the parameter '{slot}' of {op_type} is computed at run time ('{binding.name}')")


def _passed(nodes: list[Node], value: Value, name: str) -> Value:
    """A copy of `value` under another name."""
    copy = Value(name=name, type=value.type, shape=value.shape)
    nodes.append(Node(DOMAIN, "identity", [value], outputs=[copy], name=f"{name}/identity"))
    return copy


def _attribute(name: str, contents: list[Any]) -> Attr:
    """A parameter as an attribute; bools count as integers."""
    content = contents[0] if len(contents) == 1 else [item for part in contents for item in np.ravel(part)]
    if isinstance(content, str):
        return onnx_ir.AttrString(name, content)
    if isinstance(content, list) and content and isinstance(content[0], str):
        return onnx_ir.AttrStrings(name, content)
    array = np.asarray(content)
    floating = array.dtype.kind == "f"
    if array.ndim == 0:
        return onnx_ir.AttrFloat32(name, float(array)) if floating else onnx_ir.AttrInt64(name, int(array))
    flat = array.reshape(-1)
    if floating:
        return onnx_ir.AttrFloat32s(name, [float(item) for item in flat])
    return onnx_ir.AttrInt64s(name, [int(item) for item in flat])
