"""A node as the author of an op row wants to read it: schema defaults filled in, constants and shapes at hand."""

from __future__ import annotations

from typing import Any, NoReturn

import onnx
import onnx.helper

from graphrewrite.errors import Code
from graphrewrite.ir import (
    Array,
    DataType,
    Dims,
    Node,
    Value,
    constant_array,
    constant_ints,
    dims,
    is_used,
    schema,
    static_dims,
)


class Refusal(Exception):
    """This node can't be expressed. Rows raise it through `OpNode.refuse`."""

    def __init__(self, code: Code, reason: str, hint: str = "") -> None:
        self.code = code
        self.reason = reason
        self.hint = hint
        super().__init__(reason)


class OpNode:
    """Read access to one ONNX node."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.op_type = node.op_type

    # -- operands ------------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        """Number of operands written down, absent ones in between included."""
        return len(self.node.inputs)

    @property
    def inputs(self) -> list[Value | None]:
        """All operands; None where an optional one is absent."""
        return list(self.node.inputs)

    @property
    def outputs(self) -> list[Value]:
        """All results."""
        return list(self.node.outputs)

    def has(self, index: int) -> bool:
        """True where operand `index` is given."""
        return index < len(self.node.inputs) and self.node.inputs[index] is not None

    def input(self, index: int) -> Value:
        """Operand `index`.

        Raises:
            Refusal: it is absent (a malformed model).
        """
        found = self.node.inputs[index] if index < len(self.node.inputs) else None
        if found is None:
            self.refuse(f"operand {index} is missing", code=Code.INVALID_MODEL)
        return found

    def optional(self, index: int) -> Value | None:
        """Operand `index`, None where absent."""
        return self.node.inputs[index] if index < len(self.node.inputs) else None

    def wants(self, index: int) -> bool:
        """True where output `index` is used by anything."""
        return index < len(self.node.outputs) and is_used(self.node.outputs[index])

    # -- facts ---------------------------------------------------------------------------------------------------------

    def const(self, index: int) -> Array | None:
        """Content of operand `index` where it is a constant."""
        return constant_array(self.optional(index))

    def ints(self, index: int) -> list[int] | None:
        """Content of operand `index` where it is an integer constant, flattened."""
        return constant_ints(self.optional(index))

    def dims(self, index: int = 0) -> Dims:
        """Dimensions of operand `index` (int, symbol or None each).

        Raises:
            Refusal: the rank is unknown.
        """
        found = dims(self.input(index))
        if found is None:
            self.refuse(
                f"the rank of operand {index} ('{self.input(index).name}') is unknown",
                "fix the input shapes with --shape, or export with static shapes",
            )
        return found

    def static(self, index: int = 0) -> tuple[int, ...]:
        """Dimensions of operand `index`, all of them numbers.

        Raises:
            Refusal: one is not known at conversion time.
        """
        found = static_dims(self.input(index))
        if found is None:
            self.refuse(
                f"operand {index} ('{self.input(index).name}') has dimensions that are known only at run time",
                "fix them with --shape",
            )
        return found

    def rank(self, index: int = 0) -> int:
        """Rank of operand `index`; refuses where unknown."""
        return len(self.dims(index))

    def dtype(self, index: int = 0) -> DataType:
        """Element type of operand `index`."""
        found = self.input(index).dtype
        if found is None:
            self.refuse(f"the type of operand {index} is unknown")
        return found

    def output_dims(self, index: int = 0) -> Dims | None:
        """Dimensions of output `index` as inferred, None where the rank is unknown."""
        return dims(self.node.outputs[index])

    def axis(self, name: str = "axis", default: int | None = None, operand: int = 0) -> int:
        """A non-negative axis attribute of operand `operand`."""
        raw = self.attr(name, default)
        if raw is None:
            self.refuse(f"attribute '{name}' is missing", code=Code.INVALID_MODEL)
        return int(raw) % max(self.rank(operand), 1)

    def attr(self, name: str, default: Any = None) -> Any:
        """An attribute: as given, else the schema's default, else `default`. Lists come as lists, strings as str."""
        found = self.node.attributes.data.get(name)
        if found is not None:
            return list(found.value) if isinstance(found.value, tuple) else found.value
        definition = schema(self.op_type)
        if definition is not None and name in definition.attributes:
            proto = definition.attributes[name].default_value
            if proto.type != onnx.AttributeProto.UNDEFINED:
                content = onnx.helper.get_attribute_value(proto)
                if isinstance(content, bytes):
                    return content.decode()
                if isinstance(content, list):
                    return [item.decode() if isinstance(item, bytes) else item for item in content]
                return content
        return default

    def refuse(self, reason: str, hint: str = "", *, code: Code = Code.NOT_EXPRESSIBLE) -> NoReturn:
        """Say that this node can't be expressed; every blocker of the model is collected before anything is reported.

        Raises:
            Refusal: always.
        """
        raise Refusal(code, reason, hint)

    def not_implemented(self, reason: str, hint: str = "") -> NoReturn:
        """Like `refuse`, where the target could hold it but no row does it yet."""
        raise Refusal(Code.NOT_IMPLEMENTED, reason, hint)
