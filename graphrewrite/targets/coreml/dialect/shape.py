"""Views, cuts and joints: nothing here computes a new element."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphrewrite.ir import Array, DataType, Node, constant_ints, dims
from graphrewrite.targets.coreml.dialect.op import MilBody, define


def _fold_reshape(arrays: Sequence[Array], attributes: Mapping[str, Any]) -> Array:
    return arrays[0].reshape([int(dim) for dim in arrays[1]])


def _fold_transpose(arrays: Sequence[Array], attributes: Mapping[str, Any]) -> Array:
    return np.transpose(arrays[0], attributes["perm"])


@define("reshape", operands="x shape", moves=True, fold=_fold_reshape)
def reshape(node: Node, body: MilBody) -> Sequence[str]:
    """0 in `shape` keeps the dimension, -1 is what is left."""
    return [body.op("Reshape", body.inputs[0], body.int64(1))]


@define("transpose", operands="x", moves=True, fold=_fold_transpose)
def transpose(node: Node, body: MilBody) -> Sequence[str]:
    return [body.op("Transpose", body.inputs[0], perm=body.ints("perm"))]


@define("expand_dims", operands="x", moves=True)
def expand_dims(node: Node, body: MilBody) -> Sequence[str]:
    return [body.op("Unsqueeze", body.inputs[0], body.const(body.ints("axes")))]


@define("squeeze", operands="x", moves=True)
def squeeze(node: Node, body: MilBody) -> Sequence[str]:
    if "axes" not in node.attributes:
        return [body.op("Squeeze", body.inputs[0])]
    return [body.op("Squeeze", body.inputs[0], body.const(body.ints("axes")))]


@define("concat", operands="values*", moves=True)
def concat(node: Node, body: MilBody) -> Sequence[str]:
    """Along `axis`; with `interleave` one slice of each value in turn."""
    axis, rank = body.int_("axis"), body.rank()
    axis = axis + rank if axis < 0 else axis
    if not body.int_("interleave", 0):
        return [body.op("Concat", *body.inputs, axis=axis)]
    lifted = [body.op("Unsqueeze", name, body.const([axis + 1])) for name in body.inputs]
    joined = body.op("Concat", *lifted, axis=axis + 1)
    sizes = [*[0] * axis, -1]
    first = body.op("Shape", body.inputs[0], start=axis + 1)
    return [body.op("Reshape", joined, body.op("Concat", body.const(sizes), first, axis=0))]


@define("stack", operands="values*", moves=True)
def stack(node: Node, body: MilBody) -> Sequence[str]:
    axis = body.const(body.ints("axis"))
    parts = [body.op("Unsqueeze", name, axis) for name in body.inputs]
    return [body.op("Concat", *parts, axis=body.int_("axis"))]


@define("split", operands="x", moves=True)
def split(node: Node, body: MilBody) -> Sequence[str]:
    """Into `split_sizes`, or `num_splits` equal parts."""
    count, axis = len(node.outputs), body.int_("axis")
    if "split_sizes" in node.attributes:
        sizes = body.const(body.ints("split_sizes"))
        return body.ops("Split", body.inputs[0], sizes, outputs=count, axis=axis)
    return body.ops("Split", body.inputs[0], outputs=count, axis=axis, num_outputs=count)


@define("slice_by_size", operands="x begin size", moves=True)
def slice_by_size(node: Node, body: MilBody) -> Sequence[str]:
    """`size` elements from `begin` on, -1 for all that are left."""
    begin, size = body.int64(1), body.int64(2)
    end = body.op("Add", begin, size)
    rest = body.op("Equal", size, body.const(-1))
    whole = body.op("Where", rest, body.op("Shape", body.inputs[0]), end)
    axes = body.const(list(range(body.rank())))
    return [body.op("Slice", body.inputs[0], begin, whole, axes)]


@define("slice_by_index", operands="x begin end", moves=True)
def slice_by_index(node: Node, body: MilBody) -> Sequence[str]:
    """x[begin:end:stride] along each axis; masks ignore a bound, `squeeze_mask` takes the element at `begin` alone."""
    rank = body.rank()
    stride = body.ints("stride", [1] * rank)
    masks = {name: body.ints(name, [0] * rank) for name in ("begin_mask", "end_mask", "squeeze_mask")}
    begin, end = _bounds(node, body, stride, masks)
    y = body.op("Slice", body.inputs[0], begin, end, body.const(list(range(rank))), body.const(stride))
    dropped = [axis for axis, flag in enumerate(masks["squeeze_mask"]) if flag]
    return [body.op("Squeeze", y, body.const(dropped)) if dropped else y]


_FAR = np.iinfo(np.int32).max


def _bounds(
    node: Node, body: MilBody, stride: Sequence[int], masks: Mapping[str, Sequence[int]]
) -> tuple[str, str]:
    """Begin and end as ONNX's Slice wants them."""
    first, last = (constant_ints(node.inputs[index]) for index in (1, 2))
    open_begin = [0 if step > 0 else _FAR for step in stride]
    open_end = [_FAR if step > 0 else -_FAR for step in stride]
    if first is not None and last is not None:
        begin, end = list(first), list(last)
        for axis in range(len(begin)):
            if masks["begin_mask"][axis]:
                begin[axis] = open_begin[axis]
            if masks["end_mask"][axis]:
                end[axis] = open_end[axis]
            if masks["squeeze_mask"][axis]:
                end[axis] = begin[axis] + 1 if begin[axis] != -1 else _FAR
        return body.const(begin), body.const(end)
    begin_name, end_name = body.int64(1), body.int64(2)
    one = body.op("Add", begin_name, body.const(1))
    beyond = body.op("Where", body.op("Equal", one, body.const(0)), body.const(_FAR), one)
    begin_name = _masked(body, masks["begin_mask"], open_begin, begin_name)
    end_name = _masked(body, masks["end_mask"], open_end, end_name)
    if any(masks["squeeze_mask"]):
        mask = body.const([bool(item) for item in masks["squeeze_mask"]], np.bool_)
        end_name = body.op("Where", mask, beyond, end_name)
    return begin_name, end_name


def _masked(body: MilBody, mask: Sequence[int], default: Sequence[int], name: str) -> str:
    if not any(mask):
        return name
    return body.op("Where", body.const([bool(item) for item in mask], np.bool_), body.const(default), name)


@define("shape", operands="x", result="INT32")
def shape(node: Node, body: MilBody) -> Sequence[str]:
    return [body.cast(body.op("Shape", body.parameters[0]), DataType.INT32)]


@define("fill", operands="shape value", data=(1,), moves=True)
def fill(node: Node, body: MilBody) -> Sequence[str]:
    return [body.op("Expand", body.inputs[1], body.int64(0))]


@define("tile", operands="x reps", moves=True)
def tile(node: Node, body: MilBody) -> Sequence[str]:
    return [body.op("Tile", body.inputs[0], body.int64(1))]


@define("pad", operands="x pad", moves=True)
def pad(node: Node, body: MilBody) -> Sequence[str]:
    """`pad` holds [before, after] of the last axes; `mode` constant, reflect or replicate."""
    mode = {"constant": "constant", "reflect": "reflect", "replicate": "edge"}[body.text("mode", "constant")]
    flat = body.int64(1)
    known = dims(node.inputs[1])
    length = known[0] if known is not None and isinstance(known[0], int) else 2 * body.rank()
    matrix = body.op("Reshape", flat, body.const([-1, 2]))
    pads = body.op("Reshape", body.op("Transpose", matrix, perm=[1, 0]), body.const([-1]))
    axes = body.const(list(range(body.rank() - length // 2, body.rank())))
    if mode != "constant":
        return [body.op("Pad", body.inputs[0], pads, "", axes, mode=mode)]
    return [body.op("Pad", body.inputs[0], pads, body.like(body.float_("constant_val", 0.0)), axes)]
