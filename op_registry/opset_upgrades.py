"""Older opsets' spellings (7 to 25) in today's ops: attributes that became inputs, defaults and meanings that changed.

Found by comparing every version of every schema in the ONNX changelog. Each entry writes the newest spelling at once.
Operators that later opsets dropped altogether are in `dropped_ops.py`.
"""

from __future__ import annotations

import math

from graphrewrite.ir import OPSET, DataType, Value, static_dims
from graphrewrite.registry import Onnx, OpNode, upgrade

EVERY_OPSET = OPSET + 1

# -- attributes that became inputs -------------------------------------------------------------------------------------


@upgrade("Squeeze", before=13)
def squeeze(node: OpNode, b: Onnx) -> Value:
    axes = node.attr("axes")
    return b.op("Squeeze", node.input(0), None if axes is None else b.i64(axes))


@upgrade("Unsqueeze", before=13)
def unsqueeze(node: OpNode, b: Onnx) -> Value:
    return b.op("Unsqueeze", node.input(0), b.i64(node.attr("axes")))


@upgrade("Split", before=18)
def split(node: OpNode, b: Onnx) -> list[Value] | None:
    sizes = node.optional(1)
    if sizes is not None:
        return None
    count, given = len(node.outputs), node.attr("split")
    axis = node.attr("axis", 0)
    if given is not None:
        return list(b.ops("Split", node.input(0), b.i64(given), outputs=count, axis=axis))
    return list(b.ops("Split", node.input(0), outputs=count, axis=axis, num_outputs=count))


@upgrade("ReduceSum", before=13)
@upgrade(
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSumSquare",
    before=18,
)
def reduce(node: OpNode, b: Onnx) -> Value:
    axes = node.attr("axes")
    operand = None if axes is None else b.i64(axes)
    return b.op(node.op_type, node.input(0), operand, keepdims=node.attr("keepdims", 1))


@upgrade("Slice", before=10)
def slice_(node: OpNode, b: Onnx) -> Value:
    axes = node.attr("axes")
    return b.op(
        "Slice",
        node.input(0),
        b.i64(node.attr("starts")),
        b.i64(node.attr("ends")),
        None if axes is None else b.i64(axes),
    )


@upgrade("Pad", before=11)
def pad(node: OpNode, b: Onnx) -> Value:
    x, value = node.input(0), node.attr("value", 0.0)
    fill = b.like(value, x) if value else None
    return b.op("Pad", x, b.i64(node.attr("pads")), fill, mode=node.attr("mode", "constant"))


@upgrade("Clip", before=11)
def clip(node: OpNode, b: Onnx) -> Value:
    """Bounds that are not given stay open: opsets 6 and 11 give absent bounds the same meaning."""
    x = node.input(0)
    low, high = node.attr("min"), node.attr("max")
    return b.op("Clip", x, *(None if bound is None else b.like(bound, x) for bound in (low, high)))


@upgrade("TopK", before=10)
def top_k(node: OpNode, b: Onnx) -> list[Value]:
    count, axis = node.attr("k"), node.attr("axis", -1)
    return list(b.ops("TopK", node.input(0), b.i64([count]), outputs=len(node.outputs), axis=axis))


@upgrade("DFT", before=20)
def dft(node: OpNode, b: Onnx) -> Value:
    return b.op(
        "DFT",
        node.input(0),
        node.optional(1),
        b.i64(node.attr("axis", 1)),
        inverse=node.attr("inverse", 0),
        onesided=node.attr("onesided", 0),
    )


# -- training leftovers ------------------------------------------------------------------------------------------------


@upgrade("Dropout", before=12)
def dropout(node: OpNode, b: Onnx) -> list[Value | None]:
    """These opsets can't ask for training: the data passes through.

    The mask has no defined content then; it is false, as in ONNX Runtime. It was of the data's type before opset 10.
    """
    x = node.input(0)
    if not node.wants(1):
        return [x, None][: len(node.outputs)]
    dtype = node.node.outputs[1].dtype or DataType.BOOL
    return [x, b.op("Expand", b.const(0, dtype), b.op("Shape", x))]


@upgrade("BatchNormalization", before=14)
def batch_normalization(node: OpNode, b: Onnx) -> list[Value | None]:
    if any(node.wants(index) for index in range(1, len(node.outputs))):
        node.refuse(
            "its statistics outputs are used, so it is in training mode: export the model in inference mode"
        )
    x, scale, bias, mean, variance = (node.input(index) for index in range(5))
    epsilon = node.attr("epsilon")
    if node.attr("spatial", 1):
        y = b.op("BatchNormalization", x, scale, bias, mean, variance, epsilon=epsilon)
    else:  # one statistic for each activation: [C, spatial...]
        deviation = b.op("Sqrt", b.op("Add", variance, b.like(epsilon, variance)))
        normalised = b.op("Div", b.op("Sub", x, mean), deviation)
        y = b.op("Add", b.op("Mul", normalised, scale), bias)
    return [y]


# -- meanings that changed ---------------------------------------------------------------------------------------------


@upgrade("Softmax", "LogSoftmax", "Hardmax", before=13)
def coerced_softmax(node: OpNode, b: Onnx) -> Value:
    """Up to opset 12 it normalised over all dimensions from `axis` on, taken together."""
    x, axis = node.input(0), node.node.attributes.get_int("axis", 1)
    shape = static_dims(x)
    if x.shape is not None:
        size = len(x.shape)
        axis = axis + size if axis < 0 else axis
        if axis == size - 1:
            return b.op(node.op_type, x, axis=-1)
        tail = list(x.shape.dims[axis:])
        longer = [index for index, dim in enumerate(tail) if dim != 1]
        if len(longer) <= 1:
            return b.op(node.op_type, x, axis=axis + (longer[0] if longer else 0))
    flat = b.op(node.op_type, b.op("Flatten", x, axis=axis), axis=-1)
    return b.reshape(flat, list(shape) if shape is not None and 0 not in shape else b.op("Shape", x))


@upgrade("GroupNormalization", before=21)
def group_normalization(node: OpNode, b: Onnx) -> Value:
    """Opset 18 has one scale and bias a group; opset 21 one a channel."""
    x, groups = node.input(0), node.attr("num_groups")
    channels = node.dims()[1]
    if not isinstance(channels, int):
        node.refuse("the number of channels is not known; fix it with --shape")

    def spread(value: Value) -> Value:
        wide = b.op("Expand", b.reshape(value, [groups, 1]), b.i64([groups, channels // groups]))
        return b.reshape(wide, [channels])

    scale, bias = spread(node.input(1)), spread(node.input(2))
    return b.op("GroupNormalization", x, scale, bias, num_groups=groups, epsilon=node.attr("epsilon"))


@upgrade("GridSample", before=20)
def grid_sample(node: OpNode, b: Onnx) -> Value:
    mode = node.node.attributes.get_string("mode", "bilinear")
    return b.op(
        "GridSample",
        node.input(0),
        node.input(1),
        mode={"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode),
        padding_mode=node.attr("padding_mode"),
        align_corners=node.attr("align_corners"),
    )


@upgrade("RoiAlign", before=16)
def roi_align(node: OpNode, b: Onnx) -> Value:
    """Opset 16 changed the default from output_half_pixel to half_pixel."""
    attributes = {name: item.value for name, item in node.node.attributes.items()}
    attributes.setdefault("coordinate_transformation_mode", "output_half_pixel")
    return b.op("RoiAlign", *node.inputs, **attributes)


@upgrade("Scatter", before=EVERY_OPSET)
def scatter(node: OpNode, b: Onnx) -> Value:
    return b.op("ScatterElements", *node.inputs, axis=node.attr("axis", 0))


# -- resizing ----------------------------------------------------------------------------------------------------------


@upgrade("Upsample", before=EVERY_OPSET)
def upsample(node: OpNode, b: Onnx) -> Value:
    scales = node.attr("scales")
    operand = node.optional(1) if scales is None else b.const(scales, DataType.FLOAT)
    if operand is None:
        node.refuse("it has neither the attribute nor the operand 'scales'")
    return _asymmetric(node, b, operand)


@upgrade("Resize", before=11)
def resize_10(node: OpNode, b: Onnx) -> Value:
    return _asymmetric(node, b, node.input(1))


def _asymmetric(node: OpNode, b: Onnx, scales: Value) -> Value:
    """Opsets 7 to 10 map output to input by the scale alone, with the rounding that ONNX Runtime gives them.

    Nearest takes the floor where it enlarges and the ceiling where it shrinks, dimension by dimension. Nearest is separable, so
    a resize that does both becomes two.
    """
    x, mode = node.input(0), node.attr("mode", "nearest")
    common = {"coordinate_transformation_mode": "asymmetric"}
    if mode in ("linear", "bilinear"):
        return b.op("Resize", x, None, scales, mode="linear", **common)
    if mode != "nearest":
        node.refuse(f"mode '{mode}' does not exist in this opset")
    array = None if scales.const_value is None else scales.const_value.numpy()
    if array is None:
        if node.op_type == "Resize":
            node.refuse(
                "its scales are computed at run time, and opset 10 rounds by whether they shrink: export with opset 11 or newer"
            )
        return b.op("Resize", x, None, scales, mode="nearest", nearest_mode="floor", **common)
    for rounding, part in (
        ("floor", [max(float(s), 1.0) for s in array]),
        ("ceil", [min(float(s), 1.0) for s in array]),
    ):
        if any(scale != 1.0 for scale in part):
            operand = b.const(part, DataType.FLOAT)
            x = b.op("Resize", x, None, operand, mode="nearest", nearest_mode=rounding, **common)
    return x


@upgrade("Resize", before=EVERY_OPSET)
def resize(node: OpNode, b: Onnx) -> Value | None:
    """Empty constants for roi, scales or sizes mean that they are absent; opset 11 had one more mode."""
    attributes = {name: item.value for name, item in node.node.attributes.items()}
    operands = [None if _is_empty(value) else value for value in node.inputs]
    changed = operands != node.inputs
    if attributes.get("coordinate_transformation_mode") == "tf_half_pixel_for_nn":
        # floor((x + 0.5) / scale) is half_pixel's coordinate rounded half up
        if attributes.get("nearest_mode") != "floor":
            node.refuse(
                "tf_half_pixel_for_nn with another nearest_mode than floor has no spelling in later opsets"
            )
        attributes |= {"coordinate_transformation_mode": "half_pixel", "nearest_mode": "round_prefer_ceil"}
        changed = True
    if len(operands) > 1 and attributes.get("coordinate_transformation_mode") != "tf_crop_and_resize":
        changed |= operands[1] is not None
        operands[1] = None  # a roi that nothing reads
    if not changed:
        return None
    return b.op("Resize", *operands, **attributes)


def _is_empty(value: Value | None) -> bool:
    return value is not None and value.const_value is not None and math.prod(static_dims(value) or (1,)) == 0
