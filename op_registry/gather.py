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
    return _mil_counted(m, index, m.reshape(m.dim(node.input(0), axis), []))


def _mil_counted(m: MIL, index: Value, sizes: Value) -> Value:
    found = m.cast(index, DataType.INT32)
    content, limits = constant_array(found), constant_array(sizes)
    if content is not None and (content >= 0).all():
        return found
    if content is not None and limits is not None:
        return m.const(np.mod(content, np.maximum(limits, 1)), DataType.INT32)
    return m.op("mod", found, sizes)


@lowering("coreml", "GatherElements")
def mil_gather_elements(node: OpNode, m: MIL) -> Value:
    """What lies beyond the indices along other axes is never picked, and is cut off: there the sizes must be equal."""
    x, axis, sizes, wanted = node.input(0), node.axis(), node.dims(), node.dims(1)
    if 0 in wanted:
        return m.nothing(node)
    index = mil_from_the_front(node, m, node.input(1), axis)
    others = [i for i in range(len(sizes)) if i != axis and (sizes[i] is None or sizes[i] != wanted[i])]
    if all(isinstance(sizes[i], int) and isinstance(wanted[i], int) for i in others):
        x = m.crop(x, {i: (0, int(sizes[i] or 0) - int(wanted[i] or 0)) for i in others})
    else:
        kept = [m.dim(index if i in others else x, i) for i in range(len(sizes))]
        x = m.op("slice_by_size", x, m.i32([0] * len(sizes)), m.op("concat", *kept, axis=0))
    return m.op("gather_along_axis", x, index, axis=axis)


@lowering("coreml", "GatherND", note="with batch dimensions only where the shape of the indices is known")
def mil_gather_nd(node: OpNode, m: MIL) -> Value:
    x, batch = node.input(0), node.attr("batch_dims")
    if 0 in node.dims(1)[:-1]:
        return m.nothing(node)
    index = mil_coordinates(node, m, batch)
    if batch:
        static = node.static(1)
        grids = np.meshgrid(*(np.arange(count) for count in static[:-1]), indexing="ij")[:batch]
        index = m.op("concat", m.const(np.stack(grids, -1), DataType.INT32), index, axis=len(static) - 1)
    if node.rank(1) > 1:
        return m.op("gather_nd", x, index)
    found = m.op("gather_nd", x, m.op("expand_dims", index, axes=[0]))
    return m.op("squeeze", found, axes=[0])


def mil_coordinates(node: OpNode, m: MIL, batch: int = 0) -> Value:
    """The coordinates [..., k] of operand 1, counted from the front."""
    depth = node.dims(1)[-1]
    if not isinstance(depth, int):
        node.refuse(
            "how many coordinates an index has is known only at run time", "fix the input shapes with --shape"
        )
    if depth == 0:
        node.not_implemented("its indices have no coordinates", "it copies its data: leave it out")
    sizes = node.dims()[batch : batch + depth]
    if all(isinstance(size, int) for size in sizes):
        limits = m.i32([size for size in sizes if isinstance(size, int)])
    else:
        limits = m.op("slice_by_size", m.shape_of(node.input(0)), m.i32([batch]), m.i32([depth]))
    return _mil_counted(m, node.input(1), limits)


@lowering("coreml", "OneHot")
def mil_one_hot(node: OpNode, m: MIL) -> Value:
    """Compared with every position: an index out of range meets none, whatever the device makes of such a one."""
    axis = node.attr("axis") % (node.rank() + 1)
    depth = m.reshape(m.cast(node.input(1), DataType.INT32), [])
    index = m.cast(node.input(0), DataType.INT32)
    index = m.op("add", index, m.op("mul", m.cast(m.op("less", index, m.i32(0)), DataType.INT32), depth))
    index = m.op("expand_dims", index, axes=[axis])
    hot = m.op("equal", index, m.reshape(_mil_line(m, depth), [-1, *[1] * (node.rank() - axis)]))
    return _mil_chosen(node, m, hot)


def _mil_line(m: MIL, count: Value) -> Value:
    """0, 1, ... below an int32 scalar."""
    known = constant_array(count)
    if known is not None:
        return m.i32(list(range(int(known))))
    return m.op("range_1d", count, m.i32(0), m.i32(1))


def _mil_chosen(node: OpNode, m: MIL, hot: Value) -> Value:
    """The second of the values of operand 2 where `hot`, the first elsewhere."""
    dtype, content = node.dtype(2), node.const(2)
    if dtype == DataType.BOOL and content is not None and content[1] and not content[0]:
        return hot
    if content is not None and dtype != DataType.BOOL:
        off, on = content.reshape(-1)
        with np.errstate(all="ignore"):
            exact = np.isfinite(off) and np.isfinite(on) and off + (on - off) == on
        if exact:
            mask = m.cast(hot, dtype)
            scaled = mask if on - off == 1 else m.op("mul", mask, m.like(on - off, mask))
            return scaled if off == 0 else m.op("add", scaled, m.like(off, scaled))
    off_on = (m.reshape(m.crop(node.input(2), {0: cut}), []) for cut in ((0, 1), (1, 0)))
    return m.rewriter.op("Where", hot, *reversed(list(off_on)))


@lowering("coreml", "NonZero")
def mil_non_zero(node: OpNode, m: MIL) -> Value:
    x = node.input(0)
    if node.rank() == 0:
        x = m.reshape(x, [1])
    return m.cast(m.transpose(m.op("non_zero", x), [1, 0]), DataType.INT64)


@lowering("coreml", "Compress")
def mil_compress(node: OpNode, m: MIL) -> Value:
    x, axis = node.input(0), node.attr("axis")
    if axis is None:
        x, axis = m.reshape(x, [-1]), 0
    index = m.op("squeeze", m.op("non_zero", node.input(1)), axes=[1])
    return m.op("gather", x, index, axis=axis % max(node.rank(), 1))
