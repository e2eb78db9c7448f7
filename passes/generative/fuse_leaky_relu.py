"""Leaky ReLU, however it is spelled, and the gain behind it."""

from __future__ import annotations

import dataclasses

import numpy as np

from graphrewrite.ir import Model, Node, Value, constant_array, constant_scalar, static_dims
from graphrewrite.pipeline import PatternPass, Stage
from graphrewrite.rewrite import (
    Match,
    MatchFailure,
    OpPattern,
    Rewriter,
    RuleStatistics,
    apply_rules,
    constant,
    op,
    scalar,
    value,
)

from .scaling import Action, plan

_X = value("x")
_SLOPED = op("Mul", _X, scalar(name="slope"))
_COMPARISON = {"Greater": 1, "GreaterOrEqual": 1, "Less": 2, "LessOrEqual": 2}
"""Which operand of Where is taken where x is positive, for x compared with 0."""


@dataclasses.dataclass(frozen=True)
class FuseLeakyRelu(PatternPass):
    """One LeakyRelu for all its spellings, without a gain behind it where the gain can move.

        %a = Mul(%x, 0.2)
        %b = Max(%a, %x)                                   --->   %y = LeakyRelu(%x') {alpha=0.2}
        %y = Mul(%b, 1.4142135)

    max(x, ax); where(x > 0, x, ax) and its three mirror images; relu(x) - a * relu(-x); px + q|x|; PRelu with
    one slope. A positive gain behind the activation is moved before it (g * lrelu(x) = lrelu(g * x)) and into
    the constants there: weights, biases and noise; it stays where one of them is shared or is computed at run
    time. Exact.
    """

    stage = Stage.GENERATIVE
    after = ("decompose-upfirdn2d", "fold-weight-demodulation", "lower-idwt")
    patterns = (
        op("Max", _SLOPED, _X),
        *(
            op("Where", op(kind, _X, scalar(0.0), shared=True, output=kind), *branches)
            for kind, branches in (
                ("Greater", (_X, _SLOPED)),
                ("GreaterOrEqual", (_X, _SLOPED)),
                ("Less", (_SLOPED, _X)),
                ("LessOrEqual", (_SLOPED, _X)),
            )
        ),
        op("Sub", op("Relu", _X), op("Mul", op("Relu", op("Neg", _X)), scalar(name="slope"))),
        op("Add", op("Relu", _X), op("Mul", op("Relu", op("Neg", _X)), scalar(name="minus"))),
        op("Add", op("Mul", _X, scalar(name="p")), op("Mul", op("Abs", _X), scalar(name="q"))),
        op("PRelu", _X, constant("slopes")),
    )

    def run(self, model: Model, rewriter: Rewriter) -> dict[str, RuleStatistics]:
        """Spellings first, then gains."""
        return {**apply_rules(model, [self], rewriter), **apply_rules(model, [_MoveGain()], rewriter)}

    def check(self, match: Match) -> None:
        """The slope must be one that LeakyRelu has in this spelling."""
        slope, gain = _slope(match)
        if not np.isfinite(slope) or not np.isfinite(gain) or gain <= 0:
            match.fail("there is no leaky ReLU with these factors", match["x"])
        if match.root.op_type == "Max" and not 0 < slope <= 1:
            match.fail("max(x, ax) is a leaky ReLU only for slopes from 0 to 1", match["x"])
        if match.root.outputs[0].dtype != match["x"].dtype:
            match.fail("the type changes", match["x"])

    def rewrite(self, match: Match, rewriter: Rewriter) -> Value:
        """LeakyRelu, times p + q for px + q|x|."""
        slope, gain = _slope(match)
        y = rewriter.op("LeakyRelu", match["x"], alpha=slope)
        if gain == 1:
            return y
        dtype = match["x"].dtype
        assert dtype is not None
        return rewriter.op("Mul", y, rewriter.constant(np.asarray(gain).astype(dtype.numpy())))


def _number(match: Match, name: str) -> float:
    found = constant_scalar(match[name])
    assert found is not None
    return found


def _slope(match: Match) -> tuple[float, float]:
    """Slope below zero (of a slope of 1 above) and gain."""
    if match.get("slopes") is not None:
        slopes = match.array("slopes").reshape(-1)
        if not slopes.size or (slopes != slopes[0]).any():
            raise MatchFailure("the slopes differ", match["slopes"])
        return float(slopes[0]), 1.0
    if match.get("slope") is not None:
        return _number(match, "slope"), 1.0
    if match.get("minus") is not None:
        return -_number(match, "minus"), 1.0
    p, q = _number(match, "p"), _number(match, "q")
    return ((p - q) / (p + q), p + q) if p + q > 0 else (float("nan"), 1.0)


class _MoveGain:
    """g * lrelu(x) = lrelu(g * x), g moving into the constants that x is made from."""

    name = "move-gain"
    roots = ("Mul",)
    pattern: OpPattern = op(
        "Mul",
        op(("LeakyRelu", "Relu"), value("x"), name="activation", output="activated"),
        scalar(name="gain"),
    )

    def match(self, node: Node) -> Match:
        """A positive gain on an activation whose operand can be scaled."""
        from graphrewrite.rewrite import match as match_pattern

        found = match_pattern(self.pattern, node)
        gain = constant_array(found["gain"])
        if gain is None or gain.dtype.kind != "f" or not 0 < float(gain.reshape(-1)[0]) < np.inf:
            raise MatchFailure("the gain is not positive", found["gain"])
        if float(gain.reshape(-1)[0]) == 1 or static_dims(found["gain"]) not in ((), (1,)):
            raise MatchFailure("the gain is 1, or raises the rank", found["gain"])
        self._actions(found)
        return found

    def _actions(self, found: Match) -> list[Action]:
        gain = constant_scalar(found["gain"])
        assert gain is not None
        return plan(found["x"], gain, found.node("activation"))

    def rewrite(self, match: Match, rewriter: Rewriter) -> Value:
        """Scale the constants and drop the product."""
        for act in self._actions(match):
            act(rewriter)
        activated = match["activated"]
        assert activated is not None
        rewriter.altered(activated)
        return activated
