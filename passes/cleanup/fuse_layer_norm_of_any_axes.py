"""Normalisation over axes that are not the last ones becomes Core ML's layer_norm."""

from __future__ import annotations

import dataclasses

import numpy as np

from graphrewrite.ir import Node, Value, constant_scalar, dims
from graphrewrite.pipeline import PatternPass, Stage
from graphrewrite.rewrite import Match, OpPattern, Pattern, Rewriter, op, scalar, value

_X = value("x")


def _mil(name: str, *operands: Pattern, capture: str | None = None) -> OpPattern:
    return op(name, *operands, domain="mil", name=capture)


_CENTRED = _mil("sub", _X, _mil("reduce_mean", _X, capture="mean"))
_VARIANCE = _mil("reduce_mean", _mil("mul", _CENTRED, _CENTRED), capture="variance")
_SHIFTED = _mil("add", _VARIANCE, scalar(name="epsilon"))


@dataclasses.dataclass(frozen=True)
class FuseLayerNormOfAnyAxes(PatternPass):
    """Use layer_norm, which ONNX's LayerNormalization equals over the last axes only.

        %m = mil.reduce_mean(%x) {axes=[1]}
        %d = mil.sub(%x, %m)
        %v = mil.reduce_mean(mil.mul(%d, %d)) {axes=[1]}       --->   %y = mil.layer_norm(%x) {axes=[1], epsilon=1e-06}
        %y = mil.real_div(%d, mil.sqrt(mil.add(%v, 1e-06)))

    That of the channels of an image, as ConvNeXt's and Restormer's. Also as a product with an rsqrt. Exact.
    """

    stage = Stage.FINISH
    targets = frozenset({"coreml"})
    patterns = (
        _mil("real_div", _CENTRED, _mil("sqrt", _SHIFTED)),
        _mil("mul", _CENTRED, _mil("rsqrt", _VARIANCE, capture="inverse")),
        _mil("mul", _mil("rsqrt", _VARIANCE, capture="inverse"), _CENTRED),
    )

    def check(self, match: Match) -> None:
        """Both means over the same axes, which are kept; an epsilon that gives the result no dimension."""
        mean, variance = match.named["mean"], match.named["variance"]
        if _axes(mean) != _axes(variance):
            match.fail("the means are not over the same axes", variance)
        if not (mean.attributes.get_int("keep_dims", 0) and variance.attributes.get_int("keep_dims", 0)):
            match.fail("a mean drops its axes", mean)
        if dims(match.root.outputs[0]) is None or dims(match.root.outputs[0]) != dims(match["x"]):
            match.fail("the shape of the result is not the operand's", match.root)

    def rewrite(self, match: Match, rewriter: Rewriter) -> Value:
        """One op."""
        epsilon = constant_scalar(match["epsilon"]) if "epsilon" in match.values else None
        if epsilon is None:
            epsilon = match.named["inverse"].attributes.get_float("epsilon", 1e-12)
        axes = _axes(match.named["mean"])
        return rewriter.op(
            "layer_norm", match["x"], domain="mil", axes=axes, epsilon=float(np.float32(epsilon))
        )


def _axes(node: Node) -> list[int]:
    return sorted(int(axis) for axis in node.attributes["axes"].as_ints())
