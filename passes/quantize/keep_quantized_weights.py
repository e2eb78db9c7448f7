"""Weights that the source stores in 8 bits are stored so by the target too."""

from __future__ import annotations

import dataclasses

import numpy as np

from graphrewrite.ir import Array, DataType, Node, Quant, constant_array, set_quant
from graphrewrite.pipeline import RewritePass, Stage
from graphrewrite.rewrite import Match, MatchFailure, Rewriter

_STORED = frozenset({DataType.INT8, DataType.UINT8})


@dataclasses.dataclass(frozen=True)
class KeepQuantizedWeights(RewritePass):
    """Note on dequantised weights how they were quantised, so that the writer can store them as they were.

        %w = DequantizeLinear(%q:int8[64,32,3,3], %scale:[64], %zero)    %y = Conv(%x, %w)
        --->
        %y = Conv(%x, %w:float32[64,32,3,3])        # real = scale (stored - zero) along axis 0

    Exact.

    Attributes:
        minimum: elements from which on it is worth an operator that unpacks them.
    """

    minimum: int = 256

    stage = Stage.LEGALIZE
    targets = frozenset({"coreml"})
    after = ("widen-half",)
    roots = ("DequantizeLinear",)

    def match(self, node: Node) -> Match:
        """Constant 8-bit data with one scale, or one for each slice along an axis."""
        arrays = [constant_array(value) for value in node.inputs]
        data, scale = arrays[0], arrays[1]
        if data is None or scale is None or (len(arrays) > 2 and arrays[2] is None):
            raise MatchFailure("it is computed at run time", node.outputs[0])
        value = node.inputs[0]
        if value is None or value.dtype not in _STORED or data.size < self.minimum:
            raise MatchFailure("it is not stored in 8 bits, or is too small to matter", value)
        if scale.dtype != np.float32 or scale.ndim > 1:
            raise MatchFailure("its scale is not one float32 a slice", node.inputs[1])
        return Match(node, {}, {}, (node,))

    def rewrite(self, match: Match, rewriter: Rewriter) -> None:
        """Compute the weights, and note the rest."""
        node = match.root
        data, scale, *rest = (constant_array(value) for value in node.inputs)
        assert data is not None
        assert scale is not None
        zero = np.zeros(scale.shape, np.int64) if not rest or rest[0] is None else rest[0].astype(np.int64)
        axis = node.attributes.get_int("axis", 1) % data.ndim if scale.ndim else 0
        real = (data.astype(np.float32) - _along(zero, axis, data.ndim)) * _along(scale, axis, data.ndim)
        weights = rewriter.constant(real.astype(np.float32))
        set_quant(weights, Quant(scale, zero, axis))
        rewriter.replace(node, weights)


def _along(array: Array, axis: int, rank: int) -> Array:
    return (
        array.reshape([-1 if i == axis else 1 for i in range(rank)]) if array.size > 1 else array.reshape(())
    )
