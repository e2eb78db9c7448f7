"""A model of any size for tests of what must stay fast."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def blocks(count: int) -> onnx.ModelProto:
    """A model of `count` blocks of 10 nodes, half of which the passes rewrite."""
    rng = np.random.default_rng(0)
    nodes, weights, x = [], [], "x"

    def add(operator: str, *inputs: str, **attributes: object) -> str:
        name = f"v{len(nodes)}"
        nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def weight(*shape: int) -> str:
        name = f"w{len(weights)}"
        weights.append(numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name))
        return name

    slope = weight()
    for _ in range(count):
        y = add("Mul", add("Conv", x, weight(4, 4, 1, 1), weight(4)), weight(1, 4, 1, 1))
        y = add("Max", y, add("Mul", y, slope))
        y = add("Mul", y, add("Sigmoid", y))
        t = add("Softmax", add("Transpose", y, perm=[0, 2, 3, 1]), axis=-1)
        x = add("Add", x, add("Transpose", t, perm=[0, 3, 1, 2]))
    shape = [1, 4, 8, 8]
    graph = helper.make_graph(
        nodes,
        "blocks",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, shape)],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
