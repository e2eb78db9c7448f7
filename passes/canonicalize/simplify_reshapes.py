"""Chains of reshapes become one."""

from __future__ import annotations

import dataclasses

import numpy as np

from graphrewrite.ir import Node, Value, constant_ints, dims
from graphrewrite.pipeline import RewritePass, Stage
from graphrewrite.rewrite import Match, MatchFailure, Rewriter

RESHAPES = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")


@dataclasses.dataclass(frozen=True)
class SimplifyReshapes(RewritePass):
    """Merge chains of Reshape, Flatten, Squeeze and Unsqueeze.

        %a = Unsqueeze(%x:float[1,8], [1])                 --->   %y = Reshape(%x, [1, 8, 1, 1])
        %y = Reshape(%a, [1, -1, 1, 1])

    A chain that ends in the shape it began with vanishes. Several dimensions known only at run time are left
    alone, unless the last Reshape's own target needs none of them. Exact.
    """

    stage = Stage.CANONICALIZE
    after = ("eliminate-no-ops",)

    @property
    def roots(self) -> tuple[str, ...]:
        """The last node of a chain."""
        return RESHAPES

    def match(self, node: Node) -> Match:
        """The value before the chain, captured as `x`."""
        inner = node.inputs[0].producer() if node.inputs[0] is not None else None
        if inner is None or inner.domain != "" or inner.op_type not in RESHAPES or inner.inputs[0] is None:
            raise MatchFailure("the operand comes from no reshape", node)
        x = inner.inputs[0]
        if target(node, x) is None:
            raise MatchFailure("more than one dimension of the result is known only at run time", node)
        return Match(node, {"x": x}, {}, (inner, node))

    def rewrite(self, match: Match, rewriter: Rewriter) -> Value:
        """One Reshape, or the value itself."""
        x = match["x"]
        before, after = dims(x), dims(match.root.outputs[0])
        if before is not None and before == after and None not in before:
            return x
        wanted = target(match.root, x)
        assert wanted is not None
        allowzero = 1 if 0 in wanted else None
        return rewriter.op("Reshape", x, rewriter.constant(np.array(wanted, np.int64)), allowzero=allowzero)


def target(node: Node, x: Value) -> list[int] | None:
    """What a Reshape of `x` needs as its target to give the result of `node`."""
    known = dims(node.outputs[0])
    if known is not None:
        open_at = [index for index, dim in enumerate(known) if not isinstance(dim, int)]
        numbers = [dim if isinstance(dim, int) else -1 for dim in known]
        if not open_at or (len(open_at) == 1 and 0 not in numbers):
            return numbers
    if node.op_type != "Reshape":
        return None
    written = constant_ints(node.inputs[1])
    return written if written is not None and 0 not in written else None
