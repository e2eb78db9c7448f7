"""Corruptions of a saved `.mlpackage`: each changes one thing in the model's protobuf or in the weight file, and nothing else.

A `Site` is one place and what can go wrong there. They are found in the file, not in the graph that it was made from, by MIL's
names of ops and parameters.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tools.corruptions import OTHER, PARAMETERS, SPOILT

Array = npt.NDArray[Any]
Change = Callable[[np.random.Generator], str]

_FIELDS = {11: "floats", 23: "ints", 1: "bools", 2: "strings"}
"""Where MIL.proto keeps a literal tensor's elements, by the number of its DataType."""
_TYPES = {1: np.bool_, 10: np.float16, 11: np.float32, 21: np.int8, 23: np.int32, 31: np.uint8, 32: np.uint16}
_FLOATS = (10, 11)
_BLOB_START = 16
"""Bytes from the head of a blob's entry to the offset of its content: sentinel, type and size come before."""

_KIND = {name: kind for kind, names in PARAMETERS.items() for name in names}
_WEIGHTS = ("weight", "bias", "gamma", "mean", "variance", "x", "y", "values", "weight_ih", "weight_hh")

_OTHER_OPS = {
    "add": "sub",
    "sub": "add",
    "mul": "add",
    "real_div": "mul",
    "maximum": "minimum",
    "minimum": "maximum",
    "relu": "softsign",
    "sigmoid": "tanh",
    "tanh": "sigmoid",
    "silu": "relu",
    "relu6": "relu",
    "exp": "sin",
    "sqrt": "square",
    "square": "abs",
    "erf": "tanh",
    "sin": "cos",
    "cos": "sin",
    "reduce_mean": "reduce_sum",
    "reduce_sum": "reduce_mean",
    "reduce_max": "reduce_min",
    "reduce_min": "reduce_max",
    "reduce_l2_norm": "reduce_l1_norm",
    "less": "greater",
    "greater": "less",
    "equal": "not_equal",
    "reduce_argmax": "reduce_argmin",
}
"""Ops of the same operands, parameters and types."""
_ORDERED = {
    "sub": ("x", "y"),
    "real_div": ("x", "y"),
    "floor_div": ("x", "y"),
    "pow": ("x", "y"),
    "matmul": ("x", "y"),
    "less": ("x", "y"),
    "greater": ("x", "y"),
    "select": ("a", "b"),
}


@dataclasses.dataclass(frozen=True)
class Site:
    """One place to corrupt: `kind` for tables, `where` for the reader; `change` does it and says what it did."""

    kind: str
    where: str
    change: Change


class Package:
    """A saved package in memory, to be changed and written elsewhere."""

    def __init__(self, path: Path) -> None:
        from coremltools.proto import Model_pb2

        (self._model,) = path.rglob("*.mlmodel")
        self._weights = next(iter(path.rglob("weight.bin")), None)
        self._path = path
        self.spec: Any = Model_pb2.Model()
        self.spec.ParseFromString(self._model.read_bytes())
        self.weights = bytearray(self._weights.read_bytes()) if self._weights is not None else bytearray()
        self._before = self.spec.SerializeToString(deterministic=True), bytes(self.weights)
        function = self.spec.mlProgram.functions["main"]
        self.block = function.block_specializations[function.opset]
        self.operations = list(_walk(self.block))
        self.constants = {
            item.outputs[0].name: item.attributes["val"] for item in self.operations if item.type == "const"
        }
        self.types = {
            item.name: item.type.tensorType
            for values in (function.inputs, *(operation.outputs for operation in self.operations))
            for item in values
        }

    def save(self, path: Path) -> None:
        """Write the package as it is now."""
        for file in (item for item in self._path.rglob("*") if item.is_file()):
            copy = path / file.relative_to(self._path)
            copy.parent.mkdir(parents=True, exist_ok=True)
            if file == self._model:
                copy.write_bytes(self.spec.SerializeToString(deterministic=True))
            else:
                copy.write_bytes(bytes(self.weights) if file == self._weights else file.read_bytes())

    @property
    def changed(self) -> bool:
        """Whether it is another one than what was read."""
        return (self.spec.SerializeToString(deterministic=True), bytes(self.weights)) != self._before

    def literal(self, argument: Any) -> Any | None:
        """The MIL `Value` that an argument is bound to; None where it is computed."""
        if argument.WhichOneof("binding") == "value":
            return argument.value
        return self.constants.get(argument.name)

    def read(self, value: Any) -> Any:
        """A copy of the content of a MIL `Value`: an array, or a str."""
        tensor = value.type.tensorType
        shape = [dim.constant.size for dim in tensor.dimensions]
        if value.WhichOneof("value") == "blobFileValue":
            start, size = self._span(value)
            return (
                np.frombuffer(self.weights[start : start + size], _TYPES[tensor.dataType])
                .reshape(shape)
                .copy()
            )
        held = value.immediateValue.tensor
        if tensor.dataType in _FIELDS:
            content = list(getattr(held, _FIELDS[tensor.dataType]).values)
            return (
                content[0]
                if tensor.dataType == 2
                else np.asarray(content, _TYPES[tensor.dataType]).reshape(shape)
            )
        return np.frombuffer(held.bytes.values, _TYPES[tensor.dataType]).reshape(shape).copy()

    def write(self, value: Any, content: Any) -> None:
        """Put other content of the same type and shape in its place."""
        tensor = value.type.tensorType
        array = np.asarray(content) if tensor.dataType == 2 else np.asarray(content, _TYPES[tensor.dataType])
        if value.WhichOneof("value") == "blobFileValue":
            start, size = self._span(value)
            self.weights[start : start + size] = array.tobytes()
        elif tensor.dataType in _FIELDS:
            held = getattr(value.immediateValue.tensor, _FIELDS[tensor.dataType])
            del held.values[:]
            held.values.extend(array.reshape(-1).tolist())
        else:
            value.immediateValue.tensor.bytes.values = array.tobytes()

    def _span(self, value: Any) -> tuple[int, int]:
        tensor = value.type.tensorType
        at = value.blobFileValue.offset + _BLOB_START
        start = int.from_bytes(self.weights[at : at + 8], "little")
        count = math.prod(dim.constant.size for dim in tensor.dimensions)
        return start, count * np.dtype(_TYPES[tensor.dataType]).itemsize

    def sites(self) -> Iterator[Site]:
        """Every place that can be corrupted, in the order of the file."""
        for operation in self.operations:
            if operation.type == "const" or not operation.outputs:
                continue
            name = f"{operation.type} '{operation.outputs[0].name}'"
            if operation.type in _OTHER_OPS:
                yield Site("op", name, _other_op(operation))
            if operation.type in _ORDERED:
                yield Site("operands", name, _swapped(operation, *_ORDERED[operation.type]))
            if operation.type == "concat":
                yield Site("operands", name, _reversed(operation))
            for slot, argument in sorted(operation.inputs.items()):
                for item in argument.arguments:
                    value = self.literal(item)
                    if value is not None and value.type.tensorType.dataType in (*_TYPES, 2):
                        yield from self._content(operation, slot, value, f"{name}, {slot}")
        yield from self._outputs()

    def _content(self, operation: Any, slot: str, value: Any, where: str) -> Iterator[Site]:
        floating = value.type.tensorType.dataType in _FLOATS
        count = math.prod(dim.constant.size for dim in value.type.tensorType.dimensions)
        if slot in _KIND:
            dims = self._dims(operation)
            change = OTHER[_KIND[slot]]
            yield Site(_KIND[slot], where, lambda rng: self._changed(value, change, rng, dims))
        elif slot in _WEIGHTS and floating and count > 1:
            for kind, spoil in SPOILT.items():
                yield Site(kind, where, lambda rng, spoil=spoil: self._changed(value, spoil, rng, []))
        elif slot in _WEIGHTS and floating:
            yield Site("number", where, lambda rng: self._changed(value, OTHER["number"], rng, []))

    def _dims(self, operation: Any) -> list[int]:
        """Of the operand that parameters refer to; a dynamic one counts as 0."""
        first = next((operation.inputs[slot] for slot in ("x", "values") if slot in operation.inputs), None)
        known = self.types.get(first.arguments[0].name) if first is not None else None
        return [dim.constant.size for dim in known.dimensions] if known is not None else []

    def _changed(
        self, value: Any, change: Callable[..., Any], rng: np.random.Generator, dims: list[int]
    ) -> str:
        before = self.read(value)
        after = change(before.copy() if isinstance(before, np.ndarray) else before, rng, dims)
        self.write(value, after)
        if np.size(before) > 8:
            return "changed"
        return f"{np.asarray(before).tolist()} -> {np.asarray(after).tolist()}"

    def _outputs(self) -> Iterator[Site]:
        for index, name in enumerate(self.block.outputs):
            yield Site("outputs", f"output '{name}'", self._renamed(index))
            yield Site("outputs", f"feature '{name}'", self._feature_renamed(index))
        if len(self.block.outputs) > 1:
            yield Site("outputs", "the first two outputs", self._exchanged)

    def _renamed(self, index: int) -> Change:
        """In the program and in the description, so that the file is in itself sound."""

        def change(rng: np.random.Generator) -> str:
            name = self.block.outputs[index]
            self.block.outputs[index] = self.spec.description.output[index].name = f"{name}_renamed"
            self._rename({name: f"{name}_renamed"})
            return "renamed"

        return change

    def _feature_renamed(self, index: int) -> Change:
        def change(rng: np.random.Generator) -> str:
            self.spec.description.output[index].name += "_renamed"
            return "renamed in the description only"

        return change

    def _exchanged(self, rng: np.random.Generator) -> str:
        first, second = self.block.outputs[:2]
        self._rename({first: second, second: first})
        return "their names exchanged"

    def _rename(self, names: dict[str, str]) -> None:
        for operation in self.operations:
            for item in operation.outputs:
                item.name = names.get(item.name, item.name)
            for argument in operation.inputs.values():
                for item in argument.arguments:
                    if item.WhichOneof("binding") == "name":
                        item.name = names.get(item.name, item.name)


def _walk(block: Any) -> Iterator[Any]:
    for operation in block.operations:
        yield operation
        for inner in operation.blocks:
            yield from _walk(inner.specialization if hasattr(inner, "specialization") else inner)


def _other_op(operation: Any) -> Change:
    def change(rng: np.random.Generator) -> str:
        operation.type = _OTHER_OPS[operation.type]
        return f"now {operation.type}"

    return change


def _swapped(operation: Any, first: str, second: str) -> Change:
    def change(rng: np.random.Generator) -> str:
        kept = type(operation.inputs[first])()
        kept.CopyFrom(operation.inputs[first])
        operation.inputs[first].CopyFrom(operation.inputs[second])
        operation.inputs[second].CopyFrom(kept)
        return f"{first} and {second} exchanged"

    return change


def _reversed(operation: Any) -> Change:
    def change(rng: np.random.Generator) -> str:
        held = operation.inputs["values"].arguments
        items = [type(item).FromString(item.SerializeToString()) for item in held]
        del held[:]
        held.extend(items[::-1])
        return "in the opposite order"

    return change
