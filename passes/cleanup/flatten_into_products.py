"""FULLY_CONNECTED flattens its operand itself."""

from __future__ import annotations

import dataclasses

from graphrewrite.ir import Node, Value, static_dims
from graphrewrite.pipeline import RewritePass, Stage
from graphrewrite.rewrite import Match, MatchFailure, Rewriter


@dataclasses.dataclass(frozen=True)
class FlattenIntoProducts(RewritePass):
    """Drop reshapes in front of matrix products.

        %a:float[1,64] = RESHAPE(%x:float[1,1,1,64], [1, 64])   --->   %y:float[1,10] = FULLY_CONNECTED(%x, %w)
        %y:float[1,10] = FULLY_CONNECTED(%a, %w) {keep_num_dims=1}

    Where the result has two dimensions, or is only reshaped again, and nothing but such products reads the RESHAPE. Exact.
    """

    stage = Stage.FINISH
    after = ("fold-affine-into-readers", "fold-affine-into-weights")
    targets = frozenset({"tflite"})
    roots = ("tflite.FULLY_CONNECTED",)

    def match(self, node: Node) -> Match:
        """The value before the RESHAPE."""
        value = node.inputs[0]
        view = value.producer() if value is not None else None
        if value is None or view is None or view.domain != "tflite" or view.op_type != "RESHAPE":
            raise MatchFailure("the operand comes from no RESHAPE", value)
        x = view.inputs[0]
        if x is None or static_dims(x) is None or static_dims(value) is None or value.is_graph_output():
            raise MatchFailure("a shape is known only at run time", value)
        for use in value.uses():
            if use.idx != 0 or not _flattens(use.node):
                raise MatchFailure("not only products that may flatten it read the RESHAPE", use.node)
        return Match(node, {"x": x}, {}, (view, node))

    def rewrite(self, match: Match, rewriter: Rewriter) -> Value | None:
        """The product of the flattened operand; reshapes behind it read that."""
        node = match.root
        attributes = dict(node.attributes.items())
        attributes.pop("keep_num_dims", None)
        y = rewriter.op(
            "FULLY_CONNECTED",
            match["x"],
            *node.inputs[1:],
            domain="tflite",
            keep_num_dims=False,
            **attributes,
        )
        out = node.outputs[0]
        if static_dims(y) == static_dims(out):
            return y
        for reader in [use.node for use in out.uses()]:
            target = reader.outputs[0]
            if static_dims(target) == static_dims(y):
                rewriter.replace(reader, y)
                continue
            again = rewriter.op(
                "RESHAPE", y, *reader.inputs[1:], domain="tflite", **dict(reader.attributes.items())
            )
            rewriter.replace(reader, again)
        rewriter.erase(node)
        return None


def _flattens(node: Node) -> bool:
    """True where `node` is a product whose result may be [rows, columns]."""
    if node.domain != "tflite" or node.op_type != "FULLY_CONNECTED":
        return False
    out, weights = static_dims(node.outputs[0]), static_dims(node.inputs[1])
    if out is None or weights is None or 0 in out:
        return False
    if len(out) == 2:
        return True
    result = node.outputs[0]
    return not result.is_graph_output() and all(
        use.node.domain == "tflite"
        and use.node.op_type == "RESHAPE"
        and static_dims(use.node.outputs[0]) is not None
        for use in result.uses()
    )
