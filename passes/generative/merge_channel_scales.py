"""Two products with one factor a channel, and only work on single channels in between, become one product."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from graphrewrite.ir import Node, Value, dims, sole_reader
from graphrewrite.pipeline import RewritePass, Stage
from graphrewrite.rewrite import Match, MatchFailure, Rewriter

Channels = npt.NDArray[np.int64]
"""For each channel of a value, the channel of the result that it is a part of."""

_REGION_LIMIT = 64
"""Nodes that a scale is moved across at once, so that the search stays linear in the graph."""


@dataclasses.dataclass
class _Scales(Match):
    """`root` multiplies what `region` makes of the product `first`."""

    first: Node | None = None
    data: int = 0
    """Which operand of `first` is multiplied, the other one being its scale."""
    behind: Value | None = None
    """The scale of the root."""
    region: tuple[Node, ...] = ()
    """From the first product to the root."""
    channels: Channels = dataclasses.field(default_factory=lambda: np.zeros(0, np.int64))
    """Of the first product's result."""


@dataclasses.dataclass(frozen=True)
class MergeChannelScales(RewritePass):
    """Multiply once where a value is scaled by channel before and behind an operation on single channels.

        %a = Mul(%x, %s)                                 [N, 4C, H, W] by [N, 4C, 1, 1]
        %b, %c, %d, %e = Split(%a)
        %z = DepthToSpace(Concat(sums of %b, %c, %d, %e)) {mode=DCR}
        %y = Mul(%z, %t)                                 [N, C, 2H, 2W] by [N, C, 1, 1]
        --->
        %u = Mul(%s, Concat(%t, %t, %t, %t))             [N, 4C, 1, 1]
        %a = Mul(%x, %u)
        ...
        %y = DepthToSpace(...)

    Styles scale a generator's values on both sides of an inverse wavelet transform and of a blur. The
    operations in between are sums, splits and concatenations of channels, DepthToSpace and depthwise
    convolutions without bias, all of them read by nothing else. Exact.
    """

    stage = Stage.GENERATIVE
    after = ("fold-weight-demodulation", "decompose-upfirdn2d", "lower-idwt")

    @property
    def roots(self) -> tuple[str, ...]:
        """The second product."""
        return ("Mul",)

    def match(self, node: Node) -> Match:
        """The first product, and what lies between."""
        data, scale = _product(node)
        value = node.inputs[data]
        shape = dims(value)
        if value is None or sole_reader(value) is None or shape is None or not isinstance(shape[1], int):
            raise MatchFailure("what is multiplied is also used elsewhere", value)
        match = _Scales(node, {}, {}, (node,), behind=scale)
        _walk(match, value, np.arange(shape[1]))
        match.nodes = (*match.region, node)
        return match

    def rewrite(self, match: Match, rewriter: Rewriter) -> Value:
        """The first product with both scales, and the region made anew behind it, where both of them are known."""
        assert isinstance(match, _Scales)
        assert match.first is not None
        value, scale = match.first.inputs[match.data], match.first.inputs[1 - match.data]
        assert scale is not None
        product = rewriter.op("Mul", value, _both(match, scale, rewriter))
        made: dict[Value | None, Value] = {match.first.outputs[0]: product}
        for node in match.region:
            operands = [made.get(item, item) for item in node.inputs]
            attributes: dict[str, Any] = dict(node.attributes.items())
            results = rewriter.ops(node.op_type, *operands, outputs=len(node.outputs), **attributes)
            made.update(zip(node.outputs, results, strict=True))
        return made[match.root.inputs[_product(match.root)[0]]]


def _product(node: Node) -> tuple[int, Value]:
    """(index of the operand that is multiplied, its scale, one number a channel) of a Mul."""
    for data in (0, 1):
        value, scale = node.inputs[data], node.inputs[1 - data]
        shape, factor = dims(value), dims(scale)
        if shape is None or factor is None or scale is None or len(shape) < 3 or shape[1] == 1:
            continue
        aligned = (1,) * (len(shape) - len(factor)) + factor
        if len(aligned) != len(shape) or aligned[1] != shape[1] or any(dim != 1 for dim in aligned[2:]):
            continue
        if aligned[0] in (1, shape[0]):
            return data, scale
    raise MatchFailure("no product with one factor a channel", node)


def _walk(match: _Scales, value: Value, channels: Channels) -> None:
    """Go from the second product up to the first, noting which channel of the result each channel is a part of."""
    known = {value: channels}
    region: list[Node] = []
    while len(region) <= _REGION_LIMIT:
        inside = {match.root, *region}
        open_ends = [item for item in known if item.producer() not in inside]
        node = _ready(open_ends, known, inside)
        if len(open_ends) == 1 and node.op_type == "Mul" and node.domain == "":
            match.data, _ = _product(node)
            match.first, match.channels = node, known[node.outputs[0]]
            match.region = tuple(reversed(region))
            return
        region.append(node)
        for operand, part in _operands(node, [known[item] for item in node.outputs]):
            if not np.array_equal(known.setdefault(operand, part), part):
                raise MatchFailure(f"a channel of '{operand.name}' goes into several channels", operand)
    raise MatchFailure("too many operations in between", match.root)


def _ready(open_ends: list[Value], known: dict[Value, Channels], inside: set[Node]) -> Node:
    """A node whose results are all read inside the region, and nowhere else."""
    culprit = open_ends[0]
    for value in open_ends:
        node = value.producer()
        if node is None or any(item.is_graph_output() for item in node.outputs):
            raise MatchFailure(f"'{value.name}' is an input or an output", value)
        if all(item in known for item in node.outputs):
            readers = {use.node for item in node.outputs for use in item.uses()}
            if readers <= inside:
                return node
        culprit = value
    raise MatchFailure(f"'{culprit.name}' is also used elsewhere", culprit)


def _operands(node: Node, channels: list[Channels]) -> list[tuple[Value, Channels]]:
    """The operands of a node that works on single channels, each with the channels of the result that its own go into.

    Raises:
        MatchFailure: it mixes channels, or adds something that is not scaled with them.
    """
    inputs = [item for item in node.inputs if item is not None]
    if node.domain == "" and node.op_type in ("Add", "Sub"):
        if any(_channel_count(item) != len(channels[0]) for item in inputs):
            raise MatchFailure("an operand of a sum is broadcast over the channels", node)
        return [(item, channels[0]) for item in inputs]
    if node.domain == "" and node.op_type == "Split" and node.attributes.get_int("axis", 0) == 1:
        return [(inputs[0], np.concatenate(channels))]
    if node.domain == "" and node.op_type == "Concat" and node.attributes.get_int("axis", 0) == 1:
        sizes = [size for item in inputs if (size := _channel_count(item)) is not None]
        if len(sizes) == len(inputs):
            return list(zip(inputs, np.split(channels[0], np.cumsum(sizes)[:-1]), strict=True))
    if node.domain == "" and node.op_type == "DepthToSpace":
        area = node.attributes.get_int("blocksize", 1) ** 2
        by_channel = node.attributes.get_string("mode", "DCR") == "CRD"
        return [(inputs[0], np.repeat(channels[0], area) if by_channel else np.tile(channels[0], area))]
    if node.domain == "" and node.op_type in ("Conv", "ConvTranspose") and len(inputs) == 2:
        count = len(channels[0])
        if node.attributes.get_int("group", 1) == count == _channel_count(inputs[0]):
            return [(inputs[0], channels[0])]
    raise MatchFailure(f"{node.op_type} mixes channels, or adds to them", node)


def _channel_count(value: Value) -> int | None:
    """Size of axis 1 of a value [N, C, ...], None where it is unknown or the rank is too small."""
    shape = dims(value)
    size = shape[1] if shape is not None and len(shape) > 2 else None
    return size if isinstance(size, int) else None


def _both(match: _Scales, scale: Value, rewriter: Rewriter) -> Value:
    """The product of the scale of the first product and that of the root, with a number for each channel of the first.

    Styles are reshaped from [N, C] to [N, C, 1, 1]: they are multiplied before that, so that one view is left.
    """
    behind, result = match.behind, match.root.outputs[0]
    assert behind is not None
    first, second = _flat(scale), _flat(behind)
    if first is not None and second is not None:
        product = rewriter.op("Mul", first, _spread(match.channels, second, 1, rewriter))
        sizes = [-1, len(match.channels), *[1] * (len(dims(scale) or ()) - 2)]
        return rewriter.op("Reshape", product, rewriter.constant(np.array(sizes, np.int64)))
    axis = len(dims(behind) or ()) - len(dims(result) or ()) + 1
    return rewriter.op("Mul", scale, _spread(match.channels, behind, axis, rewriter))


def _spread(channels: Channels, scale: Value, axis: int, rewriter: Rewriter) -> Value:
    """The numbers of a scale, which lie along `axis`, in the order of `channels`."""
    count = (dims(scale) or ())[axis]
    assert isinstance(count, int)
    times, rest = divmod(len(channels), count)
    if rest == 0 and np.array_equal(channels, np.tile(np.arange(count), times)):
        return scale if times == 1 else rewriter.op("Concat", *[scale] * times, axis=axis)
    return rewriter.op("Gather", scale, rewriter.constant(channels), axis=axis)


def _flat(scale: Value) -> Value | None:
    """The [N, C] that a scale [N, C, 1, 1] is reshaped from, None where it is not."""
    node = scale.producer()
    if node is None or node.op_type != "Reshape" or node.domain != "":
        return None
    flat = node.inputs[0]
    known, shape = dims(flat), dims(scale)
    return (
        flat if known is not None and shape is not None and len(known) == 2 and known == shape[:2] else None
    )
