"""Small graphs of the tflite dialect for the layout tests."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir
import onnxruntime

from graphrewrite.ir import DataType, Model, Value, to_runnable_proto
from graphrewrite.pipeline.discovery import known_passes
from graphrewrite.rewrite import Rewriter
from graphrewrite.targets.tflite.builder import TFLite

Arrays = dict[str, npt.NDArray[Any]]
FLOAT = DataType.FLOAT


class Sketch:
    """A graph under construction: `s = Sketch(); x = s.input("x", [1, 3, 8, 8]); s.output(s.conv(x, 4))`."""

    def __init__(self, seed: int = 0) -> None:
        graph = onnx_ir.Graph([], [], nodes=[], opset_imports={"": 26, "tflite": 1}, name="sketch")
        self.model: Model = onnx_ir.Model(graph, ir_version=10)
        self.t = TFLite(Rewriter(self.model))
        self.random = np.random.default_rng(seed)
        self.fixed: Arrays = {}
        """Content of inputs that can't be random."""

    def input(self, name: str, shape: list[int | str], dtype: DataType = FLOAT) -> Value:
        self.t.rewriter.unique_name(name)
        value = Value(name=name, type=onnx_ir.TensorType(dtype), shape=onnx_ir.Shape(shape))
        self.model.graph.inputs.append(value)
        return value

    def output(self, *values: Value) -> None:
        self.model.graph.outputs.extend(values)

    def weight(self, *shape: int) -> Value:
        return self.t.const(self.random.standard_normal(shape) * 0.3, FLOAT)

    def op(self, name: str, *inputs: Value | None, **options: Any) -> Value:
        if name in ("ADD", "SUB", "MUL", "DIV", "CONCATENATION"):
            options.setdefault("fused_activation_function", "NONE")
        return self.t.op(name, *inputs, **options)

    def conv(
        self, x: Value, channels: int, kernel: int = 3, stride: int = 1, depthwise: bool = False
    ) -> Value:
        """A wrapped convolution of a channels-first value."""
        assert x.shape is not None
        inner = x.shape[1]
        assert isinstance(inner, int)
        filter_shape = (1, kernel, kernel, channels) if depthwise else (channels, kernel, kernel, inner)
        options = {
            "padding": "SAME",
            "stride_h": stride,
            "stride_w": stride,
            "fused_activation_function": "NONE",
        }
        options |= {"dilation_h_factor": 1, "dilation_w_factor": 1}
        if depthwise:
            options["depth_multiplier"] = channels // inner
        name = "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
        y = self.op(name, self.t.to_last(x), self.weight(*filter_shape), self.weight(channels), **options)
        return self.t.to_first(y)

    def feeds(self) -> Arrays:
        """Random content for every input; symbolic dimensions become 2."""
        found: Arrays = {}
        for value in self.model.graph.inputs:
            assert value.shape is not None
            assert value.dtype is not None
            assert value.name is not None
            shape = [dim if isinstance(dim, int) else 2 for dim in value.shape]
            content = np.asarray(self.random.standard_normal(shape)) * (
                1 if value.dtype.is_floating_point() else 9
            )
            found[value.name] = np.asarray(content > 0 if value.dtype == DataType.BOOL else content).astype(
                value.dtype.numpy()
            )
        return found | self.fixed


def run(model: Model, feeds: Arrays) -> list[npt.NDArray[Any]]:
    """The model's outputs in ONNX Runtime."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        to_runnable_proto(model).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    found: list[npt.NDArray[Any]] = session.run(None, feeds)
    return found


def lay_out(model: Model, **options: Any) -> Rewriter:
    """Run the pass `assign-layout`."""
    rewriter = Rewriter(model)
    known_passes()["assign-layout"](**options).run(model, rewriter)
    return rewriter


def count(model: Model, op_type: str) -> int:
    """Operators of a type in the main graph."""
    return sum(node.op_type == op_type for node in model.graph)
