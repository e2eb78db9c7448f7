"""Matrix products: MatMul of any ranks, Gemm."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from graphrewrite.ir import DataType, Value, constant_array, dims, is_constant, rank, static_dims
from graphrewrite.registry import OpNode, lowering

from .precision import FLOATS

if TYPE_CHECKING:
    from graphrewrite.targets.coreml.builder import MIL
    from graphrewrite.targets.tflite.builder import TFLite

_BATCH_RANK = 4
"""BATCH_MATMUL takes rank 5 on this machine and 4 on older phones; batches beyond are folded into one."""

_INTEGER_PRODUCTS = 1 << 24
"""Integer products are written out element by element up to this many: 64 MB of int32."""


@lowering("tflite", "MatMul")
def mat_mul(node: OpNode, t: TFLite) -> Value:
    a, b = node.input(0), node.input(1)
    node.dims(0), node.dims(1)
    if not node.dtype().is_floating_point():
        return _integers(node, t, a, b)
    lead, trail = rank(a) == 1, rank(b) == 1
    if lead:
        a = t.reshape(a, [1, -1])
    if trail:
        b = t.reshape(b, [-1, 1])
    y = product(t, a, b)
    if not lead and not trail:
        return y
    return _drop(node, t, y, [*([-2] if lead else []), *([-1] if trail else [])])


def _drop(node: OpNode, t: TFLite, y: Value, axes: list[int]) -> Value:
    result = node.output_dims()
    if result is not None and sum(not isinstance(dim, int) for dim in result) <= 1:
        return t.reshape(y, [dim if isinstance(dim, int) else -1 for dim in result])
    size = rank(y) or 0
    return t.op("SQUEEZE", y, squeeze_dims=sorted(axis + size for axis in axes))


def product(t: TFLite, a: Value, b: Value) -> Value:
    """a @ b of floats, both of rank 2 or more."""
    rank_a, rank_b = rank(a) or 2, rank(b) or 2
    if rank_b == 2 and is_constant(b):
        return t.op("FULLY_CONNECTED", a, t.transpose(b, [1, 0]), None, keep_num_dims=True)
    if rank_b == 2 and rank_a > 2 and (merged := _rows(t, a, b)) is not None:
        return merged
    if max(rank_a, rank_b) > _BATCH_RANK and (merged := _one_batch(t, a, b)) is not None:
        return merged
    return t.op("BATCH_MATMUL", a, b)


def _rows(t: TFLite, a: Value, b: Value) -> Value | None:
    """[..., K] @ [K, N] as one product of matrices, where the result's shape can be written down."""
    known, columns = dims(a), (dims(b) or (None, None))[1]
    if known is None or not isinstance(known[-1], int):
        return None
    result = [*known[:-1], columns]
    if sum(not isinstance(dim, int) for dim in result) > 1 or 0 in result:
        return None
    y = t.op("BATCH_MATMUL", t.reshape(a, [-1, known[-1]]), b)
    return t.reshape(y, [dim if isinstance(dim, int) else -1 for dim in result])


def _one_batch(t: TFLite, a: Value, b: Value) -> Value | None:
    """All batch dimensions as one; operands that are broadcast along some of them are spread out."""
    shape_a, shape_b = static_dims(a), static_dims(b)
    if shape_a is None or shape_b is None:
        return None
    batch = np.broadcast_shapes(shape_a[:-2], shape_b[:-2])
    count = math.prod(batch)
    folded = []
    for value, shape in ((a, shape_a), (b, shape_b)):
        own = math.prod(shape[:-2])
        if own not in (1, count):
            value = t.op("BROADCAST_TO", value, t.i32([*batch, *shape[-2:]]))
            own = count
        folded.append(t.reshape(value, [own, *shape[-2:]]))
    y = t.op("BATCH_MATMUL", *folded)
    return t.reshape(y, [*batch, shape_a[-2], shape_b[-1]])


def _integers(node: OpNode, t: TFLite, a: Value, b: Value) -> Value:
    """No kernel multiplies integer matrices exactly: products element by element, then a sum. Wraps as ONNX Runtime does."""
    shape_a, shape_b = node.static(0), node.static(1)
    inner = shape_a[-1]
    batch = np.broadcast_shapes(shape_a[:-2], shape_b[:-2])
    rows = shape_a[-2] if len(shape_a) > 1 else 1
    columns = shape_b[-1] if len(shape_b) > 1 else 1
    if math.prod(batch) * rows * columns * inner > _INTEGER_PRODUCTS:
        node.refuse(
            f"TFLite multiplies matrices of {node.dtype().name.lower()} only element by element, and this one is too big",
            "cast to float32 around it if the values fit (24 bits)",
        )
    left = t.reshape(a, [*shape_a[:-2], rows, inner, 1])
    right = t.reshape(b, [*shape_b[:-2], 1, inner, columns])
    products = t.op("MUL", left, right)
    total = t.op("SUM", products, t.i32([len(batch) + 1]), keep_dims=False)
    return t.reshape(total, [dim for dim in node.output_dims() or () if isinstance(dim, int)])


@lowering("tflite", "Gemm")
def gemm(node: OpNode, t: TFLite) -> Value:
    a, b, c = node.input(0), node.input(1), node.optional(2)
    alpha, beta = node.attr("alpha"), node.attr("beta")
    if not node.dtype().is_floating_point() and not (alpha == beta == 1.0):
        node.refuse("integers times a fraction (alpha, beta) have no exact result")
    if c is not None and beta == 0.0:
        c = None
    if node.attr("transA"):
        a = t.transpose(a, [1, 0])
    if not node.dtype().is_floating_point():
        right = t.transpose(b, [1, 0]) if node.attr("transB") else b
        y = _integers(node, t, a, right)
        return y if c is None else t.op("ADD", y, c)
    c = None if c is None else _scaled(t, c, beta)
    if is_constant(b):
        weights = _scaled(t, b if node.attr("transB") else t.transpose(b, [1, 0]), alpha)
        bias = _bias(t, c, (static_dims(weights) or (0,))[0])
        y = t.op("FULLY_CONNECTED", a, weights, bias, keep_num_dims=True)
        return y if c is None or bias is not None else t.op("ADD", y, c)
    y = t.op("BATCH_MATMUL", a, b, adj_y=True) if node.attr("transB") else t.op("BATCH_MATMUL", a, b)
    y = _scaled(t, y, alpha)
    return y if c is None else t.op("ADD", y, c)


def _scaled(t: TFLite, value: Value, factor: float) -> Value:
    if factor == 1.0:
        return value
    array = constant_array(value)
    if array is not None:
        return t.rewriter.constant((array * np.asarray(factor, array.dtype)).astype(array.dtype))
    return t.op("MUL", value, t.like(factor, value))


def _bias(t: TFLite, c: Value | None, width: int) -> Value | None:
    """`c` as a bias vector, where it is a constant that is the same for every row."""
    array = constant_array(c)
    if array is None or (array.ndim == 2 and array.shape[0] != 1) or c is None or c.dtype == DataType.FLOAT16:
        return None
    return t.rewriter.constant(np.ascontiguousarray(np.broadcast_to(array.reshape(-1), (width,))))


_LINEAR_RANK = 3
"""Core ML's linear takes no higher rank."""


@lowering("coreml", "MatMul")
def mil_mat_mul(node: OpNode, m: MIL) -> Value:
    """Integers are multiplied as they are; vectors as matrices of one row or column."""
    a, b = node.input(0), node.input(1)
    lead, trail = node.rank(0) == 1, node.rank(1) == 1
    if lead:
        a = m.op("expand_dims", a, axes=[0])
    if trail:
        b = m.op("expand_dims", b, axes=[1]) if not is_constant(b) else m.reshape(b, [-1, 1])
    y = _mil_product(m, a, b)
    axes = [*([-2] if lead else []), *([-1] if trail else [])]
    return m.op("squeeze", y, axes=axes) if axes else y


def _mil_product(m: MIL, a: Value, b: Value) -> Value:
    if is_constant(b) and rank(b) == 2 and (rank(a) or 0) <= _LINEAR_RANK and a.dtype in FLOATS:
        return m.op("linear", a, m.transpose(b, [1, 0]))
    return m.op("matmul", a, b)


@lowering("coreml", "Gemm")
def mil_gemm(node: OpNode, m: MIL) -> Value:
    a, b, c = node.input(0), node.input(1), node.optional(2)
    alpha, beta = node.attr("alpha"), node.attr("beta")
    if node.dtype() not in FLOATS and not (alpha == beta == 1.0):
        node.refuse("integers times a fraction (alpha, beta) have no exact result")
    c = None if c is None or beta == 0.0 else _mil_scaled(m, c, beta)
    if is_constant(b) and node.dtype() in FLOATS:
        if node.attr("transA"):
            a = m.transpose(a, [1, 0])
        weights = _mil_scaled(m, b if node.attr("transB") else m.transpose(b, [1, 0]), alpha)
        bias = _mil_bias(m, c, (static_dims(weights) or (0,))[0])
        y = m.op("linear", a, weights, bias)
        return y if c is None or bias is not None else m.op("add", y, c)
    y = m.op("matmul", a, b, transpose_x=bool(node.attr("transA")), transpose_y=bool(node.attr("transB")))
    y = _mil_scaled(m, y, alpha)
    return y if c is None else m.op("add", y, c)


def _mil_scaled(m: MIL, value: Value, factor: float) -> Value:
    if factor == 1.0:
        return value
    array = constant_array(value)
    if array is not None:
        return m.rewriter.constant((array * np.asarray(factor, array.dtype)).astype(array.dtype))
    return m.op("mul", value, m.like(factor, value))


def _mil_bias(m: MIL, c: Value | None, width: int) -> Value | None:
    """`c` as a bias vector, where it is a constant that is the same for every row."""
    array = constant_array(c)
    if array is None or (array.ndim == 2 and array.shape[0] != 1):
        return None
    return m.rewriter.constant(np.ascontiguousarray(np.broadcast_to(array.reshape(-1), (width,))))
