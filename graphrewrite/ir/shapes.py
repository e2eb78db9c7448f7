"""Dimensions of values, and the integer content of shape computations as far as it is known.

A dimension is an int, a symbol (str), or None where nothing is known.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir

from graphrewrite.ir.constants import constant_array, constant_ints

Dim = int | str | None
Dims = tuple[Dim, ...]

_MAX_ELEMENTS = 64
"""Larger constants are no shapes: they are not read in search of one."""
_MAX_DEPTH = 64
"""Nodes between a shape and what it is computed from: recursion must have an end."""


def dims(value: onnx_ir.Value | None) -> Dims | None:
    """Dimensions of `value`, None where its rank is unknown."""
    shape = None if value is None else value.shape
    if shape is None:
        return None
    found = shape.dims
    for dim in found:  # called more than anything else, and most shapes are numbers only
        if dim.__class__ is not int:
            return tuple([dim if isinstance(dim, int) else dim.value for dim in found])
    return found  # type: ignore[return-value]  # numbers only, as the loop has found


def static_dims(value: onnx_ir.Value | None) -> tuple[int, ...] | None:
    """Dimensions of `value` where every one of them is a number, else None."""
    known = dims(value)
    if known is None or not all(isinstance(dim, int) for dim in known):
        return None
    return tuple(dim for dim in known if isinstance(dim, int))


def rank(value: onnx_ir.Value | None) -> int | None:
    """Number of dimensions, None where unknown."""
    return None if value is None or value.shape is None else len(value.shape)


def broadcast(left: Dims, right: Dims) -> Dims:
    """Result of ONNX's multidirectional broadcasting; None where a dimension can't be told."""
    size = max(len(left), len(right))
    out: list[Dim] = []
    for a, b in zip((1,) * (size - len(left)) + left, (1,) * (size - len(right)) + right, strict=True):
        if a == 1 or a == b:
            out.append(b)
        elif b == 1 or isinstance(a, int):
            out.append(a)
        else:
            out.append(b if isinstance(b, int) else None)
    return tuple(out)


def resolve_reshape(source: Dims | None, target: Sequence[Dim], *, allowzero: bool) -> Dims:
    """Output dimensions of a Reshape of `source` to the partly known `target` (with its 0 and -1)."""
    out: list[Dim] = list(target)
    if not allowzero:
        for index, dim in enumerate(out):
            if dim == 0:
                out[index] = source[index] if source is not None and index < len(source) else None
    if -1 not in out:
        return tuple(out)
    at = out.index(-1)
    rest = out[:at] + out[at + 1 :]
    out[at] = None
    if source is None or None in source or None in rest:
        return tuple(out)
    symbols = [dim for dim in source if isinstance(dim, str)]
    for dim in rest:
        if isinstance(dim, str):
            if dim not in symbols:
                return tuple(out)
            symbols.remove(dim)
    above = math.prod(dim for dim in source if isinstance(dim, int))
    below = math.prod(dim for dim in rest if isinstance(dim, int))
    if below and above % below == 0:
        if not symbols:
            out[at] = above // below
        elif len(symbols) == 1 and above == below:
            out[at] = symbols[0]
    return tuple(out)


def shape_data(value: onnx_ir.Value | None, depth: int = 0) -> list[Dim] | None:
    """Elements of a small integer tensor as far as the graph tells them.

    Follows Shape, Size, Gather, Slice, Concat, Squeeze, Unsqueeze, Reshape, Cast, Identity and integer arithmetic, so that
    `Concat(Gather(Shape(x), 0), [-1, 64])` is known as ["batch", -1, 64]. None where the number of elements is unknown.
    """
    if value is None or depth > _MAX_DEPTH:
        return None
    known = (
        constant_ints(value) if value.const_value is None or value.const_value.size <= _MAX_ELEMENTS else None
    )
    if known is not None:
        return list(known)
    node = value.producer()
    if node is None or node.domain != "" or node.op_type not in _DATA_RULES:
        return None
    if value.dtype not in (None, onnx_ir.DataType.INT64, onnx_ir.DataType.INT32):
        return None  # 5 / 2 is 2.5 once it was cast to float: the rules below are those of integers
    return _DATA_RULES[node.op_type](node, depth + 1)


def computes_shapes(node: onnx_ir.Node) -> bool:
    """True where `shape_data` may see through `node`: what is known of its operands can be news to whoever reads it."""
    return (
        node.op_type in _DATA_RULES
        and node.domain == ""
        and node.outputs[0].dtype in (onnx_ir.DataType.INT64, onnx_ir.DataType.INT32)
        and (rank(node.outputs[0]) or 0) <= 1
    )


def _shape(node: onnx_ir.Node, depth: int) -> list[Dim] | None:
    known = dims(node.inputs[0])
    if known is None:
        return None
    start = node.attributes.get_int("start", 0)
    end = node.attributes.get_int("end", None)
    return list(known[start : len(known) if end is None else end])


def _size(node: onnx_ir.Node, depth: int) -> list[Dim] | None:
    known = static_dims(node.inputs[0])
    return None if known is None else [math.prod(known)]


def _forward(node: onnx_ir.Node, depth: int) -> list[Dim] | None:
    return shape_data(node.inputs[0], depth)


def _gather(node: onnx_ir.Node, depth: int) -> list[Dim] | None:
    data, index = shape_data(node.inputs[0], depth), constant_ints(node.inputs[1])
    if data is None or index is None or rank(node.inputs[0]) != 1:
        return None
    return [data[item] for item in index] if all(-len(data) <= item < len(data) for item in index) else None


def _slice(node: onnx_ir.Node, depth: int) -> list[Dim] | None:
    data = shape_data(node.inputs[0], depth)
    bounds = [constant_ints(item) for item in node.inputs[1:]]
    if data is None or rank(node.inputs[0]) != 1 or len(bounds) < 2 or bounds[0] is None or bounds[1] is None:
        return None
    if len(node.inputs) > 4 and node.inputs[4] is not None and bounds[3] is None:
        return None
    step = bounds[3][0] if len(bounds) > 3 and bounds[3] else 1
    start, stop = bounds[0][0], bounds[1][0]
    if step < 0 and stop < -len(data):
        return data[start::step]
    return data[start:stop:step]


def _concat(node: onnx_ir.Node, depth: int) -> list[Dim] | None:
    out: list[Dim] = []
    for item in node.inputs:
        part = shape_data(item, depth)
        if part is None or rank(item) != 1:
            return None
        out += part
    return out


def _arithmetic(node: onnx_ir.Node, depth: int) -> list[Dim] | None:
    left, right = shape_data(node.inputs[0], depth), shape_data(node.inputs[1], depth)
    if left is None or right is None or (len(left) != len(right) and 1 not in (len(left), len(right))):
        return None
    size = max(len(left), len(right))
    left, right = left * (size // max(len(left), 1)), right * (size // max(len(right), 1))
    return [combine(node.op_type, a, b) for a, b in zip(left, right, strict=True)]


def combine(op: str, a: Dim, b: Dim) -> Dim:
    """Integer arithmetic on partly known elements; None where the result can't be told."""
    if isinstance(a, int) and isinstance(b, int):
        if op == "Add":
            return a + b
        if op == "Sub":
            return a - b
        if op == "Mul":
            return a * b
        if op == "Div" and b != 0:  # ONNX divides integers towards zero
            return abs(a) // abs(b) * (1 if (a >= 0) == (b >= 0) else -1)
        return None
    neutral = 0 if op in ("Add", "Sub") else 1
    if b == neutral:
        return a
    return b if a == neutral and op in ("Add", "Mul") else None


_DATA_RULES = {
    "Shape": _shape,
    "Size": _size,
    "Gather": _gather,
    "Slice": _slice,
    "Concat": _concat,
    "Identity": _forward,
    "Cast": _forward,
    "Squeeze": _forward,
    "Unsqueeze": _forward,
    "Reshape": _forward,
    "Add": _arithmetic,
    "Sub": _arithmetic,
    "Mul": _arithmetic,
    "Div": _arithmetic,
}


def resized(node: onnx_ir.Node) -> Dims | None:
    """Sizes that a Resize with constant scales gives, as kernels find them, in float32; None where it has no such scales.

    7 * float32(13 / 7) is 13 there, and a little less by ONNX's own rule, which so finds 12.
    """
    known = dims(node.inputs[0])
    scales = constant_array(node.inputs[2]) if len(node.inputs) > 2 else None
    if known is None or scales is None or scales.size == 0:
        return None
    found = list(known)
    for axis, scale in zip(node.attributes.get_ints("axes", range(len(known))), scales, strict=False):
        size = known[axis]
        if isinstance(size, int):
            found[axis] = int(np.floor(np.float32(size) * np.float32(scale)))
        elif scale != 1:
            found[axis] = None
    return tuple(found)
