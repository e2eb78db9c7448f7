"""Operators that slide a window: convolution, transposed convolution, pooling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphrewrite.ir import BodyBuilder, Node, Value, constant_ints, dims
from graphrewrite.targets.tflite.dialect.op import TO_FIRST, TO_LAST, activation, define

_AUTO_PAD = {"SAME": "SAME_UPPER", "VALID": "VALID"}


def _strides(node: Node) -> list[int]:
    return [node.attributes.get_int("stride_h", 1), node.attributes.get_int("stride_w", 1)]


def _dilations(node: Node) -> list[int]:
    return [node.attributes.get_int("dilation_h_factor", 1), node.attributes.get_int("dilation_w_factor", 1)]


def _padding(
    node: Node, kernel: Sequence[int | None], strides: Sequence[int], dilations: Sequence[int]
) -> dict[str, Any]:
    """SAME or VALID of a convolution as ONNX attributes: explicit pads where they are known, because ONNX Runtime takes no
    dilations together with auto_pad."""
    name = node.attributes["padding"].as_string()
    sizes = dims(node.inputs[0])
    if name != "SAME" or sizes is None:
        return {"auto_pad": _AUTO_PAD[name]}
    before, after = [], []
    for size, taps, stride, dilation in zip(sizes[1:-1], kernel, strides, dilations, strict=True):
        if taps is None or (stride > 1 and not isinstance(size, int)):
            return {"auto_pad": _AUTO_PAD[name]}
        reach = (taps - 1) * dilation + 1
        total = reach - 1
        if isinstance(size, int):
            total = max((-(-size // stride) - 1) * stride + reach - size, 0)
        before.append(total // 2)
        after.append(total - total // 2)
    return {"pads": before + after}


def _kernel(value: Value | None, axes: Sequence[int]) -> list[int | None]:
    known = dims(value) or (None,) * 8
    return [size if isinstance(size := known[axis], int) else None for axis in axes]


@define("CONV_2D", data=(0, 1, 2))
def conv_2d(node: Node, body: BodyBuilder) -> Sequence[str]:
    """x [N, H, W, C], filter [O, kh, kw, C/groups], bias [O]; the groups follow from the shapes."""
    x, w = (body.op("Transpose", name, perm=TO_FIRST) for name in body.inputs[:2])
    y = body.op(
        "Conv",
        x,
        w,
        *body.inputs[2:],
        strides=_strides(node),
        dilations=_dilations(node),
        group=_groups(node),
        **_padding(node, _kernel(node.inputs[1], (1, 2)), _strides(node), _dilations(node)),
    )
    return [activation(node, body, body.op("Transpose", y, perm=TO_LAST))]


def _groups(node: Node) -> int:
    x, w = node.inputs[0], node.inputs[1]
    if x is None or w is None or x.shape is None or w.shape is None:
        return 1
    channels, per_group = x.shape[3], w.shape[3]
    return channels // per_group if isinstance(channels, int) and isinstance(per_group, int) else 1


@define("DEPTHWISE_CONV_2D", data=(0, 1, 2))
def depthwise_conv_2d(node: Node, body: BodyBuilder) -> Sequence[str]:
    """x [N, H, W, C], filter [1, kh, kw, C * depth_multiplier], bias [C * depth_multiplier]."""
    x = body.op("Transpose", body.inputs[0], perm=TO_FIRST)
    w = body.op("Transpose", body.inputs[1], perm=[3, 0, 1, 2])
    channels = (
        node.inputs[0].shape[3] if node.inputs[0] is not None and node.inputs[0].shape is not None else 1
    )
    y = body.op(
        "Conv",
        x,
        w,
        *body.inputs[2:],
        strides=_strides(node),
        dilations=_dilations(node),
        group=channels if isinstance(channels, int) else 1,
        **_padding(node, _kernel(node.inputs[1], (1, 2)), _strides(node), _dilations(node)),
    )
    return [activation(node, body, body.op("Transpose", y, perm=TO_LAST))]


@define("TRANSPOSE_CONV", data=(1, 2, 3))
def transpose_conv(node: Node, body: BodyBuilder) -> Sequence[str]:
    """output_shape [4], filter [O, kh, kw, I], x [N, H, W, I], bias [O].

    SAME cuts off what the full result has above output_shape, half of it (rounded down) in front; it needs static sizes.
    """
    w = body.op("Transpose", body.inputs[1], perm=[3, 0, 1, 2])
    x = body.op("Transpose", body.inputs[2], perm=TO_FIRST)
    strides = _strides(node)
    wanted, sizes = constant_ints(node.inputs[0]), dims(node.inputs[2])
    kernel = _kernel(node.inputs[1], (1, 2))
    front, behind = [0, 0], [0, 0]
    for i in range(2):
        size, taps = sizes[i + 1] if sizes is not None else None, kernel[i]
        if wanted is None or taps is None or not isinstance(size, int):
            if node.attributes["padding"].as_string() == "SAME":
                raise NotImplementedError("TRANSPOSE_CONV SAME of an unknown size; no lowering writes it")
            continue
        surplus = (size - 1) * strides[i] + taps - wanted[i + 1]
        front[i] = max(surplus, 0) // 2 if node.attributes["padding"].as_string() == "SAME" else 0
        behind[i] = surplus - front[i]
    y = body.op(
        "ConvTranspose",
        x,
        w,
        *body.inputs[3:],
        strides=strides,
        pads=front + [max(n, 0) for n in behind],
        output_padding=[max(-n, 0) for n in behind],
    )
    return [activation(node, body, body.op("Transpose", y, perm=TO_LAST))]


@define("CONV_3D", data=(0, 1, 2))
def conv_3d(node: Node, body: BodyBuilder) -> Sequence[str]:
    """x [N, D, H, W, C], filter [kd, kh, kw, C, O], bias [O]."""
    x = body.op("Transpose", body.inputs[0], perm=[0, 4, 1, 2, 3])
    w = body.op("Transpose", body.inputs[1], perm=[4, 3, 0, 1, 2])
    strides = [node.attributes.get_int("stride_d", 1), *_strides(node)]
    dilations = [node.attributes.get_int("dilation_d_factor", 1), *_dilations(node)]
    padding = _padding(node, _kernel(node.inputs[1], (0, 1, 2)), strides, dilations)
    y = body.op("Conv", x, w, *body.inputs[2:], strides=strides, dilations=dilations, **padding)
    return [activation(node, body, body.op("Transpose", y, perm=[0, 2, 3, 4, 1]))]


@define("CONV_3D_TRANSPOSE", data=(1, 2, 3))
def conv_3d_transpose(node: Node, body: BodyBuilder) -> Sequence[str]:
    """output_shape [5], filter [kd, kh, kw, O, I], x [N, D, H, W, I], bias [O]. Lowerings write padding VALID only."""
    if node.attributes["padding"].as_string() != "VALID":
        raise NotImplementedError("CONV_3D_TRANSPOSE SAME; lowerings write VALID and a SLICE")
    w = body.op("Transpose", body.inputs[1], perm=[4, 3, 0, 1, 2])
    x = body.op("Transpose", body.inputs[2], perm=[0, 4, 1, 2, 3])
    y = body.op(
        "ConvTranspose",
        x,
        w,
        *body.inputs[3:],
        strides=[node.attributes.get_int("stride_d", 1), *_strides(node)],
    )
    return [activation(node, body, body.op("Transpose", y, perm=[0, 2, 3, 4, 1]))]


@define("AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D")
def pool_2d(node: Node, body: BodyBuilder) -> Sequence[str]:
    op_type = {"AVERAGE_POOL_2D": "AveragePool", "MAX_POOL_2D": "MaxPool", "L2_POOL_2D": "AveragePool"}[
        node.op_type
    ]
    x = body.op("Transpose", body.inputs[0], perm=TO_FIRST)
    if node.op_type == "L2_POOL_2D":
        x = body.op("Mul", x, x)
    kernel = [node.attributes["filter_height"].as_int(), node.attributes["filter_width"].as_int()]
    padding = _padding(node, kernel, _strides(node), [1, 1])
    y = body.op(op_type, x, strides=_strides(node), kernel_shape=kernel, **padding)
    if node.op_type == "L2_POOL_2D":
        y = body.op("Sqrt", y)
    return [activation(node, body, body.op("Transpose", y, perm=TO_LAST))]
