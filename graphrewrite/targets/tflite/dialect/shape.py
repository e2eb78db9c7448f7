"""Operators that move or count elements: reshape, transpose, slicing, padding, gathering, joining, filling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx

from graphrewrite.ir import Array, BodyBuilder, DataType, Node, constant_ints, rank
from graphrewrite.targets.tflite.dialect.op import activation, define


def _fold_reshape(arrays: Sequence[Array], attributes: Mapping[str, Any]) -> Array:
    return arrays[0].reshape([int(dim) for dim in arrays[1]])


@define("RESHAPE", data=(0,), fold=_fold_reshape)
def reshape(node: Node, body: BodyBuilder) -> Sequence[str]:
    return [body.op("Reshape", body.inputs[0], body.int64(1), allowzero=1)]


@define("TRANSPOSE", data=(0,), fold=lambda arrays, attributes: np.transpose(arrays[0], arrays[1]))
def transpose(node: Node, body: BodyBuilder) -> Sequence[str]:
    return [body.op("Transpose", body.inputs[0], perm=constant_ints(node.inputs[1]))]


@define("EXPAND_DIMS", data=(0,))
def expand_dims(node: Node, body: BodyBuilder) -> Sequence[str]:
    known = constant_ints(node.inputs[1])  # a folded constant, so that the rank can be inferred
    axis = body.const(known) if known is not None else body.op("Reshape", body.int64(1), body.const([1]))
    return [body.op("Unsqueeze", body.inputs[0], axis)]


@define("SQUEEZE")
def squeeze(node: Node, body: BodyBuilder) -> Sequence[str]:
    axes = node.attributes.get_ints("squeeze_dims", None)
    return [body.op("Squeeze", body.inputs[0], *([body.const(list(axes))] if axes else []))]


@define("SHAPE", result="")
def shape(node: Node, body: BodyBuilder) -> Sequence[str]:
    found = body.op("Shape", body.inputs[0])
    if node.attributes.get_string("out_type", "INT32") == "INT32":
        found = body.op("Cast", found, to=onnx.TensorProto.INT32)
    return [found]


@define("CONCATENATION")
def concatenation(node: Node, body: BodyBuilder) -> Sequence[str]:
    return [activation(node, body, body.op("Concat", *body.inputs, axis=node.attributes["axis"].as_int()))]


@define("PACK")
def pack(node: Node, body: BodyBuilder) -> Sequence[str]:
    axis = node.attributes.get_int("axis", 0)
    parts = [body.op("Unsqueeze", name, body.const([axis])) for name in body.inputs]
    return [body.op("Concat", *parts, axis=axis)]


@define("UNPACK")
def unpack(node: Node, body: BodyBuilder) -> Sequence[str]:
    axis = node.attributes.get_int("axis", 0)
    count = len(node.outputs)
    parts = body.ops("Split", body.inputs[0], outputs=count, axis=axis, num_outputs=count)
    return [body.op("Squeeze", part, body.const([axis])) for part in parts]


@define("SPLIT", data=(1,))
def split(node: Node, body: BodyBuilder) -> Sequence[str]:
    axis = (constant_ints(node.inputs[0]) or [0])[0]
    count = len(node.outputs)
    return body.ops("Split", body.inputs[1], outputs=count, axis=axis, num_outputs=count)


@define("SPLIT_V", data=(0,))
def split_v(node: Node, body: BodyBuilder) -> Sequence[str]:
    axis = (constant_ints(node.inputs[2]) or [0])[0]
    return body.ops("Split", body.inputs[0], body.int64(1), outputs=len(node.outputs), axis=axis)


@define("SLICE", data=(0,))
def slice_(node: Node, body: BodyBuilder) -> Sequence[str]:
    begin, size = body.int64(1), body.int64(2)
    axes = body.const(list(range(rank(node.inputs[0]) or 0)))
    whole = body.op("Equal", size, body.const([-1]))
    end = body.op("Where", whole, body.const([np.iinfo(np.int64).max]), body.op("Add", begin, size))
    sizes = constant_ints(node.inputs[2])
    begins = constant_ints(node.inputs[1])
    if sizes is not None and begins is not None:
        end = body.const(
            [np.iinfo(np.int64).max if n == -1 else b + n for b, n in zip(begins, sizes, strict=True)]
        )
    return [body.op("Slice", body.inputs[0], begin, end, axes)]


@define("STRIDED_SLICE", data=(0,))
def strided_slice(node: Node, body: BodyBuilder) -> Sequence[str]:
    """Masks: a set bit of begin_mask/end_mask means "from the start/to the end" of that dimension."""
    count = rank(node.inputs[0]) or 0
    strides = constant_ints(node.inputs[3])
    begin_mask = node.attributes.get_int("begin_mask", 0)
    end_mask = node.attributes.get_int("end_mask", 0)
    shrink = node.attributes.get_int("shrink_axis_mask", 0)
    extreme = np.iinfo(np.int64)
    if strides is None and begin_mask | end_mask | shrink:
        raise NotImplementedError("STRIDED_SLICE with run-time strides and masks; no lowering writes it")
    steps = [1] * count if strides is None else strides
    open_begin = [extreme.max if step < 0 else 0 for step in steps]
    open_end = [extreme.min + 1 if step < 0 else extreme.max for step in steps]
    begins, ends = constant_ints(node.inputs[1]), constant_ints(node.inputs[2])
    if begins is not None and ends is not None:
        begin = body.const([open_begin[i] if begin_mask >> i & 1 else b for i, b in enumerate(begins)])
        end = body.const([open_end[i] if end_mask >> i & 1 else e for i, e in enumerate(ends)])
        if shrink:
            end = body.const(
                [
                    (b + 1 if b != -1 else extreme.max)
                    if shrink >> i & 1
                    else (open_end[i] if end_mask >> i & 1 else e)
                    for i, (b, e) in enumerate(zip(begins, ends, strict=True))
                ]
            )
    elif begin_mask | end_mask:
        pick_begin = body.const([bool(begin_mask >> i & 1) for i in range(count)], np.bool_)
        pick_end = body.const([bool(end_mask >> i & 1) for i in range(count)], np.bool_)
        begin = body.op("Where", pick_begin, body.const(open_begin), body.int64(1))
        end = body.op("Where", pick_end, body.const(open_end), body.int64(2))
    else:
        begin, end = body.int64(1), body.int64(2)
    out = body.op("Slice", body.inputs[0], begin, end, body.const(list(range(count))), body.int64(3))
    dropped = [i for i in range(count) if shrink >> i & 1]
    return [body.op("Squeeze", out, body.const(dropped)) if dropped else out]


def _onnx_pads(node: Node, body: BodyBuilder) -> str:
    """TFLite's [rank, 2] paddings as ONNX's [all befores, all afters]."""
    known = constant_ints(node.inputs[1])
    if known is not None:
        return body.const(known[0::2] + known[1::2])
    turned = body.op("Transpose", body.int64(1), perm=[1, 0])
    return body.op("Reshape", turned, body.const([-1]))


@define("PAD", data=(0,))
def pad(node: Node, body: BodyBuilder) -> Sequence[str]:
    return [body.op("Pad", body.inputs[0], _onnx_pads(node, body))]


@define("PADV2", data=(0, 2))
def padv2(node: Node, body: BodyBuilder) -> Sequence[str]:
    fill = body.op("Squeeze", body.inputs[2])
    return [body.op("Pad", body.inputs[0], _onnx_pads(node, body), fill)]


@define("MIRROR_PAD", data=(0,))
def mirror_pad(node: Node, body: BodyBuilder) -> Sequence[str]:
    if node.attributes.get_string("mode", "REFLECT") == "REFLECT":
        return [body.op("Pad", body.inputs[0], _onnx_pads(node, body), mode="reflect")]
    raise NotImplementedError("MIRROR_PAD SYMMETRIC has no ONNX spelling; no lowering writes it")


@define("TILE", data=(0,))
def tile(node: Node, body: BodyBuilder) -> Sequence[str]:
    return [body.op("Tile", body.inputs[0], body.int64(1))]


@define("BROADCAST_TO", data=(0,))
def broadcast_to(node: Node, body: BodyBuilder) -> Sequence[str]:
    return [body.op("Expand", body.inputs[0], body.int64(1))]


@define("BROADCAST_ARGS")
def broadcast_args(node: Node, body: BodyBuilder) -> Sequence[str]:
    """The broadcast of two shape vectors of equal length (unequal lengths are padded with ones by the lowering)."""
    return [body.op("Max", *body.inputs)]


@define("FILL", data=(1,))
def fill(node: Node, body: BodyBuilder) -> Sequence[str]:
    return [body.op("Expand", body.inputs[1], body.int64(0))]


@define("RANGE")
def range_(node: Node, body: BodyBuilder) -> Sequence[str]:
    return [body.op("Range", *body.inputs)]


@define("GATHER", data=(0,))
def gather(node: Node, body: BodyBuilder) -> Sequence[str]:
    batch = node.attributes.get_int("batch_dims", 0)
    axis = node.attributes.get_int("axis", 0)
    if batch == 0:
        return [body.op("Gather", body.inputs[0], body.inputs[1], axis=axis)]
    if axis != batch:
        raise NotImplementedError("GATHER with batch_dims != axis; no lowering writes it")
    index = body.op("Unsqueeze", body.int64(1), body.const([-1]))
    return [body.op("GatherND", body.inputs[0], index, batch_dims=batch)]


@define("GATHER_ND", data=(0,))
def gather_nd(node: Node, body: BodyBuilder) -> Sequence[str]:
    return [body.op("GatherND", body.inputs[0], body.int64(1))]


@define("SCATTER_ND", data=(1,))
def scatter_nd(node: Node, body: BodyBuilder) -> Sequence[str]:
    """Adds up updates of equal indices, starting from zeros of the given shape."""
    dtype = node.inputs[1].dtype if node.inputs[1] is not None else None
    zeros = body.op("ConstantOfShape", body.int64(2), value=onnx.numpy_helper.from_array(_zero(dtype)))
    if dtype == DataType.BOOL:
        return [body.op("ScatterND", zeros, body.int64(0), body.inputs[1])]
    return [body.op("ScatterND", zeros, body.int64(0), body.inputs[1], reduction="add")]


def _zero(dtype: DataType | None) -> Array:
    return np.zeros(1, (dtype or DataType.FLOAT).numpy())


_COMBINATIONS = {
    "STABLEHLO_ADD": "add",
    "STABLEHLO_MULTIPLY": "mul",
    "STABLEHLO_MAXIMUM": "max",
    "STABLEHLO_MINIMUM": "min",
}


@define("STABLEHLO_SCATTER", data=(0, 2))
def stablehlo_scatter(node: Node, body: BodyBuilder) -> Sequence[str]:
    """data, indices [..., k], updates. Lowerings write the form that is ScatterND: whole slices, leading coordinates."""
    (combine,) = node.attributes["update_computation"].as_graph()
    reduction = _COMBINATIONS[combine.op_type]
    return [body.op("ScatterND", body.inputs[0], body.int64(1), body.inputs[2], reduction=reduction)]


@define("REVERSE_V2", data=(0,))
def reverse(node: Node, body: BodyBuilder) -> Sequence[str]:
    axes = constant_ints(node.inputs[1]) or []
    extreme = np.iinfo(np.int64)
    count = len(axes)
    return [
        body.op(
            "Slice",
            body.inputs[0],
            body.const([extreme.max] * count),
            body.const([extreme.min + 1] * count),
            body.const(axes),
            body.const([-1] * count),
        )
    ]


@define("REVERSE_SEQUENCE", data=(0,))
def reverse_sequence(node: Node, body: BodyBuilder) -> Sequence[str]:
    return [
        body.op(
            "ReverseSequence",
            body.inputs[0],
            body.int64(1),
            batch_axis=node.attributes.get_int("batch_dim", 0),
            time_axis=node.attributes.get_int("seq_dim", 0),
        )
    ]


@define("ONE_HOT", data=(2, 3))
def one_hot(node: Node, body: BodyBuilder) -> Sequence[str]:
    _, depth, on, off = body.inputs
    values = body.op(
        "Concat", body.op("Reshape", off, body.const([1])), body.op("Reshape", on, body.const([1])), axis=0
    )
    # A negative index is nowhere in TFLite; ONNX would count it from the end.
    index = body.int64(0)
    beyond = body.op("Cast", depth, to=onnx.TensorProto.INT64)
    index = body.op("Where", body.op("Less", index, body.const(0)), beyond, index)
    return [body.op("OneHot", index, depth, values, axis=node.attributes.get_int("axis", -1))]


@define("DEPTH_TO_SPACE")
def depth_to_space(node: Node, body: BodyBuilder) -> Sequence[str]:
    x = body.op("Transpose", body.inputs[0], perm=[0, 3, 1, 2])
    y = body.op("DepthToSpace", x, blocksize=node.attributes["block_size"].as_int(), mode="DCR")
    return [body.op("Transpose", y, perm=[0, 2, 3, 1])]


@define("SPACE_TO_DEPTH")
def space_to_depth(node: Node, body: BodyBuilder) -> Sequence[str]:
    x = body.op("Transpose", body.inputs[0], perm=[0, 3, 1, 2])
    y = body.op("SpaceToDepth", x, blocksize=node.attributes["block_size"].as_int())
    return [body.op("Transpose", y, perm=[0, 2, 3, 1])]


@define("WHERE", result="INT64")
def where(node: Node, body: BodyBuilder) -> Sequence[str]:
    return [body.op("Transpose", body.op("NonZero", body.inputs[0]), perm=[1, 0])]
