"""Sliding windows: what pads, strides and dilations mean along one axis, and which of TFLite's two paddings says it.

TFLite knows VALID (no padding) and SAME (as little as makes the output ceil(size / stride), the odd element behind). Everything
else is an explicit PAD in the channels-last frame before VALID.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from graphrewrite.ir import Dim, Value, dims, refine
from graphrewrite.registry import OpNode

from .views import crop

if TYPE_CHECKING:
    from graphrewrite.targets.coreml.builder import MIL
    from graphrewrite.targets.tflite.builder import TFLite


@dataclasses.dataclass(frozen=True)
class Axis:
    """One spatial axis of a convolution or pool, with ONNX's pads resolved.

    `size` and `out` are None where they are known only at run time. `same` is "upper" or "lower" where the pads follow from the
    size by ONNX's auto_pad rule and the size is unknown; `before` and `after` are then 0.
    """

    size: int | None
    taps: int
    stride: int
    dilation: int
    before: int
    after: int
    out: int | None
    same: str = ""
    ceil: bool = False

    @property
    def extent(self) -> int:
        """Elements from the first tap to the last."""
        return (self.taps - 1) * self.dilation + 1

    @property
    def behind(self) -> int:
        """Padding that the windows really touch behind the data; for an unknown size what they may touch."""
        if self.size is None or self.out is None:
            return self.after + (self.stride - 1 if self.ceil else 0)
        return max((self.out - 1) * self.stride + self.extent - self.size - self.before, 0)

    def is_valid(self) -> bool:
        """True where TFLite's VALID gives this axis."""
        if self.same:
            return False
        if self.size is None:
            return self.before == 0 and self.behind == 0
        return self.before == 0 and self.out == (self.size - self.extent) // self.stride + 1

    def is_same(self) -> bool:
        """True where TFLite's SAME gives this axis."""
        if self.size is None:
            constant = self.stride == 1 and self.before + self.after == self.extent - 1
            if self.same:  # ONNX can't say SAME with dilations of an unknown size, so neither could the operator's meaning
                return self.same == "upper" and self.dilation == 1
            return constant and self.before == (self.extent - 1) // 2
        out = -(-self.size // self.stride)
        total = max((out - 1) * self.stride + self.extent - self.size, 0)
        return self.out == out and self.before == total // 2

    def counts(self, *, include_pad: bool) -> list[int] | None:
        """How many taps of each window an average counts: inside the data, or inside data and pads; None for unknown sizes."""
        if self.size is None or self.out is None:
            return [self.taps] if include_pad and not self.ceil else None
        low = -self.before if include_pad else 0
        high = self.size + (self.after if include_pad else 0)
        starts = [index * self.stride - self.before for index in range(self.out)]
        return [
            sum(low <= start + tap * self.dilation < high for tap in range(self.taps)) for start in starts
        ]


UNIT = Axis(1, 1, 1, 1, 0, 0, 1)
"""An axis of one element that is added."""


def resolve(
    size: Dim, taps: int, stride: int, dilation: int, before: int, after: int, auto_pad: str, ceil: bool
) -> Axis:
    """The axis that ONNX's attributes describe. `before` and `after` must not be negative."""
    known = size if isinstance(size, int) else None
    extent = (taps - 1) * dilation + 1
    if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        if known is None and stride > 1:
            return Axis(known, taps, stride, dilation, 0, 0, None, auto_pad[5:].lower())
        out = known if known is None else -(-known // stride)
        total = extent - 1 if known is None or out is None else max((out - 1) * stride + extent - known, 0)
        before = total // 2 if auto_pad == "SAME_UPPER" else total - total // 2
        return Axis(known, taps, stride, dilation, before, total - before, out)
    if auto_pad == "VALID":
        before = after = 0
    if known is None:
        return Axis(known, taps, stride, dilation, before, after, None, ceil=ceil and stride > 1)
    span = known + before + after - extent
    out = (-(-span // stride) if ceil else span // stride) + 1
    if ceil and (out - 1) * stride >= known + before:
        out -= 1  # ONNX: a window that would start behind the data and its padding in front is dropped
    return Axis(known, taps, stride, dilation, before, after, out)


def spatial_attributes(node: OpNode, count: int) -> tuple[list[int], list[int], list[int]]:
    """`strides`, `dilations` and `pads` with ONNX's defaults for `count` spatial axes."""
    strides = node.attr("strides") or [1] * count
    dilations = node.attr("dilations") or [1] * count
    pads = node.attr("pads") or [0] * (2 * count)
    return list(strides), list(dilations), list(pads)


def window_axes(
    node: OpNode, t: TFLite, x: Value, kernel: Sequence[int], *, ceil: bool = False
) -> tuple[Value, list[Axis]]:
    """The axes of `node` over `x` [N, spatial..., C]; negative pads are cut off `x` here."""
    x = crop(t, x, _negative_pads(node, len(kernel), 1))
    sizes = (dims(x) or (None,) * (len(kernel) + 2))[1:-1]
    return x, _axes(node, sizes, kernel, ceil)


def first_window_axes(
    node: OpNode, m: MIL, x: Value, kernel: Sequence[int], *, ceil: bool = False
) -> tuple[Value, list[Axis]]:
    """The axes of `node` over `x` [N, C, spatial...] for Core ML; negative pads are cut off `x` here."""
    x = m.crop(x, _negative_pads(node, len(kernel), 2))
    sizes = (dims(x) or (None,) * (len(kernel) + 2))[2:]
    return x, _axes(node, sizes, kernel, ceil)


def mil_padding(node: OpNode, m: MIL, axes: Sequence[Axis]) -> tuple[str, list[int]]:
    """`pad_type` and `pad` of MIL's convolutions and pools. For run-time sizes MIL's `same` follows ONNX's rule.

    What ceil_mode adds behind the data is padding, too.
    """
    ways = {axis.same for axis in axes if axis.same}
    if "lower" in ways and m.target == "iOS15":
        node.refuse(
            "Core ML has SAME_LOWER of sizes that are known only at run time from iOS16 on",
            "--minimum-deployment-target iOS16, or fix the size with --shape",
        )
    if ways:
        return ("same_lower" if "lower" in ways else "same"), [0] * (2 * len(axes))
    pad = [amount for axis in axes for amount in (axis.before, max(axis.after, axis.behind))]
    return ("custom" if any(pad) else "valid"), pad


def _negative_pads(node: OpNode, count: int, first: int) -> dict[int, tuple[int, int]]:
    """What negative pads cut off, by axis, the first spatial one being `first`."""
    _, _, pads = spatial_attributes(node, count)
    if node.attr("auto_pad", "NOTSET") != "NOTSET":
        return {}
    return {i + first: (max(-pads[i], 0), max(-pads[i + count], 0)) for i in range(count)}


def _axes(node: OpNode, sizes: Sequence[Dim], kernel: Sequence[int], ceil: bool) -> list[Axis]:
    count = len(kernel)
    strides, dilations, pads = spatial_attributes(node, count)
    pads = [max(pad, 0) for pad in pads]
    auto_pad = node.attr("auto_pad", "NOTSET")
    axes = [
        resolve(sizes[i], kernel[i], strides[i], dilations[i], pads[i], pads[i + count], auto_pad, ceil)
        for i in range(count)
    ]
    for axis in axes:
        if auto_pad.startswith("SAME") and _is_negative(axis):
            node.refuse(
                f"auto_pad {auto_pad} with a window of {axis.extent} and a stride of {axis.stride} means negative padding, which "
                "ONNX Runtime realises differently in Conv and in pools",
                "write the pads out",
            )
        if axis.out is not None and axis.out < 1 and axis.size:
            node.refuse(
                f"the window of {axis.extent} does not fit into {axis.size} + {axis.before} + {axis.after} elements"
            )
        if axis.ceil and axis.after + axis.stride - 1 >= axis.extent:
            node.refuse(
                "whether ceil_mode drops the last window depends on a size that is known only at run time",
                "fix the size with --shape",
            )
    return axes


def _is_negative(axis: Axis) -> bool:
    """True where ONNX's auto_pad formula gives less than -1, which rounds to a negative padding in front."""
    if axis.size is None or axis.out is None:
        return axis.stride > axis.extent + 1
    return (axis.out - 1) * axis.stride + axis.extent - axis.size < -1


def frame(t: TFLite, x: Value, axes: Sequence[Axis], fill: float | int = 0) -> tuple[Value, str]:
    """`x` [N, spatial..., C] padded as far as TFLite's own padding can't, and that padding's name."""
    if all(axis.is_valid() for axis in axes):
        return x, "VALID"
    if all(axis.is_same() for axis in axes):
        return x, "SAME"
    return pad_front(t, x, axes, fill), "VALID"


def pad_front(t: TFLite, x: Value, axes: Sequence[Axis], fill: float | int = 0) -> Value:
    """`x` [N, spatial..., C] with all padding written out."""
    pads = [[0, 0], *([axis.before, axis.behind] for axis in axes), [0, 0]]
    if any(axis.same for axis in axes):
        amount = _run_time_pads(t, x, axes, pads)
    elif any(before or after for before, after in pads):
        amount = t.i32(pads)
    else:
        return x
    padded = t.op("PAD", x, amount) if fill == 0 else t.op("PADV2", x, amount, t.like(fill, x))
    known = dims(x)
    if known is not None:  # a run-time amount hides even the dimensions that are not padded
        refine(padded, None, (known[0], *(None for _ in axes), known[-1]))
    return padded


def _run_time_pads(t: TFLite, x: Value, axes: Sequence[Axis], pads: list[list[int]]) -> Value:
    """[rank, 2] paddings by ONNX's auto_pad rule for sizes that are known only at run time."""
    shape = t.shape_of(x)
    rows: list[Value] = []
    for index, (before, after) in enumerate(pads):
        axis = axes[index - 1] if 0 < index <= len(axes) else None
        if axis is None or not axis.same:
            rows.append(t.i32([before, after]))
            continue
        size = t.op("SLICE", shape, t.i32([index]), t.i32([1]))
        out = t.op("FLOOR_DIV", t.op("ADD", size, t.i32([axis.stride - 1])), t.i32([axis.stride]))
        reach = t.op("ADD", t.op("MUL", out, t.i32([axis.stride])), t.i32([axis.extent - axis.stride]))
        total = t.op("MAXIMUM", t.op("SUB", reach, size), t.i32([0]))
        less = t.op("FLOOR_DIV", total, t.i32([2]))
        more = t.op("SUB", total, less)
        pair = (less, more) if axis.same == "upper" else (more, less)
        rows.append(t.op("CONCATENATION", *pair, axis=0))
    return t.reshape(t.op("CONCATENATION", *rows, axis=0), [len(pads), 2])


def lowest(dtype: np.dtype[Any]) -> float | int:
    """What padding of a maximum is filled with."""
    return float("-inf") if dtype.kind == "f" else int(np.iinfo(dtype).min)
