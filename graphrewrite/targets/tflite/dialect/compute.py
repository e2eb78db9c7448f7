"""Operators that compute over dimensions: reduction, matrix products, softmax, order, resizing, random numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnx.numpy_helper

from graphrewrite.ir import BodyBuilder, DataType, Node, constant_ints
from graphrewrite.targets.tflite.dialect.op import TO_FIRST, TO_LAST, activation, define, in_runnable_type

_REDUCTIONS = {
    "MEAN": "ReduceMean",
    "SUM": "ReduceSum",
    "REDUCE_MAX": "ReduceMax",
    "REDUCE_MIN": "ReduceMin",
    "REDUCE_PROD": "ReduceProd",
}


_NO_REDUCTION = frozenset({DataType.INT8, DataType.UINT8, DataType.INT16, DataType.UINT16, DataType.BOOL})
"""ONNX Runtime lacks some or all reductions of these."""


@define(*_REDUCTIONS, "REDUCE_ANY", "REDUCE_ALL", data=(0,))
def reduction(node: Node, body: BodyBuilder) -> Sequence[str]:
    keep = node.attributes.get_int("keep_dims", 0)
    if node.op_type in _REDUCTIONS:
        # noop_with_empty_axes: TFLite reduces nothing where the axes are empty
        return [
            in_runnable_type(
                node,
                body,
                0,
                _NO_REDUCTION,
                lambda cast: body.op(
                    _REDUCTIONS[node.op_type],
                    cast(body.inputs[0]),
                    body.int64(1),
                    keepdims=keep,
                    noop_with_empty_axes=1,
                ),
            )
        ]
    inner = "ReduceMax" if node.op_type == "REDUCE_ANY" else "ReduceMin"
    number = body.op("Cast", body.inputs[0], to=onnx.TensorProto.INT32)
    found = body.op(inner, number, body.int64(1), keepdims=keep, noop_with_empty_axes=1)
    return [body.op("Cast", found, to=onnx.TensorProto.BOOL)]


@define("FULLY_CONNECTED", data=(0, 1, 2))
def fully_connected(node: Node, body: BodyBuilder) -> Sequence[str]:
    """x [..., I] (keep_num_dims) or flattened to [-1, I], weights [O, I], bias [O]."""
    x = body.inputs[0]
    if not node.attributes.get_int("keep_num_dims", 0):
        inner = (
            node.inputs[1].shape[1] if node.inputs[1] is not None and node.inputs[1].shape is not None else -1
        )
        x = body.op("Reshape", x, body.const([-1, inner if isinstance(inner, int) else 0]))
    y = body.op("MatMul", x, body.op("Transpose", body.inputs[1], perm=[1, 0]))
    if len(body.inputs) > 2 and body.inputs[2]:
        y = body.op("Add", y, body.inputs[2])
    return [activation(node, body, y)]


@define("BATCH_MATMUL")
def batch_matmul(node: Node, body: BodyBuilder) -> Sequence[str]:
    operands = []
    for index, flag in enumerate(("adj_x", "adj_y")):
        name, value = body.inputs[index], node.inputs[index]
        if node.attributes.get_int(flag, 0) and value is not None and value.shape is not None:
            order = list(range(len(value.shape)))
            order[-2:] = [order[-1], order[-2]]
            name = body.op("Transpose", name, perm=order)
        operands.append(name)
    return [body.op("MatMul", *operands)]


@define("SOFTMAX")
def softmax(node: Node, body: BodyBuilder) -> Sequence[str]:
    beta = node.attributes.get_float("beta", 1.0)
    x = body.inputs[0] if beta == 1.0 else body.op("Mul", body.inputs[0], body.const(beta, np.float32))
    return [body.op("Softmax", x, axis=-1)]


@define("LOG_SOFTMAX")
def log_softmax(node: Node, body: BodyBuilder) -> Sequence[str]:
    return [body.op("LogSoftmax", body.inputs[0], axis=-1)]


@define("L2_NORMALIZATION")
def l2_normalization(node: Node, body: BodyBuilder) -> Sequence[str]:
    return [body.op("LpNormalization", body.inputs[0], axis=-1, p=2)]


@define("CUMSUM", data=(0,))
def cumsum(node: Node, body: BodyBuilder) -> Sequence[str]:
    return [
        body.op(
            "CumSum",
            *body.inputs,
            exclusive=node.attributes.get_int("exclusive", 0),
            reverse=node.attributes.get_int("reverse", 0),
        )
    ]


@define("ARG_MAX", "ARG_MIN", data=(0,), result="")
def arg(node: Node, body: BodyBuilder) -> Sequence[str]:
    axis = (constant_ints(node.inputs[1]) or [0])[0]
    x, value = body.inputs[0], node.inputs[0]
    if value is not None and value.dtype in _NO_REDUCTION:
        x = body.op("Cast", x, to=onnx.TensorProto.INT32)
    found = body.op("ArgMax" if node.op_type == "ARG_MAX" else "ArgMin", x, axis=axis, keepdims=0)
    if node.attributes.get_string("output_type", "INT32") == "INT32":
        found = body.op("Cast", found, to=onnx.TensorProto.INT32)
    return [found]


@define("TOPK_V2", data=(0,), result="")
def topk(node: Node, body: BodyBuilder) -> Sequence[str]:
    """Largest first along the last dimension; indices are int32."""
    count = body.op("Reshape", body.int64(1), body.const([1]))
    values, indices = body.ops("TopK", body.inputs[0], count, outputs=2, axis=-1)
    return [values, body.op("Cast", indices, to=onnx.TensorProto.INT32)]


@define("UNIQUE", result="")
def unique(node: Node, body: BodyBuilder) -> Sequence[str]:
    """Distinct elements of a vector in order of first occurrence, and for each element which of them it is."""
    values, _, inverse = body.ops("Unique", body.inputs[0], outputs=3, sorted=0)
    if node.attributes.get_string("idx_out_type", "INT32") == "INT32":
        inverse = body.op("Cast", inverse, to=onnx.TensorProto.INT32)
    return [values, inverse]


@define("NON_MAX_SUPPRESSION_V4", data=(0, 1), result="")
def non_max_suppression(node: Node, body: BodyBuilder) -> Sequence[str]:
    """boxes [n, 4], scores [n], limit, overlap, score threshold (scalars): numbers padded with 0 to the limit, and how many.

    TFLite drops boxes whose overlap reaches the threshold, ONNX those that exceed it: the float before it means the same.
    """
    boxes, scores = body.op("Unsqueeze", body.inputs[0], body.const([0])), body.inputs[1]
    scores = body.op("Unsqueeze", scores, body.const([0, 1]))
    one = body.const([1])
    limit = body.op("Reshape", body.int64(2), one)
    before = body.op("Mul", body.inputs[3], body.const(1 - 2.0**-24, np.float32))
    overlap, floor = (body.op("Reshape", name, one) for name in (before, body.inputs[4]))
    rows = body.op("NonMaxSuppression", boxes, scores, limit, overlap, floor)
    chosen = body.op("Gather", rows, body.const(2), axis=1)
    number = body.op("Shape", chosen)
    rest = body.op("ConstantOfShape", body.op("Sub", limit, number), value=_zeros(np.int64))
    padded = body.op("Concat", chosen, rest, axis=0)
    scalar = body.op("Squeeze", number)
    return [body.op("Cast", name, to=onnx.TensorProto.INT32) for name in (padded, scalar)]


def _zeros(dtype: type[np.generic]) -> onnx.TensorProto:
    return onnx.numpy_helper.from_array(np.zeros(1, dtype))


_SEGMENTS = {
    "UNSORTED_SEGMENT_SUM": ("add", 0),
    "UNSORTED_SEGMENT_PROD": ("mul", 1),
    "UNSORTED_SEGMENT_MAX": ("max", "min"),
    "UNSORTED_SEGMENT_MIN": ("min", "max"),
}


@define(*_SEGMENTS, data=(0,))
def unsorted_segment(node: Node, body: BodyBuilder) -> Sequence[str]:
    """data [n, ...], segment ids [n], number of segments []; segments without elements hold the reduction's neutral element."""
    reduction, neutral = _SEGMENTS[node.op_type]
    dtype = (node.inputs[0].dtype if node.inputs[0] is not None else None) or DataType.FLOAT
    if isinstance(neutral, str):
        kind = dtype.numpy()
        neutral = getattr(np.finfo(kind) if dtype.is_floating_point() else np.iinfo(kind), neutral)
    count = body.op("Reshape", body.int64(2), body.const([1]))
    row = body.op("Shape", body.inputs[0], start=1)
    start = body.op("Expand", body.const(neutral, dtype.numpy()), body.op("Concat", count, row, axis=0))
    index = body.op("Unsqueeze", body.int64(1), body.const([-1]))
    return [body.op("ScatterND", start, index, body.inputs[0], reduction=reduction)]


@define("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", data=(0,))
def resize(node: Node, body: BodyBuilder) -> Sequence[str]:
    """size [2]. Nearest: asymmetric + floor, or half_pixel/align_corners + round_prefer_ceil (FACTS of the kernels)."""
    aligned = bool(node.attributes.get_int("align_corners", 0))
    half = bool(node.attributes.get_int("half_pixel_centers", 0))
    nearest = node.op_type == "RESIZE_NEAREST_NEIGHBOR"
    x = body.op("Transpose", body.inputs[0], perm=TO_FIRST)
    lead = body.op("Shape", x, start=0, end=2)
    sizes = body.op("Concat", lead, body.int64(1), axis=0)
    dims = (
        [node.inputs[0].shape[i] for i in (0, 3)]
        if node.inputs[0] is not None and node.inputs[0].shape is not None
        else []
    )
    known = constant_ints(node.inputs[1])
    if known is not None and len(dims) == 2 and all(isinstance(dim, int) for dim in dims):
        sizes = body.const([*dims, *known])
    y = body.op(
        "Resize",
        x,
        "",
        "",
        sizes,
        mode="nearest" if nearest else "linear",
        coordinate_transformation_mode="align_corners" if aligned else "half_pixel" if half else "asymmetric",
        nearest_mode=("round_prefer_ceil" if aligned or half else "floor") if nearest else None,
    )
    return [body.op("Transpose", y, perm=TO_LAST)]


@define("DEQUANTIZE", result="FLOAT")
def dequantize(node: Node, body: BodyBuilder) -> Sequence[str]:
    value = node.inputs[0]
    if value is not None and value.dtype == DataType.FLOAT16:
        return [body.op("Cast", body.inputs[0], to=onnx.TensorProto.FLOAT)]
    raise NotImplementedError("DEQUANTIZE of integers needs the quantisation facet")


@define("RANDOM_STANDARD_NORMAL", "RANDOM_UNIFORM", data=(), result="FLOAT")
def random(node: Node, body: BodyBuilder) -> Sequence[str]:
    op_type = "RandomNormalLike" if node.op_type == "RANDOM_STANDARD_NORMAL" else "RandomUniformLike"
    zeros = body.op("ConstantOfShape", body.int64(0))
    return [body.op(op_type, zeros, dtype=onnx.TensorProto.FLOAT)]


@define("MULTINOMIAL", data=(0,), result="")
def multinomial(node: Node, body: BodyBuilder) -> Sequence[str]:
    """logits [batch, classes], number of samples []; the type of its output (int32 or int64) is the only sign of it."""
    dtype, count = node.outputs[0].dtype, (constant_ints(node.inputs[1]) or [1])[0]
    assert dtype is not None
    return [body.op("Multinomial", body.inputs[0], sample_size=count, dtype=int(dtype))]
