"""The guard against rows without any unmasked score goes where no such row can be."""

from __future__ import annotations

import dataclasses

import numpy as np

from graphrewrite.ir import Array, Value, constant_array, dims, is_constant
from graphrewrite.pipeline import PatternPass, Stage
from graphrewrite.rewrite import Match, MatchFailure, Rewriter, constant, op, value

_FINITE = frozenset({"MatMul", "Gemm", "Conv", "Tanh", "Sigmoid", "Clip", "Relu"})
"""Ops whose finite operands give finite scores, where the search may end."""
_RESHAPES = frozenset({"Reshape", "Identity", "Squeeze", "Unsqueeze"})
_DEPTH = 16


@dataclasses.dataclass(frozen=True)
class RemoveSoftmaxNanGuard(PatternPass):
    """Drop `Where(IsNaN(p), 0, p)` behind a Softmax of which no row is masked as a whole.

        %p = Softmax(%scores)
        %n = IsNaN(%p)                                     --->   %y = Softmax(%scores)
        %y = Where(%n, 0.0, %p)

    A row of the Softmax is NaN where all its scores are minus infinity. The guard goes where the scores are
    products and sums of run-time values and of constants that leave a finite score in every row (no mask, or
    a constant one such as a causal mask). With a mask that is computed at run time it stays. Exact for finite
    inputs.
    """

    stage = Stage.FUSE
    after = ("tidy",)
    patterns = (
        op(
            "Where",
            op("IsNaN", op("Softmax", value("scores"), name="softmax", output="p", shared=True)),
            constant("zero"),
            value("q"),
        ),
    )

    def check(self, match: Match) -> None:
        """The guarded value must be the Softmax itself, with a finite score in every row."""
        if match["q"] is not match["p"] or match.array("zero").any():
            match.fail("this is no guard of the Softmax", match["q"])
        if match.root.outputs[0].shape != match["p"].shape:
            match.fail("the shapes differ", match["p"])
        scores = match["scores"]
        size = len(scores.shape) if scores.shape is not None else 0
        axis = match.node("softmax").attributes.get_int("axis", -1)
        if size == 0 or axis not in (-1, size - 1):
            match.fail("the rows do not lie on the last axis", scores)
        _require_finite_rows(scores, 0)

    def rewrite(self, match: Match, rewriter: Rewriter) -> Value:
        """The Softmax."""
        return match["p"]


def _require_finite_rows(value: Value | None, depth: int) -> None:
    """Fail unless every row of `value` keeps a finite score and none is plus infinity."""
    node = value.producer() if value is not None else None
    if node is None or node.domain != "" or depth > _DEPTH:
        raise MatchFailure("scores that come from outside may be masked", value)
    if node.op_type in _FINITE:
        return
    if node.op_type in _RESHAPES:
        before, after = dims(node.inputs[0]), dims(value)
        if not before or not after or before[-1] != after[-1] or not isinstance(before[-1], int):
            raise MatchFailure("the rows are split or merged", node)
        _require_finite_rows(node.inputs[0], depth + 1)
        return
    if node.op_type not in ("Add", "Sub", "Mul", "Div"):
        raise MatchFailure(f"{node.op_type} may mask whole rows", node)
    constants = [item for item in node.inputs if is_constant(item)]
    if len(constants) != 1 or (node.op_type in ("Sub", "Div") and is_constant(node.inputs[0])):
        raise MatchFailure("a mask that is computed at run time may mask whole rows", node)
    content = constant_array(constants[0])
    assert content is not None
    if not _leaves_scores(content, node.op_type in ("Add", "Sub")):
        raise MatchFailure("the constant mask covers a whole row", constants[0])
    _require_finite_rows(next(item for item in node.inputs if not is_constant(item)), depth + 1)


def _leaves_scores(content: Array, masks: bool) -> bool:
    if content.dtype.kind != "f" or np.isnan(content).any():
        return False
    if not masks:
        return bool(np.isfinite(content).all())
    if (content == np.inf).any():
        return False
    rows = content if content.ndim else content.reshape(1)
    return bool(np.isfinite(rows).any(axis=-1).all())
