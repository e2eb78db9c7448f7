"""Layer normalisation written out becomes one LayerNormalization."""

from __future__ import annotations

import dataclasses

import numpy as np

from graphrewrite.ir import Value, constant_ints, constant_scalar, dims, rank, static_dims
from graphrewrite.pipeline import PatternPass, Stage
from graphrewrite.rewrite import Match, Rewriter, constant, op, scalar, value

_X = value("x")
_KEPT = {"keepdims": lambda flag: flag in (None, 1)}
_CENTRED = op(
    "Sub",
    _X,
    op("ReduceMean", _X, constant("axes"), name="mean", attributes=_KEPT),
    output="centred",
    shared=True,
)
_DEVIATION = op(
    "Sqrt",
    op(
        "Add",
        op(
            "ReduceMean",
            op("Pow", _CENTRED, scalar(2.0)) | op("Mul", _CENTRED, _CENTRED),
            constant("again"),
            name="variance",
            attributes=_KEPT,
        ),
        scalar(name="epsilon"),
    ),
)
_NORMAL = (
    op("Div", _CENTRED, _DEVIATION)
    | op("Mul", _CENTRED, op("Reciprocal", _DEVIATION))
    | op("Mul", _CENTRED, op("Div", scalar(1.0), _DEVIATION))
)


@dataclasses.dataclass(frozen=True)
class FuseLayerNormalization(PatternPass):
    """Recognise (x - mean) / sqrt(variance + epsilon) * gamma + beta over the last axes.

        %m = ReduceMean(%x, [-1])
        %d = Sub(%x, %m)
        %v = ReduceMean(Pow(%d, 2.0), [-1])                --->   %y = LayerNormalization(%x, %gamma, %beta) {axis=-1}
        %n = Div(%d, Sqrt(Add(%v, 1e-05)))
        %y = Add(Mul(%n, %gamma), %beta)

    With the square as Pow or Mul, the quotient as Div or product with a reciprocal, and constant gamma and
    beta of the normalised axes. The lowering computes it with a reciprocal square root and no Pow. Exact.
    """

    stage = Stage.CANONICALIZE
    after = ("fold-constants", "eliminate-common-subexpressions")
    patterns = (op("Add", op("Mul", _NORMAL, constant("gamma")), constant("beta")),)

    def check(self, match: Match) -> None:
        """Both means over the same last axes; gamma and beta of their dimensions."""
        size, shape = rank(match["x"]), static_dims(match["gamma"])
        axes = [constant_ints(match[name]) for name in ("axes", "again")]
        if size is None or axes[0] is None or axes[1] is None:
            match.fail("the axes are not known", match["x"])
            return
        first, second = ({axis % size for axis in found} for found in (axes[0], axes[1]))
        count = len(first)
        if first != second or first != set(range(size - count, size)) or not count:
            match.fail("the means are not over the last axes", match["axes"])
        wanted = (dims(match["x"]) or ())[size - count :]
        if shape != wanted or static_dims(match["beta"]) != wanted:
            match.fail("gamma and beta do not have the dimensions of the normalised axes", match["gamma"])
        if match["gamma"].dtype != match["x"].dtype:
            match.fail("gamma is of another type", match["gamma"])

    def rewrite(self, match: Match, rewriter: Rewriter) -> Value:
        """One op."""
        epsilon = constant_scalar(match["epsilon"])
        axes = constant_ints(match["axes"])
        assert epsilon is not None
        assert axes is not None
        return rewriter.op(
            "LayerNormalization",
            match["x"],
            match["gamma"],
            match["beta"],
            axis=-len(axes),
            epsilon=float(np.float32(epsilon)),
        )
