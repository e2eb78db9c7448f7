"""Building resampling out of ops that run well: depthwise convolutions, one resize, or one transposed convolution."""

from __future__ import annotations

import numpy as np

from graphrewrite.ir import DataType, Value
from graphrewrite.rewrite import Rewriter

from .upfirdn import Pair, Taps, UpFirDn

DENSE_CHANNELS = 4
"""Up to this many channels a dense transposed convolution (one op) is cheaper than a resize and a filter."""
_TO_END = (1 << 63) - 1
_BILINEAR = np.array([1.0, 3.0, 3.0, 1.0]) / 4


def build(f: UpFirDn, rewriter: Rewriter) -> Value:
    """`f` in the first form that expresses it exactly."""
    if f.up == (1, 1):
        return _filter(f.x, f, f.taps, f.separable, f.pads, f.down, rewriter)
    for form in (_transposed, _bilinear, _nearest):
        result = form(f, rewriter)
        if result is not None:
            return result
    return _polyphase(f, rewriter)


def can_build(f: UpFirDn) -> bool:
    """True where one of the forms holds `f`; only unequal factors without a common filter fall through."""
    return f.up[0] == f.up[1] or _transposed_pads(f) is not None or _quotients(f) is not None


def _constant(content: Taps, like: Value, rewriter: Rewriter) -> Value:
    dtype = like.dtype or DataType.FLOAT
    return rewriter.constant(np.ascontiguousarray(content).astype(dtype.numpy()))


def _ints(content: list[int], rewriter: Rewriter) -> Value:
    return rewriter.constant(np.array(content, np.int64))


def _crop(x: Value, pads: tuple[int, int, int, int], rewriter: Rewriter) -> tuple[Value, list[int]]:
    """`x` without what negative pads cut off, and the pads that are left."""
    if min(pads) >= 0:
        return x, list(pads)
    top, left, bottom, right = (min(item, 0) for item in pads)
    ends = [bottom or _TO_END, right or _TO_END]
    x = rewriter.op(
        "Slice",
        x,
        _ints([-top, -left], rewriter),
        _ints(ends, rewriter),
        _ints([2, 3], rewriter),
        _ints([1, 1], rewriter),
    )
    return x, [max(item, 0) for item in pads]


def _conv(
    x: Value, weight: Taps, pads: tuple[int, int, int, int], strides: Pair, group: int, rewriter: Rewriter
) -> Value:
    x, rest = _crop(x, pads, rewriter)
    return rewriter.op(
        "Conv",
        x,
        _constant(weight, x, rewriter),
        dilations=[1, 1],
        group=group,
        kernel_shape=list(weight.shape[2:]),
        pads=rest,
        strides=list(strides),
    )


def _filter(
    x: Value,
    f: UpFirDn,
    taps: Taps,
    separable: tuple[Taps, Taps] | None,
    pads: tuple[int, int, int, int],
    strides: Pair,
    rewriter: Rewriter,
) -> Value:
    """A depthwise convolution, or one for the rows and one for the columns."""
    top, left, bottom, right = pads
    if separable is None or 1 in taps.shape[1:]:
        if taps.shape[1:] == (1, 1) and (taps == 1).all() and strides == (1, 1) and not any(pads):
            return x
        weight = np.broadcast_to(taps[:, None], (f.channels, 1, *taps.shape[1:]))
        return _conv(x, weight, pads, strides, f.channels, rewriter)
    columns, rows = (np.broadcast_to(item, (f.channels, item.shape[1])) for item in separable)
    x = _conv(x, rows[:, None, None, :], (0, left, 0, right), (1, strides[1]), f.channels, rewriter)
    return _conv(x, columns[:, None, :, None], (top, 0, bottom, 0), (strides[0], 1), f.channels, rewriter)


def _decimated(y: Value, down: Pair, rewriter: Rewriter) -> Value:
    if down == (1, 1):
        return y
    return rewriter.op(
        "Slice",
        y,
        _ints([0, 0], rewriter),
        _ints([_TO_END, _TO_END], rewriter),
        _ints([2, 3], rewriter),
        _ints(list(down), rewriter),
    )


# -- one transposed convolution ----------------------------------------------------------------------------------------


def _transposed_pads(f: UpFirDn) -> tuple[list[int], list[int]] | None:
    """Pads and output padding of the transposed convolution, None where it has none."""
    if f.channels > DENSE_CHANNELS:
        return None
    begins, ends, extra = [], [], []
    for axis in (0, 1):
        size, up = f.taps.shape[1 + axis], f.up[axis]
        begin, end = size - 1 - f.pads[axis], size - up - f.pads[2 + axis]
        if begin < 0 or -end >= up:
            return None
        begins.append(begin)
        ends.append(max(end, 0))
        extra.append(max(-end, 0))
    return begins + ends, extra


def _transposed(f: UpFirDn, rewriter: Rewriter) -> Value | None:
    """Few channels: a dense transposed convolution, whose weight is zero off the diagonal."""
    found = _transposed_pads(f)
    if found is None:
        return None
    pads, extra = found
    weight = np.zeros((f.channels, f.channels, *f.taps.shape[1:]))
    weight[np.arange(f.channels), np.arange(f.channels)] = f.taps[:, ::-1, ::-1]
    y = rewriter.op(
        "ConvTranspose",
        f.x,
        _constant(weight, f.x, rewriter),
        dilations=[1, 1],
        group=1,
        kernel_shape=list(weight.shape[2:]),
        output_padding=extra if any(extra) else None,
        pads=pads,
        strides=list(f.up),
    )
    return _decimated(y, f.down, rewriter)


# -- one resize --------------------------------------------------------------------------------------------------------


def _resize(x: Value, up: Pair, rewriter: Rewriter, **attributes: str) -> Value:
    scales = rewriter.constant(np.array([1, 1, *up], np.float32))
    return rewriter.op("Resize", x, None, scales, **attributes)


def _bilinear(f: UpFirDn, rewriter: Rewriter) -> Value | None:
    """The filter [1, 3, 3, 1] / 4 at factor 2 is bilinear interpolation, of an image with a border of zeros."""
    if f.up != (2, 2) or f.taps.shape[1:] != (4, 4):
        return None
    kernel = np.outer(_BILINEAR, _BILINEAR)
    gain = f.taps[:, 1, 1] / kernel[1, 1]
    if not np.allclose(
        f.taps, gain[:, None, None] * kernel, rtol=1e-6, atol=1e-7 * float(np.abs(gain).max(initial=0))
    ):
        return None
    top, left, bottom, right = f.pads
    if max(top, left) > 4 or max(bottom, right) > 3:
        return None
    x = rewriter.op("Pad", f.x, _ints([0, 0, 1, 1, 0, 0, 1, 1], rewriter))
    y = _resize(x, (2, 2), rewriter, mode="linear", coordinate_transformation_mode="half_pixel")
    y = rewriter.op(
        "Slice",
        y,
        _ints([4 - top, 4 - left], rewriter),
        _ints([bottom - 3 or _TO_END, right - 3 or _TO_END], rewriter),
        _ints([2, 3], rewriter),
        _ints(list(f.down), rewriter),
    )
    if np.allclose(gain, 1, rtol=1e-6):
        return y
    return rewriter.op("Mul", y, _constant(gain.reshape(-1, 1, 1), y, rewriter))


def _divide(taps: Taps, up: int) -> Taps | None:
    """`taps` [C, k] / the box of `up` ones, None where a remainder is left."""
    size = taps.shape[1] - up + 1
    if size < 1:
        return None
    quotient = np.zeros((taps.shape[0], size))
    rest = taps.copy()
    for index in range(size):
        quotient[:, index] = rest[:, index]
        rest[:, index : index + up] -= quotient[:, index : index + 1]
    tolerance = 1e-6 * float(np.abs(taps).max(initial=0))
    return quotient if bool((np.abs(rest) <= tolerance).all()) else None


def _divide_axis(taps: Taps, axis: int, up: int) -> Taps | None:
    moved = np.moveaxis(taps, axis, -1)
    flat = _divide(moved.reshape(-1, moved.shape[-1]), up)
    return None if flat is None else np.moveaxis(flat.reshape(*moved.shape[:-1], -1), -1, axis)


def _quotients(f: UpFirDn) -> tuple[Taps, tuple[Taps, Taps] | None] | None:
    """What is left of the filter after nearest-neighbour enlargement, None where that does not divide it."""
    rest = _divide_axis(f.taps, 1, f.up[0])
    rest = None if rest is None else _divide_axis(rest, 2, f.up[1])
    if rest is None:
        return None
    if f.separable is None:
        return rest, None
    columns, rows = (_divide(part, up) for part, up in zip(f.separable, f.up, strict=True))
    return rest, None if columns is None or rows is None else (columns, rows)


def _nearest(f: UpFirDn, rewriter: Rewriter) -> Value | None:
    """Zero insertion and a box is nearest-neighbour enlargement; the quotient filter remains."""
    found = _quotients(f)
    if found is None:
        return None
    taps, separable = found
    y = _resize(
        f.x, f.up, rewriter, mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"
    )
    top, left, bottom, right = f.pads
    pads = (top - f.up[0] + 1, left - f.up[1] + 1, bottom, right)
    return _filter(y, f, taps, separable, pads, f.down, rewriter)


# -- polyphase ---------------------------------------------------------------------------------------------------------


def _polyphase(f: UpFirDn, rewriter: Rewriter) -> Value:
    """One filter for each of the up * up phases of the result, computed on the small image, then DepthToSpace."""
    up = f.up[0]
    lowest, sizes, ends, crop = [], [], [], []
    for axis in (0, 1):
        size, front, back = f.taps.shape[1 + axis], f.pads[axis], f.pads[2 + axis]
        low, high = -front // up, (up - 1 + size - 1 - front) // up
        extra = front + back - size + 1  # the result has up * H + extra rows
        more = -(-extra // up)
        lowest.append(low)
        sizes.append(high - low + 1)
        ends.append(more + high)
        crop.append(extra - more * up)
    weight = np.zeros((f.channels, up, up, *sizes))
    for (py, px), _ in np.ndenumerate(np.zeros((up, up))):
        for (ky, kx), _ in np.ndenumerate(f.taps[0]):
            (jy, ry), (jx, rx) = divmod(py + ky - f.pads[0], up), divmod(px + kx - f.pads[1], up)
            if ry == 0 and rx == 0:
                weight[:, py, px, jy - lowest[0], jx - lowest[1]] = f.taps[:, ky, kx]
    pads = (-lowest[0], -lowest[1], ends[0], ends[1])
    y = _conv(f.x, weight.reshape(-1, 1, *sizes), pads, (1, 1), f.channels, rewriter)
    y = rewriter.op("DepthToSpace", y, blocksize=up, mode="CRD")
    if any(crop):
        y = rewriter.op(
            "Slice",
            y,
            _ints([0, 0], rewriter),
            _ints([item or _TO_END for item in crop], rewriter),
            _ints([2, 3], rewriter),
            _ints([1, 1], rewriter),
        )
    return _decimated(y, f.down, rewriter)
