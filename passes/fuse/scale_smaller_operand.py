"""Numbers that scale a matrix product are applied once, where there is least to multiply."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from graphrewrite.ir import DataType, Node, Value, constant_scalar, dims, is_constant, rank, use_count
from graphrewrite.pipeline import RewritePass, Stage
from graphrewrite.rewrite import Match, MatchFailure, Rewriter

_UNKNOWN = 64
"""Stands for a dimension that is not known."""


@dataclasses.dataclass
class _Found(Match):
    """The result is `factor` times `a @ b`, and operand `target` is to be multiplied by it."""

    factor: float = 1.0
    target: int = 0


@dataclasses.dataclass(frozen=True)
class ScaleSmallerOperand(RewritePass):
    """Move the scale of a product of two computed matrices to the smaller one.

        %a = Mul(%q:float[1,8,1,64], 0.35)                     %a = Mul(%q, 0.125)
        %b = Mul(%k:float[1,8,64,512], 0.35)          --->     %y = MatMul(%a, %k)
        %y = MatMul(%a, %b)

        %s = MatMul(%q:float[1,8,128,64], %k)                  %a = Mul(%q, 0.125)
        %y = Div(%s:float[1,8,128,128], 8.0)          --->     %y = MatMul(%a, %k)

    Attention scales keys, queries or scores. There it is one product less, or a smaller one, which can go on into the
    weights of the queries; keys that are kept from step to step are not read and written again. Exact.
    """

    stage = Stage.FUSE
    after = ("tidy",)
    roots = ("MatMul", "Mul", "Div")

    def match(self, node: Node) -> Match:
        """The unscaled operands as `a` and `b`."""
        product, outer = node, 1.0
        if node.op_type != "MatMul":
            scaled, outer = _unscaled(node.outputs[0])
            found = scaled.producer() if outer != 1.0 else None
            if found is None or found.op_type != "MatMul" or found.domain != "" or not _once(scaled):
                raise MatchFailure("no number scales a product that nothing else reads", node)
            product = found
        a, b = product.inputs
        if a is None or b is None or is_constant(a) or is_constant(b):
            raise MatchFailure("one operand is constant and takes the scale itself", product)
        bare = [_unscaled(item) for item in (a, b)]
        sizes = [_count(item) for item, _ in bare]
        target = 0 if sizes[0] <= sizes[1] else 1
        other = 1 - target
        saved = bare[other][1] != 1.0 and _once((a, b)[other])
        if outer != 1.0:
            saved = saved or bare[target][1] != 1.0 or _count(product.outputs[0]) > sizes[target]
        if not saved:
            raise MatchFailure("the scale is where it costs least", node)
        factor = outer * bare[0][1] * bare[1][1]
        if not math.isfinite(factor) or factor == 0:
            raise MatchFailure("the scales do not multiply to a number that can be divided by", node)
        return _Found(
            node,
            {"a": bare[0][0], "b": bare[1][0]},
            {"product": product},
            tuple(dict.fromkeys((product, node))),
            factor,
            target,
        )

    def rewrite(self, match: Match, rewriter: Rewriter) -> Value:
        """The product of the scaled operand and the other one."""
        assert isinstance(match, _Found)
        operands = [match["a"], match["b"]]
        x = operands[match.target]
        scale = rewriter.constant(np.asarray(match.factor, (x.dtype or DataType.FLOAT).numpy()))
        operands[match.target] = rewriter.op("Mul", x, scale)
        return rewriter.op("MatMul", *operands)


def _unscaled(value: Value | None) -> tuple[Value, float]:
    """What `value` is a number times, and that number; itself and 1 where it is no such product."""
    assert value is not None
    node = value.producer()
    if node is None or node.domain != "" or node.op_type not in ("Mul", "Div") or value.dtype is None:
        return value, 1.0
    for index in (0, 1) if node.op_type == "Mul" else (0,):
        x, number = node.inputs[index], constant_scalar(node.inputs[1 - index])
        if x is None or not number or not value.dtype.is_floating_point() or is_constant(x):
            continue
        if rank(x) is not None and rank(x) == rank(value):
            return x, number if node.op_type == "Mul" else 1 / number
    return value, 1.0


def _once(value: Value) -> bool:
    return use_count(value) == 1 and not value.is_graph_output()


def _count(value: Value | None) -> int:
    return math.prod(dim if isinstance(dim, int) else _UNKNOWN for dim in dims(value) or (_UNKNOWN,) * 4)
