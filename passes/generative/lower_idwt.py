"""Inverse Haar wavelet transforms become a butterfly of sums and one DepthToSpace."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from graphrewrite.ir import Node, Value, constant_array, dims, sole_reader, static_dims, use_count
from graphrewrite.pipeline import RewritePass, Stage
from graphrewrite.rewrite import Match, MatchFailure, Rewriter

from .channel_order import Order, plan
from .movement import Indices, chains
from .upfirdn import symbols_of

_PATTERNS = np.array([[1, 1, 1, 1], [1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]])
"""Signs of the low band, the one that differs by row, the one that differs by column, and both, at 00, 01, 10, 11."""
_SAMPLE = 2048
"""Random places, besides the ends, at which two element maps must agree. Chains of views are linear in pieces that are large
parts of the tensor, so maps that differ do so at many of these."""


@dataclasses.dataclass(frozen=True)
class Term:
    """A band [N, C, H, W] and the block that each of its elements becomes, [C, kh, kw]."""

    band: Value
    block: npt.NDArray[np.float64]


@dataclasses.dataclass
class Wavelet(Match):
    """Four bands, in the order of `_PATTERNS`, and how they enter."""

    bands: tuple[Value, ...] = ()
    signs: tuple[int, ...] = ()
    scale: npt.NDArray[np.float64] = dataclasses.field(default_factory=lambda: np.ones(1))
    """Of each channel."""
    base: Value | None = None
    """The value that all four bands are channels of."""
    channels: Indices = dataclasses.field(default_factory=lambda: np.zeros((4, 0), np.int64))
    """Which channels of `base`, [4, C]."""


@dataclasses.dataclass(frozen=True)
class LowerIdwt(RewritePass):
    """Compute inverse Haar transforms without transposed convolutions.

        %lo = Add(ConvTranspose(%ll, [a, a]), ConvTranspose(%lh, [a, -a]))     {group=C, kernel 2x1, strides 2x1}
        %hi = Add(ConvTranspose(%hl, [a, a]), ConvTranspose(%hh, [a, -a]))
        %y = Add(ConvTranspose(%lo, [a, a]), ConvTranspose(%hi, [a, -a]))      {group=C, kernel 1x2, strides 1x2}
        --->
        %ll, %lh, %hl, %hh = Split(%z)
        %s, %d, %t, %u = %ll + %lh, %ll - %lh, %hl + %hh, %hl - %hh
        %y = DepthToSpace(Concat(%s + %t, %s - %t, %d + %u, %d - %u)) {mode=DCR}

    The bands may be cut out of one value in any way (slices, reshape and unbind). Its channels are put in the
    order of the split, and the scale a * a is applied, by permuting and scaling the weights that it is made
    from; where that can't be, by strided slices and a product. Directly behind a convolution the whole
    transform moves into its weights. For TFLite, which has no grouped transposed convolution, and for Core ML, where one
    depth_to_space replaces six of them. Exact.
    """

    stage = Stage.GENERATIVE
    after = ("fold-weight-demodulation",)
    targets = frozenset({"tflite", "coreml"})

    @property
    def roots(self) -> tuple[str, ...]:
        """The last sum."""
        return ("Add",)

    def match(self, node: Node) -> Match:
        """The four bands behind the outermost sum."""
        terms = _synthesis(node.outputs[0])
        if terms is None:
            raise MatchFailure("no sum of four bands with blocks of 2 x 2", node)
        user = sole_reader(node.outputs[0])
        if (
            user is not None
            and user.op_type in ("Add", "ConvTranspose")
            and _synthesis(user.outputs[0]) is not None
        ):
            raise MatchFailure("this sum is part of a larger transform", user)
        match = _classify(node, terms)
        _find_base(match)
        return match

    def rewrite(self, match: Match, rewriter: Rewriter) -> Value:
        """Butterfly, or the whole transform in the weights of a convolution."""
        assert isinstance(match, Wavelet)
        convolution = _mixable(match)
        if convolution is not None:
            mixed = _mix(match, convolution, rewriter)
        else:
            bands = _ordered(match, rewriter)
            mixed = rewriter.op(
                "Concat", *_butterfly(match, bands or _cut_out(match, rewriter), rewriter), axis=1
            )
            if bands is None:
                return _scaled(
                    rewriter.op("DepthToSpace", mixed, blocksize=2, mode="DCR"), match.scale, rewriter
                )
        return rewriter.op("DepthToSpace", mixed, blocksize=2, mode="DCR")


def _block(node: Node) -> npt.NDArray[np.float64] | None:
    """Taps of a depthwise ConvTranspose whose kernel is its stride."""
    if (
        node.op_type != "ConvTranspose"
        or node.domain != ""
        or len([item for item in node.inputs if item is not None]) != 2
    ):
        return None
    weight, shape = constant_array(node.inputs[1]), static_dims(node.inputs[1])
    if weight is None or shape is None or len(shape) != 4 or shape[1] != 1:
        return None
    if node.attributes.get_int("group", 1) != shape[0] or any(node.attributes.get_ints("pads", ())):
        return None
    if any(node.attributes.get_ints("output_padding", ())) or "output_shape" in node.attributes:
        return None
    if any(item != 1 for item in node.attributes.get_ints("dilations", ())):
        return None
    if tuple(node.attributes.get_ints("strides", ())) != shape[2:]:
        return None
    if node.attributes.get_string("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return None
    return weight.reshape(shape[0], *shape[2:]).astype(np.float64)


def _terms(value: Value, depth: int) -> list[Term]:
    """What `value` is the sum of."""
    node = value.producer()
    if (
        node is not None
        and node.domain == ""
        and depth < 8
        and (depth == 0 or sole_reader(value) is not None)
    ):
        if node.op_type == "Add" and node.inputs[0] is not None and node.inputs[1] is not None:
            inner = [*_terms(node.inputs[0], depth + 1), *_terms(node.inputs[1], depth + 1)]
            if all(term.block.shape[1:] != (1, 1) for term in inner):
                return inner
        block = _block(node)
        if block is not None and node.inputs[0] is not None:
            return [
                Term(term.band, np.stack([np.kron(a, b) for a, b in _pairs(term.block, block)]))
                for term in _terms(node.inputs[0], depth + 1)
            ]
    return [Term(value, np.ones((1, 1, 1)))]


def _pairs(
    a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]
) -> list[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]:
    size = max(len(a), len(b))
    return list(
        zip(np.broadcast_to(a, (size, *a.shape[1:])), np.broadcast_to(b, (size, *b.shape[1:])), strict=True)
    )


def _synthesis(value: Value) -> list[Term] | None:
    terms = _terms(value, 0)
    return terms if len(terms) == 4 and all(term.block.shape[1:] == (2, 2) for term in terms) else None


def _classify(node: Node, terms: list[Term]) -> Wavelet:
    """Order the bands and find signs and scale."""
    scale = np.abs(terms[0].block[:, 0, 0])
    bands: list[Value | None] = [None] * 4
    signs = [1] * 4
    for term in terms:
        flat = term.block.reshape(-1, 4)
        if not np.allclose(np.abs(flat), scale[:, None], rtol=1e-6) or not scale.all():
            raise MatchFailure("the taps are not those of the Haar wavelet", term.band)
        shape = np.sign(flat) * np.sign(flat[:, :1])
        found = [index for index, pattern in enumerate(_PATTERNS) if (shape == pattern).all()]
        sign = np.sign(flat[:, 0])
        if not found or (sign != sign[0]).any() or bands[found[0]] is not None:
            raise MatchFailure("the taps are not those of the Haar wavelet", term.band)
        bands[found[0]], signs[found[0]] = term.band, int(sign[0])
    kept = tuple(band for band in bands if band is not None)
    if signs[0] < 0 or len(kept) != 4:
        raise MatchFailure("the low band is negated", node)
    return Wavelet(node, {}, {}, (node,), bands=kept, signs=tuple(signs), scale=scale)


def _find_base(match: Wavelet) -> None:
    """Find the value that all bands are channels of, where there is one."""
    paths = [{id(chain.base): chain for chain in chains(band)} for band in match.bands]
    for key, first in paths[0].items():
        known = dims(first.base)
        if known is None or len(known) != 4 or not all(key in other for other in paths[1:]):
            continue
        symbols = symbols_of(first.base)
        channels: list[Indices] = []
        for other in paths:
            sizes = other[key].sizes(symbols)
            if (
                sizes is None
                or len(sizes[-1]) != 4
                or sizes[-1][0] != sizes[0][0]
                or sizes[-1][2:] != sizes[0][2:]
            ):
                break
            _, planes, height, width = sizes[0]
            count = sizes[-1][1]
            picked = other[key].source(sizes, np.arange(count, dtype=np.int64) * height * width) // (
                height * width
            )
            rng = np.random.default_rng(0)
            n, c, y, x = (rng.integers(0, size, _SAMPLE) for size in sizes[-1])
            found = other[key].source(sizes, ((n * count + c) * height + y) * width + x)
            if not np.array_equal(found, ((n * planes + picked[c]) * height + y) * width + x):
                break
            channels.append(picked)
        if len(channels) == 4:
            match.base, match.channels = first.base, np.stack(channels)
            return


def _complete(match: Wavelet) -> bool:
    """True where the bands are all the channels of the base, each once."""
    known = dims(match.base)
    size = match.channels.size
    return (
        known is not None
        and known[1] == size
        and np.array_equal(np.sort(match.channels.reshape(-1)), np.arange(size))
    )


def _mixable(match: Wavelet) -> Node | None:
    """The convolution right before the bands, where the transform can move into its weights."""
    node = match.base.producer() if match.base is not None else None
    if node is None or node.op_type != "Conv" or node.domain != "" or not _complete(match):
        return None
    weight, bias = node.inputs[1], node.inputs[2] if len(node.inputs) > 2 else None
    if constant_array(weight) is None or weight is None or use_count(weight) != 1:
        return None
    if node.attributes.get_int("group", 1) != 1 or (bias is not None and constant_array(bias) is None):
        return None
    readers = {use.node for use in node.outputs[0].uses()}
    inside = {step for band in match.bands for chain in chains(band) for step, _ in chain.steps}
    return node if readers <= inside and not node.outputs[0].is_graph_output() else None


def _mix(match: Wavelet, node: Node, rewriter: Rewriter) -> Value:
    """A convolution that yields the four phases."""
    count = match.channels.shape[1]
    matrix = np.zeros((4, count, 4 * count))
    for band, pattern in enumerate(_PATTERNS):
        for phase in range(4):
            factor = match.scale * pattern[phase] * match.signs[band]
            matrix[phase, np.arange(count), match.channels[band]] += factor
    matrix = matrix.reshape(4 * count, 4 * count)
    weight, bias = (
        constant_array(node.inputs[1]),
        constant_array(node.inputs[2] if len(node.inputs) > 2 else None),
    )
    assert weight is not None
    mixed = np.tensordot(matrix, weight.astype(np.float64), 1).astype(weight.dtype)
    shifted = (
        None if bias is None else rewriter.constant((matrix @ bias.astype(np.float64)).astype(bias.dtype))
    )
    attributes: dict[str, Any] = dict(node.attributes.items())
    return rewriter.op("Conv", node.inputs[0], rewriter.constant(mixed), shifted, **attributes)


def _cut_out(match: Wavelet, rewriter: Rewriter) -> list[Value]:
    """The four bands as they are."""
    if match.base is None:
        return list(match.bands)
    base = match.base
    return [_cut(base, channels, rewriter) for channels in match.channels]


def _ordered(match: Wavelet, rewriter: Rewriter) -> list[Value] | None:
    """The four bands, scaled, as the parts of a Split; None where the base can't be brought into that order for nothing."""
    count = match.channels.shape[1]
    if match.base is None or not _complete(match):
        return None
    scale = np.tile(np.broadcast_to(match.scale, (count,)), 4)
    ordered = _reordered(match, match.base, scale, rewriter)
    if ordered is None:
        return None
    sizes = rewriter.constant(np.full(4, count, np.int64))
    return list(rewriter.ops("Split", ordered, sizes, outputs=4, axis=1))


def _reordered(
    match: Wavelet, base: Value, scale: npt.NDArray[np.float64], rewriter: Rewriter
) -> Value | None:
    """The base with its channels in the order of the bands and scaled, None where that would take more than constants."""
    inside = {step for band in match.bands for chain in chains(band) for step, _ in chain.steps}
    if base.is_graph_output() or not {use.node for use in base.uses()} <= inside:
        return None
    order = Order(match.channels.reshape(-1), scale)
    for attempt, rest in ((order, None), (order.plain, scale)):
        try:
            actions = plan(base, attempt)
        except MatchFailure:
            continue
        for act in actions:
            act(rewriter)
        return base if rest is None else _scaled(base, rest, rewriter)
    return None


def _cut(base: Value, channels: Indices, rewriter: Rewriter) -> Value:
    """Some channels of a value: one slice where they are evenly spaced."""
    steps = np.diff(channels)
    if steps.size and ((steps != steps[0]).any() or steps[0] < 1):
        return rewriter.op("Gather", base, rewriter.constant(channels), axis=1)
    step = int(steps[0]) if steps.size else 1
    bounds = [int(channels[0]), int(channels[-1]) + 1, 1, step]
    return rewriter.op("Slice", base, *(rewriter.constant(np.array([item], np.int64)) for item in bounds))


def _scaled(value: Value, scale: npt.NDArray[np.float64], rewriter: Rewriter) -> Value:
    if (scale == 1).all():
        return value
    factor = scale[:1].reshape(()) if (scale == scale[0]).all() else scale.reshape(-1, 1, 1)
    assert value.dtype is not None
    return rewriter.op("Mul", value, rewriter.constant(factor.astype(value.dtype.numpy())))


def _butterfly(match: Wavelet, bands: list[Value], rewriter: Rewriter) -> list[Value]:
    """The four phases 00, 01, 10, 11 in eight sums."""
    low, row, column, both = bands
    _, row_sign, column_sign, both_sign = match.signs

    def pair(a: Value, b: Value, sign: int) -> tuple[Value, Value]:
        total, difference = rewriter.op("Add", a, b), rewriter.op("Sub", a, b)
        return (total, difference) if sign > 0 else (difference, total)

    sum_low, difference_low = pair(low, row, row_sign)
    sum_high, difference_high = pair(column, both, column_sign * both_sign)
    top = pair(sum_low, sum_high, column_sign)
    bottom = pair(difference_low, difference_high, column_sign)
    return [*top, *bottom]
