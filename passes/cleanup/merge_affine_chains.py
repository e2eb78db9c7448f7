"""Constant factors and terms one after the other become one factor and one term."""

from __future__ import annotations

import dataclasses

import numpy as np

from graphrewrite.ir import Array, Node, Value, constant_array, use_count
from graphrewrite.pipeline import RewritePass, Stage
from graphrewrite.rewrite import Match, MatchFailure, Rewriter, operator

from .linear_operators import operands, scale_and_offset


@dataclasses.dataclass
class _Found(Match):
    """`root` is `x * scale + offset`."""

    scale: Array | None = None
    offset: Array | None = None


@dataclasses.dataclass(frozen=True)
class MergeAffineChains(RewritePass):
    """Merge MUL, DIV, ADD and SUB with constants.

        %a = MUL(%x, 2.0)
        %b = ADD(%a, %grid:float[1,80,80,2])             --->   %a = MUL(%x, 16.0)
        %y = MUL(%b, 8.0)                                       %y = ADD(%a, %grid * 8.0)

    Only where operators become fewer and constants no larger: noise [1, H, W, 1] + bias [C] stays two sums. Exact.
    """

    stage = Stage.FINISH
    after = ("fold-affine-into-weights", "fold-affine-into-readers")
    targets = frozenset({"tflite"})
    roots = ("tflite.MUL", "tflite.DIV", "tflite.ADD", "tflite.SUB")

    def match(self, node: Node) -> Match:
        """The longest chain that ends at the root."""
        found: _Found | None = None
        scale, offset = np.ones(()), np.zeros(())
        chain: list[Node] = []
        sizes = 0
        current: Node | None = node
        while current is not None:
            try:
                x, constant = operands(current)
                factor, term = scale_and_offset(current, constant_array(constant))
            except MatchFailure:
                break
            chain.append(current)
            sizes += constant.const_value.size if constant.const_value is not None else 0
            if factor is not None:
                scale = scale * factor
            elif term is not None:
                offset = offset + scale * term
            kept = [item.size for item, neutral in ((scale, 1), (offset, 0)) if (item != neutral).any()]
            if len(kept) < len(chain) and sum(kept) <= sizes:
                found = _Found(node, {"x": x}, {}, tuple(chain), scale, offset)
            producer = x.producer()
            known = producer is not None and operator(producer) in self.roots
            current = producer if known and _is_inner(x) else None
        if found is None:
            raise MatchFailure("there is no chain that gets shorter", node)
        if not all(np.isfinite(np.float32(item)).all() for item in (found.scale, found.offset)):
            raise MatchFailure("the combined constant is not finite", node)
        return found

    def rewrite(self, match: Match, rewriter: Rewriter) -> Value:
        """One MUL and one ADD at most."""
        assert isinstance(match, _Found)
        y = match["x"]
        for name, content, neutral in (("MUL", match.scale, 1), ("ADD", match.offset, 0)):
            if content is not None and (content != neutral).any():
                constant = rewriter.constant(content.astype(np.float32))
                y = rewriter.op(name, y, constant, domain="tflite", fused_activation_function="NONE")
        return y


def _is_inner(value: Value) -> bool:
    return use_count(value) == 1 and not value.is_graph_output()
