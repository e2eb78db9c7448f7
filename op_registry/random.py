"""Random numbers, Multinomial, and Dropout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from graphrewrite.ir import Attr, AttributeType, DataType, Node, Tensor, TensorType, Value, constant_scalar
from graphrewrite.registry import Onnx, OpNode, lowering

if TYPE_CHECKING:
    from graphrewrite.targets.coreml.builder import MIL
    from graphrewrite.targets.tflite.builder import TFLite


def _target(node: OpNode) -> DataType:
    given = node.attr("dtype")
    if given:
        return DataType(given)
    return node.dtype() if node.inputs else DataType.FLOAT


def _seed(node: OpNode) -> int:
    """TFLite draws anew at each run where both of its seeds are 0; a given seed is kept, as a whole number of int32."""
    seed = node.attr("seed")
    return 0 if seed is None else min(max(abs(int(seed)), 1), int(np.iinfo(np.int32).max))


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


@lowering("tflite", "Multinomial")
def multinomial(node: OpNode, t: TFLite) -> Value:
    """Both take unnormalised logarithms of probabilities. MULTINOMIAL's type is that of its output."""
    logits, count = t.cast(node.input(0), DataType.FLOAT), t.i32(node.attr("sample_size"))
    seed = Attr("seed", AttributeType.INT, _seed(node))
    made = Node("tflite", "MULTINOMIAL", [logits, count], [seed], num_outputs=1)
    made.outputs[0].type = TensorType(DataType(node.attr("dtype")))
    t.rewriter.insert(made)
    return made.outputs[0]


@lowering("tflite", "Dropout")
def dropout(node: OpNode, t: TFLite) -> list[Value | None]:
    """In inference the data itself, and a mask of ones; in training each element is kept or dropped by a random number."""
    x = node.input(0)
    training = node.const(2) if node.has(2) else np.asarray(False)
    if training is not None and (not training.any() or constant_scalar(node.optional(1)) == 0.0):
        mask = t.op("FILL", t.shape_of(x), t.const(True, DataType.BOOL)) if node.wants(1) else None
        return [x, mask][: len(node.outputs)]
    ratio = t.cast(node.input(1), DataType.FLOAT) if node.has(1) else t.const(0.5, DataType.FLOAT)
    ratio, switch = t.reshape(ratio, []), t.reshape(node.input(2), [])
    drawn = t.op("RANDOM_UNIFORM", t.shape_of(x), seed=_seed(node), seed2=0)
    kept = t.op("LOGICAL_OR", t.op("GREATER_EQUAL", drawn, ratio), t.op("LOGICAL_NOT", switch))
    wide = t.cast(x, DataType.FLOAT)
    scaled = t.op("DIV", wide, t.op("SUB", t.like(1, ratio), ratio))
    dropped = t.op("SELECT_V2", kept, t.op("SELECT_V2", switch, scaled, wide), t.like(0, wide))
    outputs: list[Value | None] = [t.cast(dropped, node.dtype()), kept]
    return outputs[: len(node.outputs)]


@lowering("openvino", "Dropout", note="training only at ratio 0")
def dropout_of_nothing(node: OpNode, b: Onnx) -> Sequence[Value | None]:
    """OpenVINO has no training mode; at a ratio of 0 that changes nothing."""
    training = node.const(2) if node.has(2) else np.asarray(False)
    if training is None or not training.any() or not node.has(1) or constant_scalar(node.optional(1)) != 0.0:
        return node.outputs
    x = node.input(0)
    true = Tensor(np.asarray([True]))
    mask = b.op("ConstantOfShape", b.op("Shape", x), value=true) if node.wants(1) else None
    return [b.op("Identity", x), mask][: len(node.outputs)]


# -- Core ML ---------------------------------------------------------------------------------------------------------------


def _mil_seed(node: OpNode) -> int:
    """Core ML draws anew at each run where its seed is -1."""
    return _seed(node) or -1


@lowering("coreml", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")
def mil_draw(node: OpNode, m: MIL) -> Value:
    """The numbers themselves are Core ML's: no two runtimes draw the same."""
    shape = m.shape_of(node.input(0)) if node.inputs else m.i32(node.attr("shape"))
    seed = _mil_seed(node)
    if node.op_type.startswith("RandomNormal"):
        mean, deviation = node.attr("mean"), node.attr("scale")
        drawn = m.op("random_normal", shape, mean=mean, stddev=deviation, seed=seed)
    else:
        drawn = m.op("random_uniform", shape, low=node.attr("low"), high=node.attr("high"), seed=seed)
    return m.cast(drawn, _target(node))


@lowering("coreml", "Bernoulli")
def mil_bernoulli(node: OpNode, m: MIL) -> Value:
    x = m.cast(node.input(0), DataType.FLOAT)
    drawn = m.op("random_uniform", m.shape_of(x), low=0.0, high=1.0, seed=_mil_seed(node))
    return m.cast(m.op("less", drawn, x), _target(node))


@lowering("coreml", "Multinomial")
def mil_multinomial(node: OpNode, m: MIL) -> Value:
    logits = m.cast(node.input(0), DataType.FLOAT)
    drawn = m.op("random_categorical", logits, size=node.attr("sample_size"), seed=_mil_seed(node))
    return m.cast(drawn, DataType(node.attr("dtype")))


@lowering("coreml", "Dropout", note="training only at ratio 0")
def mil_dropout(node: OpNode, m: MIL) -> list[Value | None]:
    """In inference, and at a ratio of 0, the data itself and a mask of ones."""
    x, training = node.input(0), node.const(2) if node.has(2) else np.asarray(False)
    if training is None or (training.any() and (not node.has(1) or constant_scalar(node.optional(1)) != 0.0)):
        node.refuse(
            "it drops elements at random, which is for training", "export the model in evaluation mode"
        )
    mask = m.op("fill", m.shape_of(x), m.const(True, DataType.BOOL)) if node.wants(1) else None
    return [x, mask][: len(node.outputs)]
