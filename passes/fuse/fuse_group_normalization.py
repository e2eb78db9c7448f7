"""Group normalisation by way of instance normalisation becomes one GroupNormalization."""

from __future__ import annotations

import dataclasses

import numpy as np

from graphrewrite.ir import Array, Node, Value, constant_array, dims, use_count
from graphrewrite.pipeline import RewritePass, Stage
from graphrewrite.rewrite import Match, MatchFailure, Rewriter


@dataclasses.dataclass
class _Found(Match):
    """`root` is the GroupNormalization of `x` in `groups`, with a factor and a term by channel."""

    groups: int = 0
    scale: Array | None = None
    bias: Array | None = None


@dataclasses.dataclass(frozen=True)
class FuseGroupNormalization(RewritePass):
    """Recognise GroupNormalization as PyTorch exports it.

        %a = Reshape(%x:float[2,8,16,12], [0, 4, -1])
        %b = InstanceNormalization(%a, [1, 1, 1, 1], [0, 0, 0, 0])
        %c = Reshape(%b, [2, 8, 16, 12])                 --->   %y = GroupNormalization(%x, %gamma, %beta)
        %d = Mul(%c, %gamma:float[8,1,1])
        %y = Add(%d, %beta:float[8,1,1])

    With or without the factor and the term at the end, and with any constants in the InstanceNormalization. Exact.
    """

    stage = Stage.FUSE
    after = ("tidy",)
    roots = ("Reshape",)

    def match(self, node: Node) -> Match:
        """The InstanceNormalization between two Reshapes."""
        normal = _producer(node.inputs[0], "InstanceNormalization")
        first = _producer(normal.inputs[0], "Reshape")
        x = first.inputs[0]
        known, grouped = dims(x), dims(normal.inputs[0])
        if x is None or known is None or grouped is None or len(known) < 3 or len(grouped) < 3:
            raise MatchFailure("a shape is not known", node)
        channels, groups = known[1], grouped[1]
        if not isinstance(channels, int) or not isinstance(groups, int) or channels % groups:
            raise MatchFailure("the number of channels or groups is not known", node)
        if dims(node.outputs[0]) != known or None in known or known[0] != grouped[0]:
            raise MatchFailure("the Reshapes do not come back to the same shape", node)
        scale, bias = (constant_array(value) for value in normal.inputs[1:3])
        if scale is None or bias is None:
            raise MatchFailure("factors and terms are known only at run time", normal)
        each = channels // groups
        nodes = (first, normal, node)
        named = {"normal": normal}
        return _Found(node, {"x": x}, named, nodes, groups, np.repeat(scale, each), np.repeat(bias, each))

    def rewrite(self, match: Match, rewriter: Rewriter) -> Value | None:
        """One op; a factor and a term behind it become its own."""
        assert isinstance(match, _Found)
        x, scale, bias = match["x"], match.scale, match.bias
        assert scale is not None
        assert bias is not None
        last = match.root
        for op_type in ("Mul", "Add"):
            user, vector = _affine(last.outputs[0], op_type, scale.size)
            if user is None or vector is None:
                continue
            scale, bias = (scale * vector, bias * vector) if op_type == "Mul" else (scale, bias + vector)
            last = user
        result = rewriter.op(
            "GroupNormalization",
            x,
            rewriter.constant(scale),
            rewriter.constant(bias),
            epsilon=match.node("normal").attributes.get_float("epsilon", 1e-5),
            num_groups=match.groups,
        )
        if last is match.root:
            return result
        rewriter.replace(last, result)
        return None


def _producer(value: Value | None, op_type: str) -> Node:
    """The node that makes `value`, which nothing else reads.

    Raises:
        MatchFailure: it is of another type, or something else reads the value.
    """
    node = value.producer() if value is not None else None
    if value is None or node is None or node.domain != "" or node.op_type != op_type:
        raise MatchFailure(f"the operand comes from no {op_type}", value)
    if use_count(value) != 1 or value.is_graph_output():
        raise MatchFailure("something else reads the value, too", value)
    return node


def _affine(value: Value, op_type: str, channels: int) -> tuple[Node | None, Array | None]:
    """The only reader of `value` and its constant by channel, where it is an `op_type` with one."""
    uses = list(value.uses())
    rank = len(dims(value) or ())
    if len(uses) != 1 or value.is_graph_output():
        return None, None
    node = uses[0].node
    if node.domain != "" or node.op_type != op_type:
        return None, None
    array = constant_array(node.inputs[1 - uses[0].idx])
    if array is None or array.ndim > rank or dims(node.outputs[0]) != dims(value):
        return None, None
    padded: Array = array.reshape((1,) * (rank - array.ndim) + array.shape)
    if any(dim != 1 for axis, dim in enumerate(padded.shape) if axis != 1):
        return None, None
    return node, np.broadcast_to(padded.reshape(-1), (channels,))
