"""Writing elements by index: ScatterElements, ScatterND, TensorScatter.

TFLite's SCATTER_ND starts from zeros and adds up what falls on one place. Without reduction ONNX leaves repeated indices
undefined, so a mask made by the same operator picks between update and data, exactly, infinities included. With constant
indices the result is one GATHER from data and updates joined, and repeated indices take the last, as in ONNX Runtime.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from graphrewrite.ir import (
    Array,
    DataType,
    Graph,
    Node,
    Shape,
    TensorType,
    Value,
    constant_array,
    static_dims,
)
from graphrewrite.registry import Onnx, OpNode, expansion, lowering

from .gather import flat_positions, mil_coordinates, mil_from_the_front, nd_index

if TYPE_CHECKING:
    from graphrewrite.targets.coreml.builder import MIL
    from graphrewrite.targets.tflite.builder import TFLite

_REDUCTIONS = {"mul": "STABLEHLO_MULTIPLY", "max": "STABLEHLO_MAXIMUM", "min": "STABLEHLO_MINIMUM"}


@lowering("tflite", "ScatterElements")
def scatter_elements(node: OpNode, t: TFLite) -> Value:
    """As a scatter of single elements into the flattened data."""
    sizes, places = static_dims(node.input(0)), flat_positions(node, t, node.axis())
    count = math.prod(static_dims(places) or (-1,))
    data, updates = t.reshape(node.input(0), [-1]), t.reshape(node.input(2), [count])
    result = _scatter(node, t, data, t.reshape(places, [count, 1]), updates)
    if sizes is None:
        return t.op("RESHAPE", result, t.shape_of(node.input(0)))
    return t.reshape(result, list(sizes))


@lowering("tflite", "ScatterND")
def scatter_nd(node: OpNode, t: TFLite) -> Value:
    return _scatter(node, t, node.input(0), nd_index(node, t), node.input(2))


def _scatter(node: OpNode, t: TFLite, data: Value, index: Value, updates: Value) -> Value:
    reduction = node.attr("reduction")
    if reduction == "none":
        places = constant_array(index)
        if places is not None and static_dims(data) is not None and static_dims(updates) is not None:
            return _rearranged(t, data, places, updates)
        return _masked(t, data, index, updates)
    if reduction == "add":
        if data.dtype == DataType.BOOL:
            node.refuse("ONNX does not add bools")
        zeros_plus = t.op("SCATTER_ND", _int32(t, index), updates, t.shape_of(data))
        return t.op("ADD", data, zeros_plus)
    if reduction not in _REDUCTIONS:
        node.refuse(f"reduction '{reduction}' does not exist")
    return _reduced(node, t, data, index, updates, _REDUCTIONS[reduction])


def _int32(t: TFLite, index: Value) -> Value:
    return t.cast(index, DataType.INT32)


def _masked(t: TFLite, data: Value, index: Value, updates: Value) -> Value:
    shape = t.shape_of(data)
    index = _int32(t, index)
    known = static_dims(updates)
    ones = (
        t.const(np.ones(known), DataType.INT32)
        if known is not None
        else t.op("FILL", t.shape_of(updates), t.i32(1))
    )
    hit = t.op("GREATER", t.op("SCATTER_ND", index, ones, shape), t.i32(0))
    return t.op("SELECT_V2", hit, t.op("SCATTER_ND", index, updates, shape), data)


def _rearranged(t: TFLite, data: Value, places: Array, updates: Value) -> Value:
    """Rows of data and updates joined, then picked in order."""
    sizes = static_dims(data) or ()
    depth = places.shape[-1]
    rows, inner = math.prod(sizes[:depth]), math.prod(sizes[depth:])
    coordinates = tuple(np.moveaxis(places.reshape(-1, depth), -1, 0))
    flat = np.atleast_1d(np.ravel_multi_index(coordinates, sizes[:depth]))
    source = np.arange(rows, dtype=np.int32)
    source[flat] = rows + np.arange(len(flat), dtype=np.int32)
    joined = t.op(
        "CONCATENATION", t.reshape(data, [rows, inner]), t.reshape(updates, [len(flat), inner]), axis=0
    )
    return t.reshape(t.op("GATHER", joined, t.rewriter.constant(source), axis=0), list(sizes))


def _reduced(node: OpNode, t: TFLite, data: Value, index: Value, updates: Value, combine: str) -> Value:
    """STABLEHLO_SCATTER combines each update with what lies at its place, repeated indices one after the other."""
    if data.dtype is None or data.shape is None or updates.shape is None:
        node.refuse("the type or rank of its data is unknown", "fix the input shapes with --shape")
    depth = node_depth(index)
    lead = len(updates.shape) - (len(data.shape) - depth)
    return t.op(
        "STABLEHLO_SCATTER",
        data,
        index,
        updates,
        update_computation=_combination(t, combine, data.dtype),
        update_window_dims=list(range(lead, len(updates.shape))),
        inserted_window_dims=list(range(depth)),
        scatter_dims_to_operand_dims=list(range(depth)),
        index_vector_dim=lead,
    )


def node_depth(index: Value) -> int:
    """How many coordinates each index has."""
    depth = None if index.shape is None else index.shape.dims[-1]
    assert isinstance(depth, int)  # flat_positions and nd_index have refused the rest
    return depth


def _combination(t: TFLite, combine: str, dtype: DataType) -> Graph:
    """The subgraph (scalar, scalar) -> scalar."""
    unique = t.rewriter.unique_name
    operands = [
        Value(name=unique(f"scatter/{side}"), type=TensorType(dtype), shape=Shape([]))
        for side in ("old", "new")
    ]
    node = Node("tflite", combine, operands, num_outputs=1, name=unique("scatter/combine"))
    result = node.outputs[0]
    result.name, result.type, result.shape = unique("scatter/result"), TensorType(dtype), Shape([])
    return Graph(operands, [result], nodes=[node], name=unique("scatter/body"))


@lowering("coreml", "ScatterElements")
def mil_scatter_elements(node: OpNode, m: MIL) -> Value:
    """Along the axis; where the indices are smaller than the data along others too, into the flattened data."""
    data, axis, updates = node.input(0), node.axis(), node.input(2)
    sizes, count = node.dims(), node.dims(1)
    if 0 in count:
        return data
    mode = _mil_mode(node)
    index = mil_from_the_front(node, m, node.input(1), axis)
    if all(i == axis or (sizes[i] is not None and sizes[i] == count[i]) for i in range(len(sizes))):
        return m.op("scatter_along_axis", data, index, updates, axis=axis, mode=mode)
    whole, part = node.static(), node.static(1)
    strides = [math.prod(whole[i + 1 :]) for i in range(len(whole))]
    base = np.zeros([1] * len(part), np.int32)
    for i in (i for i in range(len(part)) if i != axis):
        line = np.arange(part[i], dtype=np.int32) * strides[i]
        base = base + line.reshape([-1 if j == i else 1 for j in range(len(part))])
    place = m.op("add", m.op("mul", index, m.i32(strides[axis])), m.rewriter.constant(base))
    flat = [m.reshape(value, [-1]) for value in (data, place, updates)]
    return m.reshape(m.op("scatter", *flat, axis=0, mode=mode), list(whole))


@lowering("coreml", "ScatterND")
def mil_scatter_nd(node: OpNode, m: MIL) -> Value:
    data, updates = node.input(0), node.input(2)
    if 0 in node.dims(1)[:-1]:
        return data
    index = mil_coordinates(node, m)
    if node.rank(1) == 1:
        index, updates = (m.op("expand_dims", value, axes=[0]) for value in (index, updates))
    return m.op("scatter_nd", data, index, updates, mode=_mil_mode(node))


def _mil_mode(node: OpNode) -> str:
    reduction = str(node.attr("reduction"))
    if reduction not in ("none", "add", "mul", "max", "min"):
        node.refuse(f"reduction '{reduction}' does not exist")
    return "update" if reduction == "none" else reduction


@expansion("TensorScatter")
def tensor_scatter(node: OpNode, b: Onnx) -> Value:
    """Each batch entry's update is written into the cache from its own index on, wrapping around where circular."""
    cache, update, starts = node.input(0), node.input(1), node.optional(2)
    axis = node.attr("axis", -2) % node.rank()
    sizes, new = node.static(0), node.static(1)
    batch, length, limit = sizes[0], new[axis], sizes[axis]
    if axis == 0:
        node.refuse("the batch dimension can't be the one that is written along")
    steps = b.const([list(range(length))], DataType.INT64)
    position = steps if starts is None else b.op("Add", b.reshape(starts, [batch, 1]), steps)
    position = b.op("Expand", position, b.i64([batch, length]))
    if node.attr("mode") == "circular":
        position = b.op("Mod", position, b.i64(limit))
    rows = b.const(np.repeat(np.arange(batch)[:, None], length, axis=1), DataType.INT64)
    index = b.op("Concat", *(b.op("Unsqueeze", part, b.i64([-1])) for part in (rows, position)), axis=-1)
    order = [0, axis, *(i for i in range(1, len(sizes)) if i != axis)]
    turned = [b.op("Transpose", value, perm=order) for value in (cache, update)]
    result = b.op("ScatterND", turned[0], index, turned[1])
    return b.op("Transpose", result, perm=[order.index(i) for i in range(len(sizes))])
