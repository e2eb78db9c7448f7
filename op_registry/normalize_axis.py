"""LpNormalization and MeanVarianceNormalization, in simpler ONNX ops."""

from __future__ import annotations

from collections.abc import Sequence

from graphrewrite.ir import DataType, Value
from graphrewrite.registry import Onnx, OpNode, expansion, lowering


@expansion("LpNormalization")
def lp_normalization(node: OpNode, b: Onnx) -> Value:
    """Divided by the norm along the axis; where that is 0, so is the result."""
    x = node.input(0)
    op_type = "ReduceL1" if node.attr("p") == 1 else "ReduceL2"
    norm = b.op(op_type, x, b.i64([node.axis()]), keepdims=1)
    nothing = b.cast(b.op("Equal", norm, b.like(0, x)), x.dtype or DataType.FLOAT)
    return b.op("Div", x, b.op("Add", norm, nothing))


@lowering("openvino", "LpNormalization")
def exact_norm(node: OpNode, b: Onnx) -> Sequence[Value]:
    """OpenVINO's own adds 1e-6 or so to the squares; refused here, it is expanded."""
    node.not_implemented("a norm that nothing is added to")


@expansion("MeanVarianceNormalization")
def mean_variance_normalization(node: OpNode, b: Onnx) -> Value:
    """(x - mean) / (deviation + 1e-9) as the specification's body, but with the variance about the mean."""
    x, axes = node.input(0), b.i64(node.attr("axes") or [0, 2, 3])
    centred = b.op("Sub", x, b.op("ReduceMean", x, axes))
    variance = b.op("ReduceMean", b.op("Mul", centred, centred), axes)
    return b.op("Div", centred, b.op("Add", b.op("Sqrt", variance), b.like(1e-9, x)))
