"""What ONNX's own shape inference knows of the values of a ModelProto, found without copying its weights."""

from __future__ import annotations

import onnx
import onnx.helper
import onnx.shape_inference

_SMALL = 1024
"""Bytes of constants that shape inference sees; larger ones are no shapes."""


def inferred_types(proto: onnx.ModelProto) -> dict[str, onnx.TypeProto]:
    """The types of the main graph's values by name, as far as they are declared or can be inferred."""
    light = onnx.ModelProto(ir_version=proto.ir_version, functions=proto.functions)
    light.opset_import.extend(proto.opset_import)
    graph, source = light.graph, proto.graph
    graph.name = source.name
    graph.node.extend(source.node)
    graph.input.extend(source.input)
    graph.output.extend(source.output)
    graph.value_info.extend(source.value_info)
    given = {item.name for item in source.input}
    constants = {
        tensor.name: onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
        for tensor in source.initializer
    }
    for tensor in source.initializer:
        if tensor.ByteSize() <= _SMALL:
            graph.initializer.append(tensor)
        elif tensor.name not in given:  # a large constant stands as an input
            graph.input.append(constants[tensor.name])
    known = onnx.shape_inference.infer_shapes(light, strict_mode=False).graph
    infos = [*known.input, *known.output, *known.value_info, *constants.values()]
    return {item.name: item.type for item in infos if item.type.WhichOneof("value") is not None}
