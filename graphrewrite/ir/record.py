"""A node as it stands now, in a form that stays when the graph moves on: cheap to take, to compare and to print later."""

from __future__ import annotations

import weakref
from typing import NamedTuple, TypeAlias

import onnx_ir

from graphrewrite.ir.constants import constant_array
from graphrewrite.ir.facets import Layout, layout
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
    """A constant operand of a few elements, as it is printed."""

    text: str


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


_literals: weakref.WeakKeyDictionary[
    onnx_ir.TensorProtocol, Literal | weakref.ref[onnx_ir.TensorProtocol]
] = weakref.WeakKeyDictionary()
"""What is known of each constant: to ask for its size, let alone its content, takes longer than all else of a record."""


def record_value(value: onnx_ir.Value) -> ValueRecord:
    """What `value` is now."""
    return _new(ValueRecord, (value.name or "", value.dtype, dims(value), layout(value)))


def record_operand(value: onnx_ir.Value | None) -> OperandRecord:
    """How a node reads `value` now."""
    if value is None:
        return None
    tensor = value.const_value
    if tensor is None or value.producer() is not None:
        return value.name or ""
    known = _literals.get(tensor)
    if known is None:
        known = _literals[tensor] = _literal(value, tensor)
    if isinstance(known, Literal):
        return known
    return _new(Weight, (value.name or "", value.dtype, dims(value), known))


def _literal(
    value: onnx_ir.Value, tensor: onnx_ir.TensorProtocol
) -> Literal | weakref.ref[onnx_ir.TensorProtocol]:
    """The content of `tensor` where it is small, else how to remember it."""
    array = constant_array(value) if tensor.size <= SMALL else None
    return weakref.ref(tensor) if array is None else Literal(str(array.tolist()))


def record_node(node: onnx_ir.Node) -> NodeRecord:
    """What `node` is now."""
    attributes = node.attributes.data
    return _new(
        NodeRecord,
        (
            node.domain,
            node.op_type,
            tuple([record_operand(value) for value in node.inputs]),
            tuple([record_value(value) for value in node.outputs]),
            tuple([_attribute(item) for item in attributes.values()]) if attributes else (),
        ),
    )


def _attribute(attribute: onnx_ir.Attr) -> onnx_ir.Attr | Body:
    if attribute.type is _GRAPH and not attribute.is_ref():
        return Body(attribute.name, len(attribute.as_graph()))
    if attribute.type is _GRAPHS and not attribute.is_ref():
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
