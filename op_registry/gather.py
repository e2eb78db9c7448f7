"""Picking elements by index: Gather, GatherElements, GatherND, OneHot, Compress, NonZero."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from graphrewrite.ir import DataType, Value, constant_array, is_constant, static_dims
from graphrewrite.registry import OpNode, lowering

if TYPE_CHECKING:
    from graphrewrite.targets.coreml.builder import MIL
    from graphrewrite.targets.tflite.builder import TFLite

_INDEX_TYPES = (DataType.INT32, DataType.INT64)


def _index(t: TFLite, index: Value) -> Value:
    return index if index.dtype in _INDEX_TYPES else t.cast(index, DataType.INT64)


def _from_the_end(node: OpNode, t: TFLite, index: Value, axis: int) -> Value:
    """Run-time indices with negative ones counted from the end: one FLOOR_MOD, exact for every index that ONNX allows."""
    size = node.dims()[axis]
    if isinstance(size, int):
        return t.op("FLOOR_MOD", index, t.like(max(size, 1), index))
    found = t.op("SLICE", t.shape_of(node.input(0)), t.i32([axis]), t.i32([1]))
    assert index.dtype is not None
    return t.op("FLOOR_MOD", index, t.reshape(t.cast(found, index.dtype), []))


@lowering("tflite", "Gather")
def gather(node: OpNode, t: TFLite) -> Value:
    x, axis, size = node.input(0), node.axis(), node.dims()[node.axis()]
    picked = node.ints(1)
    if picked is None:
        return t.op("GATHER", x, _from_the_end(node, t, _index(t, node.input(1)), axis), axis=axis)
    shape = node.static(1)
    if not isinstance(size, int):
        index = t.i32(np.asarray(picked, np.int32).reshape(shape).tolist())
        if any(item < 0 for item in picked):
            index = _from_the_end(node, t, index, axis)
        return t.op("GATHER", x, index, axis=axis)
    picked = [item + size if item < 0 else item for item in picked]
    if any(not 0 <= item < size for item in picked):
        node.refuse(f"it picks elements beyond the {size} that axis {axis} has")
    if picked and picked == list(range(picked[0], picked[0] + len(picked))):
        run = _run(t, x, axis, picked[0], len(picked))
        result = node.output_dims()
        if len(shape) == 1:
            return run
        if result is not None and sum(not isinstance(dim, int) for dim in result) <= 1 and 0 not in result:
            return t.reshape(run, [dim if isinstance(dim, int) else -1 for dim in result])
    content = np.asarray(picked, np.int32).reshape(shape)
    return t.op("GATHER", x, t.rewriter.constant(content), axis=axis)


def _run(t: TFLite, x: Value, axis: int, start: int, count: int) -> Value:
    """Neighbouring elements: a SLICE, which XNNPACK takes and GATHER is not."""
    assert x.shape is not None
    if x.shape.dims[axis] == count:
        return x
    rank = len(x.shape)
    begin, sizes = [0] * rank, [-1] * rank
    begin[axis], sizes[axis] = start, count
    sizes = [
        dim if isinstance(dim, int) and size < 0 else size
        for dim, size in zip(x.shape.dims, sizes, strict=True)
    ]
    return t.op("SLICE", x, t.i32(begin), t.i32(sizes))


@lowering("tflite", "GatherElements")
def gather_elements(node: OpNode, t: TFLite) -> Value:
    x, axis = node.input(0), node.axis()
    if (
        node.dims()[:axis] + node.dims()[axis + 1 :] == node.dims(1)[:axis] + node.dims(1)[axis + 1 :]
        and None not in node.dims()
    ):
        return _along_last(node, t, axis)
    position = flat_positions(node, t, axis)
    return t.op("GATHER", t.reshape(x, [-1]), position, axis=0)


def _along_last(node: OpNode, t: TFLite, axis: int) -> Value:
    """All other dimensions are equal: each row of the last axis is picked from with its own indices."""
    rank = node.rank()
    order = [*(i for i in range(rank) if i != axis), axis]
    back = [order.index(i) for i in range(rank)]
    index = _index(t, node.input(1))
    if not is_constant(index) or (np.asarray(node.const(1)) < 0).any():
        index = _from_the_end(node, t, index, axis)
    rows, picks = t.transpose(node.input(0), order), t.transpose(index, order)
    found = t.op("GATHER", rows, picks, axis=rank - 1, batch_dims=rank - 1)
    return t.transpose(found, back)


def flat_positions(node: OpNode, t: TFLite, axis: int) -> Value:
    """Places in the flattened operand 0 of what operand 1 names along `axis`; of the shape of operand 1."""
    sizes, shape = static_dims(node.input(0)), static_dims(node.input(1))
    if sizes is None or shape is None:
        return _run_time_positions(node, t, axis)
    index = node.input(1)
    strides = [math.prod(sizes[i + 1 :]) for i in range(len(sizes))]
    base = np.zeros([1] * len(shape), np.int64)
    for i, count in enumerate(shape):
        if i != axis:
            line = np.arange(count, dtype=np.int64) * strides[i]
            base = base + line.reshape([-1 if j == i else 1 for j in range(len(shape))])
    content = constant_array(index)
    if content is not None:
        position = np.mod(content.astype(np.int64), max(sizes[axis], 1)) * strides[axis] + base
        return t.const(position, DataType.INT32)
    index = _from_the_end(node, t, _index(t, index), axis)
    if strides[axis] != 1:
        index = t.op("MUL", index, t.like(strides[axis], index))
    return t.op("ADD", index, t.like(base, index))


def _run_time_positions(node: OpNode, t: TFLite, axis: int) -> Value:
    index = t.cast(_from_the_end(node, t, _index(t, node.input(1)), axis), DataType.INT32)
    rank, sizes, shape = node.rank(), t.shape_of(node.input(0)), t.shape_of(index)

    def stride(i: int) -> Value:
        rest = t.op("SLICE", sizes, t.i32([i + 1]), t.i32([-1])) if i + 1 < rank else t.i32([1])
        return t.op("REDUCE_PROD", rest, t.i32([0]), keep_dims=False)

    index = t.op("MUL", index, stride(axis))
    for i in (i for i in range(rank) if i != axis):
        count = t.op("RESHAPE", t.op("SLICE", shape, t.i32([i]), t.i32([1])), t.i32([]))
        steps = t.op("MUL", t.op("RANGE", t.i32(0), count, t.i32(1)), stride(i))
        index = t.op("ADD", index, t.reshape(steps, [-1 if j == i else 1 for j in range(rank)]))
    return index


@lowering("tflite", "GatherND")
def gather_nd(node: OpNode, t: TFLite) -> Value:
    x, batch = node.input(0), node.attr("batch_dims")
    index = nd_index(node, t, batch)
    return t.op("GATHER_ND", x, index)


def nd_index(node: OpNode, t: TFLite, batch: int = 0) -> Value:
    """The coordinates [..., k] of operand 1, negative ones counted from the end, with those of the batch dimensions in front."""
    shape = node.dims(1)
    depth = shape[-1]
    if not isinstance(depth, int):
        node.refuse(
            "how many coordinates an index has is known only at run time", "fix the input shapes with --shape"
        )
    index = _index(t, node.input(1))
    sizes = node.dims()[batch : batch + depth]
    if not all(isinstance(size, int) for size in sizes):
        limits: Value = t.op("SLICE", t.shape_of(node.input(0)), t.i32([batch]), t.i32([depth]))
        assert index.dtype is not None
        limits = t.cast(limits, index.dtype)
    else:
        limits = t.like([max(int(size or 0), 1) for size in sizes], index)
    content = node.const(1)
    limit = constant_array(limits)
    if content is not None and limit is not None:
        index = t.like(np.mod(content, limit), index)
    elif content is None or (content < 0).any():
        index = t.op("FLOOR_MOD", index, limits)
    if batch == 0:
        return index
    static = node.static(1)
    grids = np.meshgrid(*(np.arange(count) for count in static[:-1]), indexing="ij")[:batch]
    lead = np.stack(grids, axis=-1)
    return t.op("CONCATENATION", t.like(lead, index), index, axis=len(static) - 1)


@lowering("tflite", "OneHot")
def one_hot(node: OpNode, t: TFLite) -> Value:
    """Negative indices count from the end once; TFLite, like ONNX, gives `off` everywhere for an index out of range."""
    index, rank = _index(t, node.input(0)), node.rank()
    axis = node.attr("axis")
    axis = axis + rank + 1 if axis < 0 else axis
    depth = t.reshape(t.cast(node.input(1), DataType.INT32), [])
    assert index.dtype is not None
    wrapped = t.op("ADD", index, t.cast(depth, index.dtype))
    index = t.op("SELECT_V2", t.op("LESS", index, t.like(0, index)), wrapped, index)
    off, on = (t.reshape(t.op("SLICE", node.input(2), t.i32([place]), t.i32([1])), []) for place in (0, 1))
    return t.op("ONE_HOT", index, depth, on, off, axis=-1 if axis == rank else axis)


@lowering("tflite", "NonZero")
def non_zero(node: OpNode, t: TFLite) -> Value:
    x = node.input(0)
    if node.rank() == 0:
        x = t.reshape(x, [1])
    return t.transpose(t.op("WHERE", x), [1, 0])


@lowering("tflite", "Compress")
def compress(node: OpNode, t: TFLite) -> Value:
    x, axis = node.input(0), node.attr("axis")
    if axis is None:
        x, axis = t.reshape(x, [-1]), 0
    else:
        axis %= node.rank()
    index = t.reshape(t.op("WHERE", node.input(1)), [-1])
    return t.op("GATHER", x, index, axis=axis)


# -- Core ML ---------------------------------------------------------------------------------------------------------------


@lowering("coreml", "Gather")
def mil_gather(node: OpNode, m: MIL) -> Value:
    """A constant run of neighbours is a slice; other indices are counted from the front first."""
    x, axis, size, picked = node.input(0), node.axis(), node.dims()[node.axis()], node.ints(1)
    if picked is None or not isinstance(size, int):
        return m.op("gather", x, mil_from_the_front(node, m, node.input(1), axis), axis=axis)
    picked = [item + size if item < 0 else item for item in picked]
    if any(not 0 <= item < size for item in picked):
        node.refuse(f"it picks elements beyond the {size} that axis {axis} has")
    shape = node.static(1)
    if len(shape) <= 1 and picked and picked == list(range(picked[0], picked[0] + len(picked))):
        run = m.crop(x, {axis: (picked[0], size - picked[-1] - 1)})
        return run if shape else m.op("squeeze", run, axes=[axis])
    return m.op("gather", x, m.rewriter.constant(np.asarray(picked, np.int32).reshape(shape)), axis=axis)


def mil_from_the_front(node: OpNode, m: MIL, index: Value, axis: int) -> Value:
    """Indices with negative ones counted from the end: one mod, exact for every index that ONNX allows."""
    return m.op("mod", m.cast(index, DataType.INT32), m.reshape(m.dim(node.input(0), axis), []))
