"""MatMulNBits: a product with weights of 4 or 8 bits in blocks, as MatMul and DequantizeLinear."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import ml_dtypes
import numpy as np

from graphrewrite.ir import Array, Node, Value, constant_array
from graphrewrite.rewrite import MatchFailure, Rewriter

Build = Callable[[Rewriter], Sequence["Value | None"]]

_TYPES = {4: np.dtype(ml_dtypes.uint4), 8: np.dtype(np.uint8)}


def mat_mul_n_bits(node: Node) -> Build:
    """x @ W + bias, where W [K, N] has one scale and zero point for each block of rows in a column.

    The weights lie as [N, blocks, bytes of a block], the first of two in the lower half of a byte.
    """
    bits, block = node.attributes.get_int("bits", 4), node.attributes.get_int("block_size", 0)
    rows, columns = node.attributes.get_int("K", 0), node.attributes.get_int("N", 0)
    if bits not in _TYPES or not block or not rows or not columns:
        raise MatchFailure(f"weights of {bits} bits in blocks of {block} have no standard form", node)
    if len(node.inputs) > 4 and node.inputs[4] is not None:
        raise MatchFailure("it sorts its rows into groups by an index", node)
    packed, scales = constant_array(node.inputs[1]), constant_array(node.inputs[2])
    point = node.inputs[3] if len(node.inputs) > 3 else None
    zeros = constant_array(point) if point is not None else None
    if packed is None or scales is None or (point is not None and zeros is None):
        raise MatchFailure("its weights are computed at run time", node)
    if zeros is not None and zeros.dtype != np.uint8:
        raise MatchFailure("its zero points are not whole numbers", node)
    blocks = -(-rows // block)
    weights = _unpacked(packed.reshape(columns, -1), bits)[:, :rows]
    if zeros is None:
        points = np.full((columns, blocks), 1 << (bits - 1), np.uint8)
    else:
        points = _unpacked(zeros.reshape(columns, -1), bits)[:, :blocks]

    def build(b: Rewriter) -> list[Value | None]:
        matrix = b.op(
            "DequantizeLinear",
            b.constant(_by_column(weights, bits)),
            b.constant(np.ascontiguousarray(scales.reshape(columns, blocks).T)),
            b.constant(_by_column(points, bits)),
            axis=0,
            block_size=block,
        )
        y = b.op("MatMul", node.inputs[0], matrix)
        bias = node.inputs[5] if len(node.inputs) > 5 else None
        return [y if bias is None else b.op("Add", y, bias)]

    return build


def _unpacked(array: Array, bits: int) -> Array:
    """One element each, along the last axis."""
    if bits == 8:
        return array
    return np.stack([array & 15, array >> 4], axis=-1).reshape(array.shape[0], -1)


def _by_column(array: Array, bits: int) -> Array:
    return np.ascontiguousarray(array.T).astype(_TYPES[bits])
