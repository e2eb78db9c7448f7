"""A random ONNX graph under construction: values to read, random choices, and nodes whose shapes ONNX itself infers."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx.shape_inference
from onnx import TensorProto, TypeProto, helper, numpy_helper

Array = npt.NDArray[np.generic]
Float = npt.NDArray[np.float32]

OPSETS = (20, 21, 22, 23, 24)
"""From Gelu's first; before 18, axes were attributes."""
LIMIT = 40_000
"""Elements that a value may have: the graphs are many, and must be quick to run."""
WINDOW = 8
"""Nodes read one of the last values that suit them, so that the graph becomes deep rather than wide."""
OUTPUTS = 4

MOVES = frozenset({"Flatten", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"})
"""Operators whose outputs hold each element of the input once at most."""


class NoFit(Exception):
    """The graph has no value that suits the operator, or the node would be too large or empty."""


@dataclasses.dataclass(frozen=True)
class Value:
    """A float value of the graph."""

    name: str
    shape: tuple[int, ...]
    distinct: bool
    """No two elements are the same number up to rounding, nor is one a whole number: labels and whole parts are certain."""

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)


class Sketch:
    """The graph so far.

    `random` makes the choices and `numbers` the content of constants; both follow from the seed alone.
    """

    def __init__(self, *seed: int) -> None:
        self.random = random.Random(repr(seed))
        self.numbers = np.random.default_rng(seed)
        self.opset: int = self.random.choice(OPSETS)
        self.values: list[Value] = []
        """What later nodes may read, oldest first."""
        self.nodes: list[onnx.NodeProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._types: dict[str, TypeProto] = {}
        self._constants: dict[str, TensorProto] = {}
        self._read: set[str] = set()

    def input(self, shape: Sequence[int]) -> None:
        """Add an input of the graph."""
        info = helper.make_tensor_value_info(f"x{len(self._inputs)}", TensorProto.FLOAT, shape)
        self._inputs.append(info)
        self._types[info.name] = info.type
        self.values.append(Value(info.name, tuple(shape), distinct=True))

    def pick(self, suits: Callable[[Value], bool] = lambda value: True) -> Value:
        """One of the last values that suit.

        Raises:
            NoFit: there is none.
        """
        fitting = [value for value in self.values if suits(value)]
        if not fitting:
            raise NoFit
        return self.random.choice(fitting[-WINDOW:])

    def pick_of_rank(self, *ranks: int) -> Value:
        """One of the last values of these ranks."""
        return self.pick(lambda value: value.rank in ranks)

    def pick_with_axis(self) -> tuple[Value, int]:
        """One of the last values that are no scalar, and one of its axes, counted from either end."""
        x = self.pick(lambda value: value.rank > 0)
        return x, self.random.randrange(-x.rank, x.rank)

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self.random.random() < probability

    def floats(self, *shape: int) -> Float:
        """Content of a constant, normal about 0."""
        return (self.numbers.standard_normal(shape) * 0.5).astype(np.float32)

    def some_of(self, shape: Sequence[int]) -> list[int]:
        """A shape that broadcasts to `shape`: dimensions become 1, leading ones go."""
        kept = [dim if self.chance(0.5) else 1 for dim in shape]
        return kept[self.random.randint(0, len(shape)) :]

    def node(
        self, op_type: str, *inputs: Value | Array | None, outputs: int = 1, **attributes: Any
    ) -> list[Value]:
        """Add a node; arrays among its inputs become initializers, None is an absent input.

        Raises:
            NoFit: an output would be empty or too large, or ONNX's shape inference refuses the node.
        """
        serial = len(self.nodes)
        names = [f"v{serial}_{index}" for index in range(outputs)]
        constants: dict[str, TensorProto] = {}
        operands = []
        for index, item in enumerate(inputs):
            if isinstance(item, np.ndarray | np.generic):
                constants[f"c{serial}_{index}"] = numpy_helper.from_array(
                    np.asarray(item), f"c{serial}_{index}"
                )
                operands.append(f"c{serial}_{index}")
            else:
                operands.append("" if item is None else item.name)
        node = helper.make_node(op_type, operands, names, name=f"{op_type}_{serial}", **attributes)
        types = self._infer(node, constants)
        distinct = op_type in MOVES and isinstance(inputs[0], Value) and inputs[0].distinct
        values = [Value(name, _shape(types[name]), distinct) for name in names]
        if not all(0 < value.size <= LIMIT for value in values):
            raise NoFit
        self.nodes.append(node)
        self._types |= types
        self._constants |= constants
        self._read.update(operands)
        return values

    def _infer(self, node: onnx.NodeProto, constants: dict[str, TensorProto]) -> dict[str, TypeProto]:
        types = self._types | {
            name: helper.make_tensor_type_proto(tensor.data_type, list(tensor.dims))
            for name, tensor in constants.items()
        }
        try:
            found: dict[str, TypeProto] = onnx.shape_inference.infer_node_outputs(
                onnx.defs.get_schema(node.op_type, self.opset),
                node,
                types,
                constants,
                opset_imports=[helper.make_opsetid("", self.opset)],
            )
        except onnx.shape_inference.InferenceError:
            raise NoFit from None
        return found

    def model(self) -> onnx.ModelProto:
        """The graph; its outputs are the last values that nothing reads."""
        return self._model(self.nodes, list(self._constants.values()))

    def nudged(self, share: float) -> onnx.ModelProto:
        """The graph with every float that it computes moved by up to `share` of itself, as other rounding would."""
        nodes, constants = [], list(self._constants.values())
        for exact in self.nodes:
            node = onnx.NodeProto()
            node.CopyFrom(exact)
            nodes.append(node)
            for index, name in enumerate(exact.output):
                if self._types[name].tensor_type.elem_type == TensorProto.FLOAT:
                    noise = 1 + share * self.numbers.uniform(-1, 1, _shape(self._types[name]))
                    constants.append(numpy_helper.from_array(np.asarray(noise, np.float32), f"{name}_noise"))
                    node.output[index] = f"{name}_exact"
                    nodes.append(helper.make_node("Mul", [f"{name}_exact", f"{name}_noise"], [name]))
        return self._model(nodes, constants)

    def _model(self, nodes: list[onnx.NodeProto], constants: list[TensorProto]) -> onnx.ModelProto:
        unread = [value for value in self.values if value.name not in self._read]
        graph = helper.make_graph(
            nodes,
            "random",
            self._inputs,
            [
                helper.make_tensor_value_info(value.name, TensorProto.FLOAT, value.shape)
                for value in unread[-OUTPUTS:]
            ],
            constants,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=10)


def _shape(inferred: TypeProto) -> tuple[int, ...]:
    dims = inferred.tensor_type.shape.dim
    assert inferred.tensor_type.HasField("shape")
    assert all(dim.HasField("dim_value") for dim in dims), "nodes are drawn so that their shapes are known"
    return tuple(dim.dim_value for dim in dims)
