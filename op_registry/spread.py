"""One spatial axis of a transposed convolution, with ONNX's pads, auto_pad, output_padding and output_shape resolved."""

from __future__ import annotations

import dataclasses

from graphrewrite.registry import OpNode

from .window import spatial_attributes


@dataclasses.dataclass(frozen=True)
class Spread:
    """One spatial axis: `out` elements from `front` on are kept of the full result."""

    size: int | None
    taps: int
    stride: int
    front: int
    out: int | None
    cut: int
    """Elements of the full result that are dropped behind; negative where zeros are added. Needed for unknown sizes."""


UNIT = Spread(1, 1, 1, 0, 1, 0)
"""An axis of one element that is added."""


def resolved_axis(node: OpNode, index: int, extent: int, count: int) -> Spread:
    """The axis by ONNX's rules for pads, auto_pad, output_padding and output_shape."""
    strides, _, pads = spatial_attributes(node, count)
    stride = strides[index]
    extra = (node.attr("output_padding") or [0] * count)[index]
    wanted = node.attr("output_shape")
    auto_pad = node.attr("auto_pad", "NOTSET")
    dim = node.dims(0)[index + 2]
    size = dim if isinstance(dim, int) else None
    front, behind, out = pads[index], pads[index + count], None
    if wanted:
        if size is None:
            node.refuse("output_shape asks for pads that follow from an unknown size", "fix it with --shape")
        out = int(wanted[-count:][index])
        total = max((size - 1) * stride + extra + extent - out, 0)
    elif auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        if extra:
            node.refuse(
                f"auto_pad {auto_pad} with output_padding: ONNX's shape rule and ONNX Runtime disagree on the output's size",
                "write the pads out",
            )
        total = max(extra + extent - stride, 0)  # the result is input size * stride
    elif auto_pad == "VALID":
        total = 0
    else:
        total = -1
    if total >= 0:
        front = total // 2 if auto_pad == "SAME_UPPER" else total - total // 2
        behind = total - front
    if size is not None:
        full = (size - 1) * stride + extent
        out = full + extra - front - behind if out is None else out
        return Spread(size, extent, stride, front, out, full - front - out)
    return Spread(size, extent, stride, front, None, behind - extra)
