"""The graph as the bytes that OpenVINO's ONNX front end reads, weights left where they are in memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

import numpy as np
import onnx
import onnx.numpy_helper
import onnx_ir
import onnx_ir.serde

from graphrewrite.ir import OPSET, Array, Graph, Model, Node, Value

_IN_MEMORY = "*/_ORT_MEM_ADDR_/*"
"""External data at this location lies at the address that `offset` gives, in the process that reads it."""
_INLINE = 1 << 10
"""Constants of fewer bytes are written into the message: shapes and axes, which the front end looks into."""
_IR_VERSION = 10


@dataclasses.dataclass(frozen=True)
class Readable:
    """What the front end reads. `weights` must live until it has done so."""

    data: bytes
    weights: tuple[Array, ...]


def readable(model: Model, without: Collection[Node] = frozenset()) -> Readable:
    """`model`, all of standard ONNX ops, without a second copy of its weights.

    The nodes in `without` are left out: what they make becomes an input of the same name and type, and what they read (in the
    main graph) an output, so that the nodes in front of them are still read, too.
    """
    graph = model.graph
    proto = onnx.ModelProto(ir_version=_IR_VERSION)
    proto.opset_import.add(domain="", version=OPSET)
    weights: list[Array] = []
    for value in graph.inputs:
        onnx_ir.serde.serialize_value_into(proto.graph.input.add(), value)
    _fill(graph, proto.graph, without, weights, proto.graph)
    return Readable(proto.SerializeToString(deterministic=True), tuple(weights))


def _fill(
    graph: Graph,
    proto: onnx.GraphProto,
    without: Collection[Node],
    weights: list[Array],
    main: onnx.GraphProto,
) -> None:
    """Write initializers, nodes and outputs. Shapes of outputs are for the front end to find: declared ones may be wrong."""
    proto.name = graph.name or "graph"
    for value in graph.initializers.values():
        if value.const_value is not None and value.const_value.size == 0:
            _empty_constant(proto, value)
            continue
        array = _constant(proto.initializer.add(), value)
        if array is not None:
            weights.append(array)
    for node in graph:
        if node in without:
            for value in node.outputs:
                if value.name:
                    onnx_ir.serde.serialize_value_into(main.input.add(), value)
            continue
        written = proto.node.add()
        onnx_ir.serde.serialize_node_into(written, node)
        for attribute in written.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH and without:
                body = onnx.GraphProto(input=attribute.g.input)
                _fill(node.attributes[attribute.name].as_graph(), body, without, weights, main)
                attribute.g.CopyFrom(body)
    outputs = list(graph.outputs)
    if proto is main:
        read = dict.fromkeys(value for node in graph if node in without for value in node.inputs)
        outputs += [value for value in read if value is not None and value not in outputs]
    for value in outputs:
        output = proto.output.add(name=value.name)
        output.type.tensor_type.elem_type = int(value.dtype or 0)


def _empty_constant(proto: onnx.GraphProto, value: Value) -> None:
    """A constant without elements, which the front end would take for a scalar, made of its shape."""
    tensor = value.const_value
    assert tensor is not None
    shape = onnx.numpy_helper.from_array(np.asarray(tensor.shape.numpy(), np.int64), f"{value.name}/shape")
    proto.initializer.append(shape)
    node = proto.node.add(op_type="ConstantOfShape", input=[shape.name], output=[value.name])
    fill = onnx.numpy_helper.from_array(np.zeros(1, tensor.dtype.numpy()))
    node.attribute.add(name="value", type=onnx.AttributeProto.TENSOR, t=fill)


def _constant(proto: onnx.TensorProto, value: Value) -> Array | None:
    """Write a constant, or where it lies: then the array to keep alive."""
    tensor = value.const_value
    assert tensor is not None
    tensor.name = value.name
    if tensor.nbytes < _INLINE or tensor.dtype.bitwidth < 8 or tensor.dtype.is_string():
        if isinstance(tensor, onnx_ir.ExternalTensor):  # it would be written as the file it lies in
            tensor = onnx_ir.Tensor(tensor.numpy(), tensor.dtype, name=tensor.name)
        onnx_ir.serde.serialize_tensor_into(proto, tensor)
        return None
    array = np.asarray(tensor.numpy(), order="C")
    proto.name = value.name or ""
    proto.data_type = int(tensor.dtype)
    proto.dims.extend(array.shape)
    proto.data_location = onnx.TensorProto.EXTERNAL
    for key, content in (("location", _IN_MEMORY), ("offset", array.ctypes.data), ("length", array.nbytes)):
        proto.external_data.add(key=key, value=str(content))
    return array
