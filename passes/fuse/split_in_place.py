"""A Split into parts of size 1 that are squeezed splits the dimension behind instead."""

from __future__ import annotations

import dataclasses

import numpy as np

from graphrewrite.ir import Node, Value, static_dims, use_count
from graphrewrite.pipeline import RewritePass, Stage
from graphrewrite.rewrite import Match, MatchFailure, Rewriter

_VIEWS = ("Reshape", "Squeeze", "Flatten")


@dataclasses.dataclass
class _Found(Match):
    """`x` with dimensions `at` and `at + 1` merged, in the order `perm`, is split along `axis`."""

    at: int = 0
    perm: tuple[int, ...] = ()
    axis: int = 0


@dataclasses.dataclass(frozen=True)
class SplitInPlace(RewritePass):
    """Split queries, keys and values without a dimension of their own.

        %r = Reshape(%x, [2, 17, 3, 4, 8])                      %r = Reshape(%x, [2, 17, 12, 8])
        %t = Transpose(%r) {perm=[2, 0, 3, 1, 4]}        --->   %t = Transpose(%r) {perm=[0, 2, 1, 3]}
        %a, %b, %c = Split(%t) {axis=0}                         %q, %k, %v = Split(%t) {axis=1}
        %q = Squeeze(%a, [0])   # and %k, %v

    The dimension that is split must have another one behind it in the operand of the Transpose, and all parts must be
    reshaped. Also without a Transpose, behind a Reshape. Exact.
    """

    stage = Stage.FUSE
    after = ("tidy", "fuse-slices")
    roots = ("Split",)

    def match(self, node: Node) -> Match:
        """The value before Reshape, Transpose and Split, and where its parts lie."""
        operand, parts = node.inputs[0], [static_dims(value) for value in node.outputs]
        if operand is None or static_dims(operand) is None or any(part is None for part in parts):
            raise MatchFailure("a shape is known only at run time", node)
        size = len(static_dims(operand) or ())
        axis = node.attributes.get_int("axis", 0) % max(size, 1)
        if any(part is None or part[axis] != 1 for part in parts):
            raise MatchFailure("the parts are not of size 1", node)
        for value in node.outputs:
            if value.is_graph_output() or not all(_is_view(use.node) for use in value.uses()):
                raise MatchFailure("a part is read as it is", value)
        producer = operand.producer()
        x, perm, nodes = operand, tuple(range(size)), [node]
        if producer is not None and producer.op_type == "Transpose" and _is_inner(operand):
            assert producer.inputs[0] is not None
            x, nodes = producer.inputs[0], [producer, node]
            perm = tuple(producer.attributes.get_ints("perm", ()) or reversed(range(size)))
        elif producer is None or producer.op_type != "Reshape" or not _is_inner(operand):
            raise MatchFailure("the Split stands behind no Transpose or Reshape of its own", operand)
        at = perm[axis]
        if at == size - 1:
            raise MatchFailure("no dimension lies behind the one that is split", x)
        others = [index for index in perm if index != at]
        order = tuple(index - (index > at) for index in others)
        return _Found(node, {"x": x}, {}, tuple(nodes), at, order, others.index(at + 1))

    def rewrite(self, match: Match, rewriter: Rewriter) -> None:
        """Reshape, Transpose and Split; what read the parts reads the new ones."""
        assert isinstance(match, _Found)
        x, at, node = match["x"], match.at, match.root
        shape = static_dims(x) or ()
        producer = x.producer()
        if producer is not None and producer.op_type == "Reshape" and producer.domain == "" and _is_inner(x):
            assert producer.inputs[0] is not None
            x = producer.inputs[0]
        merged = [*shape[:at], shape[at] * shape[at + 1], *shape[at + 2 :]]
        value = _reshape(rewriter, x, merged)
        if match.perm != tuple(range(len(merged))):
            value = rewriter.op("Transpose", value, perm=list(match.perm))
        count = len(node.outputs)
        parts = rewriter.ops("Split", value, outputs=count, axis=match.axis, num_outputs=count)
        for old, part in zip(list(node.outputs), parts, strict=True):
            for view in [use.node for use in old.uses()]:
                wanted = static_dims(view.outputs[0]) or ()
                rewriter.replace(view, _reshape(rewriter, part, wanted))
        rewriter.erase(node)


def _is_view(node: Node) -> bool:
    return node.domain == "" and node.op_type in _VIEWS and static_dims(node.outputs[0]) is not None


def _is_inner(value: Value) -> bool:
    return use_count(value) == 1 and not value.is_graph_output()


def _reshape(rewriter: Rewriter, value: Value, shape: list[int] | tuple[int, ...]) -> Value:
    if static_dims(value) == tuple(shape):
        return value
    return rewriter.op("Reshape", value, rewriter.constant(np.array(shape, np.int64)))
