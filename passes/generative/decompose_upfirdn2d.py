"""Resampling by zero insertion and FIR filter becomes resizes and depthwise convolutions."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from graphrewrite.ir import Model, Node, Value, constant_array, dims, sole_reader, static_dims
from graphrewrite.pipeline import Pass, Stage
from graphrewrite.rewrite import Match, MatchFailure, Rewriter, RuleStatistics, all_nodes, apply_rules

from .movement import Sizes
from .upfirdn import (
    Decimation,
    Filter,
    Insertion,
    Taps,
    UpFirDn,
    conv_sizes,
    find_decimation,
    find_insertion,
    per_channel,
)
from .upfirdn_forms import build, can_build

_CUSTOM = frozenset({"upfirdn2d", "upfirdn2dop", "upfirdn2d_plugin", "upfirdn2dplugin"})


@dataclasses.dataclass(frozen=True)
class DecomposeUpfirdn2d(Pass):
    """Spell upfirdn2d (zero insertion, padding or cropping, FIR filter, decimation) in ops that run well.

        Reshape -> Pad rank 6 -> Reshape -> Pad -> Transpose -> Reshape -> Conv 4x4 -> Reshape -> Transpose -> Reshape
        --->
        Pad(1) -> Resize(linear, x2) -> Slice       up 2 by [1, 3, 3, 1]
        Resize(nearest, xN) -> depthwise Conv       up N where the box of N divides the filter: the quotient remains
        ConvTranspose                               up N of up to 4 channels: one dense op
        depthwise Conv -> DepthToSpace              up N otherwise: one filter a phase
        depthwise Conv {strides}                    blur, down

    Any spelling: channels moved to the batch or kept, channels-last on the way, pads folded into the
    convolution or not, filters two-dimensional or separable, negative padding, batch in the channels, a
    depthwise ConvTranspose, or a custom `upfirdn2d` op. What counts is which element comes from where. Exact.
    """

    stage = Stage.GENERATIVE
    after = ("fold-weight-demodulation", "lower-idwt")

    def run(self, model: Model, rewriter: Rewriter) -> dict[str, RuleStatistics]:
        """Custom ops first, then convolutions with a constant filter."""
        for node in list(all_nodes(model.graph)):
            if node.op_type.lower() in _CUSTOM and rewriter.allowed():
                _replace_custom(node, rewriter)
        return apply_rules(model, [_Filtered(), _Transposed()], rewriter)


@dataclasses.dataclass
class _Found(Match):
    """A resampling and the value that it computes."""

    f: UpFirDn | None = None
    result: Value | None = None
    sizes: Sizes = ()


class _Filtered:
    """Convolutions with a constant filter, with what moves elements around them."""

    name = "decompose-filtered"
    roots = ("Conv",)

    def match(self, node: Node) -> Match:
        """The whole resampling that the convolution is the filter of."""
        first = Filter.of(node)
        operand = node.inputs[0]
        if operand is None:
            raise MatchFailure("the operand is absent", node)
        insertion = find_insertion(operand)
        second = _second(first)
        last = second or first
        filtered = conv_sizes(first, insertion.operand)
        filtered = conv_sizes(second, filtered) if second is not None else filtered
        planes = insertion.operand[0] * insertion.operand[1]
        decimation = find_decimation(last.node.outputs[0], filtered, planes)
        _check_worth(insertion, decimation, operand)
        f = _assemble(first, second, insertion, decimation, planes)
        if not can_build(f):
            raise MatchFailure("the factors differ and no form holds that", node)
        return _Found(node, {}, {}, (node, last.node), f, decimation.value, decimation.sizes)

    def rewrite(self, match: Match, rewriter: Rewriter) -> None:
        """Replace the end of the chain."""
        assert isinstance(match, _Found)
        assert match.f is not None
        assert match.result is not None
        end = match.result.producer()
        assert end is not None
        with rewriter.rewrite("decompose-filtered", end, match.nodes):
            y = build(match.f, rewriter)
            wanted = dims(match.result)
            if wanted is not None and wanted != dims(y) and match.sizes[:2] != _leading(match.f):
                y = rewriter.op("Reshape", y, rewriter.constant(_target(wanted, match.sizes)))
            rewriter.replace(end, y)


def _leading(f: UpFirDn) -> Sizes | None:
    known = static_dims(f.x)
    return None if known is None else known[:2]


def _target(wanted: Sequence[int | str | None], sizes: Sizes) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """A Reshape target for the planes in another split; only the first dimension may be unknown."""
    return np.array([-1, *sizes[1:]] if not isinstance(wanted[0], int) else [*sizes], np.int64)


def _check_worth(insertion: Insertion, decimation: Decimation, operand: Value) -> None:
    """Fail where the filter stands alone already, so that the rewrite ends."""
    if insertion.up != (1, 1):
        return
    if decimation.step != (1, 1) or decimation.start != (0, 0):
        return
    producer = operand.producer()
    only_cropped = insertion.steps == 1 and producer is not None and producer.op_type == "Slice"
    if insertion.steps == 0 or only_cropped:
        raise MatchFailure("the convolution is an ordinary one", operand)


def _second(first: Filter) -> Filter | None:
    """The filter of the other axis behind a one-dimensional one."""
    kernel = first.taps.shape[1:]
    user = sole_reader(first.node.outputs[0])
    if (
        1 not in kernel
        or kernel == (1, 1)
        or first.strides != (1, 1)
        or user is None
        or user.op_type != "Conv"
    ):
        return None
    if user.inputs[0] is not first.node.outputs[0] or user.domain != "":
        return None
    try:
        second = Filter.of(user)
    except MatchFailure:
        return None
    other = second.taps.shape[1:]
    along = 0 if kernel[0] == 1 else 1  # axis of the second filter
    if other[1 - along] != 1 or other == (1, 1) or second.pads[1 - along] or second.pads[3 - along]:
        return None
    return second if second.strides[1 - along] == 1 else None


def _assemble(
    first: Filter, second: Filter | None, insertion: Insertion, decimation: Decimation, planes: int
) -> UpFirDn:
    channels, size = insertion.sizes[1], insertion.sizes[2:]
    taps = per_channel(first.taps, planes, channels)
    separable: tuple[Taps, Taps] | None = None
    pads, strides = list(first.pads), first.strides
    if second is not None:
        other = per_channel(second.taps, planes, channels)
        pads = [a + b for a, b in zip(pads, second.pads, strict=True)]
        strides = second.strides
        columns, rows = (other[:, :, 0], taps[:, 0]) if taps.shape[1] == 1 else (taps[:, :, 0], other[:, 0])
        separable = columns, rows
        taps = columns[:, :, None] * rows[:, None, :]
    down = strides[0] * decimation.step[0], strides[1] * decimation.step[1]
    for axis in (0, 1):
        natural = (
            insertion.operand[2 + axis]
            - insertion.offset[axis]
            - size[axis] * insertion.up[axis]
            + pads[2 + axis]
        )
        front = insertion.offset[axis] + pads[axis] - decimation.start[axis] * strides[axis]
        wanted = decimation.sizes[2 + axis]
        span = size[axis] * insertion.up[axis] + front - taps.shape[1 + axis]
        exact = (wanted - 1) * down[axis] - span
        pads[axis], pads[2 + axis] = front, natural if (span + natural) // down[axis] + 1 == wanted else exact
        known = dims(insertion.x)
        if pads[2 + axis] != natural and (known is None or not isinstance(known[2 + axis], int)):
            raise MatchFailure("an image of unknown size is cropped", insertion.x)
    top, left, bottom, right = pads
    return UpFirDn(insertion.x, channels, insertion.up, down, (top, left, bottom, right), taps, separable)


class _Transposed:
    """Depthwise transposed convolutions: the same resampling under another name."""

    name = "decompose-transposed"
    roots = ("ConvTranspose",)

    def match(self, node: Node) -> Match:
        """A ConvTranspose with one input and one output channel a group."""
        shape, weight = static_dims(node.inputs[1]), constant_array(node.inputs[1])
        x, group = node.inputs[0], node.attributes.get_int("group", 1)
        if (
            x is None
            or shape is None
            or weight is None
            or len(shape) != 4
            or group < 2
            or shape[:2] != (group, 1)
        ):
            raise MatchFailure("the convolution mixes channels, or its weight is not known", node)
        if (
            any(item != 1 for item in node.attributes.get_ints("dilations", ()))
            or "output_shape" in node.attributes
        ):
            raise MatchFailure("it is dilated, or its padding follows from a size", node)
        if node.attributes.get_string("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
            raise MatchFailure("auto_pad", node)
        pads = node.attributes.get_ints("pads", None) or (0, 0, 0, 0)
        up = node.attributes.get_ints("strides", None) or (1, 1)
        extra = node.attributes.get_ints("output_padding", None) or (0, 0)
        taps = weight.reshape(group, *shape[2:])[:, ::-1, ::-1].astype(np.float64)
        taps = taps[:1] if (taps == taps[:1]).all() else taps
        front = [shape[2 + axis] - 1 - pads[axis] for axis in (0, 1)]
        back = [shape[2 + axis] - up[axis] - pads[2 + axis] + extra[axis] for axis in (0, 1)]
        f = UpFirDn(x, group, (up[0], up[1]), (1, 1), (front[0], front[1], back[0], back[1]), taps)
        if not can_build(f):
            raise MatchFailure("the factors differ and no form holds that", node)
        return _Found(node, {}, {}, (node,), f, node.outputs[0])

    def rewrite(self, match: Match, rewriter: Rewriter) -> Value:
        """The resampling and the bias."""
        assert isinstance(match, _Found)
        assert match.f is not None
        y = build(match.f, rewriter)
        bias = match.root.inputs[2] if len(match.root.inputs) > 2 else None
        if bias is None:
            return y
        shape = rewriter.constant(np.array([1, -1, 1, 1], np.int64))
        return rewriter.op("Add", y, rewriter.op("Reshape", bias, shape))


def _replace_custom(node: Node, rewriter: Rewriter) -> None:
    """A custom op `upfirdn2d(x, filter)`: attributes `up`, `down`, `pad` in any of their public spellings."""
    x, kernel = (*node.inputs, None, None)[:2]
    known, taps = dims(x), constant_array(kernel)
    if (
        x is None
        or known is None
        or taps is None
        or len(known) != 4
        or not isinstance(known[1], int)
        or taps.ndim not in (1, 2)
    ):
        return
    up, down = _factors(node, "up"), _factors(node, "down")
    x0, x1, y0, y1 = _custom_pads(node)
    wide = taps.astype(np.float64) * node.attributes.get_float("gain", 1.0)
    if node.attributes.get_int("flip_filter", node.attributes.get_int("flip", 0)) == 0:
        wide = wide[::-1] if wide.ndim == 1 else wide[::-1, ::-1]
    separable = (wide[None], wide[None]) if wide.ndim == 1 else None
    if wide.ndim == 1:
        wide = np.outer(wide, wide)
    f = UpFirDn(x, known[1], up, down, (y0, x0, y1, x1), wide[None], separable)
    if can_build(f):
        with rewriter.rewrite("decompose-custom", node):
            rewriter.replace(node, build(f, rewriter))


def _factors(node: Node, name: str) -> tuple[int, int]:
    """(vertical, horizontal) factor: `up=2`, `up=[x, y]`, or `up_x` and `up_y`."""
    attribute = node.attributes.get(name)
    if attribute is None:
        return node.attributes.get_int(f"{name}_y", 1), node.attributes.get_int(f"{name}_x", 1)
    items = list(attribute.value) if isinstance(attribute.value, list | tuple) else [attribute.value]
    return int(items[-1]), int(items[0])


def _custom_pads(node: Node) -> tuple[int, int, int, int]:
    """(left, right, top, bottom): `pad=1`, `[both, both]`, `[x0, x1, y0, y1]`, or `pad_x0` ... `pad_y1`."""
    for name in ("pad", "padding", "pads"):
        attribute = node.attributes.get(name)
        if attribute is not None:
            items = list(attribute.value) if isinstance(attribute.value, list | tuple) else [attribute.value]
            if len(items) == 1:
                items = items * 4
            x0, x1, y0, y1 = items if len(items) == 4 else (items[0], items[1]) * 2
            return int(x0), int(x1), int(y0), int(y1)
    x0, x1, y0, y1 = (node.attributes.get_int(f"pad_{axis}", 0) for axis in ("x0", "x1", "y0", "y1"))
    return x0, x1, y0, y1
