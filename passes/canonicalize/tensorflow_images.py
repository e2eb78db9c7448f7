"""TensorFlow's image samplers, which work on [N, H, W, C] in pixels, as GridSample."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from graphrewrite.ir import DataType, Node, Value, constant_array, constant_ints, constant_scalar, static_dims
from graphrewrite.rewrite import MatchFailure, Rewriter

Build = Callable[[Rewriter], Sequence["Value | None"]]
_OUTSIDE = -4.0
"""A pixel coordinate of which no neighbour lies in the image."""


def _image(node: Node) -> tuple[Value, tuple[int, ...]]:
    x = node.inputs[0] if node.inputs else None
    shape = static_dims(x)
    if x is None or shape is None or len(shape) != 4 or x.dtype not in (None, DataType.FLOAT):
        raise MatchFailure("the image is no float tensor [N, H, W, C] of known size", node)
    return x, shape


def _f32(b: Rewriter, number: float) -> Value:
    return b.constant(np.float32(number))


def _ints(b: Rewriter, items: Sequence[int]) -> Value:
    return b.constant(np.array(items, np.int64))


def _sample(
    b: Rewriter, image: Value, x: Value, y: Value, shape: Sequence[int], *, mode: str, padding: str = "zeros"
) -> Value:
    """Sample [N, H, W, C] at pixel coordinates [N, P] each: [N, P, C]."""
    grid = []
    for pixel, size in ((x, shape[2]), (y, shape[1])):
        # With align_corners=0, pixel p lies at (2 p + 1) / size - 1.
        scaled = b.op("Mul", b.op("Add", pixel, _f32(b, 0.5)), _f32(b, 2.0 / size))
        grid.append(b.op("Unsqueeze", b.op("Sub", scaled, _f32(b, 1.0)), _ints(b, [2])))
    points = b.op("Unsqueeze", b.op("Concat", *grid, axis=2), _ints(b, [1]))
    first = b.op("Transpose", image, perm=[0, 3, 1, 2])
    found = b.op("GridSample", first, points, align_corners=0, mode=mode, padding_mode=padding)
    return b.op("Transpose", b.op("Squeeze", found, _ints(b, [2])), perm=[0, 2, 1])


def resampler(node: Node) -> Build:
    """Resampler(data [N, H, W, C], warp [N, ..., 2] of (x, y)): bilinear, zero outside."""
    image, shape = _image(node)
    warp = node.inputs[1] if len(node.inputs) > 1 else None
    places = static_dims(warp)
    if warp is None or places is None or places[-1] != 2 or places[0] != shape[0]:
        raise MatchFailure("the warp is no tensor [N, ..., 2] of known size", node)

    def build(b: Rewriter) -> list[Value]:
        flat = b.op("Reshape", warp, _ints(b, [shape[0], -1, 2]))
        x, y = (b.op("Gather", flat, b.constant(np.array(index, np.int64)), axis=2) for index in (0, 1))
        found = _sample(b, image, x, y, shape, mode="linear")
        return [b.op("Reshape", found, _ints(b, [*places[:-1], shape[3]]))]

    return build


def image_projective_transform(node: Node) -> Build:
    """(images, transforms [N or 1, 8], output_shape[, fill_value]): where each output pixel comes from."""
    image, shape = _image(node)
    transforms = node.inputs[1] if len(node.inputs) > 1 else None
    rows = static_dims(transforms)
    size = constant_ints(node.inputs[2]) if len(node.inputs) > 2 else [shape[1], shape[2]]
    fill = constant_scalar(node.inputs[3]) if len(node.inputs) > 3 else 0.0
    mode = node.attributes.get_string("interpolation", "NEAREST").upper()
    outside = node.attributes.get_string("fill_mode", "CONSTANT").upper()
    if transforms is None or rows is None or len(rows) != 2 or rows[1] != 8 or rows[0] not in (1, shape[0]):
        raise MatchFailure("the transforms are no tensor [N, 8] of known size", node)
    if size is None or len(size) != 2:
        raise MatchFailure("the output's size is not known", node)
    if mode not in ("NEAREST", "BILINEAR") or outside != "CONSTANT" or fill != 0:
        raise MatchFailure("only NEAREST and BILINEAR, filled with zeros, are known", node)
    height, width = size
    ys, xs = np.indices((height, width)).reshape(2, -1).astype(np.float32)
    content = constant_array(transforms)
    affine = content is not None and not content[:, 6:].any()

    def build(b: Rewriter) -> list[Value]:
        # [N, 8] and a 1 make the rows of x, y and the divisor of [x, y, 1].
        whole = b.op("Pad", transforms, _ints(b, [0, 0, 0, 1]), _f32(b, 1.0))
        matrix = b.op("Reshape", whole, _ints(b, [rows[0], 3, 3]))
        points = b.op("MatMul", matrix, b.constant(np.stack([xs, ys, np.ones_like(xs)])))
        if rows[0] != shape[0]:
            points = b.op("Expand", points, _ints(b, [shape[0], 3, height * width]))
        x, y, k = (
            b.op("Gather", points, b.constant(np.array(index, np.int64)), axis=1) for index in range(3)
        )
        if not affine:
            x, y = (_divided(b, item, k) for item in (x, y))
        if mode == "NEAREST":
            x, y = (_rounded(b, item) for item in (x, y))
        found = _sample(b, image, x, y, shape, mode="nearest" if mode == "NEAREST" else "linear")
        return [b.op("Reshape", found, _ints(b, [shape[0], height, width, shape[3]]))]

    return build


def _divided(b: Rewriter, item: Value, divisor: Value) -> Value:
    """The quotient; a point outside where the divisor is 0."""
    none = b.op("Equal", divisor, _f32(b, 0.0))
    safe = b.op("Where", none, _f32(b, 1.0), divisor)
    return b.op("Where", none, _f32(b, _OUTSIDE), b.op("Div", item, safe))


def _rounded(b: Rewriter, item: Value) -> Value:
    """To the nearest integer, halves away from zero (ONNX rounds them to even)."""
    return b.op("Mul", b.op("Sign", item), b.op("Floor", b.op("Add", b.op("Abs", item), _f32(b, 0.5))))
