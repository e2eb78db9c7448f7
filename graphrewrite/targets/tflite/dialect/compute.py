"""Operators that compute over dimensions: convolution, pooling, reduction, matrix products, resizing, softmax."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnx.numpy_helper

from graphrewrite.ir import BodyBuilder, DataType, Node, Value, constant_ints, dims
from graphrewrite.targets.tflite.dialect.op import activation, define, in_runnable_type

_TO_FIRST = [0, 3, 1, 2]
_TO_LAST = [0, 2, 3, 1]
_AUTO_PAD = {"SAME": "SAME_UPPER", "VALID": "VALID"}


def _strides(node: Node) -> list[int]:
    return [node.attributes.get_int("stride_h", 1), node.attributes.get_int("stride_w", 1)]


def _dilations(node: Node) -> list[int]:
    return [node.attributes.get_int("dilation_h_factor", 1), node.attributes.get_int("dilation_w_factor", 1)]


def _padding(
    node: Node, kernel: Sequence[int | None], strides: Sequence[int], dilations: Sequence[int]
) -> dict[str, Any]:
    """SAME or VALID of a convolution as ONNX attributes: explicit pads where they are known, because ONNX Runtime takes no
    dilations together with auto_pad."""
    name = node.attributes["padding"].as_string()
    sizes = dims(node.inputs[0])
    if name != "SAME" or sizes is None:
        return {"auto_pad": _AUTO_PAD[name]}
    before, after = [], []
    for size, taps, stride, dilation in zip(sizes[1:-1], kernel, strides, dilations, strict=True):
        if taps is None or (stride > 1 and not isinstance(size, int)):
            return {"auto_pad": _AUTO_PAD[name]}
        reach = (taps - 1) * dilation + 1
        total = reach - 1
        if isinstance(size, int):
            total = max((-(-size // stride) - 1) * stride + reach - size, 0)
        before.append(total // 2)
        after.append(total - total // 2)
    return {"pads": before + after}


def _kernel(value: Value | None, axes: Sequence[int]) -> list[int | None]:
    known = dims(value) or (None,) * 8
    return [size if isinstance(size := known[axis], int) else None for axis in axes]


@define("CONV_2D", data=(0, 1, 2))
def conv_2d(node: Node, body: BodyBuilder) -> Sequence[str]:
    """x [N, H, W, C], filter [O, kh, kw, C/groups], bias [O]; the groups follow from the shapes."""
    x, w = (body.op("Transpose", name, perm=_TO_FIRST) for name in body.inputs[:2])
    y = body.op(
        "Conv",
        x,
        w,
        *body.inputs[2:],
        strides=_strides(node),
        dilations=_dilations(node),
        group=_groups(node),
        **_padding(node, _kernel(node.inputs[1], (1, 2)), _strides(node), _dilations(node)),
    )
    return [activation(node, body, body.op("Transpose", y, perm=_TO_LAST))]


def _groups(node: Node) -> int:
    x, w = node.inputs[0], node.inputs[1]
    if x is None or w is None or x.shape is None or w.shape is None:
        return 1
    channels, per_group = x.shape[3], w.shape[3]
    return channels // per_group if isinstance(channels, int) and isinstance(per_group, int) else 1


@define("DEPTHWISE_CONV_2D", data=(0, 1, 2))
def depthwise_conv_2d(node: Node, body: BodyBuilder) -> Sequence[str]:
    """x [N, H, W, C], filter [1, kh, kw, C * depth_multiplier], bias [C * depth_multiplier]."""
    x = body.op("Transpose", body.inputs[0], perm=_TO_FIRST)
    w = body.op("Transpose", body.inputs[1], perm=[3, 0, 1, 2])
    channels = (
        node.inputs[0].shape[3] if node.inputs[0] is not None and node.inputs[0].shape is not None else 1
    )
    y = body.op(
        "Conv",
        x,
        w,
        *body.inputs[2:],
        strides=_strides(node),
        dilations=_dilations(node),
        group=channels if isinstance(channels, int) else 1,
        **_padding(node, _kernel(node.inputs[1], (1, 2)), _strides(node), _dilations(node)),
    )
    return [activation(node, body, body.op("Transpose", y, perm=_TO_LAST))]


@define("TRANSPOSE_CONV", data=(1, 2, 3))
def transpose_conv(node: Node, body: BodyBuilder) -> Sequence[str]:
    """output_shape [4], filter [O, kh, kw, I], x [N, H, W, I], bias [O].

    SAME cuts off what the full result has above output_shape, half of it (rounded down) in front; it needs static sizes.
    """
    w = body.op("Transpose", body.inputs[1], perm=[3, 0, 1, 2])
    x = body.op("Transpose", body.inputs[2], perm=_TO_FIRST)
    strides = _strides(node)
    wanted, sizes = constant_ints(node.inputs[0]), dims(node.inputs[2])
    kernel = _kernel(node.inputs[1], (1, 2))
    front, behind = [0, 0], [0, 0]
    for i in range(2):
        size, taps = sizes[i + 1] if sizes is not None else None, kernel[i]
        if wanted is None or taps is None or not isinstance(size, int):
            if node.attributes["padding"].as_string() == "SAME":
                raise NotImplementedError("TRANSPOSE_CONV SAME of an unknown size; no lowering writes it")
            continue
        surplus = (size - 1) * strides[i] + taps - wanted[i + 1]
        front[i] = max(surplus, 0) // 2 if node.attributes["padding"].as_string() == "SAME" else 0
        behind[i] = surplus - front[i]
    y = body.op(
        "ConvTranspose",
        x,
        w,
        *body.inputs[3:],
        strides=strides,
        pads=front + [max(n, 0) for n in behind],
        output_padding=[max(-n, 0) for n in behind],
    )
    return [activation(node, body, body.op("Transpose", y, perm=_TO_LAST))]


@define("CONV_3D", data=(0, 1, 2))
def conv_3d(node: Node, body: BodyBuilder) -> Sequence[str]:
    """x [N, D, H, W, C], filter [kd, kh, kw, C, O], bias [O]."""
    x = body.op("Transpose", body.inputs[0], perm=[0, 4, 1, 2, 3])
    w = body.op("Transpose", body.inputs[1], perm=[4, 3, 0, 1, 2])
    strides = [node.attributes.get_int("stride_d", 1), *_strides(node)]
    dilations = [node.attributes.get_int("dilation_d_factor", 1), *_dilations(node)]
    padding = _padding(node, _kernel(node.inputs[1], (0, 1, 2)), strides, dilations)
    y = body.op("Conv", x, w, *body.inputs[2:], strides=strides, dilations=dilations, **padding)
    return [activation(node, body, body.op("Transpose", y, perm=[0, 2, 3, 4, 1]))]


@define("CONV_3D_TRANSPOSE", data=(1, 2, 3))
def conv_3d_transpose(node: Node, body: BodyBuilder) -> Sequence[str]:
    """output_shape [5], filter [kd, kh, kw, O, I], x [N, D, H, W, I], bias [O]. Lowerings write padding VALID only."""
    if node.attributes["padding"].as_string() != "VALID":
        raise NotImplementedError("CONV_3D_TRANSPOSE SAME; lowerings write VALID and a SLICE")
    w = body.op("Transpose", body.inputs[1], perm=[4, 3, 0, 1, 2])
    x = body.op("Transpose", body.inputs[2], perm=[0, 4, 1, 2, 3])
    y = body.op(
        "ConvTranspose",
        x,
        w,
        *body.inputs[3:],
        strides=[node.attributes.get_int("stride_d", 1), *_strides(node)],
    )
    return [activation(node, body, body.op("Transpose", y, perm=[0, 2, 3, 4, 1]))]


@define("AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D")
def pool_2d(node: Node, body: BodyBuilder) -> Sequence[str]:
    op_type = {"AVERAGE_POOL_2D": "AveragePool", "MAX_POOL_2D": "MaxPool", "L2_POOL_2D": "AveragePool"}[
        node.op_type
    ]
    x = body.op("Transpose", body.inputs[0], perm=_TO_FIRST)
    if node.op_type == "L2_POOL_2D":
        x = body.op("Mul", x, x)
    kernel = [node.attributes["filter_height"].as_int(), node.attributes["filter_width"].as_int()]
    padding = _padding(node, kernel, _strides(node), [1, 1])
    y = body.op(op_type, x, strides=_strides(node), kernel_shape=kernel, **padding)
    if node.op_type == "L2_POOL_2D":
        y = body.op("Sqrt", y)
    return [activation(node, body, body.op("Transpose", y, perm=_TO_LAST))]


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
    x = body.op("Transpose", body.inputs[0], perm=_TO_FIRST)
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
    return [body.op("Transpose", y, perm=_TO_LAST)]


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
