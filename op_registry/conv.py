"""Conv."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from graphrewrite.ir import Value, dims, is_constant, static_dims
from graphrewrite.registry import Onnx, OpNode, lowering

from .views import crop, dim_value, insert_axis, product, remove_axis, reshape_to, strided_slice
from .window import UNIT, Axis, first_window_axes, frame, mil_padding, pad_front, window_axes

if TYPE_CHECKING:
    from graphrewrite.targets.coreml.builder import MIL
    from graphrewrite.targets.tflite.builder import TFLite


@lowering("tflite", "Conv", note="at most three spatial dimensions")
def conv(node: OpNode, t: TFLite) -> Value:
    """One spatial dimension is computed as two; grouped three-dimensional ones as a sum over the depth of the kernel."""
    count = spatial_count(node, "TFLite")
    x, w = node.input(0), node.input(1)
    kernel = kernel_shape(node, count)
    if node.has(2):
        bias = node.input(2)
    else:
        out = node.dims(1)[0]
        if not isinstance(out, int):
            node.refuse("the number of output channels is known only at run time", "fix it with --shape")
        bias = t.like([0] * out, x)
    x = t.to_last(x)
    x, axes = window_axes(node, t, x, kernel)
    if count == 1:
        x, w, axes = insert_axis(t, x, 1), insert_axis(t, w, 2), [UNIT, *axes]
        return t.to_first(remove_axis(t, conv_2d(node, t, x, w, bias, node.attr("group", 1), axes), 1))
    if count == 2:
        return t.to_first(conv_2d(node, t, x, w, bias, node.attr("group", 1), axes))
    return t.to_first(_conv_3d(node, t, x, w, bias, axes))


def spatial_count(node: OpNode, runtime: str) -> int:
    """How many spatial dimensions a convolution has.

    Raises:
        Refusal: more than the convolutions of `runtime` have, or none.
    """
    count = node.rank(0) - 2
    if not 1 <= count <= 3:
        node.refuse(
            f"{runtime}'s convolutions have at most three spatial dimensions, this one has {count}",
            "split the convolution over the surplus dimensions before conversion",
        )
    return count


def kernel_shape(node: OpNode, count: int) -> list[int]:
    """Taps along each of `count` spatial axes, from the attribute or the weights."""
    given = node.attr("kernel_shape")
    known = [dim for dim in node.dims(1)[2:] if isinstance(dim, int)]
    kernel = list(given) if given else known
    if len(kernel) != count:
        node.refuse("the kernel's size is known only at run time", "set kernel_shape")
    return kernel


def conv_2d(node: OpNode, t: TFLite, x: Value, w: Value, bias: Value, group: int, axes: list[Axis]) -> Value:
    """CONV_2D or DEPTHWISE_CONV_2D of x [N, H, W, C] with w [O, C/group, kh, kw]."""
    x, padding = frame(t, x, axes)
    options: dict[str, int | str] = {
        "padding": padding,
        "stride_h": axes[0].stride,
        "stride_w": axes[1].stride,
        "dilation_h_factor": axes[0].dilation,
        "dilation_w_factor": axes[1].dilation,
        "fused_activation_function": "NONE",
    }
    out, per_group = (dims(w) or (None, None))[:2]
    if group > 1 and per_group == 1 and isinstance(out, int):
        return t.op(
            "DEPTHWISE_CONV_2D",
            x,
            t.transpose(w, [1, 2, 3, 0]),
            bias,
            depth_multiplier=out // group,
            **options,
        )
    if group > 1 and not isinstance((dims(x) or (None,) * 4)[3], int):
        node.refuse(
            "a grouped convolution's number of channels is known only at run time", "fix it with --shape"
        )
    return t.op("CONV_2D", x, t.transpose(w, [0, 2, 3, 1]), bias, **options)


def _conv_3d(node: OpNode, t: TFLite, x: Value, w: Value, bias: Value, axes: list[Axis]) -> Value:
    """x [N, D, H, W, C], w [O, C/group, kd, kh, kw]."""
    group = node.attr("group", 1)
    if group > 1:
        return sum_over_depth(node, t, x, w, bias, group, axes)
    x, padding = frame(t, x, axes)
    depth, height, width = axes
    return t.op(
        "CONV_3D",
        x,
        t.transpose(w, [2, 3, 4, 1, 0]),
        bias,
        padding=padding,
        stride_d=depth.stride,
        stride_h=height.stride,
        stride_w=width.stride,
        dilation_d_factor=depth.dilation,
        dilation_h_factor=height.dilation,
        dilation_w_factor=width.dilation,
        fused_activation_function="NONE",
    )


def sum_over_depth(
    node: OpNode, t: TFLite, x: Value, w: Value, bias: Value, group: int, axes: list[Axis]
) -> Value:
    """A grouped three-dimensional convolution: CONV_3D has no groups, CONV_2D has, so one of those per depth of the kernel."""
    depth, plane = axes[0], axes[1:]
    x = pad_front(t, x, [depth, *(Axis(a.size, 1, 1, 1, 0, 0, a.size) for a in plane)])
    zero = t.like(np.zeros(static_dims(bias) or (0,)), x)
    total: Value | None = None
    result: list[int | Value] = []
    for tap in range(depth.taps):
        start = tap * depth.dilation
        last = depth.extent - 1 - start
        piece = crop(t, x, {1: (start, last)})
        if depth.stride > 1:
            piece = strided_slice(t, piece, {1: (0, None, depth.stride)})
        batch, deep = dim_value(t, piece, 0), dim_value(t, piece, 1)
        sizes = [dim_value(t, piece, axis) for axis in (2, 3, 4)]
        flat = reshape_to(t, piece, [product(t, batch, deep), *sizes])
        kernel = remove_axis(t, _take(t, w, tap), 2)
        part = conv_2d(node, t, flat, kernel, bias if tap == 0 else zero, group, plane)
        result = [batch, deep, *(dim_value(t, part, axis) for axis in (1, 2, 3))]
        total = part if total is None else t.op("ADD", total, part, fused_activation_function="NONE")
    assert total is not None
    return reshape_to(t, total, result)


def _take(t: TFLite, w: Value, tap: int) -> Value:
    """w[:, :, tap:tap+1] of w [O, I, kd, kh, kw]; constants are cut now."""
    content = w.const_value
    if content is not None and w.producer() is None:
        return t.rewriter.constant(content.numpy()[:, :, tap : tap + 1])
    size = (dims(w) or ())[2]
    assert isinstance(size, int)
    return crop(t, w, {2: (tap, size - 1 - tap)})


@lowering("coreml", "Conv", note="at most three spatial dimensions")
def mil_conv(node: OpNode, m: MIL) -> Value:
    """Any groups, dilations and pads as they are. With weights computed at run time Core ML's compiler wants the bias apart."""
    count = spatial_count(node, "Core ML")
    x, w, bias = node.input(0), node.input(1), node.optional(2)
    x, axes = first_window_axes(node, m, x, kernel_shape(node, count))
    kind, pad = mil_padding(node, m, axes)
    apart = bias is not None and not (is_constant(w) and is_constant(bias))
    y = m.op(
        "conv",
        x,
        w,
        None if apart else bias,
        strides=[axis.stride for axis in axes],
        pad_type=kind,
        pad=pad,
        dilations=[axis.dilation for axis in axes],
        groups=int(node.attr("group", 1)),
    )
    if bias is None or not apart:
        return y
    return m.op("add", y, m.reshape(bias, [1, -1, *[1] * count]))


@lowering("openvino", "Conv", "ConvTranspose")
def conv_as_asked(node: OpNode, b: Onnx) -> Value | Sequence[Value]:
    """OpenVINO's own convolution but for two things.

    The front end would compute a bias's shape [C, 1, ...] in five operations a convolution, so it is a sum; and the CPU plugin
    returns too many rows of a padded kernel of single elements with strides (a Pad in front is fused again), so that one is
    padded and thinned out before it.
    """
    attributes = dict(node.node.attributes.items())
    x, w, pads = node.input(0), node.input(1), node.attr("pads") or []
    strides, kernel = node.attr("strides") or [1], (dims(w) or ())[2:]
    if node.op_type == "Conv" and any(pads) and set(kernel) == {1} and max(strides) > 1:
        count = len(kernel)
        padded = b.op("Pad", x, b.i64([0, 0, *pads[:count], 0, 0, *pads[count:]]))
        ends, axes = b.i64([np.iinfo(np.int64).max] * count), b.i64(range(2, count + 2))
        x = b.op("Slice", padded, b.i64([0] * count), ends, axes, b.i64(strides))
        del attributes["pads"], attributes["strides"]
    elif not node.has(2):
        return node.outputs
    y = b.op(node.op_type, x, w, **attributes)
    return b.op("Add", y, b.reshape(node.input(2), [-1] + [1] * (node.rank() - 2))) if node.has(2) else y
