"""What is wrong inside a ModelProto that parses, in words that name the place: tensors, names, and operators' names."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping

import onnx

FIELDS = {
    onnx.TensorProto.FLOAT: "float_data",
    onnx.TensorProto.DOUBLE: "double_data",
    onnx.TensorProto.INT64: "int64_data",
    onnx.TensorProto.UINT64: "uint64_data",
    onnx.TensorProto.UINT32: "uint64_data",
    onnx.TensorProto.STRING: "string_data",
    **dict.fromkeys(
        (
            onnx.TensorProto.INT32,
            onnx.TensorProto.INT16,
            onnx.TensorProto.INT8,
            onnx.TensorProto.UINT16,
            onnx.TensorProto.UINT8,
            onnx.TensorProto.BOOL,
            onnx.TensorProto.FLOAT16,
            onnx.TensorProto.BFLOAT16,
        ),
        "int32_data",
    ),
}
"""The typed field of each element type that keeps one entry an element; all but strings are whole bytes in `raw_data`."""

_ELEMENT_TYPES = frozenset(onnx.TensorProto.DataType.values())
_NONE: Mapping[str, memoryview] = {}


def problems(graph: onnx.GraphProto, weights: Mapping[str, memoryview] = _NONE) -> Iterator[str]:
    """Everything wrong with the tensors and the texts of `graph` and the graphs in it, lazily.

    `weights` are the raw bytes of initializers that lie beside the proto.
    """
    for tensor in graph.initializer:
        yield from _tensor_problems(f"tensor '{tensor.name}'", tensor, weights.get(tensor.name))
    for node in graph.node:
        label = node_label(node)
        texts = (node.op_type, node.domain, *node.input, *node.output)
        if not all(isinstance(text, str) for text in texts):
            yield f"the name of {label} or of one of its values is not valid text: the file is damaged"
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                yield from _tensor_problems(f"attribute '{attribute.name}' of {label}", attribute.t)
            elif attribute.type == onnx.AttributeProto.GRAPH:
                yield from problems(attribute.g)
            for body in attribute.graphs:
                yield from problems(body)


def redefinitions(graph: onnx.GraphProto) -> Iterator[str]:
    """Values that two nodes write, or that a node writes over an input or an initializer."""
    defined = {value.name: "an input" for value in graph.input}
    defined.update((tensor.name, "an initializer") for tensor in graph.initializer)
    for node in graph.node:
        for name in filter(None, node.output):
            if name in defined:
                yield (
                    f"{node_label(node)} writes '{name}', which {defined[name]} defines already: names must be unique; "
                    "rename one of them"
                )
            defined[name] = node_label(node)
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from redefinitions(attribute.g)


def node_label(node: onnx.NodeProto) -> str:
    """`Conv 'conv1'`; nodes without a name go by their first output."""
    return f"{node.op_type} '{node.name or next(iter(node.output), '')}'"


def _tensor_problems(
    label: str, tensor: onnx.TensorProto, raw: bytes | memoryview | None = None
) -> Iterator[str]:
    if any(dim < 0 for dim in tensor.dims):
        yield f"{label} has the negative shape {list(tensor.dims)}: export the model again"
        return
    if tensor.data_type not in _ELEMENT_TYPES or not tensor.data_type:
        yield f"{label} has the unknown element type {tensor.data_type}: export the model again"
        return
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        yield from _external_problems(label, tensor)
        return
    count = math.prod(tensor.dims)
    if raw is None and tensor.HasField("raw_data"):
        raw = tensor.raw_data
    field = FIELDS.get(tensor.data_type)
    if field is None:
        return
    if raw is not None:
        wanted = count * _item_size(tensor.data_type)
        if field != "string_data" and len(raw) != wanted:
            yield _size_problem(label, tensor, f"{wanted} bytes", str(len(raw)))
    elif (found := len(getattr(tensor, field))) != count:
        yield _size_problem(label, tensor, f"{count} elements", str(found))


def _external_problems(label: str, tensor: onnx.TensorProto) -> Iterator[str]:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    if not entries.get("location"):
        yield f"{label} says that its data is in another file and not in which: export the model again"
    for key in ("offset", "length"):
        if not entries.get(key, "0").isdigit():
            yield f"{label} has the {key} '{entries[key]}' in its external data, which is no number of bytes"


@functools.cache
def _item_size(data_type: int) -> int:
    return int(onnx.helper.tensor_dtype_to_np_dtype(data_type).itemsize)


def _size_problem(label: str, tensor: onnx.TensorProto, wanted: str, found: str) -> str:
    return f"{label} has the shape {list(tensor.dims)} and needs {wanted}, but holds {found}: export the model again"
