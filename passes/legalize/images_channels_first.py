"""Core ML gives a program its pictures channels first, however the source or the caller of the other targets has them."""

from __future__ import annotations

import dataclasses

from graphrewrite.ir import Model, Node, Value, layout, picture
from graphrewrite.pipeline import Pass, Stage
from graphrewrite.rewrite import Rewriter, RuleStatistics


@dataclasses.dataclass(frozen=True)
class ImagesChannelsFirst(Pass):
    """Take pictures as [1, C, H, W].

        %x: [1, 64, 48, 3]                                  %x: [1, 3, 64, 48]
        %a = Transpose(%x) {perm=[0, 3, 1, 2]}     --->     %y = Conv(%x, %w)
        %y = Conv(%a, %w)

    Whoever reads the picture in another way reads a transpose of it. Exact.
    """

    stage = Stage.LEGALIZE
    mandatory = True
    targets = frozenset({"coreml"})

    def run(self, model: Model, rewriter: Rewriter) -> dict[str, RuleStatistics]:
        """Turn each picture whose channels are not dimension 1."""
        for value in model.graph.inputs:
            facet, stored = picture(value), layout(value)
            if facet is None:
                continue
            axis = facet.channels if stored is None else stored.perm.index(facet.channels)
            if axis != 1:
                _turn(model, value, axis, rewriter)
        return {}


def _turn(model: Model, value: Value, axis: int, rewriter: Rewriter) -> None:
    others = [index for index in range(1, 4) if index != axis]
    to_first = [0, axis, *others]
    back = [to_first.index(index) for index in range(4)]
    readers = [(use.node, use.idx) for use in value.uses()]
    rewriter.store_permuted(value, tuple(to_first))
    if not readers:
        return
    undone = [node for node, _ in readers if _perm(node) == to_first]
    others_read = [(node, index) for node, index in readers if node not in undone]
    with rewriter.rewrite("images-channels-first", readers[0][0]):
        if others_read:
            with rewriter.inside(model.graph, model.graph[0]):
                turned = rewriter.op("Transpose", value, perm=back)
            for node, index in others_read:
                rewriter.set_input(node, index, turned)
        for node in undone:
            rewriter.replace(node, value)


def _perm(node: Node) -> list[int] | None:
    if node.op_type != "Transpose" or node.domain != "":
        return None
    return [int(axis) for axis in node.attributes["perm"].as_ints()]
