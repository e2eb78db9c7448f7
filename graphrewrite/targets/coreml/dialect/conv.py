"""Convolutions, channels first: x [N, C, spatial...], weight [O, C/groups, kernel...]."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphrewrite.errors import InternalError
from graphrewrite.ir import Node, dims
from graphrewrite.targets.coreml.dialect.op import MilBody, define


def spatial(body: MilBody, index: int = 1) -> list[int]:
    """Taps of the weights at input `index`."""
    known = dims(body.node.inputs[index]) or ()
    taps = [dim for dim in known[2:] if isinstance(dim, int)]
    if len(taps) != len(known) - 2:
        raise InternalError(f"{body.node.op_type} '{body.node.name}': the kernel's size is unknown")
    return taps


def pairs(pad: Sequence[int]) -> list[int]:
    """MIL's [before, after] for each axis as ONNX's all before, all after."""
    return [*pad[::2], *pad[1::2]]


def padding(
    body: MilBody, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> dict[str, Any]:
    """`pad_type` and `pad` as ONNX attributes; written out where the size is known, because ONNX Runtime takes no dilations
    together with auto_pad."""
    kind = body.text("pad_type", "valid")
    if kind == "custom":
        return {"pads": pairs(body.ints("pad", [0] * (2 * len(kernel))))}
    if kind == "valid":
        return {"pads": [0] * (2 * len(kernel))}
    sizes = (dims(body.node.inputs[0]) or ())[2:]
    before, after = [], []
    for size, taps, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        if not isinstance(size, int):
            return {"auto_pad": "SAME_LOWER" if kind == "same_lower" else "SAME_UPPER"}
        total = max((-(-size // stride) - 1) * stride + (taps - 1) * dilation + 1 - size, 0)
        less, more = total // 2, total - total // 2
        before.append(more if kind == "same_lower" else less)
        after.append(less if kind == "same_lower" else more)
    return {"pads": before + after}


@define("conv", operands="x weight bias?", data=(0, 1, 2))
def conv(node: Node, body: MilBody) -> Sequence[str]:
    kernel = spatial(body)
    ones = [1] * len(kernel)
    strides, dilations = body.ints("strides", ones), body.ints("dilations", ones)
    return [
        body.op(
            "Conv",
            *body.inputs,
            strides=strides,
            dilations=dilations,
            group=body.int_("groups", 1),
            **padding(body, kernel, strides, dilations),
        )
    ]


@define("conv_transpose", operands="x weight bias?", data=(0, 1, 2))
def conv_transpose(node: Node, body: MilBody) -> Sequence[str]:
    """weight [C, O/groups, kernel...]; `output_shape`, where given, fixes what is cut off behind."""
    kernel = spatial(body)
    ones = [1] * len(kernel)
    strides, dilations = body.ints("strides", ones), body.ints("dilations", ones)
    kind = body.text("pad_type", "valid")
    pads = pairs(body.ints("pad", [0] * (2 * len(kernel)))) if kind == "custom" else [0] * (2 * len(kernel))
    wanted = body.ints("output_shape", [])[-len(kernel) :]
    extra = [0] * len(kernel)
    if kind in ("same", "same_lower") or wanted:
        sizes = (dims(node.inputs[0]) or ())[2:]
        for axis, (size, taps, stride, dilation) in enumerate(
            zip(sizes, kernel, strides, dilations, strict=True)
        ):
            if not isinstance(size, int):
                raise InternalError(f"conv_transpose '{node.name}': {kind} of an unknown size")
            full = (size - 1) * stride + (taps - 1) * dilation + 1
            surplus = full - (wanted[axis] if wanted else size * stride)
            if kind in ("same", "same_lower"):
                less = max(surplus, 0) // 2
                pads[axis] = less if kind == "same" else max(surplus, 0) - less
            behind = surplus - pads[axis]
            pads[axis + len(kernel)], extra[axis] = max(behind, 0), max(-behind, 0)
    return [
        body.op(
            "ConvTranspose",
            *body.inputs,
            strides=strides,
            dilations=dilations,
            group=body.int_("groups", 1),
            pads=pads,
            output_padding=extra,
        )
    ]
