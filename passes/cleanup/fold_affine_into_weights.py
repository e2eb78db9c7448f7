"""Constant factors and terms move into the weights and the bias of the operator whose result they change."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from graphrewrite.ir import Array, Node, Value, static_dims
from graphrewrite.pipeline import RewritePass, Stage
from graphrewrite.rewrite import Match, MatchFailure, Rewriter

from .linear_operators import LinearOperator, Vector, affine, channel_vector
from .views import ELEMENTS, origin_of, readers, source


@dataclasses.dataclass
class _Found(Match):
    """The channels of `linear` can be multiplied by `scale` and then shifted by `offset` in place of `root`."""

    linear: LinearOperator | None = None
    scale: Vector | None = None
    offset: Vector | None = None


@dataclasses.dataclass(frozen=True)
class FoldAffineIntoWeights(RewritePass):
    """Fold MUL, DIV, ADD and SUB with constants into the convolution or matrix product before them.

        %a = FULLY_CONNECTED(%x, %w)                            %a = FULLY_CONNECTED(%x, %w * 0.35, %b * 0.35)
        %b = ADD(%a, %b:float[96])                       --->   %q, %k = SPLIT(RESHAPE(%a), 2)
        %q, %k = SPLIT(RESHAPE(%b), 2)                          %y = BATCH_MATMUL(%q, %k)
        %y = BATCH_MATMUL(MUL(%q, 0.35), %k)

    Through reshapes, transposes, slices and splits, as long as the constant is the same wherever a channel
    goes and nothing else reads these channels; single factors also through a BATCH_MATMUL into one of its
    operands. Weights that are shared are not scaled. Exact.
    """

    stage = Stage.FINISH
    targets = frozenset({"tflite"})
    roots = ("tflite.MUL", "tflite.DIV", "tflite.ADD", "tflite.SUB")

    def match(self, node: Node) -> Match:
        """The operator behind the root, and what to do to each of its channels."""
        x, scale, offset = affine(node)
        factor = scale if scale is not None else offset
        assert factor is not None
        failure = MatchFailure("the operand comes from no convolution or matrix product", node)
        for reader, value in _entries(node, x, factor):
            try:
                linear = LinearOperator.of(origin_of(value).producer())
                linear.require_plain_result()
                vector = _vector(linear, reader, value, factor, 0.0 if scale is None else 1.0)
                if scale is not None:
                    linear.require_scalable(vector)
                nodes = (linear.node, node)
                changes = (vector, None) if scale is not None else (None, vector)
                return _Found(node, {"x": x}, {"linear": linear.node}, nodes, linear, *changes)
            except MatchFailure as error:
                failure = error.untraced()
        raise failure.untraced()

    def rewrite(self, match: Match, rewriter: Rewriter) -> Value:
        """Change weights and bias; the root's operand is its result."""
        assert isinstance(match, _Found)
        assert match.linear is not None
        linear, weights = match.linear, None
        bias = linear.bias_vector() if linear.bias is not None or match.offset is not None else None
        if match.scale is not None:
            weights = linear.scale_outputs(rewriter, match.scale)
            bias = bias * match.scale if bias is not None else None
        elif match.offset is not None and bias is not None:
            bias = bias + match.offset
        linear.change(rewriter, weights, bias)
        rewriter.altered(match["x"], since=linear.node)
        return match["x"]


def _entries(root: Node, x: Value, factor: Array) -> list[tuple[Node, Value]]:
    """The value to change and its reader: the root's operand, or an operand of the BATCH_MATMUL whose result that is."""
    product = origin_of(x)
    node = product.producer()
    if node is None or node.domain != "tflite" or node.op_type != "BATCH_MATMUL":
        return [(root, x)]
    if factor.size != 1 or root.op_type not in ("MUL", "DIV") or not _only_reader(product, x, root):
        raise MatchFailure("only a factor that meets all of a product can be moved into its operand", root)
    found = [(node, value) for value in node.inputs if value is not None]
    if found[0][1] is found[1][1]:
        raise MatchFailure("a product of a value with itself", node)
    return found


def _only_reader(start: Value, end: Value, root: Node) -> bool:
    """True where `start` is read by nothing but the views that lead to `end`, and that by nothing but `root`."""
    value, user = end, root
    while True:
        if value.is_graph_output() or [use.node for use in value.uses()] != [user]:
            return False
        if value is start:
            return True
        producer = value.producer()
        operand = source(producer) if producer is not None else None
        if producer is None or operand is None or len(producer.outputs) != 1:
            return False
        value, user = operand, producer


def _vector(linear: LinearOperator, reader: Node, value: Value, factor: Array, neutral: float) -> Vector:
    """What each channel of `linear` is to be multiplied by, or shifted by, for `reader` to read `value` so changed.

    Raises:
        MatchFailure: it differs from position to position, or another reader wants the channel as it is.
    """
    result = linear.node.outputs[0]
    if _only_reader(result, value, reader):
        if factor.size == 1:
            return np.full(linear.channels, float(factor.reshape(-1)[0]))
        if value is result:
            direct = channel_vector(factor, linear.channels)
            if direct is None:
                raise MatchFailure("the constant is not one value or one a channel", value)
            return direct
    shape = static_dims(result)
    if shape is None or math.prod(shape) > ELEMENTS or static_dims(value) is None:
        raise MatchFailure("the value is too large to follow, or its size is known only at run time", result)
    ours, others = None, np.zeros(linear.channels, bool)
    labels = np.broadcast_to(np.arange(linear.channels, dtype=np.int32), shape)
    for node, index, read, found in readers(result, labels):
        if node is reader and read is value and reader.inputs[index] is value:
            if ours is not None:
                raise MatchFailure("the operator reads the value twice", reader)
            ours = found
        else:
            others[found.reshape(-1)] = True
    if ours is None or others[ours].any():
        raise MatchFailure("something else reads these channels", value)
    wanted = np.broadcast_to(factor, ours.shape)
    vector = np.full(linear.channels, neutral)
    vector[ours] = wanted
    if not np.array_equal(vector[ours], wanted):
        raise MatchFailure("the constant differs from position to position", value)
    return vector
