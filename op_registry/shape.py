"""Shapes: Reshape and its relatives, Transpose, and the ops that ask for a shape."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from graphrewrite.ir import DataType, Dims, Value, shape_data
from graphrewrite.registry import OpNode, lowering

from .run_time_axes import refuse_run_time_axes

if TYPE_CHECKING:
    from graphrewrite.targets.coreml.builder import MIL
    from graphrewrite.targets.tflite.builder import TFLite

_TRANSPOSE_RANK = 6
"""Beyond this rank XNNPACK hands a transpose back; axes that stay together are merged first."""


def _as_reshape(t: TFLite, x: Value, target: Dims | None) -> Value | None:
    """`x` with the dimensions `target`, where at most one of them is unknown; else None."""
    if target is None:
        return None
    open_ends = [index for index, dim in enumerate(target) if not isinstance(dim, int)]
    if not open_ends:
        return t.reshape(x, [dim for dim in target if isinstance(dim, int)])
    if len(open_ends) > 1 or 0 in target:
        return None
    return t.reshape(x, [dim if isinstance(dim, int) else -1 for dim in target])


@lowering("tflite", "Reshape")
def reshape(node: OpNode, t: TFLite) -> Value:
    x, target = node.input(0), node.input(1)
    static = _as_reshape(t, x, node.output_dims())
    if static is not None:
        return static
    length = node.dims(1)[0]
    if not isinstance(length, int):
        node.refuse("the rank of its result is known only at run time", "export with a shape of fixed length")
    shape = t.cast(target, DataType.INT32)
    known = shape_data(target) or [None] * length
    if not node.attr("allowzero") and any(dim is None or dim == 0 for dim in known):
        shape = _copy_zeros(t, x, shape, node.rank(), length)
    return t.op("RESHAPE", x, shape)


def _copy_zeros(t: TFLite, x: Value, shape: Value, rank: int, length: int) -> Value:
    """`shape` with the dimension of `x` at the same place wherever it is 0."""
    source = t.shape_of(x)
    if rank > length:
        source = t.op("SLICE", source, t.i32([0]), t.i32([length]))
    elif rank < length:
        source = t.op("CONCATENATION", source, t.i32([1] * (length - rank)), axis=0)
    return t.op("SELECT_V2", t.op("EQUAL", shape, t.i32([0])), source, shape)


@lowering("tflite", "Flatten")
def flatten(node: OpNode, t: TFLite) -> Value:
    x, rank, axis = node.input(0), node.rank(), node.attr("axis")
    axis = axis + rank if axis < 0 else axis
    static = _as_reshape(t, x, node.output_dims())
    if static is not None:
        return static
    lead = t.op("SLICE", t.shape_of(x), t.i32([0]), t.i32([axis]))
    rows = t.op("REDUCE_PROD", lead, t.i32([0]), keep_dims=True)
    return t.op("RESHAPE", x, t.op("CONCATENATION", rows, t.i32([-1]), axis=0))


@lowering("tflite", "Squeeze")
def squeeze(node: OpNode, t: TFLite) -> Value:
    x, axes = node.input(0), node.ints(1)
    if node.has(1) and axes is None:
        refuse_run_time_axes(node)
    static = _as_reshape(t, x, node.output_dims())
    if static is not None:
        return static
    if axes is None:
        node.refuse(
            "without axes it drops every dimension of 1, and which these are is known only at run time",
            "fix the input shapes with --shape, or give the axes",
        )
    return t.op("SQUEEZE", x, squeeze_dims=sorted(axis % node.rank() for axis in axes))


@lowering("tflite", "Unsqueeze")
def unsqueeze(node: OpNode, t: TFLite) -> Value:
    x, axes = node.input(0), node.ints(1)
    if axes is None:
        refuse_run_time_axes(node)
    static = _as_reshape(t, x, node.output_dims())
    if static is not None:
        return static
    for axis in sorted(axis % (node.rank() + len(axes)) for axis in axes):
        x = t.op("EXPAND_DIMS", x, t.i32(axis))
    return x


def _span(node: OpNode) -> tuple[int, int]:
    """The first dimension that Shape gives, and the one behind the last."""
    rank, start, end = node.rank(), node.attr("start", 0), node.attr("end")
    first = min(max(start + rank if start < 0 else start, 0), rank)
    last = rank if end is None else min(max(end + rank if end < 0 else end, 0), rank)
    return first, max(first, last)


@lowering("tflite", "Shape")
def shape(node: OpNode, t: TFLite) -> Value:
    x, known = node.input(0), node.dims()
    first, last = _span(node)
    wanted = known[first:last]
    if all(isinstance(dim, int) for dim in wanted):
        return t.i64([dim for dim in wanted if isinstance(dim, int)])
    found = t.op("SHAPE", x, out_type="INT64")
    if (first, last) == (0, len(known)):
        return found
    return t.op("SLICE", found, t.i32([first]), t.i32([last - first]))


@lowering("tflite", "Size")
def size(node: OpNode, t: TFLite) -> Value:
    known = node.dims()
    if all(isinstance(dim, int) for dim in known):
        return t.i64(math.prod(dim for dim in known if isinstance(dim, int)))
    shape_vector = t.op("SHAPE", node.input(0), out_type="INT64")
    return t.op("REDUCE_PROD", shape_vector, t.i32([0]), keep_dims=False)


@lowering("tflite", "Transpose")
def transpose(node: OpNode, t: TFLite) -> Value:
    x, known = node.input(0), node.dims()
    perm = list(node.attr("perm") or reversed(range(len(known))))
    if len(known) <= _TRANSPOSE_RANK:
        return t.transpose(x, perm)
    if not all(isinstance(dim, int) for dim in known):
        return t.transpose(x, perm)
    sizes = [dim for dim in known if isinstance(dim, int)]
    groups = _stay_together(perm, sizes)
    order = sorted(range(len(groups)), key=lambda index: groups[index][0])
    place = {group: index for index, group in enumerate(order)}
    merged = t.reshape(x, [math.prod(sizes[axis] for axis in groups[index]) for index in order])
    turned = t.transpose(merged, [place[index] for index in range(len(groups))])
    return t.reshape(turned, [sizes[axis] for axis in perm])


def _stay_together(perm: list[int], sizes: list[int]) -> list[list[int]]:
    """Runs of input axes that are neighbours before and after, in output order; axes of size 1 do not count."""
    groups: list[list[int]] = []
    for axis in (axis for axis in perm if sizes[axis] != 1):
        last = groups[-1][-1] if groups else None
        if last is not None and axis > last and all(sizes[i] == 1 for i in range(last + 1, axis)):
            groups[-1].append(axis)
        else:
            groups.append([axis])
    return groups


@lowering("tflite", "Identity")
def identity(node: OpNode, t: TFLite) -> Value:
    """Nothing, except where a graph output has no operator of its own to come from: then a copy."""
    x, output = node.input(0), node.node.outputs[0]
    if not output.is_graph_output() or (
        x.producer() is not None and not x.is_graph_output() and x.graph is output.graph
    ):
        return x
    return t.rewriter.op("RESHAPE", x, t.shape_of(x), domain="tflite")


def _mil_as_reshape(m: MIL, x: Value, target: Dims | None) -> Value | None:
    """`x` with the dimensions `target`, where at most one of them is unknown; else None."""
    if target is None or sum(not isinstance(dim, int) for dim in target) > 1:
        return None
    return m.reshape(x, [dim if isinstance(dim, int) else -1 for dim in target])


@lowering("coreml", "Reshape")
def mil_reshape(node: OpNode, m: MIL) -> Value:
    """MIL's reshape reads 0 as ONNX does without allowzero, but only where the rank stays; else the dimension is written out.

    With allowzero a 0 is an empty tensor, which Core ML has not.
    """
    x = node.input(0)
    static = _mil_as_reshape(m, x, node.output_dims())
    if static is not None:
        return static
    length = node.dims(1)[0]
    if not isinstance(length, int):
        node.refuse("the rank of its result is known only at run time", "export with a shape of fixed length")
    target = node.ints(1)
    if target is None or 0 not in target or len(target) == node.rank():
        return m.op("reshape", x, m.cast(node.input(1), DataType.INT32))
    sizes = [node.dims()[place] if size == 0 else size for place, size in enumerate(target)]
    if -1 not in sizes and sum(not isinstance(size, int) for size in sizes) == 1:
        return m.reshape(x, [size if isinstance(size, int) else -1 for size in sizes])
    parts = [m.i32([size]) if isinstance(size, int) else m.dim(x, place) for place, size in enumerate(sizes)]
    return m.op("reshape", x, m.op("concat", *parts, axis=0))


@lowering("coreml", "Flatten")
def mil_flatten(node: OpNode, m: MIL) -> Value:
    x, rank, axis = node.input(0), node.rank(), node.attr("axis")
    axis = axis + rank if axis < 0 else axis
    static = _mil_as_reshape(m, x, node.output_dims())
    if static is not None:
        return static
    lead = m.op("slice_by_size", m.shape_of(x), m.i32([0]), m.i32([axis]))
    rows = m.op("reduce_prod", lead, axes=[0], keep_dims=True)
    return m.op("reshape", x, m.op("concat", rows, m.i32([-1]), axis=0))


@lowering("coreml", "Squeeze")
def mil_squeeze(node: OpNode, m: MIL) -> Value:
    x, axes = node.input(0), node.ints(1)
    if node.has(1) and axes is None:
        refuse_run_time_axes(node)
    if axes is None:
        known = node.dims()
        if not all(isinstance(dim, int) for dim in known):
            node.refuse(
                "without axes it drops every dimension of 1, and which these are is known only at run time",
                "fix the input shapes with --shape, or give the axes",
            )
        axes = [axis for axis, dim in enumerate(known) if dim == 1]
    return m.op("squeeze", x, axes=sorted(axis % node.rank() for axis in axes)) if axes else x


@lowering("coreml", "Unsqueeze")
def mil_unsqueeze(node: OpNode, m: MIL) -> Value:
    axes = node.ints(1)
    if axes is None:
        refuse_run_time_axes(node)
    rank = node.rank() + len(axes)
    return (
        m.op("expand_dims", node.input(0), axes=sorted(axis % rank for axis in axes))
        if axes
        else node.input(0)
    )


@lowering("coreml", "Shape")
def mil_shape(node: OpNode, m: MIL) -> Value:
    x, known = node.input(0), node.dims()
    first, last = _span(node)
    wanted = known[first:last]
    if all(isinstance(dim, int) for dim in wanted):
        return m.const([dim for dim in wanted if isinstance(dim, int)], DataType.INT64)
    found = m.op("shape", x)
    if (first, last) != (0, len(known)):
        found = m.op("slice_by_size", found, m.i32([first]), m.i32([last - first]))
    return m.cast(found, DataType.INT64)


@lowering("coreml", "Size")
def mil_size(node: OpNode, m: MIL) -> Value:
    known = node.dims()
    if all(isinstance(dim, int) for dim in known):
        return m.const(math.prod(dim for dim in known if isinstance(dim, int)), DataType.INT64)
    count = m.op("reduce_prod", m.op("shape", node.input(0)), axes=[0], keep_dims=False)
    return m.cast(count, DataType.INT64)


@lowering("coreml", "Transpose")
def mil_transpose(node: OpNode, m: MIL) -> Value:
    return m.transpose(node.input(0), list(node.attr("perm") or reversed(range(node.rank()))))


@lowering("coreml", "Identity")
def mil_identity(node: OpNode, m: MIL) -> Value:
    """Nothing, except where a graph output has no op of its own to come from: then a copy."""
    x, output = node.input(0), node.node.outputs[0]
    if not output.is_graph_output() or (
        x.producer() is not None and not x.is_graph_output() and x.graph is output.graph
    ):
        return x
    return m.rewriter.op("identity", x, domain="mil")
