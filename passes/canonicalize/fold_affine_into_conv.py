"""Scales and offsets of channels move into the weights of the convolution or matrix product beside them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from graphrewrite.ir import Node, Value, constant_array, rank, sole_reader
from graphrewrite.pipeline import RewritePass, Stage
from graphrewrite.rewrite import Match, MatchFailure, Rewriter

from .linear import Linear, Vector, channel_vector

_VIEWS = ("Reshape", "Squeeze", "Unsqueeze", "Flatten", "Transpose", "Identity")


@dataclasses.dataclass
class Affine(Match):
    """`root` computes `linear(x * before_scale + before_offset) * scale + offset`, the rest being constants."""

    linear: Linear | None = None
    scale: Vector | None = None
    offset: Vector | None = None
    other: Value | None = None
    """A run-time term that the offset is added across: (linear + other) + offset."""


@dataclasses.dataclass(frozen=True)
class FoldAffineIntoConv(RewritePass):
    """Fold constant scales and offsets of channels into weights and biases.

        %a = Conv(%x, %w)
        %b = Mul(%a, %d:float[1,8,1,1])                    --->   %c = Conv(%x, %w * d, %bias)
        %c = BatchNormalization(%b, ...)                          %y = Add(%c, %noise)
        %y = Add(Add(%c, %noise), %bias:float[8,1,1])

    Behind Conv, ConvTranspose, Gemm and MatMul: Mul, Div, Add, Sub and BatchNormalization with constants of
    one value or one a channel (single values also through reshapes); in front of them: Mul and Div always,
    Add and Sub where nothing is padded. Weights that other nodes use too are not scaled, so that tied weights
    stay one. Exact.
    """

    stage = Stage.CANONICALIZE
    after = (
        "simplify-reshapes",
        "eliminate-common-subexpressions",
        "fuse-gelu",
        "fuse-hard-swish",
        "fuse-layer-normalization",
        "fuse-pad-into-conv",
        "reassociate-constants",
    )

    @property
    def roots(self) -> tuple[str, ...]:
        """Ops that scale or shift."""
        return ("Mul", "Div", "Add", "Sub", "BatchNormalization")

    def match(self, node: Node) -> Match:
        """The linear op behind or before the root, and what to do to its weight."""
        failure = MatchFailure("no operand is a constant", node)
        attempts = [_normalization] if node.op_type == "BatchNormalization" else [_behind, _across, _before]
        for attempt in attempts:
            try:
                return attempt(node)
            except MatchFailure as error:
                failure = error.untraced()
        raise failure.untraced()

    def rewrite(self, match: Match, rewriter: Rewriter) -> Value | Sequence[Value | None] | None:
        """Change the linear op in place and drop the root."""
        assert isinstance(match, Affine)
        assert match.linear is not None
        if "before" in match.named:
            return _rewrite_before(match, match.linear, rewriter)
        linear, result = match.linear, match["result"]
        rewriter.altered(result, since=linear.node)
        bias = linear.bias_vector() if linear.bias is not None or match.offset is not None else None
        if match.scale is not None:
            linear.set_weight(rewriter, linear.scaled_outputs(match.scale))
            bias = bias * match.scale if bias is not None else None
        if match.offset is not None and bias is not None:
            bias = bias + match.offset
        biased = linear.set_bias(rewriter, bias) if bias is not None else linear.node.outputs[0]
        if match.other is not None:
            return rewriter.op("Add", biased, match.other)
        return biased if result is linear.node.outputs[0] else result


def _split(node: Node) -> tuple[Value, Value]:
    """The run-time operand and the constant one of a binary op; the constant must be on the right of Sub and Div."""
    a, b = node.inputs[0], node.inputs[1]
    if a is None or b is None:
        raise MatchFailure("an operand is absent", node)
    if b.producer() is None and b.const_value is not None:
        return a, b
    if node.op_type in ("Mul", "Add") and a.producer() is None and a.const_value is not None:
        return b, a
    raise MatchFailure("no operand is a constant (on the right, for Sub and Div)", node)


def _factor(node: Node, vector: Vector) -> tuple[Vector | None, Vector | None]:
    """Scale and offset that the root applies."""
    if node.op_type == "Div" and not vector.all():
        raise MatchFailure("a division by zero", node)
    scale = vector if node.op_type == "Mul" else 1 / vector if node.op_type == "Div" else None
    offset = vector if node.op_type == "Add" else -vector if node.op_type == "Sub" else None
    if not np.isfinite(vector).all():
        raise MatchFailure("the constant is not finite", node)
    return scale, offset


def _behind(node: Node) -> Affine:
    """root(linear(x), constant), with views in between where the constant is a single value."""
    operand, constant = _split(node)
    result, nodes = operand, [node]
    size = rank(operand)
    array = constant_array(constant)
    while (
        array is not None
        and array.size == 1
        and node.op_type in ("Mul", "Div")
        and (inner := operand.producer()) is not None
        and inner.op_type in _VIEWS
        and inner.domain == ""
        and inner.inputs[0] is not None
    ):
        _only_reader(operand, nodes[-1])
        nodes.append(inner)
        operand = inner.inputs[0]
    _only_reader(operand, nodes[-1])
    linear = Linear.of(operand.producer())
    if size is None or array is None or rank(node.outputs[0]) != size:
        raise MatchFailure("the constant raises the rank of the result", node)
    vector = channel_vector(
        constant, linear.channels, size, linear.axis(size) if operand is result else size - 1
    )
    if vector is None:
        raise MatchFailure("the constant is not one value or one a channel", constant)
    scale, offset = _factor(node, vector)
    if scale is not None:
        linear.require_own_weight()
        linear.scaled_outputs(scale)
        linear.bias_vector()
    if offset is not None:
        linear.require_bias()
    return Affine(node, {"result": result}, {}, (linear.node, *nodes), linear, scale, offset)


def _only_reader(value: Value, node: Node) -> None:
    if sole_reader(value) is not node:
        raise MatchFailure(f"'{value.name}' is also used elsewhere", value)


def _across(node: Node) -> Affine:
    """Add(Add(linear(x), other), constant): the constant joins the linear op's bias."""
    if node.op_type not in ("Add", "Sub"):
        raise MatchFailure("only sums can be reordered", node)
    operand, constant = _split(node)
    inner = operand.producer()
    if inner is None or inner.op_type != "Add" or inner.domain != "":
        raise MatchFailure("the operand is no sum", operand)
    _only_reader(operand, node)
    failure = MatchFailure("no term of the sum is linear", inner)
    for index in (0, 1):
        term, other = inner.inputs[index], inner.inputs[1 - index]
        try:
            if term is None or other is None:
                raise MatchFailure("an operand is absent", inner)
            linear = Linear.of(term.producer())
            _only_reader(term, inner)
            linear.require_bias()
            size = rank(term)
            if size is None or size != rank(operand) or rank(node.outputs[0]) != size:
                raise MatchFailure("the ranks differ", node)
            vector = channel_vector(constant, linear.channels, size, linear.axis(size))
            if vector is None:
                raise MatchFailure("the constant is not one value or one a channel", constant)
            _, offset = _factor(node, vector)
            return Affine(node, {"result": term}, {}, (linear.node, inner, node), linear, None, offset, other)
        except MatchFailure as error:
            failure = error.untraced()
    raise failure.untraced()


def _normalization(node: Node) -> Affine:
    """BatchNormalization in inference, behind a linear op."""
    operand = node.inputs[0]
    if operand is None or node.attributes.get_int("training_mode", 0) != 0 or len(node.inputs) != 5:
        raise MatchFailure("BatchNormalization in training", node)
    if any(value.uses() or value.is_graph_output() for value in node.outputs[1:]):
        raise MatchFailure("its running statistics are used", node)
    _only_reader(operand, node)
    linear = Linear.of(operand.producer())
    size = rank(operand)
    if size is None or linear.axis(size) != 1:
        raise MatchFailure("the channels lie on another axis", operand)
    parameters = [channel_vector(value, linear.channels, 1, 0) for value in node.inputs[1:]]
    gamma, beta, mean, variance = parameters
    if gamma is None or beta is None or mean is None or variance is None:
        raise MatchFailure("its parameters are no constants", node)
    linear.require_own_weight()
    linear.require_bias()
    with np.errstate(all="ignore"):
        scale = gamma / np.sqrt(variance + node.attributes.get_float("epsilon", 1e-5))
    offset = beta - mean * scale
    if not (np.isfinite(scale).all() and np.isfinite(offset).all()):
        raise MatchFailure("its parameters are not finite", node)
    linear.scaled_outputs(scale)
    return Affine(node, {"result": operand}, {}, (linear.node, node), linear, scale, offset)


def _before(node: Node) -> Affine:
    """linear(root(x, constant))."""
    operand, constant = _split(node)
    user = sole_reader(node.outputs[0])
    if user is None or user.inputs[0] is not node.outputs[0]:
        raise MatchFailure("the result is not the operand of one linear op", node)
    linear = Linear.of(user)
    size = rank(operand)
    if size is None or rank(node.outputs[0]) != size:
        raise MatchFailure("the constant raises the rank", node)
    vector = channel_vector(constant, linear.inputs, size, linear.axis(size))
    if vector is None or _broadcasts(operand, node):
        raise MatchFailure("the constant is not one value or one a channel", constant)
    scale, offset = _factor(node, vector)
    if scale is not None:
        linear.require_own_weight()
        linear.scaled_inputs(scale)
    else:
        linear.require_bias()
        if linear.node.op_type == "ConvTranspose":
            raise MatchFailure("an offset before a ConvTranspose is not constant behind it", linear.node)
        if linear.node.op_type == "Conv" and (
            any(linear.node.attributes.get_ints("pads", ()))
            or linear.node.attributes.get_string("auto_pad", "NOTSET") not in ("NOTSET", "VALID")
        ):
            raise MatchFailure("an offset before a padded convolution is not constant behind it", linear.node)
    return Affine(node, {"x": operand}, {"before": linear.node}, (node, linear.node), linear, scale, offset)


def _broadcasts(operand: Value, node: Node) -> bool:
    """True where the constant widens the operand's channels."""
    out = node.outputs[0]
    return operand.shape is None or out.shape is None or operand.shape != out.shape


def _rewrite_before(match: Affine, linear: Linear, rewriter: Rewriter) -> Value | None:
    rewriter.altered(match.root.outputs[0])
    if match.scale is not None:
        linear.set_weight(rewriter, linear.scaled_inputs(match.scale))
        return match["x"]
    assert match.offset is not None
    bias = linear.bias_vector() + linear.response(match.offset)
    if linear.node.op_type == "MatMul":
        result = rewriter.op(
            "Gemm", match["x"], linear.node.inputs[1], rewriter.constant(bias.astype(linear.weight.dtype))
        )
        rewriter.replace(linear.node, result)
        return None
    linear.set_bias(rewriter, bias)
    return match["x"]
