"""Constant sub-expressions are computed once, at conversion."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable

from graphrewrite.ir import (
    Array,
    Model,
    Node,
    Value,
    constant_array,
    evaluate,
    is_constant,
    is_pure,
    static_dims,
)
from graphrewrite.pipeline import Pass, Stage
from graphrewrite.rewrite import Rewriter, RuleStatistics, all_nodes

_WEIGHT_OPERAND = {"Conv": 1, "ConvTranspose": 1, "Gemm": 1, "MatMul": 1}
_QUANTISATION = frozenset({"DequantizeLinear", "QuantizeLinear", "DynamicQuantizeLinear"})


@dataclasses.dataclass(frozen=True)
class FoldConstants(Pass):
    """Compute whole constant sub-expressions.

        %a = Mul(%style_inv, %w:float[1,512,512,3,3])
        %b = Pow(%a, 2.0)                                  --->   %d = [...]:float[1,512]
        %c = ReduceSum(%b, [2, 3, 4])
        %d = Reciprocal(%c)

    What is kept never takes more bytes than what it replaces, beyond `growth` bytes a result
    (`weights_growth` for the weights of a convolution or matrix product, which must be constant to be fast):
    noise [1, 1, H, W] + bias [C, 1, 1] stays two constants, not one of [1, C, H, W]. Intermediate results of
    more than `memory` bytes are not computed. Quantised weights are not dequantised. Exact.
    """

    growth: int = 64 << 10
    weights_growth: int = 16 << 20
    memory: int = 1 << 30

    stage = Stage.CANONICALIZE
    after = ("fold-shape-computations",)

    def run(self, model: Model, rewriter: Rewriter) -> dict[str, RuleStatistics]:
        """Decide from the last node backwards what is worth keeping, then compute it from the first node on."""
        foldable = self._foldable(model)
        kept = self._choose(foldable)
        needed = _cones(kept, foldable)
        order = [node for node in foldable if node in needed]
        pending = Counter(
            producer for node in order for producer in _producers(node, foldable) if producer in needed
        )
        results: dict[Value, Array] = {}
        for node in order:
            if not rewriter.allowed():
                break
            arrays = _compute(node, results)
            for producer in _producers(node, foldable):
                pending[producer] -= 1
                if not pending[producer]:
                    for value in producer.outputs:
                        results.pop(value, None)
            if arrays is None:
                continue
            if node in kept:
                with rewriter.rewrite(self.name, node):
                    rewriter.replace(node, _constants(node, arrays, rewriter))
            elif pending[node]:
                results.update(zip(node.outputs, arrays, strict=True))
        return {}

    def _foldable(self, model: Model) -> dict[Node, None]:
        """Nodes that depend on constants only, in topological order."""
        found: dict[Node, None] = {}
        for node in all_nodes(model.graph):
            if not node.inputs or not is_pure(node) or node.op_type in _QUANTISATION or _names_output(node):
                continue
            if not all(
                value is None or is_constant(value) or value.producer() in found for value in node.inputs
            ):
                continue
            if _bytes(node) <= self.memory:
                found[node] = None
        return found

    def _choose(self, foldable: dict[Node, None]) -> set[Node]:
        """The nodes whose results are kept as constants. A node that is not worth it makes its operands candidates."""
        kept: set[Node] = set()
        left: set[Node] = set()
        spent: set[Value] = set()
        for node in reversed(foldable):
            if not any(
                value.is_graph_output()
                or any(use.node not in foldable or use.node in left for use in value.uses())
                for value in node.outputs
            ):
                continue
            allowance = self.weights_growth if _is_weight(node) else self.growth
            missing = _bytes(node) - allowance
            freed = _freed(node, foldable, spent) if missing > 0 else {}
            if sum(freed.values()) >= missing:
                kept.add(node)
                spent.update(freed)
            else:
                left.add(node)
        return kept


def _names_output(node: Node) -> bool:
    """True for the Identity through which a constant becomes an output of the model."""
    return node.op_type == "Identity" and node.outputs[0].is_graph_output()


def _bytes(node: Node) -> int:
    """Size of the node's results; 0 where a shape is not known before it is computed."""
    total = 0
    for value in node.outputs:
        known = static_dims(value)
        if known is not None and value.dtype is not None:
            total += math.prod(known) * max(value.dtype.bitwidth, 8) // 8
    return total


def _is_weight(node: Node) -> bool:
    return any(
        use.node.domain == "" and _WEIGHT_OPERAND.get(use.node.op_type) == use.idx
        for value in node.outputs
        for use in value.uses()
    )


def _producers(node: Node, foldable: dict[Node, None]) -> list[Node]:
    found = (value.producer() for value in node.inputs if value is not None)
    return [producer for producer in dict.fromkeys(found) if producer is not None and producer in foldable]


def _freed(node: Node, foldable: dict[Node, None], spent: set[Value]) -> dict[Value, int]:
    """Constants, with their sizes, that nothing needs any more once `node` is computed."""
    freed: dict[Value, int] = {}
    for inner in _cones([node], foldable):
        for value in inner.inputs:
            if value is None or not is_constant(value) or value in spent or value.const_value is None:
                continue
            if all(use.node in foldable for use in value.uses()) and not value.is_graph_output():
                freed[value] = value.const_value.nbytes
    return freed


def _cones(nodes: Iterable[Node], foldable: dict[Node, None]) -> set[Node]:
    """`nodes` and everything that they are computed from."""
    seen = set(nodes)
    stack = list(seen)
    while stack:
        for producer in _producers(stack.pop(), foldable):
            if producer not in seen:
                seen.add(producer)
                stack.append(producer)
    return seen


def _compute(node: Node, results: dict[Value, Array]) -> list[Array] | None:
    arrays: list[Array | None] = []
    for value in node.inputs:
        array = None if value is None else results.get(value)
        if array is None and value is not None:
            array = constant_array(value)
            if array is None:
                return None  # an operand could not be computed
        arrays.append(array)
    return evaluate(node, arrays)


def _constants(node: Node, arrays: list[Array], rewriter: Rewriter) -> list[Value | None]:
    return [
        rewriter.constant(array, value.name) if value.uses() or value.is_graph_output() else None
        for value, array in zip(node.outputs, arrays, strict=True)
    ]
