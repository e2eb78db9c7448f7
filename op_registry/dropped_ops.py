"""Operators and forms that opset 9 or 10 dropped, in today's ops: Scan with a batch dimension, and the experimental ops."""

from __future__ import annotations

from graphrewrite.ir import Value, dims
from graphrewrite.registry import Onnx, OpNode, upgrade
from graphrewrite.registry.subgraphs import copy_graph


@upgrade("Scan", before=9)
def scan_8(node: OpNode, b: Onnx) -> list[Value | None]:
    """Opset 8's Scan runs its body for each batch entry of [N, T, ...] sequences; today's has no batch dimension."""
    if node.has(0):
        node.refuse(
            "sequences of different lengths (sequence_lens) can't be read; export with opset 9 or newer"
        )
    operands = [node.input(index) for index in range(1, len(node))]
    scans = node.attr("num_scan_inputs")
    directions = node.attr("directions") or [0] * scans
    batch = (dims(operands[0]) or (None,))[0]
    if not isinstance(batch, int) or batch < 1:
        node.refuse("its batch size is not known; fix it with --shape")
    body = node.node.attributes["body"].as_graph()
    entries: list[tuple[Value, ...]] = []
    for index in range(batch):
        picked = [b.op("Gather", value, b.i64(index), axis=0) for value in operands]
        entries.append(
            b.ops(
                "Scan",
                *picked,
                outputs=len(node.outputs),
                body=copy_graph(b.rewriter, body),
                num_scan_inputs=scans,
                scan_input_directions=list(directions),
            )
        )
    results: list[Value | None] = []
    for parts in zip(*entries, strict=True):
        results.append(b.op("Concat", *(b.op("Unsqueeze", part, b.i64([0])) for part in parts), axis=0))
    return results


@upgrade("ImageScaler", before=10)
def image_scaler(node: OpNode, b: Onnx) -> Value:
    x, bias = node.input(0), node.attr("bias")
    return b.op(
        "Add", b.op("Mul", x, b.like(node.attr("scale", 1.0), x)), b.reshape(b.like(bias, x), [-1, 1, 1])
    )


@upgrade("Affine", before=10)
def affine(node: OpNode, b: Onnx) -> Value:
    x = node.input(0)
    return b.op("Add", b.op("Mul", x, b.like(node.attr("alpha", 1.0), x)), b.like(node.attr("beta", 0.0), x))


@upgrade("ScaledTanh", before=10)
def scaled_tanh(node: OpNode, b: Onnx) -> Value:
    x = node.input(0)
    inner = b.op("Tanh", b.op("Mul", x, b.like(node.attr("beta", 1.0), x)))
    return b.op("Mul", inner, b.like(node.attr("alpha", 1.0), x))


@upgrade("ParametricSoftplus", before=10)
def parametric_softplus(node: OpNode, b: Onnx) -> Value:
    x = node.input(0)
    inner = b.op("Softplus", b.op("Mul", x, b.like(node.attr("beta", 1.0), x)))
    return b.op("Mul", inner, b.like(node.attr("alpha", 1.0), x))


@upgrade("Crop", before=10)
def crop(node: OpNode, b: Onnx) -> Value:
    """border is left, top, right, bottom of [N, C, H, W]; scale, where given, is the size from the corner on."""
    left, top, right, bottom = node.attr("border")
    size = node.attr("scale")
    if size:
        ends = [top + size[0], left + size[1]]
    else:
        height, width = node.static()[2:]
        ends = [height - bottom, width - right]
    return b.op("Slice", node.input(0), b.i64([top, left]), b.i64(ends), b.i64([2, 3]))
