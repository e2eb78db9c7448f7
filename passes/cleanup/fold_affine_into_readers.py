"""Constant factors and terms move into the weights and the biases of the operators that read the result."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from graphrewrite.ir import Array, Node, Value, static_dims
from graphrewrite.pipeline import RewritePass, Stage
from graphrewrite.rewrite import Match, MatchFailure, Rewriter

from .linear_operators import LinearOperator, Vector, affine, channel_vector
from .views import ELEMENTS, readers


@dataclasses.dataclass
class _Found(Match):
    """Each of `changes`: an operator and what it has to make up for, the factor of each input channel or the term of each
    output channel."""

    scales: bool = False
    changes: list[tuple[LinearOperator, Vector]] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class FoldAffineIntoReaders(RewritePass):
    """Fold MUL, DIV, ADD and SUB with constants into the convolutions and matrix products behind them.

        %a = MUL(%normal, %gamma:float[64])                     %q = FULLY_CONNECTED(%normal, %wq * gamma, %bq + wq @ beta)
        %b = ADD(%a, %beta:float[64])                    --->   %k = FULLY_CONNECTED(%normal, %wk * gamma, %bk + wk @ beta)
        %q = FULLY_CONNECTED(%b, %wq, %bq)
        %k = FULLY_CONNECTED(%b, %wk, %bk)

    The affine half of a normalisation, mostly. All readers must take it, through reshapes, transposes, slices
    and splits that leave channels channels; terms not where padding would make them differ at the borders.
    Weights that are shared are not scaled. Exact.
    """

    stage = Stage.FINISH
    after = ("fold-affine-into-weights",)
    targets = frozenset({"tflite"})
    roots = ("tflite.MUL", "tflite.DIV", "tflite.ADD", "tflite.SUB")

    def match(self, node: Node) -> Match:
        """All readers, with what each has to make up for."""
        x, scale, offset = affine(node)
        changes = [
            (linear, vector) for linear, vector in _readers(node, scale if scale is not None else offset)
        ]
        if not changes:
            raise MatchFailure("nothing reads the result", node)
        for linear, vector in changes:
            if scale is not None:
                linear.require_scalable(vector)
        found = changes if scale is not None else [(item, item.response(vector)) for item, vector in changes]
        nodes = (node, *(linear.node for linear, _ in changes))
        return _Found(node, {"x": x}, {}, nodes, scale is not None, found)

    def rewrite(self, match: Match, rewriter: Rewriter) -> Value:
        """Change weights and biases; the readers read the root's operand."""
        assert isinstance(match, _Found)
        for linear, vector in match.changes:
            if match.scales:
                linear.change(rewriter, linear.scale_inputs(rewriter, vector), None)
            else:
                linear.change(rewriter, None, linear.bias_vector() + vector)
            read = linear.node.inputs[linear.form.data]
            if read is not None:
                rewriter.altered(read, since=match.root)
        return match["x"]


def _readers(root: Node, factor: Array | None) -> list[tuple[LinearOperator, Vector]]:
    result = root.outputs[0]
    assert factor is not None
    shape = static_dims(result)
    uses = list(result.uses())
    if result.is_graph_output():
        raise MatchFailure("the result is an output", result)
    direct = all(use.node.op_type == "FULLY_CONNECTED" or "CONV" in use.node.op_type for use in uses)
    if direct:
        return [_change(use.node, use.idx, factor) for use in uses]
    if shape is None or math.prod(shape) > ELEMENTS:
        raise MatchFailure("the result is too large to follow, or its size is known only at run time", result)
    labels = np.broadcast_to(factor, shape)
    return [_change(node, index, _row(found)) for node, index, _, found in readers(result, labels)]


def _row(found: Array) -> Array:
    """The last axis of `found`, where all others repeat it."""
    if found.ndim == 0 or found.size == 0:
        raise MatchFailure("the value has no channels")
    rows = found.reshape(-1, found.shape[-1])
    if not np.array_equal(rows, np.broadcast_to(rows[0], rows.shape)):
        raise MatchFailure("the constant differs from position to position")
    row: Array = rows[0]
    return row


def _change(node: Node | None, index: int, factor: Array) -> tuple[LinearOperator, Vector]:
    linear = LinearOperator.of(node)
    if index != linear.form.data:
        raise MatchFailure("the result is not the operand that meets the weights", node)
    vector = channel_vector(factor, linear.inputs)
    if vector is None:
        raise MatchFailure("the constant is not one value or one a channel", node)
    return linear, vector
