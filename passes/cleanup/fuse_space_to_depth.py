"""Strided slices that are put together again become one SPACE_TO_DEPTH."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from graphrewrite.ir import DataType, Node, Value, static_dims
from graphrewrite.pipeline import RewritePass, Stage
from graphrewrite.rewrite import Match, MatchFailure, Rewriter

from .views import ELEMENTS, follow, origin_of


@dataclasses.dataclass
class _Found(Match):
    """`root` is SPACE_TO_DEPTH of `x` with its blocks in another order."""

    block: int = 0
    order: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class FuseSpaceToDepth(RewritePass):
    """Recognise patch merging and focus layers.

        %a = STRIDED_SLICE(%x) from [0, 0]                      %s = SPACE_TO_DEPTH(%x) {block_size=2}
        %b = STRIDED_SLICE(%x) from [1, 0]                      %a, %c, %b, %d = SPLIT(%s)
        %c = STRIDED_SLICE(%x) from [0, 1]               --->   %y = CONCATENATION(%a, %b, %c, %d)
        %d = STRIDED_SLICE(%x) from [1, 1]
        %y = CONCATENATION(%a, %b, %c, %d)

    The parts may be cut in one step or two, in any order; in the order of SPACE_TO_DEPTH the last two operators are not needed.
    Delegates take all of them, and no strided slices. Exact.
    """

    stage = Stage.FINISH
    targets = frozenset({"tflite"})
    roots = ("tflite.CONCATENATION",)

    def match(self, node: Node) -> Match:
        """The common origin of the parts, and which of its blocks each is."""
        parts = [value for value in node.inputs if value is not None]
        block = math.isqrt(len(parts))
        x = origin_of(parts[0])
        known = static_dims(x)
        if block != 2 or block * block != len(parts) or node.attributes.get_int("axis", 0) not in (3, -1):
            raise MatchFailure("not four parts side by side in the channels", node)
        if known is None or len(known) != 4 or x.dtype != DataType.FLOAT or math.prod(known) > ELEMENTS:
            raise MatchFailure("the parts come from no image of known size", x)
        if known[1] % block or known[2] % block or any(origin_of(part) is not x for part in parts):
            raise MatchFailure("the parts come from different values, or do not divide one", x)
        if node.attributes.get_string("fused_activation_function", "NONE") != "NONE":
            raise MatchFailure("an activation follows", node)
        labels = np.arange(math.prod(known), dtype=np.int32).reshape(known)
        blocks = [labels[:, i::block, j::block] for i in range(block) for j in range(block)]
        order: list[int] = []
        for part in parts:
            found = follow(part, labels)
            places = [
                k for k, wanted in enumerate(blocks) if found is not None and np.array_equal(found, wanted)
            ]
            if not places:
                raise MatchFailure("a part is no block of the value", part)
            order += places[:1]
        if sorted(order) != list(range(len(parts))):
            raise MatchFailure("a block is missing", node)
        return _Found(node, {"x": x}, {}, (node,), block, tuple(order))

    def rewrite(self, match: Match, rewriter: Rewriter) -> Value:
        """SPACE_TO_DEPTH, and its blocks in the order wanted."""
        assert isinstance(match, _Found)
        y = rewriter.op("SPACE_TO_DEPTH", match["x"], domain="tflite", block_size=match.block)
        if match.order == tuple(range(len(match.order))):
            return y
        axis, count = rewriter.constant(np.array(3, np.int32)), len(match.order)
        blocks = rewriter.ops("SPLIT", axis, y, outputs=count, domain="tflite", num_splits=count)
        ordered = [blocks[index] for index in match.order]
        return rewriter.op(
            "CONCATENATION", *ordered, domain="tflite", axis=3, fused_activation_function="NONE"
        )
