"""Shape arithmetic becomes constants wherever the graph tells the dimensions."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from graphrewrite.ir import (
    Dim,
    Model,
    Node,
    constant_array,
    dims,
    evaluate,
    is_constant,
    is_pure,
    shape_data,
    static_dims,
)
from graphrewrite.pipeline import Pass, Stage
from graphrewrite.rewrite import Rewriter, RuleStatistics, all_nodes

_SMALL = 64
"""Elements of the largest result that counts as shape arithmetic."""
_ARITHMETIC = frozenset({
    "Shape", "Size", "Gather", "Slice", "Concat", "Identity", "Cast", "Squeeze", "Unsqueeze", "Reshape",
    "Add", "Sub", "Mul", "Div",
})  # fmt: skip


@dataclasses.dataclass(frozen=True)
class FoldShapeComputations(Pass):
    """Compute what is known of shapes.

        %a = Shape(%x:float[batch,32,16,16])
        %b = Gather(%a, 0)                                 --->   %y = Reshape(%x, [-1, 8192])
        %c = Concat(Unsqueeze(%b), [8192])
        %y = Reshape(%x, %c)

    One walk in graph order, each result informing the shapes after it. Where one dimension of a Reshape's
    target stays unknown it is written -1; several are written 0 where they copy the operand's own. Small
    constant nodes (up to 64 elements) are computed as well, since sizes often go through floating point.
    Exact.
    """

    stage = Stage.CANONICALIZE
    after = ("strip-tf-leftovers", "noise-policy")

    def run(self, model: Model, rewriter: Rewriter) -> dict[str, RuleStatistics]:
        """Fold in graph order; nodes that lose their last user go on the way."""
        for node in list(all_nodes(model.graph)):
            if not rewriter.allowed():
                break
            if node.graph is None or node.domain != "":
                continue
            if node.op_type == "Reshape" and not is_constant(node.inputs[1]):
                self._target(node, rewriter)
            else:
                self._fold(node, rewriter)
        return {}

    def _fold(self, node: Node, rewriter: Rewriter) -> None:
        if node.op_type == "Identity" and node.outputs[0].is_graph_output():
            return  # this is how a constant becomes an output
        content = _known(node) if len(node.outputs) == 1 else None
        if content is None and _is_small_constant(node):
            results = evaluate(node, [constant_array(value) for value in node.inputs])
            if results is not None and results[0].size <= _SMALL:
                content = results[0]
        if content is None:
            return
        with rewriter.rewrite(self.name, node):
            rewriter.replace(node, rewriter.constant(content, node.outputs[0].name))

    def _target(self, node: Node, rewriter: Rewriter) -> None:
        """Make the target shape of a Reshape a constant where it can be spelled as one."""
        target = _spell(node)
        if target is None:
            return
        with rewriter.rewrite(self.name, node):
            rewriter.set_attribute(node, "allowzero", None)
            rewriter.set_input(node, 1, rewriter.constant(np.array(target, np.int64)))


def _known(node: Node) -> np.ndarray[tuple[int, ...], np.dtype[np.integer]] | None:
    """The integer content of the node's output, where every element is known."""
    out = node.outputs[0]
    if node.op_type not in _ARITHMETIC or out.dtype is None or out.dtype.numpy().kind != "i":
        return None
    shape = static_dims(out)
    if shape is None or math.prod(shape) > _SMALL:
        return None
    data = shape_data(out)
    if data is None or len(data) != math.prod(shape):
        return None
    numbers = [item for item in data if isinstance(item, int)]
    return np.array(numbers, out.dtype.numpy()).reshape(shape) if len(numbers) == len(data) else None


def _is_small_constant(node: Node) -> bool:
    for value in node.inputs:
        if value is not None and not (
            is_constant(value) and value.const_value is not None and value.const_value.size <= _SMALL
        ):
            return False
    if not node.inputs or len(node.outputs) != 1 or not is_pure(node) or "quantize" in node.op_type.lower():
        return False
    shape = static_dims(node.outputs[0])
    return shape is None or math.prod(shape) <= _SMALL


def _spell(node: Node) -> list[int] | None:
    """A constant target for a Reshape: numbers, at most one -1, and 0 only where it copies a dimension."""
    out = static_dims(node.outputs[0])
    if out is not None and 0 not in out:
        return list(out)
    data: list[Dim] | None = shape_data(node.inputs[1])
    source = dims(node.inputs[0])
    if data is None or source is None:
        return None
    if 0 in data and node.attributes.get_int("allowzero", 0) != 0:
        return None
    known = dims(node.outputs[0]) or (None,) * len(data)
    # A -1 or 0 whose value inference found is a number like any other.
    data = [
        found if isinstance(found, int) and found > 0 and not (isinstance(dim, int) and dim > 0) else dim
        for dim, found in zip(data, known, strict=True)
    ]
    target = [dim if isinstance(dim, int) else None for dim in data]
    unknown = [index for index, dim in enumerate(target) if dim is None]
    if -1 not in target and len(unknown) == 1:
        target[unknown[0]] = -1
        unknown = []
    for index in unknown:
        if index < len(source) and data[index] is not None and data[index] == source[index]:
            target[index] = 0
        elif -1 not in target:
            target[index] = -1
        else:
            return None
    return [dim for dim in target if dim is not None]
