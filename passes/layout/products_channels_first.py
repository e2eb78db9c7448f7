"""Layers that were written for channels-last images run on channels-first ones, between two transposes that go."""

from __future__ import annotations

import dataclasses

import numpy as np

from graphrewrite.ir import Array, DataType, Node, Value, constant_array, dims, quant, rank, sole_reader
from graphrewrite.pipeline import RewritePass, Stage
from graphrewrite.rewrite import Match, MatchFailure, Rewriter

_UNARY = frozenset(
    {"gelu", "relu", "relu6", "silu", "sigmoid", "tanh", "leaky_relu", "elu", "erf", "softplus"}
)


@dataclasses.dataclass
class _Found(Match):
    """`chain` are the nodes between the two transposes, in their order."""

    chain: tuple[Node, ...] = ()


@dataclasses.dataclass(frozen=True)
class ProductsChannelsFirst(RewritePass):
    """Move a chain of layers over the channels to where these come first.

        %a = mil.transpose(%x) {perm=[0, 2, 3, 1]}
        %b = mil.layer_norm(%a, %g, %h) {axes=[3]}             %b = mil.layer_norm(%x, %g, %h) {axes=[1]}
        %c = mil.matmul(%b, %w)                          --->  %y = mil.conv(%b, %w', %bias)
        %d = mil.add(%c, %bias)
        %y = mil.transpose(%d) {perm=[0, 3, 1, 2]}

    ConvNeXt's blocks are such chains. A factor behind a product becomes part of its weights. Exact.
    """

    stage = Stage.FINISH
    targets = frozenset({"coreml"})
    after = ("fuse-silu",)
    roots = ("mil.transpose",)

    def match(self, node: Node) -> Match:
        """The chain, from its end."""
        size = rank(node.inputs[0])
        if size is None or not 3 <= size <= 5:
            raise MatchFailure("no transpose of an image", node)
        if _perm(node) != [0, size - 1, *range(1, size - 1)]:
            raise MatchFailure("it does not bring the channels to the front", node)
        chain: list[Node] = []
        value = node.inputs[0]
        while True:
            producer = value.producer() if value is not None else None
            if value is None or producer is None or producer.domain != "mil":
                raise MatchFailure("the chain does not begin with a transpose", value)
            if producer.op_type == "transpose" and _perm(producer) == [0, *range(2, size), 1]:
                break
            if sole_reader(value) is None:
                raise MatchFailure("something else reads the value, too", value)
            chain.append(producer)
            value = _step(producer, size)
        if not chain:
            raise MatchFailure("nothing lies between the transposes", node)
        x = producer.inputs[0]
        return _Found(node, {"x": x}, {}, (*chain, node), tuple(reversed(chain)))

    def rewrite(self, match: Match, rewriter: Rewriter) -> Value:
        """The same layers on `x`."""
        assert isinstance(match, _Found)
        y, chain = match["x"], list(match.chain)
        size = rank(y) or 0
        while chain:
            node = chain.pop(0)
            attributes = {item.name: item.value for item in node.attributes.values()}
            if node.op_type == "layer_norm":
                attributes["axes"] = [1]
                y = rewriter.op("layer_norm", y, *node.inputs[1:], domain="mil", **attributes)
            elif node.op_type in ("matmul", "linear"):
                weight, bias = _weights(node)
                while chain and chain[0].op_type in ("add", "mul"):
                    vector = _vector(chain[0], size).reshape(-1)
                    if chain.pop(0).op_type == "add":
                        bias = bias + vector
                    else:
                        weight, bias = weight * vector.reshape(-1, 1), bias * vector
                y = _product(rewriter, y, weight, bias, size)
            elif node.op_type in _UNARY:
                y = rewriter.op(node.op_type, y, domain="mil", **attributes)
            else:
                vector = _vector(node, size).reshape(-1)
                column = vector if vector.size == 1 else vector.reshape(1, -1, *[1] * (size - 2))
                y = rewriter.op(node.op_type, y, rewriter.constant(column), domain="mil")
        return y


def _perm(node: Node) -> list[int]:
    return [int(axis) for axis in node.attributes["perm"].as_ints()]


def _step(node: Node, size: int) -> Value | None:
    """The operand that a layer of the chain goes through.

    Raises:
        MatchFailure: it is no layer over the last axis, or its constants are none.
    """
    value = node.inputs[0]
    if node.op_type in _UNARY:
        return value
    if node.op_type in ("add", "mul"):
        _vector(node, size)
        return next(item for item in node.inputs if constant_array(item) is None)
    if value is None or value.dtype != DataType.FLOAT:
        raise MatchFailure("its operand is no float32", node)
    if node.op_type == "layer_norm":
        if [axis % size for axis in node.attributes["axes"].as_ints()] != [size - 1]:
            raise MatchFailure("it is not over the channels", node)
        return value
    if node.op_type in ("matmul", "linear"):
        weight = node.inputs[1]
        if any(node.attributes.get_int(name, 0) for name in ("transpose_x", "transpose_y")):
            raise MatchFailure("a product with transposed operands", node)
        if (
            rank(weight) != 2
            or rank(value) != size
            or any(constant_array(w) is None for w in node.inputs[1:])
        ):
            raise MatchFailure("its weights are no constant matrix", node)
        if weight is not None and quant(weight) is not None:
            raise MatchFailure("its weights are quantised", weight)
        return value
    raise MatchFailure(f"{node.op_type} is no layer over the channels", node)


def _vector(node: Node, size: int) -> Array:
    """The constant operand, one element or one for each channel.

    Raises:
        MatchFailure: there is none.
    """
    arrays = [array for item in node.inputs if (array := constant_array(item)) is not None]
    if len(arrays) != 1 or arrays[0].dtype != np.float32 or arrays[0].ndim > size:
        raise MatchFailure("its other operand is no constant", node)
    channels = (dims(node.outputs[0]) or (None,))[-1]
    if arrays[0].size not in (1, channels) or arrays[0].size != (arrays[0].shape or (1,))[-1]:
        raise MatchFailure("the constant is none by channel", node)
    return arrays[0]


def _weights(node: Node) -> tuple[Array, Array]:
    """[O, I] and [O]"""
    weight = constant_array(node.inputs[1])
    assert weight is not None
    matrix = weight.T if node.op_type == "matmul" else weight
    bias = constant_array(node.inputs[2]) if len(node.inputs) > 2 else None
    return matrix, np.zeros(matrix.shape[0], np.float32) if bias is None else bias


def _product(rewriter: Rewriter, x: Value, weight: Array, bias: Array, size: int) -> Value:
    """A convolution of single elements."""
    ones = [1] * (size - 2)
    return rewriter.op(
        "conv",
        x,
        rewriter.constant(np.ascontiguousarray(weight).reshape(*weight.shape, *ones)),
        rewriter.constant(bias),
        domain="mil",
        strides=ones,
        pad_type="valid",
        pad=[0] * (2 * len(ones)),
        dilations=ones,
        groups=1,
    )
