"""ConvTranspose for Core ML: groups and dilations as they are, pads and output_padding cut off and added afterwards.

The op's own `output_shape` is never used: devices disagree on what it cuts off. Its pads are the same on both sides of an axis
here, and what ONNX cuts off more on one side is a slice of the result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphrewrite.ir import Value, is_constant
from graphrewrite.registry import OpNode, lowering

from .conv import kernel_shape, spatial_count
from .spread import resolved_axis
from .window import spatial_attributes

if TYPE_CHECKING:
    from graphrewrite.targets.coreml.builder import MIL


@lowering(
    "coreml",
    "ConvTranspose",
    note="at most three spatial dimensions; weights computed at run time from iOS17 on",
)
def mil_conv_transpose(node: OpNode, m: MIL) -> Value:
    """Elements that output_padding adds lie outside of every window: they are the bias alone."""
    count = spatial_count(node, "Core ML")
    x, w, bias = node.input(0), node.input(1), node.optional(2)
    kernel = kernel_shape(node, count)
    strides, dilations, _ = spatial_attributes(node, count)
    axes = [
        resolved_axis(node, index, (kernel[index] - 1) * dilations[index] + 1, count)
        for index in range(count)
    ]
    both = [max(min(axis.front, axis.cut), 0) for axis in axes]
    longer = {i: (max(-axis.front, 0), max(-axis.cut, 0)) for i, axis in enumerate(axes, start=2)}
    shorter = {
        i: (max(axis.front, 0) - pad, max(axis.cut, 0) - pad)
        for i, (axis, pad) in enumerate(zip(axes, both), start=2)
    }
    grows = any(any(amount) for amount in longer.values())
    apart = bias is not None and (grows or not (is_constant(w) and is_constant(bias)))
    y = m.op(
        "conv_transpose",
        x,
        w,
        None if apart else bias,
        strides=list(strides),
        pad_type="custom" if any(both) else "valid",
        pad=[amount for pad in both for amount in (pad, pad)],
        dilations=list(dilations),
        groups=int(node.attr("group", 1)),
    )
    y = m.pad(m.crop(y, shorter), longer)
    if bias is None or not apart:
        return y
    return m.op("add", y, m.reshape(bias, [1, -1, *[1] * count]))
