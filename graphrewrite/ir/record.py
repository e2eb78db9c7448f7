"""A node as it stands now, in a form that stays when the graph moves on: cheap to take, to compare and to print later."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import onnx_ir

from graphrewrite.ir.constants import constant_array
from graphrewrite.ir.facets import LAYOUT, Layout
from graphrewrite.ir.shapes import Dims, dims

_new = tuple.__new__  # a named tuple's own constructor takes twice as long, and every node is recorded

SMALL = 8
"""Constants up to this many elements are told by content."""

_GRAPH, _GRAPHS = onnx_ir.AttributeType.GRAPH, onnx_ir.AttributeType.GRAPHS


class ValueRecord(NamedTuple):
    """A value; `dims` is None where its rank is unknown, `layout` where it lies as in the source."""

    name: str
    dtype: onnx_ir.DataType | None
    dims: Dims | None
    layout: Layout | None


class Weight(NamedTuple):
    """A constant operand beyond SMALL elements. The tensor is not kept alive by being remembered."""

    name: str
    dtype: onnx_ir.DataType | None
    dims: Dims | None
    tensor: weakref.ref[onnx_ir.TensorProtocol]


class Literal(NamedTuple):
    """A constant operand of a few elements, bit by bit: most are never printed, and a number's text costs more than a record."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    content: bytes

    @property
    def text(self) -> str:
        """As it is printed."""
        return str(np.ndarray(self.shape, self.dtype, self.content).tolist())


class Body(NamedTuple):
    """A subgraph in an attribute."""

    name: str
    nodes: int


OperandRecord: TypeAlias = "str | Literal | Weight | None"
"""The name of a value, what is known of a constant, or None for an operand that is left out."""


class NodeRecord(NamedTuple):
    """A node. Two records are equal where nothing that is shown of the node differs."""

    domain: str
    op_type: str
    operands: tuple[OperandRecord, ...]
    results: tuple[ValueRecord, ...]
    attributes: tuple[onnx_ir.Attr | Body, ...]

    @property
    def operator(self) -> str:
        """`Conv`, `tflite.CONV_2D`."""
        return f"{self.domain}.{self.op_type}" if self.domain else self.op_type


class ConstantRecord(NamedTuple):
    """A constant: to ask for its size, let alone its content, takes longer than all else of a record, so it is kept."""

    tensor: onnx_ir.TensorProtocol
    name: str
    operand: Literal | Weight
    """How nodes read it."""
    elements: int
    bytes: int


_NONE: Mapping[onnx_ir.Value | None, ConstantRecord] = {}


def record_value(value: onnx_ir.Value) -> ValueRecord:
    """What `value` is now."""
    kind, store = value.type, value._metadata
    return _new(
        ValueRecord,
        (
            value.name or "",
            None if kind is None else kind.dtype,
            dims(value),
            None if store is None else store.data.get(LAYOUT),  # as `layout`, which costs another call
        ),
    )


def record_constant(value: onnx_ir.Value, tensor: onnx_ir.TensorProtocol) -> ConstantRecord:
    """What is known of `value`, whose content is `tensor`."""
    name, elements = value.name or "", tensor.size
    array = constant_array(value) if elements <= SMALL else None
    operand: Literal | Weight
    if array is None:
        operand = _new(Weight, (name, value.dtype, dims(value), weakref.ref(tensor)))
    else:
        if array.dtype.hasobject:  # strings
            array = np.array(array.tolist())
        operand = _new(Literal, (array.dtype, array.shape, array.tobytes()))
    return ConstantRecord(tensor, name, operand, elements, tensor.nbytes)


def record_operand(value: onnx_ir.Value | None) -> OperandRecord:
    """How a node reads `value` now."""
    if value is None:
        return None
    tensor = value.const_value
    if tensor is None or value.producer() is not None:
        return value.name or ""
    return record_constant(value, tensor).operand


def record_node(
    node: onnx_ir.Node, constants: Mapping[onnx_ir.Value | None, ConstantRecord] = _NONE
) -> NodeRecord:
    """What `node` is now. `constants` are recorded already."""
    attributes, outputs = node.attributes.data, node.outputs
    return _new(
        NodeRecord,
        (
            node.domain,
            node.op_type,
            tuple(
                [
                    constants[value].operand if value in constants else record_operand(value)
                    for value in node.inputs
                ]
            ),
            (record_value(outputs[0]),)
            if len(outputs) == 1  # most have one, and a comprehension is a call
            else tuple([record_value(value) for value in outputs]),
            tuple([_attribute(item) for item in attributes.values()]) if attributes else (),
        ),
    )


def _attribute(attribute: onnx_ir.Attr) -> onnx_ir.Attr | Body:
    kind = attribute.type
    if kind is _GRAPH and not attribute.is_ref():
        return Body(attribute.name, len(attribute.as_graph()))
    if kind is _GRAPHS and not attribute.is_ref():
        return Body(attribute.name, sum(len(item) for item in attribute.as_graphs()))
    return attribute


def type_text(dtype: onnx_ir.DataType | None, dims: Dims | None) -> str:
    """`float[1,3,H,W]`, with `?` for what is unknown."""
    name = dtype.name.lower() if dtype is not None else "?"
    if dims is None:
        return f"{name}[*]"
    return f"{name}[{','.join(['?' if dim is None else str(dim) for dim in dims])}]"


def operand_text(record: OperandRecord) -> str:
    """A node's operand: its name, or its content where it is a small constant."""
    if record is None:
        return "-"
    if isinstance(record, str):
        return f"%{record}"
    if isinstance(record, Literal):
        return record.text
    return f"%{record.name}:{type_text(record.dtype, record.dims)}"


def attribute_text(record: onnx_ir.Attr | Body) -> str:
    """The content of an attribute."""
    if isinstance(record, Body):
        return f"<graph of {record.nodes} nodes>"
    content = record.value
    if isinstance(content, tuple | list):
        return "[" + ", ".join(str(item) for item in content) + "]"
    return str(content)


def record_line(record: NodeRecord) -> str:
    """`%y:float[1,8,4,4] = Conv(%x, %w:float[8,3,3,3]) {pads=[1, 1, 1, 1]}`."""
    results = ", ".join([f"%{item.name}:{type_text(item.dtype, item.dims)}" for item in record.results])
    attributes = ", ".join(
        f"{item.name}={attribute_text(item)}" for item in sorted(record.attributes, key=lambda a: a.name)
    )
    operands = ", ".join([operand_text(item) for item in record.operands])
    return f"{results} = {record.operator}({operands})" + (f" {{{attributes}}}" if attributes else "")
