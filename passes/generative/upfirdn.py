"""Recognising zero insertion, padding or cropping, FIR filtering and decimation, however it is spelled."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from graphrewrite.ir import Node, Value, constant_array, dims, sole_reader, static_dims
from graphrewrite.rewrite import MatchFailure

from .movement import UNKNOWN, Chain, Indices, Sizes, chains, is_move, moved_sizes

Taps = npt.NDArray[np.float64]
Pair = tuple[int, int]

_STAND_INS = {"batch": 2, "height": 6, "width": 7}
"""Sizes that stand for symbolic dimensions while element maps are compared."""
_WINDOW = 48
"""Rows and columns of the zero-inserted map in which the first two elements along each axis must lie."""
_SAMPLE = 8192
"""Random places, besides the ends, at which two element maps must agree. Chains of views are linear in pieces that are large
parts of the tensor, so maps that differ do so at many of these."""


@dataclasses.dataclass
class UpFirDn:
    """`y[oy, ox] = sum_k taps[k] * padded[oy * down + k]`, padded = pads around x with up - 1 zeros after every element.

    Vertical first in every pair. A `taps` of rank 3 is `[C, kh, kw]`; C is 1 where all channels share one
    filter. `pads` is (top, left, bottom, right); negative ones crop.
    """

    x: Value
    channels: int
    up: Pair
    down: Pair
    pads: tuple[int, int, int, int]
    taps: Taps
    separable: tuple[Taps, Taps] | None = None
    """Columns `[C, kh]` and rows `[C, kw]` whose product `taps` is, where the model filters them apart."""

    def outputs(self, size: Sequence[int]) -> Pair:
        """Height and width of the result for an operand of `size`."""
        top, left, bottom, right = self.pads
        found = [
            (size[axis] * self.up[axis] + front + back - self.taps.shape[1 + axis]) // self.down[axis] + 1
            for axis, (front, back) in enumerate(((top, bottom), (left, right)))
        ]
        return found[0], found[1]


def symbols_of(value: Value) -> dict[str, int]:
    """Numbers that stand for the symbolic dimensions of an `[N, C, H, W]` value."""
    known = dims(value) or ()
    names = ("batch", "channels", "height", "width")
    found: dict[str, int] = {}
    for name, dim in zip(names, known, strict=False):
        if isinstance(dim, str):
            found.setdefault(dim, _STAND_INS.get(name, 4))
        elif dim is None:
            found.setdefault(UNKNOWN, _STAND_INS.get(name, 4))
    return found


@dataclasses.dataclass
class Filter:
    """A depthwise convolution with a constant filter: one for all channels, or one a channel."""

    node: Node
    taps: Taps
    """[C, kh, kw], C = 1 where shared."""
    pads: tuple[int, int, int, int]
    strides: Pair

    @staticmethod
    def of(node: Node) -> Filter:
        """`node` as a filter.

        Raises:
            MatchFailure: it mixes channels, or its weight is not known.
        """
        shape = static_dims(node.inputs[1])
        weight = constant_array(node.inputs[1])
        if shape is None or weight is None or len(shape) != 4 or weight.dtype.kind != "f":
            raise MatchFailure("the weight is no constant filter of two dimensions", node)
        group = node.attributes.get_int("group", 1)
        if shape[1] != 1 or group != shape[0]:
            raise MatchFailure("the convolution mixes channels", node)
        if any(item != 1 for item in node.attributes.get_ints("dilations", ())):
            raise MatchFailure("the filter is dilated", node)
        if node.attributes.get_string("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
            raise MatchFailure("auto_pad", node)
        if len(node.inputs) > 2 and node.inputs[2] is not None:
            raise MatchFailure("the filter has a bias", node)
        top, left, bottom, right = node.attributes.get_ints("pads", None) or (0, 0, 0, 0)
        dy, dx = node.attributes.get_ints("strides", None) or (1, 1)
        taps = weight.reshape(shape[0], *shape[2:]).astype(np.float64)
        if (taps == taps[:1]).all():
            taps = taps[:1]
        return Filter(node, taps, (top, left, bottom, right), (dy, dx))


def forward_chains(value: Value) -> list[Chain]:
    """Chains of moving nodes that begin at `value` and whose steps nothing else reads, longest first."""
    found = [Chain(value, value, ())]
    while True:
        node = sole_reader(found[-1].value)
        if (
            node is None
            or not is_move(node)
            or node.inputs[0] is not found[-1].value
            or len(node.outputs) != 1
        ):
            return found[::-1]
        found.append(Chain(value, node.outputs[0], (*found[-1].steps, (node, 0))))


@dataclasses.dataclass(frozen=True)
class Insertion:
    """How a filter's operand comes from `x`: zeros inserted, padded; row r of the operand is channel plane r of x."""

    x: Value
    sizes: Sizes
    up: Pair
    offset: Pair
    """Where element (0, 0) of x lies in the operand; negative where it is cropped."""
    operand: Sizes
    steps: int


def find_insertion(value: Value) -> Insertion:
    """The longest chain behind `value` that inserts zeros into, pads or crops an `[N, C, H, W]` value.

    Raises:
        MatchFailure: there is none, not even the empty one.
    """
    best: Insertion | None = None
    for chain in chains(value):
        known = dims(chain.base)
        if known is None or len(known) != 4 or not isinstance(known[1], int):
            continue
        sizes = chain.sizes(symbols_of(chain.base))
        if sizes is not None and len(sizes[-1]) == 4:
            found = _insertion(chain, sizes)
            best = found if found is not None else best
    if best is None:
        raise MatchFailure("the operand is no resampled image", value)
    return best


def _insertion(chain: Chain, sizes: list[Sizes]) -> Insertion | None:
    n, c, h, w = sizes[0]
    rows, channels, height, width = sizes[-1]
    if rows * channels != n * c or h < 2 or w < 2:
        return None
    flat = np.arange(min(height, _WINDOW))[:, None] * width + np.arange(min(width, _WINDOW))
    window = chain.source(sizes, flat.reshape(-1).astype(np.int64)).reshape(flat.shape)
    ys, xs = np.nonzero(window >= 0)
    if not ys.size:
        return None
    y0, x0 = int(ys.min()), int(xs.min())
    first = int(window[y0, x0])
    below = np.flatnonzero(window[y0 + 1 :, x0] >= 0)
    beside = np.flatnonzero(window[y0, x0 + 1 :] >= 0)
    if first < 0 or not below.size or not beside.size or first >= h * w:
        return None
    up = int(below[0]) + 1, int(beside[0]) + 1
    offset = y0 - up[0] * (first // w), x0 - up[1] * (first % w)
    if not np.array_equal(*_compare(chain, sizes, up, offset)):
        return None
    return Insertion(chain.base, sizes[0], up, offset, sizes[-1], len(chain.steps))


def _compare(chain: Chain, sizes: list[Sizes], up: Pair, offset: Pair) -> tuple[Indices, Indices]:
    """Elements of the base at sampled points of the operand, as the chain says and as they should be."""
    _, _, h, w = sizes[0]
    total_rows = sizes[-1][0] * sizes[-1][1]
    height, width = sizes[-1][2:]
    rng = np.random.default_rng(0)
    y_axis, x_axis = np.arange(height), np.arange(width)
    parts = [
        (
            rng.integers(0, total_rows, _SAMPLE),
            rng.integers(0, height, _SAMPLE),
            rng.integers(0, width, _SAMPLE),
        )
    ]
    for plane in (0, total_rows // 2, total_rows - 1):
        for other in (offset[1] % up[1], (offset[1] + up[1] * (w - 1)) % width):
            parts.append((np.full(height, plane), y_axis, np.full(height, min(other, width - 1))))
        for other in (offset[0] % up[0], (offset[0] + up[0] * (h - 1)) % height):
            parts.append((np.full(width, plane), np.full(width, min(other, height - 1)), x_axis))
    row, y, x = (np.concatenate([part[axis] for part in parts]).astype(np.int64) for axis in range(3))
    found = chain.source(sizes, (row * height + y) * width + x)
    sy, ry = np.divmod(y - offset[0], up[0])
    sx, rx = np.divmod(x - offset[1], up[1])
    inside = (ry == 0) & (rx == 0) & (sy >= 0) & (sy < h) & (sx >= 0) & (sx < w)
    return found, np.where(inside, (row * h + sy) * w + sx, -1)


@dataclasses.dataclass(frozen=True)
class Decimation:
    """How the end of a chain comes from a filter's result: every `step`-th element from `start` on."""

    value: Value
    sizes: Sizes
    start: Pair
    step: Pair
    steps: int


def find_decimation(result: Value, filtered: Sizes, planes: int) -> Decimation:
    """The longest chain of moves after a filter that only keeps every n-th element and rearranges planes in order."""
    for chain in forward_chains(result):
        sizes = [filtered]
        for node, output in chain.steps:
            after = moved_sizes(node, output, sizes[-1])
            if after is None:
                break
            sizes.append(after)
        if len(sizes) != len(chain.steps) + 1 or len(sizes[-1]) != 4 or sizes[-1][0] * sizes[-1][1] != planes:
            continue
        found = _decimation(chain, sizes)
        if found is not None:
            return found
    raise MatchFailure("the result is rearranged in another way", result)


def _decimation(chain: Chain, sizes: list[Sizes]) -> Decimation | None:
    rows, channels, height, width = sizes[-1]
    fh, fw = sizes[0][2:]
    corner = int(chain.source(sizes, np.zeros(1, np.int64))[0])
    start = corner // fw, corner % fw
    if corner < 0 or corner >= fh * fw:
        return None
    step = [1, 1]
    if height > 1:
        step[0] = int(chain.source(sizes, np.array([width], np.int64))[0]) // fw - start[0]
    if width > 1:
        step[1] = int(chain.source(sizes, np.ones(1, np.int64))[0]) % fw - start[1]
    if min(step) < 1:
        return None
    rng = np.random.default_rng(0)
    last = np.array([[rows * channels - 1], [height - 1], [width - 1]])
    points = np.stack([rng.integers(0, size[0] + 1, _SAMPLE) for size in last])
    corners = np.indices((2, 2, 2)).reshape(3, -1) * last
    row, y, x = np.concatenate([points, corners], axis=1).astype(np.int64)
    found = chain.source(sizes, (row * height + y) * width + x)
    fy, fx = start[0] + y * step[0], start[1] + x * step[1]
    wanted = (row * fh + fy) * fw + fx
    inside = (fy < fh) & (fx < fw)
    if not inside.all() or not np.array_equal(found, wanted):
        return None
    return Decimation(chain.value, sizes[-1], start, (step[0], step[1]), len(chain.steps))


def conv_sizes(filter_: Filter, operand: Sizes) -> Sizes:
    """Dimensions of a filter's result."""
    top, left, bottom, right = filter_.pads
    kh, kw = filter_.taps.shape[1:]
    height = (operand[2] + top + bottom - kh) // filter_.strides[0] + 1
    width = (operand[3] + left + right - kw) // filter_.strides[1] + 1
    return operand[0], operand[1], height, width


def per_channel(taps: Taps, planes: int, channels: int) -> Taps:
    """Filters of `planes` = N * C planes as `[C, ...]`.

    Raises:
        MatchFailure: they differ from image to image.
    """
    if taps.shape[0] == 1:
        return taps
    if planes % taps.shape[0]:
        raise MatchFailure("the filters do not divide the planes")
    # The convolution repeats its filters for every image of its own batch.
    repeated = np.tile(taps, (planes // taps.shape[0], *[1] * (taps.ndim - 1)))
    grouped = repeated.reshape(planes // channels, channels, *taps.shape[1:])
    if not (grouped == grouped[:1]).all():
        raise MatchFailure("the filters differ from image to image")
    return np.asarray(grouped[0])
