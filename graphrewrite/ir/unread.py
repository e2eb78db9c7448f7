"""What onnx_ir does not read, in a form that it does: sparse tensors as dense ones, and maps as values of unknown type."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
import onnx.numpy_helper

from graphrewrite.errors import InvalidModel


def readable(proto: onnx.ModelProto) -> onnx.ModelProto:
    """`proto`, or a copy of it where it holds sparse tensors or maps.

    Maps (skl2onnx's ZipMap makes them) leave only the name of the value that is one.

    Raises:
        InvalidModel: a sparse tensor contradicts itself, or its values lie in another file.
    """
    if not any(_unread(graph) for graph in _graphs(proto)):
        return proto
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    for graph in _graphs(copy):
        for sparse in graph.sparse_initializer:
            graph.initializer.append(_dense(sparse, sparse.values.name))
        graph.ClearField("sparse_initializer")
        for attribute in _sparse_constants(graph):
            attribute.t.CopyFrom(_dense(attribute.sparse_tensor, ""))
            attribute.name, attribute.type = "value", onnx.AttributeProto.TENSOR
            attribute.ClearField("sparse_tensor")
        for value in _maps(graph):
            value.ClearField("type")
    return copy


def _graphs(proto: onnx.ModelProto) -> Iterator[onnx.GraphProto]:
    stack = [proto.graph]
    while stack:
        graph = stack.pop()
        yield graph
        attributes = (attribute for node in graph.node for attribute in node.attribute)
        for attribute in attributes:
            if attribute.type == onnx.AttributeProto.GRAPH:
                stack.append(attribute.g)
            elif attribute.type == onnx.AttributeProto.GRAPHS:
                stack.extend(attribute.graphs)


def _unread(graph: onnx.GraphProto) -> bool:
    return bool(graph.sparse_initializer) or any(_sparse_constants(graph)) or any(_maps(graph))


def _sparse_constants(graph: onnx.GraphProto) -> Iterator[onnx.AttributeProto]:
    for node in graph.node:
        if node.op_type == "Constant":
            yield from (item for item in node.attribute if item.type == onnx.AttributeProto.SPARSE_TENSOR)


def _maps(graph: onnx.GraphProto) -> Iterator[onnx.ValueInfoProto]:
    for values in (graph.input, graph.output, graph.value_info):
        yield from (value for value in values if _has_map(value.type))


def _has_map(kind: onnx.TypeProto) -> bool:
    form = kind.WhichOneof("value")
    if form in ("sequence_type", "optional_type"):
        return _has_map(getattr(kind, form).elem_type)
    return bool(form == "map_type")


def _dense(sparse: onnx.SparseTensorProto, name: str) -> onnx.TensorProto:
    """The tensor with zeros where `sparse` says nothing; indices are positions in it, or one row of coordinates each."""
    label = f"the sparse tensor '{sparse.values.name or name}'"
    if onnx.TensorProto.EXTERNAL in (sparse.values.data_location, sparse.indices.data_location):
        raise InvalidModel(
            f"{label} has its data in another file: save the model with it inside, or make it dense"
        )
    try:
        values = onnx.numpy_helper.to_array(sparse.values)
        indices = onnx.numpy_helper.to_array(sparse.indices)
        dense = np.zeros(tuple(sparse.dims), values.dtype)
        if indices.size and indices.min() < 0:
            raise IndexError("an index is negative")
        if indices.ndim == 1:
            dense.reshape(-1)[indices] = values
        else:
            dense[tuple(indices.T)] = values
    except (IndexError, ValueError, TypeError) as error:
        raise InvalidModel(f"{label} contradicts itself: {error}; export the model again") from error
    return onnx.numpy_helper.from_array(dense, name)
