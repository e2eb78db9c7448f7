"""Blocks of x [N, C, H, W] between channels and space."""

from __future__ import annotations

from collections.abc import Sequence

from graphrewrite.ir import Node
from graphrewrite.targets.coreml.dialect.op import MilBody, define


@define("depth_to_space", operands="x", moves=True)
def depth_to_space(node: Node, body: MilBody) -> Sequence[str]:
    """Channel (row * block + column) * C + c goes to that row and column of the block, as in TensorFlow."""
    return [body.op("DepthToSpace", body.inputs[0], blocksize=body.int_("block_size"), mode="DCR")]


@define("pixel_shuffle", operands="x", moves=True)
def pixel_shuffle(node: Node, body: MilBody) -> Sequence[str]:
    """Channel c * block^2 + row * block + column goes to that row and column of the block, as in PyTorch."""
    return [body.op("DepthToSpace", body.inputs[0], blocksize=body.int_("upscale_factor"), mode="CRD")]


@define("space_to_depth", operands="x", moves=True)
def space_to_depth(node: Node, body: MilBody) -> Sequence[str]:
    """The inverse of depth_to_space."""
    return [body.op("SpaceToDepth", body.inputs[0], blocksize=body.int_("block_size"))]


@define("pixel_unshuffle", operands="x", moves=True)
def pixel_unshuffle(node: Node, body: MilBody) -> Sequence[str]:
    """The inverse of pixel_shuffle."""
    block = body.int_("downscale_factor")
    shape = body.op("Shape", body.inputs[0])
    batch, channels, height, width = (
        body.op("Slice", shape, body.const([axis]), body.const([axis + 1])) for axis in range(4)
    )
    step = body.const([block])
    rows, columns = body.op("Div", height, step), body.op("Div", width, step)
    split = body.op("Concat", batch, channels, rows, step, columns, step, axis=0)
    blocks = body.op("Transpose", body.op("Reshape", body.inputs[0], split), perm=[0, 1, 3, 5, 2, 4])
    deep = body.op("Mul", channels, body.const([block * block]))
    return [body.op("Reshape", blocks, body.op("Concat", batch, deep, rows, columns, axis=0))]
