"""Padding in front of a maximum needs no minus infinity where nothing is negative."""

from __future__ import annotations

import dataclasses

import numpy as np

from graphrewrite.ir import DataType, Node, Value, constant_array, constant_ints
from graphrewrite.pipeline import RewritePass, Stage
from graphrewrite.rewrite import Match, MatchFailure, Rewriter

_NOT_NEGATIVE = frozenset(
    {
        "RELU",
        "RELU6",
        "RELU_0_TO_1",
        "LOGISTIC",
        "SOFTMAX",
        "ABS",
        "SQUARE",
        "SQUARED_DIFFERENCE",
        "EXP",
        "SQRT",
    }
)
_KEEP_SIGN = frozenset(
    {
        "AVERAGE_POOL_2D",
        "MAX_POOL_2D",
        "CONCATENATION",
        "PAD",
        "RESHAPE",
        "TRANSPOSE",
        "SLICE",
        "STRIDED_SLICE",
        "MEAN",
        "SUM",
        "RESIZE_BILINEAR",
        "RESIZE_NEAREST_NEIGHBOR",
    }
)
_DEPTH = 20
"""Operators that are followed back at most."""


@dataclasses.dataclass(frozen=True)
class PadWithZeros(RewritePass):
    """Use PAD, which delegates take, for PADV2, which they do not.

        %a = CONV_2D(%x, %w, %b) {fused_activation_function=RELU}
        %p = PADV2(%a, [...], -inf)                      --->   %p = PAD(%a, [...])
        %y = MAX_POOL_2D(%p) {padding=VALID}

    A window of the pool is never all padding, so zeros change no maximum of values that are not negative. PADV2 with zeros is
    a PAD anyway. Exact.
    """

    stage = Stage.FINISH
    after = ("fuse-activations",)
    targets = frozenset({"tflite"})
    roots = ("tflite.PADV2",)

    def match(self, node: Node) -> Match:
        """A PADV2 of float32 with a constant that no maximum can meet."""
        x, fill, pads = node.inputs[0], constant_array(node.inputs[2]), constant_ints(node.inputs[1])
        if x is None or fill is None or pads is None or x.dtype != DataType.FLOAT:
            raise MatchFailure("the padding is known only at run time, or not float32", node)
        if bool(np.all(fill == 0)):
            return Match(node, {"x": x}, {}, (node,))
        if not bool(np.all(fill <= 0)):
            raise MatchFailure("the padding is positive", node.inputs[2])
        result = node.outputs[0]
        if result.is_graph_output() or not all(_takes_maximum(use.node, pads) for use in result.uses()):
            raise MatchFailure("something else than the maximum of windows reads the padding", result)
        if not _is_not_negative(x, _DEPTH):
            raise MatchFailure("the operand may be negative", x)
        return Match(node, {"x": x}, {}, (node,))

    def rewrite(self, match: Match, rewriter: Rewriter) -> Value:
        """The PAD."""
        return rewriter.op("PAD", match["x"], match.root.inputs[1], domain="tflite")


def _takes_maximum(node: Node, pads: list[int]) -> bool:
    """True for a MAX_POOL_2D whose windows are larger than the padding on each side, and pad nothing themselves."""
    if node.domain != "tflite" or node.op_type != "MAX_POOL_2D" or len(pads) != 8:
        return False
    if node.attributes.get_string("padding", "") != "VALID" or any(pads[index] for index in (0, 1, 6, 7)):
        return False
    height, width = (node.attributes.get_int(f"filter_{name}", 0) for name in ("height", "width"))
    return max(pads[2], pads[3]) < height and max(pads[4], pads[5]) < width


def _is_not_negative(value: Value, depth: int) -> bool:
    node = value.producer()
    if node is None:
        array = constant_array(value)
        return array is not None and bool(np.all(array >= 0))
    if node.domain != "tflite" or depth == 0:
        return False
    if node.op_type in _NOT_NEGATIVE:
        return True
    if node.attributes.get_string("fused_activation_function", "NONE") in ("RELU", "RELU6"):
        return True
    if node.op_type in ("ADD", "MUL"):
        return all(item is not None and _is_not_negative(item, depth - 1) for item in node.inputs)
    if node.op_type not in _KEEP_SIGN:
        return False
    data = node.inputs if node.op_type == "CONCATENATION" else node.inputs[:1]
    return all(item is not None and _is_not_negative(item, depth - 1) for item in data)
