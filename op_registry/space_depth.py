"""DepthToSpace and SpaceToDepth."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphrewrite.ir import Value, static_dims
from graphrewrite.registry import OpNode, lowering

if TYPE_CHECKING:
    from graphrewrite.targets.coreml.builder import MIL
    from graphrewrite.targets.tflite.builder import TFLite


@lowering("tflite", "DepthToSpace")
def depth_to_space(node: OpNode, t: TFLite) -> Value:
    """DCR (blocks before channels) is TFLite's own order. CRD is one transpose of the channels-last view, or, where sizes are
    unknown, a permutation of the channels before it."""
    block = node.attr("blocksize")
    x = t.to_last(node.input(0))
    if node.attr("mode", "DCR") == "DCR" or block == 1:
        return t.to_first(t.op("DEPTH_TO_SPACE", x, block_size=block))
    known = static_dims(x)
    channels = node.dims(0)[1]
    if not isinstance(channels, int):
        node.refuse("the number of channels is known only at run time", "fix it with --shape")
    out = channels // (block * block)
    if known is None:
        order = [c * block * block + at for at in range(block * block) for c in range(out)]
        x = t.op("GATHER", x, t.i32(order), axis=3, batch_dims=0)
        return t.to_first(t.op("DEPTH_TO_SPACE", x, block_size=block))
    batch, height, width, _ = known
    x = t.reshape(x, [batch * height, width, out, block, block])
    x = t.transpose(x, [0, 3, 1, 4, 2])
    return t.to_first(t.reshape(x, [batch, height * block, width * block, out]))


@lowering("tflite", "SpaceToDepth")
def space_to_depth(node: OpNode, t: TFLite) -> Value:
    return t.to_first(t.op("SPACE_TO_DEPTH", t.to_last(node.input(0)), block_size=node.attr("blocksize")))


@lowering("coreml", "DepthToSpace")
def mil_depth_to_space(node: OpNode, m: MIL) -> Value:
    """DCR is MIL's depth_to_space, CRD its pixel_shuffle."""
    if node.attr("mode", "DCR") == "DCR":
        return m.op("depth_to_space", node.input(0), block_size=node.attr("blocksize"))
    return m.op("pixel_shuffle", node.input(0), upscale_factor=node.attr("blocksize"))


@lowering("coreml", "SpaceToDepth")
def mil_space_to_depth(node: OpNode, m: MIL) -> Value:
    return m.op("space_to_depth", node.input(0), block_size=node.attr("blocksize"))
