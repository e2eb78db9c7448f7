"""A constant map that is added behind a pointwise convolution enters as one more channel in front of it."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from graphrewrite.ir import Array, Node, Value, constant_array, dims, sole_reader, static_dims
from graphrewrite.pipeline import RewritePass, Stage
from graphrewrite.rewrite import Match, MatchFailure, Rewriter


@dataclasses.dataclass(frozen=True)
class CarryMapAsChannel(RewritePass):
    """Let a convolution add a noise map, where its input is put together from parts anyway.

        %z = Concat(%a, %b, %c, %d)                      four phases of [1, C, H, W]
        %u = DepthToSpace(%z) {blocksize=2, mode=DCR}    [1, C, 2H, 2W]
        %v = Conv(%u, %depthwise) {group=C}
        %y = Add(Conv(%v, %pointwise:[O, C, 1, 1]), %noise:[1, 1, 2H, 2W])
        --->
        %z = Concat(%a, %noise00, %b, %noise01, %c, %noise10, %d, %noise11)
        %u = DepthToSpace(%z) {blocksize=2, mode=DCR}    [1, C + 1, 2H, 2W]
        %v = Conv(%u, %depthwise and a one in the middle) {group=C + 1}
        %y = Conv(%v, %pointwise and a column of ones)

    The sum reads and writes O channels of the largest values of a generator, the new channel is one in C. Below
    `smallest` elements, which a cache holds, nothing was gained. The depthwise convolution may be absent. For one
    sample at a time, because parts of a concatenation do not broadcast. For TFLite, which runs sums on their own.
    Exact.
    """

    stage = Stage.GENERATIVE
    after = ("lower-idwt", "merge-channel-scales")
    targets = frozenset({"tflite"})
    smallest: int = 1 << 23

    @property
    def roots(self) -> tuple[str, ...]:
        """The sum."""
        return ("Add",)

    def match(self, node: Node) -> Match:
        """The map, both convolutions, and the parts."""
        index, content = _map(node)
        size = static_dims(node.outputs[0])
        if size is None or math.prod(size) < self.smallest:
            raise MatchFailure(f"the sum has fewer than {self.smallest} elements", node)
        pointwise = _only(node.inputs[1 - index], "Conv")
        weight = _weight(pointwise)
        if weight.shape[2:] != (1, 1) or pointwise.attributes.get_int("group", 1) != 1:
            raise MatchFailure("the convolution is not pointwise", pointwise)
        if dims(pointwise.outputs[0]) != dims(node.outputs[0]) or _size(pointwise, 0) != _size(pointwise):
            raise MatchFailure("the convolution changes the size, or the sum broadcasts it", pointwise)
        named = {"pointwise": pointwise}
        behind = pointwise.inputs[0]
        producer = behind.producer() if behind is not None else None
        if producer is not None and producer.op_type == "Conv":
            named["depthwise"] = _depthwise(_only(behind, "Conv"))
            behind = producer.inputs[0]
        spread = named["spread"] = _only(behind, "DepthToSpace")
        if spread.attributes.get_string("mode", "DCR") != "DCR":
            raise MatchFailure("the phases of each channel lie together", spread)
        parts = named["parts"] = _only(spread.inputs[0], "Concat")
        _phases(parts, spread)
        size = static_dims(spread.outputs[0])
        if size is None or size[0] != 1 or size[2:] != content.shape:
            raise MatchFailure("the map is not of one sample's size", spread)
        return Match(node, {"map": node.inputs[index]}, named, (*named.values(), node))

    def rewrite(self, match: Match, rewriter: Rewriter) -> Value:
        """The same chain with one channel more."""
        _, content = _map(match.root)
        spread, parts = match.node("spread"), match.node("parts")
        block = spread.attributes.get_int("blocksize", 1)
        operands: list[Value | None] = []
        for phase, group in enumerate(_phases(parts, spread)):
            row, column = divmod(phase, block)
            piece = content[None, None, row::block, column::block]
            operands += [*group, rewriter.constant(np.ascontiguousarray(piece))]
        value = rewriter.op("Concat", *operands, axis=1)
        value = rewriter.op("DepthToSpace", value, **_attributes(spread))
        if "depthwise" in match.named:
            value = _carry(match.node("depthwise"), value, rewriter)
        return _add_up(match.node("pointwise"), value, rewriter)


def _attributes(node: Node) -> dict[str, Any]:
    return dict(node.attributes.items())


def _size(node: Node, operand: int | None = None) -> tuple[int | str | None, ...]:
    """Spatial dimensions of a node's result, or of an operand."""
    return (dims(node.outputs[0] if operand is None else node.inputs[operand]) or ())[2:]


def _map(node: Node) -> tuple[int, Array]:
    """(index of the operand, content [H, W]) of the map that a sum adds to every channel."""
    for index in (0, 1):
        content = constant_array(node.inputs[index])
        if content is None or content.ndim < 2 or content.dtype.kind != "f" or 1 in content.shape[-2:]:
            continue
        if content.size == np.prod(content.shape[-2:]):
            return index, content.reshape(content.shape[-2:])
    raise MatchFailure("no constant map [H, W] is added", node)


def _only(value: Value | None, kind: str) -> Node:
    """The `kind` node that makes a value, which nothing else reads."""
    node = value.producer() if value is not None else None
    if value is None or node is None or node.op_type != kind or node.domain != "":
        raise MatchFailure(f"'{value.name if value is not None else ''}' is made by no {kind}", value)
    if sole_reader(value) is None or value.is_graph_output():
        raise MatchFailure(f"'{value.name}' is also used elsewhere", value)
    return node


def _weight(node: Node) -> Array:
    weight = constant_array(node.inputs[1])
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if weight is None or weight.ndim != 4 or (bias is not None and constant_array(bias) is None):
        raise MatchFailure("the weights are no constants of a two-dimensional convolution", node)
    return weight


def _middle(node: Node) -> tuple[int, int] | None:
    """Index of the tap that a depthwise convolution multiplies the element itself by."""
    weight = _weight(node)
    pads = node.attributes.get_ints("pads", (0, 0, 0, 0))
    dilations = node.attributes.get_ints("dilations", (1, 1))
    taps = [divmod(pad, step) for pad, step in zip(pads[:2], dilations, strict=True)]
    if any(rest for _, rest in taps) or any(
        tap >= size for (tap, _), size in zip(taps, weight.shape[2:], strict=True)
    ):
        return None
    return taps[0][0], taps[1][0]


def _depthwise(node: Node) -> Node:
    weight = _weight(node)
    if weight.shape[1] != 1 or node.attributes.get_int("group", 1) != weight.shape[0]:
        raise MatchFailure("the convolution in front is not depthwise", node)
    if any(step != 1 for step in node.attributes.get_ints("strides", ())) or _size(node, 0) != _size(node):
        raise MatchFailure("the convolution in front changes the size", node)
    if node.attributes.get_string("auto_pad", "NOTSET") != "NOTSET" or _middle(node) is None:
        raise MatchFailure("no tap of the convolution in front lies on the element itself", node)
    return node


def _phases(parts: Node, spread: Node) -> list[list[Value]]:
    """The operands of a concatenation, grouped by the phase of the block that they become."""
    area = spread.attributes.get_int("blocksize", 1) ** 2
    total = static_dims(parts.outputs[0])
    if parts.attributes.get_int("axis", 0) != 1 or total is None:
        raise MatchFailure("the parts are not put together along the channels", parts)
    groups: list[list[Value]] = [[] for _ in range(area)]
    position = 0
    for value in parts.inputs:
        size = static_dims(value)
        phase, offset = divmod(position, total[1] // area)
        if value is None or size is None or offset + size[1] > total[1] // area:
            raise MatchFailure("a part belongs to several phases", parts)
        groups[phase].append(value)
        position += size[1]
    return groups


def _carry(node: Node, value: Value, rewriter: Rewriter) -> Value:
    """The depthwise convolution with a last channel that stays as it is."""
    weight, middle = _weight(node), _middle(node)
    assert middle is not None
    tap = np.zeros((1, *weight.shape[1:]), weight.dtype)
    tap[0, 0, middle[0], middle[1]] = 1
    operands = [rewriter.constant(np.concatenate([weight, tap]))]
    bias = constant_array(node.inputs[2]) if len(node.inputs) > 2 else None
    if bias is not None:
        operands.append(rewriter.constant(np.append(bias, np.zeros(1, bias.dtype))))
    return rewriter.op("Conv", value, *operands, **(_attributes(node) | {"group": len(weight) + 1}))


def _add_up(node: Node, value: Value, rewriter: Rewriter) -> Value:
    """The pointwise convolution, which adds its last input channel to every output channel."""
    weight = _weight(node)
    ones = np.ones((len(weight), 1, 1, 1), weight.dtype)
    wide = rewriter.constant(np.concatenate([weight, ones], axis=1))
    return rewriter.op("Conv", value, wide, *node.inputs[2:], **_attributes(node))
