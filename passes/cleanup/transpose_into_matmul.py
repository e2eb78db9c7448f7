"""Core ML's matmul reads either operand transposed."""

from __future__ import annotations

import dataclasses

from graphrewrite.ir import Node, Value, constant_array, dims, use_count
from graphrewrite.pipeline import RewritePass, Stage
from graphrewrite.rewrite import Match, MatchFailure, Rewriter

_FLAGS = ("transpose_x", "transpose_y")


@dataclasses.dataclass(frozen=True)
class TransposeIntoMatmul(RewritePass):
    """Let a product turn its operand in place of a transpose of the last two dimensions.

        %a = mil.transpose(%k, [0, 1, 3, 2])
        %b = mil.mul(%a, 0.35)                        %b = mil.mul(%k, 0.35)
        %y = mil.matmul(%q, %b)                --->   %y = mil.matmul(%q, %b) {transpose_y=1}

    Attention turns its keys, and exporters put half of the scale behind that. Exact.
    """

    stage = Stage.FINISH
    targets = frozenset({"coreml"})
    after = ("transpose-between-reshapes",)
    roots = ("mil.matmul",)

    def match(self, node: Node) -> Match:
        """An operand that is turned, and multiplied by one number at most."""
        for index in (0, 1):
            value, scale = node.inputs[index], None
            step = _only_here(value)
            if step is not None and step.op_type == "mul":
                scale = next((item for item in step.inputs if _is_number(item)), None)
                value = next((item for item in step.inputs if item is not scale), None)
                step = _only_here(value) if scale is not None else None
            if step is None or step.op_type != "transpose" or not _turns_last_two(step):
                continue
            captured = {"x": step.inputs[0]} | ({} if scale is None else {"scale": scale})
            return Match(node, captured, {f"operand{index}": step}, (node,))
        raise MatchFailure("no operand is a transpose of the last two dimensions that nothing else reads")

    def rewrite(self, match: Match, rewriter: Rewriter) -> Value:
        """The product with the flag turned over."""
        node, value = match.root, match["x"]
        index = 0 if "operand0" in match.named else 1
        if "scale" in match.values:
            value = rewriter.op("mul", value, match["scale"], domain="mil")
        operands = [value if i == index else item for i, item in enumerate(node.inputs)]
        flags = {name: node.attributes.get_int(name, 0) for name in _FLAGS}
        flags[_FLAGS[index]] = 1 - flags[_FLAGS[index]]
        return rewriter.op(
            "matmul", *operands, domain="mil", **{name: flag for name, flag in flags.items() if flag}
        )


def _only_here(value: Value | None) -> Node | None:
    """The `mil` node that makes `value`, where nothing else reads it."""
    node = value.producer() if value is not None else None
    if (
        value is None
        or node is None
        or node.domain != "mil"
        or use_count(value) > 1
        or value.is_graph_output()
    ):
        return None
    return node


def _is_number(value: Value | None) -> bool:
    array = constant_array(value)
    return array is not None and array.size == 1 and array.ndim <= 1


def _turns_last_two(node: Node) -> bool:
    perm, size = list(node.attributes["perm"].as_ints()), len(dims(node.inputs[0]) or ())
    return size > 1 and perm == [*range(size - 2), size - 1, size - 2]
