"""Normalisations; x [N, C, spatial...] but for layer_norm, whose axes are any."""

from __future__ import annotations

from collections.abc import Sequence

from graphrewrite.errors import InternalError
from graphrewrite.ir import Node, dims
from graphrewrite.targets.coreml.dialect.op import MilBody, define


@define("batch_norm", operands="x mean variance gamma? beta?", data=(0, 1, 2, 3, 4))
def batch_norm(node: Node, body: MilBody) -> Sequence[str]:
    """gamma * (x - mean) / sqrt(variance + epsilon) + beta, each a number a channel."""
    mean, variance = body.inputs[1], body.inputs[2]
    one = body.op("Add", body.op("Mul", mean, body.like(0)), body.like(1))
    gamma = body.inputs[3] if body.has(3) else one
    beta = body.inputs[4] if body.has(4) else body.op("Sub", one, one)
    epsilon = body.float_("epsilon", 1e-5)
    return [body.op("BatchNormalization", body.inputs[0], gamma, beta, mean, variance, epsilon=epsilon)]


@define("instance_norm", operands="x gamma? beta?", data=(0, 1, 2))
def instance_norm(node: Node, body: MilBody) -> Sequence[str]:
    """Each channel of each image by its own mean and variance."""
    y = _standardised(body, list(range(2, body.rank())))
    line = body.const([1, -1, *[1] * (body.rank() - 2)])
    return [_affine(body, y, 1, line)]


@define("layer_norm", operands="x gamma? beta?", data=(0, 1, 2))
def layer_norm(node: Node, body: MilBody) -> Sequence[str]:
    """Over `axes` (all of them by default); gamma and beta have the shape of these axes."""
    rank = body.rank()
    axes = sorted(axis % rank for axis in body.ints("axes", list(range(rank))))
    y = _standardised(body, axes)
    if not (body.has(1) or body.has(2)):
        return [y]
    known = dims(node.inputs[1] if body.has(1) else node.inputs[2]) or ()
    sizes = dict(zip(axes, known, strict=True))
    shape = [sizes.get(axis, 1) for axis in range(rank)]
    if not all(isinstance(size, int) for size in shape):
        raise InternalError(f"layer_norm '{node.name}': the shape of its factors is unknown")
    return [_affine(body, y, 1, body.const(shape))]


def _standardised(body: MilBody, axes: Sequence[int]) -> str:
    """(x - mean) / sqrt(variance + epsilon)"""
    x, over = body.inputs[0], body.const(list(axes))
    centred = body.op("Sub", x, body.op("ReduceMean", x, over))
    variance = body.op("ReduceMean", body.op("Mul", centred, centred), over)
    shifted = body.op("Add", variance, body.like(body.float_("epsilon", 1e-5)))
    return body.op("Div", centred, body.op("Sqrt", shifted))


def _affine(body: MilBody, y: str, first: int, shape: str) -> str:
    """`y` times input `first`, plus the next one, where they are given, both reshaped."""
    if body.has(first):
        y = body.op("Mul", y, body.op("Reshape", body.inputs[first], shape))
    if body.has(first + 1):
        y = body.op("Add", y, body.op("Reshape", body.inputs[first + 1], shape))
    return y


@define("l2_norm", operands="x")
def l2_norm(node: Node, body: MilBody) -> Sequence[str]:
    """x / sqrt(sum of squares + epsilon), over the last three axes."""
    squares = body.op("ReduceSumSquare", body.inputs[0], body.const([-3, -2, -1]))
    shifted = body.op("Add", squares, body.like(body.float_("epsilon", 1e-6)))
    return [body.op("Div", body.inputs[0], body.op("Sqrt", shifted))]


@define("local_response_norm", operands="x")
def local_response_norm(node: Node, body: MilBody) -> Sequence[str]:
    """x / (k + alpha / size * sum of squares over `size` neighbouring channels)^beta."""
    size = body.int_("size")
    if size % 2 == 0:
        raise InternalError(
            f"local_response_norm '{node.name}': which neighbours an even size has is not defined"
        )
    x, last = body.inputs[0], body.const([-1])
    flat = body.rank() == 3  # ONNX Runtime's LRN is of images
    y = body.op(
        "LRN",
        body.op("Unsqueeze", x, last) if flat else x,
        size=size,
        alpha=body.float_("alpha", 1e-4),
        beta=body.float_("beta", 0.75),
        bias=body.float_("k", 1.0),
    )
    return [body.op("Squeeze", y, last) if flat else y]
