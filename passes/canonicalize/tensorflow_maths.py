"""TensorFlow's elementwise functions that ONNX has no operator for, written out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from graphrewrite.ir import DataType, Node, Value
from graphrewrite.rewrite import MatchFailure, Rewriter

Build = Callable[[Rewriter], Sequence["Value | None"]]
Formula = Callable[[Rewriter, Node], Value]

_FLOATS = frozenset({DataType.FLOAT, DataType.FLOAT16, DataType.DOUBLE, DataType.BFLOAT16})


def formula(node: Node) -> Build:
    """The function `node` computes; fails where an operand is missing or of a type it is not defined for."""
    operands, function, of_floats = FORMULAS[node.op_type]
    types = {value.dtype if value is not None else None for value in node.inputs}
    if len(node.inputs) != operands or len(types) > 1 or None in types:
        raise MatchFailure(f"it has {operands} operands of one known type", node)
    if of_floats and not types <= _FLOATS:
        raise MatchFailure("its operands are not floats", node)
    return lambda rewriter: [function(rewriter, node)]


def _number(b: Rewriter, node: Node, number: float) -> Value:
    dtype = node.inputs[0].dtype if node.inputs[0] is not None else None
    return b.constant(np.asarray(number, (dtype or DataType.FLOAT).numpy()))


def _unless_zero(b: Rewriter, node: Node, result: Value) -> Value:
    """0 where the first operand is 0, whatever the second is."""
    zero = _number(b, node, 0)
    return b.op("Where", b.op("Equal", node.inputs[0], zero), zero, result)


def _erfc(b: Rewriter, node: Node) -> Value:
    return b.op("Sub", _number(b, node, 1), b.op("Erf", node.inputs[0]))


def _expm1(b: Rewriter, node: Node) -> Value:
    return b.op("Sub", b.op("Exp", node.inputs[0]), _number(b, node, 1))


def _log1p(b: Rewriter, node: Node, of: int = 0) -> Value:
    return b.op("Log", b.op("Add", node.inputs[of], _number(b, node, 1)))


def _xlogy(b: Rewriter, node: Node) -> Value:
    return _unless_zero(b, node, b.op("Mul", node.inputs[0], b.op("Log", node.inputs[1])))


def _xlog1py(b: Rewriter, node: Node) -> Value:
    return _unless_zero(b, node, b.op("Mul", node.inputs[0], _log1p(b, node, 1)))


def _xdivy(b: Rewriter, node: Node) -> Value:
    return _unless_zero(b, node, b.op("Div", *node.inputs))


def _inverse(b: Rewriter, node: Node) -> Value:
    return b.op("Reciprocal", node.inputs[0])


def _l2_loss(b: Rewriter, node: Node) -> Value:
    x = node.inputs[0]
    return b.op("Mul", b.op("ReduceSumSquare", x, keepdims=0), _number(b, node, 0.5))


def _truncate_mod(b: Rewriter, node: Node) -> Value:
    return b.op("Mod", *node.inputs, fmod=1)


def _approximate_equal(b: Rewriter, node: Node) -> Value:
    distance = b.op("Abs", b.op("Sub", *node.inputs))
    return b.op("Less", distance, _number(b, node, node.attributes.get_float("tolerance", 1e-5)))


FORMULAS: dict[str, tuple[int, Formula, bool]] = {
    "Erfc": (1, _erfc, True),
    "Expm1": (1, _expm1, True),
    "Log1p": (1, _log1p, True),
    "Xlogy": (2, _xlogy, True),
    "Xlog1py": (2, _xlog1py, True),
    "Xdivy": (2, _xdivy, True),
    "Inv": (1, _inverse, True),
    "L2Loss": (1, _l2_loss, True),
    "TruncateMod": (2, _truncate_mod, False),
    "ApproximateEqual": (2, _approximate_equal, False),
}
"""By op: how many operands of one type it has, what it is, and whether these are floats."""
