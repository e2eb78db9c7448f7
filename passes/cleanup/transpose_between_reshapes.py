"""A transpose of the last two dimensions needs no merged leading ones."""

from __future__ import annotations

import dataclasses

from graphrewrite.ir import Node, Value, static_dims, use_count
from graphrewrite.pipeline import RewritePass, Stage
from graphrewrite.rewrite import Match, MatchFailure, Rewriter


@dataclasses.dataclass(frozen=True)
class TransposeBetweenReshapes(RewritePass):
    """Transpose the last two dimensions where they are, in place of merging the others before and splitting them after.

        %a:float[12,17,64] = mil.reshape(%k:float[1,12,17,64])
        %b:float[12,64,17] = mil.transpose(%a, [0, 2, 1])
        %y:float[1,12,64,17] = mil.reshape(%b)                 --->   %y = mil.transpose(%k, [0, 1, 3, 2])

    Batched products are exported so. Exact.
    """

    stage = Stage.FINISH
    targets = frozenset({"coreml"})
    roots = ("mil.reshape",)

    def match(self, node: Node) -> Match:
        """The value before both reshapes."""
        turn = _only_here(node.inputs[0], "transpose")
        merge = _only_here(turn.inputs[0], "reshape")
        before, merged = static_dims(merge.inputs[0]), static_dims(turn.inputs[0])
        after = static_dims(node.outputs[0])
        if before is None or merged is None or after is None:
            raise MatchFailure("a shape is known only at run time", node)
        if list(turn.attributes["perm"].as_ints()) != _turned(len(merged)):
            raise MatchFailure("it is no transpose of the last two dimensions", turn)
        if min(len(before), len(merged)) < 2 or before[-2:] != merged[-2:]:
            raise MatchFailure("the first reshape changes the last two dimensions", merge)
        if after != tuple(before[axis] for axis in _turned(len(before))):
            raise MatchFailure("the second reshape does not take the first one back", node)
        return Match(node, {"x": merge.inputs[0]}, {}, (merge, turn, node))

    def rewrite(self, match: Match, rewriter: Rewriter) -> Value:
        """One transpose."""
        rank = len(static_dims(match["x"]) or ())
        return rewriter.op("transpose", match["x"], domain="mil", perm=_turned(rank))


def _turned(rank: int) -> list[int]:
    return [*range(rank - 2), rank - 1, rank - 2]


def _only_here(value: Value | None, op_type: str) -> Node:
    """The `mil` node that makes `value`, where nothing else reads it."""
    node = value.producer() if value is not None else None
    if value is None or node is None or (node.domain, node.op_type) != ("mil", op_type):
        raise MatchFailure(f"no {op_type} is in front of it", value)
    if use_count(value) > 1 or value.is_graph_output():
        raise MatchFailure(f"the {op_type} is read elsewhere too", value)
    return node
