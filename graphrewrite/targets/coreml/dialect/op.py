"""The `mil` dialect: one entry an op of Core ML's model intermediate language, with its meaning in ONNX.

A node's op type is the MIL op's name. What MIL computes with are the node's inputs, in the order that the entry declares;
what it must know at compile time (strides, axes, modes) are attributes under their MIL names. A MIL type that ONNX has too is
itself; what Core ML lacks (int64, int8, ...) is *carried* in a type that it has: see `carry`.

float16 is computed as float32 and rounded after each op, as an fp16 program is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from graphrewrite.errors import InternalError
from graphrewrite.ir import Array, Body, BodyBuilder, DataType, Node, register_meaning

DOMAIN = "mil"
CARRY = "carry"
"""The one entry that is no MIL op: `carry {to}` gives a value the ONNX type that it stands for. It is never written."""

Fold = Callable[[Sequence[Array], Mapping[str, Any]], Array | None]
"""Computes an op on constants (all inputs known); None where it declines."""


class MilBody(BodyBuilder):
    """A `BodyBuilder` whose float16 inputs have been made float32."""

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        self.parameters = self.inputs
        self.inputs = tuple(
            self.op("Cast", name, to=int(DataType.FLOAT)) if _is_half(value) else name
            for name, value in zip(self.parameters, node.inputs, strict=True)
        )

    def has(self, index: int) -> bool:
        """True where input `index` is given."""
        return index < len(self.inputs) and self.inputs[index] != ""

    def dtype(self, index: int = 0) -> DataType:
        """The type that input `index` is computed in."""
        value = self.node.inputs[index]
        found = value.dtype if value is not None else None
        return DataType.FLOAT if found is None or found == DataType.FLOAT16 else found

    def like(self, content: Any, index: int = 0) -> str:
        """A constant of the type that input `index` is computed in."""
        return self.const(content, self.dtype(index).numpy())

    def cast(self, name: str, dtype: DataType) -> str:
        """A Cast."""
        return self.op("Cast", name, to=int(dtype))

    def rank(self, index: int = 0) -> int:
        """Rank of input `index`; builders and readers give every value one."""
        value = self.node.inputs[index]
        if value is None or value.shape is None:
            raise InternalError(f"{self.node.op_type} '{self.node.name}': input {index} has no known rank")
        return len(value.shape)

    # -- attributes, with MIL's defaults -------------------------------------------------------------------------------

    def ints(self, name: str, default: Sequence[int] | None = None) -> list[int]:
        """An attribute of integers (a single one counts as a list of one)."""
        found = self.node.attributes.get(name)
        if found is None:
            if default is None:
                raise InternalError(f"{self.node.op_type} '{self.node.name}' lacks the parameter '{name}'")
            return list(default)
        value = found.value
        return [int(item) for item in value] if isinstance(value, tuple | list) else [int(value)]

    def int_(self, name: str, default: int | None = None) -> int:
        """An integer or bool attribute."""
        return self.ints(name, None if default is None else [default])[0]

    def float_(self, name: str, default: float | None = None) -> float:
        """A float attribute."""
        found = self.node.attributes.get(name)
        if found is None:
            if default is None:
                raise InternalError(f"{self.node.op_type} '{self.node.name}' lacks the parameter '{name}'")
            return default
        return float(found.value)

    def text(self, name: str, default: str) -> str:
        """A string attribute."""
        return self.node.attributes.get_string(name, default) or default


Meaning = Callable[[Node, MilBody], Sequence[str]]
"""Builds the ONNX nodes of an op; returns the names of its outputs."""


@dataclasses.dataclass(frozen=True)
class TargetOp:
    """One MIL op.

    Attributes:
        operands: names of the MIL inputs that are node inputs, in order; a last one with `*` takes any number.
        optional: those of them that may be absent.
        data: indices of the operands that share the type T which is computed with.
        result: type of the outputs: "T", a fixed dtype name ("BOOL", "INT32"), or "" where an attribute decides; of several
            words, one an output.
        moves: True where every element of the result is one of the operands', so that none can leave the range of T.
        fold: computes the op on constants.
    """

    name: str
    meaning: Meaning
    operands: tuple[str, ...]
    optional: frozenset[str] = frozenset()
    data: tuple[int, ...] = (0,)
    result: str = "T"
    moves: bool = False
    fold: Fold | None = None

    @property
    def variadic(self) -> bool:
        """True where the last operand is a list."""
        return self.operands[-1].endswith("*") if self.operands else False

    def slot(self, index: int) -> str:
        """MIL's name of operand `index`."""
        if self.variadic and index >= len(self.operands) - 1:
            return self.operands[-1][:-1]
        return self.operands[index]

    def computes(self, output: int) -> bool:
        """True where the type of output `output` is T."""
        words = self.result.split()
        return bool(words) and words[min(output, len(words) - 1)] == "T"

    def data_of(self, count: int) -> list[int]:
        """Indices of the data operands among `count` operands."""
        if self.variadic and len(self.operands) - 1 in self.data:
            return [
                *(i for i in self.data if i < len(self.operands) - 1),
                *range(len(self.operands) - 1, count),
            ]
        return [index for index in self.data if index < count]


_OPS: dict[str, TargetOp] = {}


def define(
    *names: str,
    operands: str,
    data: Sequence[int] = (0,),
    result: str = "T",
    moves: bool = False,
    fold: Fold | None = None,
) -> Callable[[Meaning], Meaning]:
    """Register ops whose meaning the decorated function builds (it can tell them apart by `node.op_type`).

    `operands` is written as in "x weight bias?" (optional) or "values*" (any number).
    """
    words = operands.split()

    def register(meaning: Meaning) -> Meaning:
        for name in names:
            if name in _OPS:
                raise InternalError(f"mil.{name} is defined twice")
            _OPS[name] = TargetOp(
                name,
                meaning,
                tuple(word.removesuffix("?") for word in words),
                frozenset(word[:-1] for word in words if word.endswith("?")),
                tuple(data),
                result,
                moves,
                fold,
            )
        return meaning

    return register


def target_op(name: str) -> TargetOp:
    """The dialect's entry for a MIL op.

    Raises:
        InternalError: the dialect does not define it.
    """
    if name not in _OPS:
        raise InternalError(f"mil.{name} is not defined in the dialect")
    return _OPS[name]


def defined() -> dict[str, TargetOp]:
    """Every op of the dialect by name."""
    return dict(sorted(_OPS.items()))


@define(CARRY, operands="x", result="", moves=True)
def carry(node: Node, body: MilBody) -> Sequence[str]:
    return [body.op("Cast", body.inputs[0], to=node.attributes["to"].as_int())]


def _is_half(value: Any) -> bool:
    return value is not None and value.dtype == DataType.FLOAT16


def _meaning(node: Node) -> Body:
    entry, body = target_op(node.op_type), MilBody(node)
    names = list(entry.meaning(node, body))
    first = next((i for i in entry.data_of(len(node.inputs)) if node.inputs[i] is not None), None)
    if first is not None and _is_half(node.inputs[first]):
        names = [
            body.cast(name, DataType.FLOAT16) if entry.computes(index) else name
            for index, name in enumerate(names)
        ]
    results = [body.op("Identity", name) if name in body.parameters else name for name in names]
    return Body(body.parameters, tuple(results), tuple(body.nodes))


register_meaning(DOMAIN, _meaning)
