"""Random numbers. Each system draws its own, and checks feed the same numbers to both sides.

ONNX's own random ops have no kernel in ONNX Runtime for newer operator sets, and none that gives the same twice. So the numbers
here come from an integer hash of their places: of the right distribution, and the same at each run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from graphrewrite.ir import DataType, Node, static_dims
from graphrewrite.targets.coreml.dialect.op import MilBody, define

_PRIME = 2**31 - 1
"""The largest of int32: a product of two remainders fits in int64."""


def _uniform(body: MilBody, shape: str, salt: int) -> str:
    """float32 in (0, 1) of a shape that an int64 vector holds."""
    salt += 977 * (body.int_("seed", -1) + 2)
    count = body.op("ReduceProd", shape, keepdims=0)
    place = body.op("Range", body.const(0), count, body.const(1))
    mixed = body.op("Add", body.op("Mul", place, body.const(1103515245)), body.const(12345 * salt))
    for _ in range(2):  # squares modulo a prime leave no line that linear steps would
        mixed = body.op("Mod", mixed, body.const(_PRIME))
        mixed = body.op("Add", body.op("Mul", mixed, mixed), body.const(salt))
    number = body.cast(body.op("Mod", mixed, body.const(_PRIME)), DataType.FLOAT)
    inside = body.op("Div", body.op("Add", number, _f(body, 0.5)), _f(body, 2.0**31))
    return body.op("Reshape", body.op("Min", inside, _f(body, 1 - 2.0**-24)), shape)


def _f(body: MilBody, content: float) -> str:
    return body.const(content, DataType.FLOAT.numpy())


def _between(node: Node, body: MilBody, x: str, factor: float, offset: float) -> str:
    """factor x + offset as float32, except where the op of a half-precision program is read back."""
    y = body.op("Add", body.op("Mul", x, _f(body, factor)), _f(body, offset))
    return body.cast(y, DataType.FLOAT16) if node.outputs[0].dtype == DataType.FLOAT16 else y


@define("random_normal", operands="shape", data=(), result="")
def random_normal(node: Node, body: MilBody) -> Sequence[str]:
    """By Box and Muller, from two uniform numbers each."""
    shape = body.int64(0)
    size = body.op("Sqrt", body.op("Mul", body.op("Log", _uniform(body, shape, 1)), _f(body, -2)))
    turn = body.op("Cos", body.op("Mul", _uniform(body, shape, 2), _f(body, 2 * math.pi)))
    drawn = body.op("Mul", size, turn)
    return [_between(node, body, drawn, body.float_("stddev", 1.0), body.float_("mean", 0.0))]


@define("random_uniform", operands="shape", data=(), result="")
def random_uniform(node: Node, body: MilBody) -> Sequence[str]:
    low, high = body.float_("low", 0.0), body.float_("high", 1.0)
    return [_between(node, body, _uniform(body, body.int64(0), 1), high - low, low)]


@define("random_categorical", operands="x")
def random_categorical(node: Node, body: MilBody) -> Sequence[str]:
    """`size` places in the last dimension, drawn by the logarithms of probabilities (by these, with `mode` probs); floats.

    The largest of the logarithms plus Gumbel's noise lies at a place with just its probability.
    """
    x, count = body.inputs[0], body.int_("size", 1)
    if body.text("mode", "logits") == "probs":
        x = body.op("Log", x)
    column = body.op("Unsqueeze", x, body.const([-1]))
    known = static_dims(node.inputs[0])
    lead = body.op("Shape", x) if known is None else body.const(list(known))
    shape = body.op("Concat", lead, body.const([count]), axis=0)
    gumbel = body.op("Neg", body.op("Log", body.op("Neg", body.op("Log", _uniform(body, shape, 3)))))
    return [body.cast(body.op("ArgMax", body.op("Add", column, gumbel), axis=-2, keepdims=0), body.dtype())]
