"""Making bigger and smaller tensors of whole ones: Concat, Split, Expand, Tile, ConstantOfShape, Range, EyeLike."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from graphrewrite.ir import DataType, Value, dims, static_dims
from graphrewrite.registry import OpNode, lowering

if TYPE_CHECKING:
    from graphrewrite.targets.coreml.builder import MIL
    from graphrewrite.targets.tflite.builder import TFLite

_RANK = 6
"""CONCATENATION and SPLIT take no higher rank."""


@lowering("tflite", "Concat")
def concat(node: OpNode, t: TFLite) -> Value:
    axis = node.axis()
    parts = [value for value in node.inputs if value is not None]
    filled = [value for value in parts if (dims(value) or (None,) * (axis + 1))[axis] != 0] or parts[:1]
    if len(filled) == 1:
        return filled[0]
    if node.rank() <= _RANK:
        return t.op("CONCATENATION", *filled, axis=axis)
    result = node.output_dims()
    if result is None or not all(isinstance(dim, int) for dim in result):
        node.refuse(f"TFLite joins tensors of rank {_RANK} at most", "fix the input shapes with --shape")
    sizes = [dim for dim in result if isinstance(dim, int)]
    flat = [t.reshape(value, [math.prod(sizes[:axis]), -1]) for value in filled]
    return t.reshape(t.op("CONCATENATION", *flat, axis=1), sizes)


@lowering("tflite", "Split")
def split(node: OpNode, t: TFLite) -> list[Value]:
    x, axis, count = node.input(0), node.axis(), len(node.outputs)
    total, sizes = node.dims()[axis], node.ints(1)
    if node.has(1) and sizes is None:
        return list(t.ops("SPLIT_V", x, t.cast(node.input(1), DataType.INT32), t.i32(axis), outputs=count))
    if sizes is None:
        if not isinstance(total, int):
            return list(t.ops("SPLIT_V", x, _chunks(t, x, axis, count), t.i32(axis), outputs=count))
        chunk = -(-total // count)
        sizes = [max(min(chunk, total - index * chunk), 0) for index in range(count)]
    if count == 1:
        return [x]
    if len(set(sizes)) == 1 and node.rank() <= _RANK and sizes[0]:
        return list(t.ops("SPLIT", t.i32(axis), x, outputs=count))
    return list(t.ops("SPLIT_V", x, t.i32(sizes), t.i32(axis), outputs=count))


def _chunks(t: TFLite, x: Value, axis: int, count: int) -> Value:
    """Sizes of `count` equal parts of a run-time dimension, the last one smaller where it does not divide."""
    total = t.op("SLICE", t.shape_of(x), t.i32([axis]), t.i32([1]))
    chunk = t.op("FLOOR_DIV", t.op("ADD", total, t.i32([count - 1])), t.i32([count]))
    before = t.op("MUL", chunk, t.i32(list(range(count))))
    left = t.op("SUB", total, before)
    return t.op("MAXIMUM", t.op("MINIMUM", chunk, left), t.i32([0]))


@lowering("tflite", "Expand")
def expand(node: OpNode, t: TFLite) -> Value:
    x, known = node.input(0), node.output_dims()
    if known is not None and all(isinstance(dim, int) for dim in known):
        if static_dims(x) == known:
            return x
        return t.op("BROADCAST_TO", x, t.i32([dim for dim in known if isinstance(dim, int)]))
    length = node.dims(1)[0]
    if not isinstance(length, int):
        node.refuse("the rank of its result is known only at run time", "export with a shape of fixed length")
    own, target = t.shape_of(x), t.cast(node.input(1), DataType.INT32)
    rank = node.rank()
    if rank < length:
        own = (
            t.op("CONCATENATION", t.i32([1] * (length - rank)), own, axis=0) if rank else t.i32([1] * length)
        )
    elif length < rank:
        target = t.op("CONCATENATION", t.i32([1] * (rank - length)), target, axis=0)
    return t.op("BROADCAST_TO", x, t.op("BROADCAST_ARGS", own, target))


@lowering("tflite", "Tile")
def tile(node: OpNode, t: TFLite) -> Value:
    x, repeats = node.input(0), node.ints(1)
    if repeats is not None and all(count == 1 for count in repeats):
        return x
    return t.op("TILE", x, t.cast(node.input(1), DataType.INT32))


@lowering("tflite", "ConstantOfShape")
def constant_of_shape(node: OpNode, t: TFLite) -> Value:
    given = node.attr("value")
    fill = np.float32(0) if given is None else given.numpy().reshape(())
    known = node.output_dims()
    shape = node.input(0)
    if known is not None and all(isinstance(dim, int) for dim in known):
        sizes = t.i32([dim for dim in known if isinstance(dim, int)])
    else:
        sizes = t.cast(shape, DataType.INT32)
    return t.op("FILL", sizes, t.rewriter.constant(fill))


@lowering("tflite", "Range")
def range_(node: OpNode, t: TFLite) -> Value:
    start, limit, delta = (t.reshape(node.input(index), []) for index in range(3))
    return t.op("RANGE", start, limit, delta)


@lowering("coreml", "Concat")
def mil_concat(node: OpNode, m: MIL) -> Value:
    """Empty operands, which Core ML gets wrong, are left out."""
    axis = node.axis()
    parts = [value for value in node.inputs if value is not None]
    filled = [value for value in parts if (dims(value) or (None,) * (axis + 1))[axis] != 0] or parts[:1]
    return filled[0] if len(filled) == 1 else m.op("concat", *filled, axis=axis)


@lowering("coreml", "Split", note="the sizes must be constants, or the dimension known")
def mil_split(node: OpNode, m: MIL) -> list[Value]:
    x, axis, count = node.input(0), node.axis(), len(node.outputs)
    total, sizes = node.dims()[axis], node.ints(1)
    if sizes is None and (node.has(1) or not isinstance(total, int)):
        node.refuse("the sizes of its parts are known only at run time", "fix the shapes with --shape")
    if sizes is None:
        assert isinstance(total, int)
        chunk = -(-total // count)
        sizes = [max(min(chunk, total - index * chunk), 0) for index in range(count)]
    filled = [size for size in sizes if size]
    if len(filled) <= 1:
        parts = iter([x])
    elif len(set(filled)) == 1:
        parts = iter(m.ops("split", x, outputs=len(filled), num_splits=len(filled), axis=axis))
    else:
        parts = iter(m.ops("split", x, outputs=len(filled), split_sizes=filled, axis=axis))
    return [next(parts) if size else m.nothing(node, index) for index, size in enumerate(sizes)]


@lowering("coreml", "Expand")
def mil_expand(node: OpNode, m: MIL) -> Value:
    """By tiling; to a shape that is computed at run time by adding zeros of it."""
    x, known, own = node.input(0), node.output_dims(), node.dims()
    if known is None:
        node.refuse("the rank of its result is known only at run time", "export with a shape of fixed length")
    lead = len(known) - len(own)
    if lead:
        x = m.op("expand_dims", x, axes=list(range(lead)))
    repeats: list[int] = []
    for dim, size in zip([*[1] * lead, *own], known, strict=True):
        if dim == size:
            repeats.append(1)
        elif dim == 1 and isinstance(size, int):
            repeats.append(size)
        else:
            return _mil_expand_at_run_time(node, m, x)
    return x if all(count == 1 for count in repeats) else m.op("tile", x, m.i32(repeats))


def _mil_expand_at_run_time(node: OpNode, m: MIL, x: Value) -> Value:
    """The sum with zeros (the logical or, of bool) of the wanted shape; ones in that shape keep what x has."""
    dtype = node.dtype()
    shape = m.cast(node.input(1), DataType.INT32)
    if dtype == DataType.BOOL:
        return m.op("logical_or", x, m.op("fill", shape, m.const(False, DataType.BOOL)))
    nothing = -0.0 if dtype.is_floating_point() else 0
    carrier = dtype if dtype.is_floating_point() else DataType.INT32
    return m.op("add", x, m.cast(m.op("fill", shape, m.const(nothing, carrier)), dtype))


@lowering("coreml", "Tile")
def mil_tile(node: OpNode, m: MIL) -> Value:
    x, repeats = node.input(0), node.ints(1)
    if repeats is not None and all(count == 1 for count in repeats):
        return x
    return m.op("tile", x, m.cast(node.input(1), DataType.INT32))


@lowering("coreml", "ConstantOfShape")
def mil_constant_of_shape(node: OpNode, m: MIL) -> Value:
    given, known = node.attr("value"), node.output_dims()
    content = m.rewriter.constant(np.float32(0) if given is None else given.numpy().reshape(()))
    if known is None:
        node.refuse("the rank of its result is known only at run time", "export with a shape of fixed length")
    if 0 in known:
        return m.nothing(node)
    if not known:
        return content
    static = [dim for dim in known if isinstance(dim, int)]
    sizes = m.i32(static) if len(static) == len(known) else m.cast(node.input(0), DataType.INT32)
    return m.op("fill", sizes, content)


@lowering("coreml", "Range")
def mil_range(node: OpNode, m: MIL) -> Value:
    start, limit, delta = (m.reshape(node.input(index), []) for index in range(3))
    return m.op("range_1d", limit, start, delta)
