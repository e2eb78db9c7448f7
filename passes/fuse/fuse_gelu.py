"""The Gaussian error linear unit, in every way it is written out, becomes one Gelu."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from graphrewrite.ir import DataType, Node, Value, constant_scalar, is_constant, rank, use_count
from graphrewrite.pipeline import RewritePass, Stage
from graphrewrite.rewrite import Match, MatchFailure, Rewriter

Coefficients = npt.NDArray[np.float64]
"""Of a polynomial in one value: entry i multiplies its power i."""

_DEGREE = 3
"""Of the polynomial inside tanh."""
_TOLERANCE = 1e-5
"""Of the written constants against the definition's; exporters round them to float32 or to ten digits."""

_CURVES: dict[str, tuple[str, tuple[float, ...]]] = {
    "Erf": ("none", (0.0, math.sqrt(0.5), 0.0, 0.0)),
    "Tanh": ("tanh", (0.0, math.sqrt(2 / math.pi), 0.0, 0.044715 * math.sqrt(2 / math.pi))),
}
"""`approximate` of the Gelu, and the polynomial whose curve it is."""


@dataclasses.dataclass
class _Found(Match):
    """`root` is `factor * Gelu(x)`."""

    approximate: str = ""
    factor: float = 1.0


@dataclasses.dataclass(frozen=True)
class FuseGelu(RewritePass):
    """Recognise Gelu.

        %a = Div(%x, 1.4142135)
        %b = Erf(%a)                                       --->   %y = Gelu(%x) {approximate=none}
        %c = Add(%b, 1.0)
        %d = Mul(%x, %c)
        %y = Mul(%d, 0.5)

    x * (1 + erf(x / sqrt(2))) / 2 and x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))) / 2, wherever the factors
    stand, whatever they are multiplied out to, and however the cube is written. Another factor than 1/2 stays behind as a
    Mul. Runs before `fold-affine-into-conv`, which moves factors of the formula into weights. Exact.
    """

    stage = Stage.CANONICALIZE
    after = ("fold-constants", "deduplicate-constants", "eliminate-common-subexpressions")
    roots = ("Mul", "Div")

    def match(self, node: Node) -> Match:
        """The product of x, a curve of x and constants, as large as it gets."""
        out = node.outputs[0]
        if _inner(out) and _scaled(next(iter(out.uses())).node) is not None:
            raise MatchFailure("the product goes on", out)
        factor, factors, nodes = _product(node)
        if len(factors) != 2:
            raise MatchFailure("not a product of two values and constants", node)
        if rank(out) is None or any(rank(item) != rank(out) for item in factors):
            raise MatchFailure("a constant of the formula gives the result a dimension", node)
        failure = MatchFailure("no factor is 1 + erf or 1 + tanh", node)
        for x, gate in (factors, factors[::-1]):
            try:
                approximate, share, inner = _gate(gate, x)
                return _Found(node, {"x": x}, {}, (*inner, *nodes), approximate, 2 * share * factor)
            except MatchFailure as error:
                failure = error.untraced()
        raise failure.untraced()

    def rewrite(self, match: Match, rewriter: Rewriter) -> Value:
        """A Gelu, times what is left of the factors."""
        assert isinstance(match, _Found)
        x = match["x"]
        y = rewriter.op("Gelu", x, approximate=match.approximate)
        if math.isclose(match.factor, 1.0, rel_tol=_TOLERANCE):
            return y
        dtype = (x.dtype or DataType.FLOAT).numpy()
        return rewriter.op("Mul", y, rewriter.constant(np.asarray(match.factor, dtype)))


def _scalar(value: Value | None) -> float | None:
    """The number in a constant that gives no operand a dimension it lacks."""
    return constant_scalar(value) if value is not None and (rank(value) or 0) <= 1 else None


def _scaled(node: Node) -> tuple[Value, float] | None:
    """The operand and the number of a product with, or quotient by, one number."""
    if node.domain != "" or node.op_type not in ("Mul", "Div"):
        return None
    a, b = node.inputs
    number = _scalar(b)
    if a is not None and number is not None and not is_constant(a):
        if node.op_type == "Mul":
            return a, number
        return (a, 1 / number) if number else None
    number = _scalar(a)
    return (b, number) if node.op_type == "Mul" and number is not None and b is not None else None


def _product(node: Node) -> tuple[float, list[Value], list[Node]]:
    """Number, values and nodes of the product that ends at `node`; inner nodes have no other reader."""
    scaled = _scaled(node)
    if scaled is not None:
        operands, factor = [scaled[0]], scaled[1]
    elif node.op_type == "Mul":
        operands, factor = [item for item in node.inputs if item is not None], 1.0
    else:
        raise MatchFailure("a quotient of two values", node)
    values: list[Value] = []
    nodes = [node]
    for operand in operands:
        producer = operand.producer()
        if producer is None or not _inner(operand) or (producer.op_type != "Mul" and not _scaled(producer)):
            values.append(operand)
            continue
        number, inner, more = _product(producer)
        factor *= number
        values += inner
        nodes += more
    return factor, values, nodes


def _inner(value: Value) -> bool:
    producer = value.producer()
    return (
        producer is not None
        and producer.domain == ""
        and use_count(value) == 1
        and not value.is_graph_output()
    )


def _gate(value: Value, x: Value) -> tuple[str, float, list[Node]]:
    """`approximate`, share and nodes where `value` is share * (1 + curve(x)).

    Raises:
        MatchFailure: it is something else.
    """
    nodes: list[Node] = []
    scale, offset = 1.0, 0.0  # value = scale * current + offset
    current = value
    while (node := current.producer()) is not None and node.op_type not in _CURVES:
        if not _inner(current):
            raise MatchFailure(f"'{current.name}' is also used elsewhere", current)
        nodes.append(node)
        scaled = _scaled(node)
        if scaled is not None:
            current, scale = scaled[0], scale * scaled[1]
            continue
        if node.op_type not in ("Add", "Sub") or node.domain != "":
            raise MatchFailure("the factor is not 1 + erf or 1 + tanh", node)
        a, b = node.inputs
        left, right = _scalar(a), _scalar(b)
        if right is not None and a is not None:
            offset += scale * (right if node.op_type == "Add" else -right)
            current = a
        elif left is not None and b is not None and node.op_type == "Add":
            offset += scale * left
            current = b
        else:
            raise MatchFailure("a sum of two values", node)
    if node is None or node.domain != "" or node.inputs[0] is None:
        raise MatchFailure("the factor is not 1 + erf or 1 + tanh", value)
    if not _inner(current):
        raise MatchFailure(f"'{current.name}' is also used elsewhere", current)
    if scale == 0 or not math.isclose(scale, offset, rel_tol=_TOLERANCE):
        raise MatchFailure("the curve is not shifted by 1", value)
    approximate, wanted = _CURVES[node.op_type]
    found = _polynomial(node.inputs[0], x, 0)
    if found is None or not np.allclose(found, wanted, rtol=_TOLERANCE, atol=0):
        raise MatchFailure("the argument of the curve is not Gelu's", node.inputs[0])
    return approximate, scale, [node, *nodes]


def _polynomial(value: Value, x: Value, depth: int) -> Coefficients | None:
    """`value` as a polynomial of degree 3 in `x`, None where it is none."""
    if value is x:
        return np.array([0.0, 1.0, 0.0, 0.0])
    number = _scalar(value)
    if number is not None:
        return np.array([number, 0.0, 0.0, 0.0])
    node = value.producer()
    if node is None or node.domain != "" or depth > 8 or not 1 <= len(node.inputs) <= 2:
        return None
    parts = [None if item is None else _polynomial(item, x, depth + 1) for item in node.inputs]
    known = [item for item in parts if item is not None]
    return _combine(node.op_type, known) if len(known) == len(parts) else None


def _combine(op_type: str, parts: Sequence[Coefficients]) -> Coefficients | None:
    if op_type == "Neg":
        return -parts[0]
    if len(parts) != 2:
        return None
    a, b = parts
    if op_type in ("Add", "Sub"):
        return a + b if op_type == "Add" else a - b
    if op_type == "Mul":
        return _truncated(np.convolve(a, b))
    number = float(b[0])
    if b[1:].any():
        return None
    if op_type == "Div":
        return a / number if number else None
    if op_type == "Pow" and number in (1.0, 2.0, 3.0):
        power = a
        for _ in range(int(number) - 1):
            product = _truncated(np.convolve(power, a))
            if product is None:
                return None
            power = product
        return power
    return None


def _truncated(full: Coefficients) -> Coefficients | None:
    return None if full[_DEGREE + 1 :].any() else full[: _DEGREE + 1]
