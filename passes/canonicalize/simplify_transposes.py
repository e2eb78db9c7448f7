"""Chains of transposes become one."""

from __future__ import annotations

import dataclasses

from graphrewrite.ir import Value
from graphrewrite.pipeline import PatternPass, Stage
from graphrewrite.rewrite import Match, Rewriter, op, value


@dataclasses.dataclass(frozen=True)
class SimplifyTransposes(PatternPass):
    """Merge chains of Transpose.

        %a = Transpose(%x) {perm=[0, 2, 3, 1]}             --->   %y = Transpose(%x) {perm=[0, 3, 1, 2]}
        %y = Transpose(%a) {perm=[0, 2, 3, 1]}

    A chain whose permutations undo each other vanishes. Exact.
    """

    stage = Stage.CANONICALIZE
    after = ("eliminate-no-ops",)
    patterns = (op("Transpose", op("Transpose", value("x"), name="inner", shared=True)),)

    def check(self, match: Match) -> None:
        """Both permutations must be known."""
        if any(_perm(match, node) is None for node in (match.root, match.node("inner"))):
            match.fail("a Transpose of unknown rank", match.root)

    def rewrite(self, match: Match, rewriter: Rewriter) -> Value:
        """The composed permutation."""
        outer, inner = _perm(match, match.root), _perm(match, match.node("inner"))
        assert outer is not None
        assert inner is not None
        perm = [inner[axis] for axis in outer]
        return match["x"] if perm == sorted(perm) else rewriter.op("Transpose", match["x"], perm=perm)


def _perm(match: Match, node: object) -> list[int] | None:
    target = match.node("inner") if node is match.node("inner") else match.root
    perm = target.attributes.get_ints("perm", None)
    if perm is not None:
        return list(perm)
    shape = match["x"].shape
    return None if shape is None else list(range(len(shape)))[::-1]
