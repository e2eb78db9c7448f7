"""Random numbers, and Dropout."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphrewrite.ir import DataType, Value, constant_scalar
from graphrewrite.registry import OpNode, lowering

if TYPE_CHECKING:
    from graphrewrite.targets.tflite.builder import TFLite


def _target(node: OpNode) -> DataType:
    given = node.attr("dtype")
    if given:
        return DataType(given)
    return node.dtype() if node.inputs else DataType.FLOAT


def _seed(node: OpNode) -> int:
    """TFLite draws anew at each run where both of its seeds are 0; a given seed is kept, as a whole number."""
    seed = node.attr("seed")
    return 0 if seed is None else max(abs(int(seed)), 1)


@lowering("tflite", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")
def draw(node: OpNode, t: TFLite) -> Value:
    """The numbers themselves are TFLite's: no two runtimes draw the same."""
    shape = t.shape_of(node.input(0)) if node.inputs else t.i32(node.attr("shape"))
    if node.op_type.startswith("RandomNormal"):
        kernel, offset, factor = "RANDOM_STANDARD_NORMAL", node.attr("mean"), node.attr("scale")
    else:
        kernel, offset = "RANDOM_UNIFORM", node.attr("low")
        factor = node.attr("high") - offset
    x = t.op(kernel, shape, seed=_seed(node), seed2=0)
    if factor != 1.0:
        x = t.op("MUL", x, t.like(factor, x))
    if offset != 0.0:
        x = t.op("ADD", x, t.like(offset, x))
    return t.cast(x, _target(node))


@lowering("tflite", "Bernoulli")
def bernoulli(node: OpNode, t: TFLite) -> Value:
    x = t.cast(node.input(0), DataType.FLOAT)
    drawn = t.op("RANDOM_UNIFORM", t.shape_of(x), seed=_seed(node), seed2=0)
    return t.cast(t.op("LESS", drawn, x), _target(node))


@lowering("tflite", "Dropout", note="in inference")
def dropout(node: OpNode, t: TFLite) -> list[Value | None]:
    """In inference the data itself, and a mask of ones."""
    x = node.input(0)
    if node.has(2):
        training = node.const(2)
        if training is None:
            node.refuse("whether it trains is decided at run time", "export the model in inference mode")
        if training.any() and constant_scalar(node.optional(1)) != 0.0:
            node.refuse("it is in training mode", "export the model in inference mode")
    mask = t.op("FILL", t.shape_of(x), t.const(True, DataType.BOOL)) if node.wants(1) else None
    return [x, mask][: len(node.outputs)]
