"""Hard swish, in every way it is written out, becomes one HardSwish."""

from __future__ import annotations

import dataclasses

from graphrewrite.ir import Value
from graphrewrite.pipeline import PatternPass, Stage
from graphrewrite.rewrite import Match, OpPattern, Pattern, Rewriter, op, scalar, value

_X = value("x")


def _close(number: float) -> Pattern:
    return scalar(number, tolerance=1e-5)


def _sixth(inner: Pattern) -> tuple[OpPattern, ...]:
    """inner / 6, either way."""
    return op("Div", inner, _close(6.0)), op("Mul", inner, _close(1 / 6))


def _is_sixth(slope: object) -> bool:
    return isinstance(slope, float) and abs(slope - 1 / 6) < 1e-6


def _is_half(offset: object) -> bool:
    return offset is None or (isinstance(offset, float) and abs(offset - 0.5) < 1e-6)


_RELU6 = op("Clip", op("Add", _X, _close(3.0)), scalar(0.0), scalar(6.0)) | op(
    "Min", op("Relu", op("Add", _X, _close(3.0))), scalar(6.0)
)


@dataclasses.dataclass(frozen=True)
class FuseHardSwish(PatternPass):
    """Recognise x * relu6(x + 3) / 6.

        %a = Add(%x, 3.0)
        %b = Clip(%a, 0.0, 6.0)                            --->   %y = HardSwish(%x)
        %c = Mul(%x, %b)
        %y = Div(%c, 6.0)

    Whichever factor is divided by 6 (or multiplied by 1/6), with relu6 as Clip or as Min of Relu, or with
    HardSigmoid. Runs before `fold-affine-into-conv`, which would move the division into weights. Exact.
    """

    stage = Stage.CANONICALIZE
    after = ("fold-constants", "eliminate-common-subexpressions")
    patterns = (
        *_sixth(op("Mul", _X, _RELU6)),
        *(op("Mul", _X, part) for part in _sixth(_RELU6)),
        *(op("Mul", part, _RELU6) for part in _sixth(_X)),
        op("Mul", _X, op("HardSigmoid", _X, attributes={"alpha": _is_sixth, "beta": _is_half})),
    )

    def check(self, match: Match) -> None:
        """No constant may widen the result."""
        if match.root.outputs[0].shape != match["x"].shape or match["x"].shape is None:
            match.fail("the shape of the result is not the operand's", match["x"])

    def rewrite(self, match: Match, rewriter: Rewriter) -> Value:
        """One op."""
        return rewriter.op("HardSwish", match["x"])
