"""Activations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from graphrewrite.ir import DataType, Value, is_constant
from graphrewrite.registry import Onnx, OpNode, lowering

from .precision import FLOATS, in_float32, polynomial

if TYPE_CHECKING:
    from graphrewrite.targets.coreml.builder import MIL
    from graphrewrite.targets.tflite.builder import TFLite

_UNARY = {"Sigmoid": "LOGISTIC", "Tanh": "TANH", "HardSwish": "HARD_SWISH"}


@lowering("tflite", *_UNARY)
def unary(node: OpNode, t: TFLite) -> Value:
    """XNNPACK's float16 kernels of these, and of GELU, are off by several units in the last place."""
    return in_float32(node, t, lambda x: t.op(_UNARY[node.op_type], x))


@lowering("tflite", "Relu")
def relu(node: OpNode, t: TFLite) -> Value:
    x = node.input(0)
    return t.op("RELU", x) if x.dtype in FLOATS else t.op("MAXIMUM", x, t.like(0, x))


@lowering("tflite", "LeakyRelu")
def leaky_relu(node: OpNode, t: TFLite) -> Value:
    return t.op("LEAKY_RELU", node.input(0), alpha=float(node.attr("alpha")))


@lowering("tflite", "PRelu")
def prelu(node: OpNode, t: TFLite) -> Value:
    x, slope = node.input(0), node.input(1)
    if x.dtype in FLOATS:
        return t.op("PRELU", x, slope)
    return t.op("SELECT_V2", t.op("LESS", x, t.like(0, x)), t.op("MUL", x, slope), x)


@lowering("tflite", "Elu", "Selu", "Celu")
def elu(node: OpNode, t: TFLite) -> Value:
    """gain * (relu(x) + alpha * (exp(min(x, 0) / inner) - 1)); ELU is that with alpha = 1, accurate near 0."""
    alpha, gain, inner = node.attr("alpha"), 1.0, 1.0
    if node.op_type == "Selu":
        gain = node.attr("gamma")
    elif node.op_type == "Celu":
        inner = alpha
        if inner == 0:
            node.refuse("alpha = 0 divides by zero")

    def formula(x: Value) -> Value:
        if alpha == gain == inner == 1.0:
            return t.op("ELU", x)
        negative = t.op("MINIMUM", x, t.like(0, x))
        if inner != 1.0:
            negative = t.op("DIV", negative, t.like(inner, x))
        below = t.op("MUL", t.op("ELU", negative), t.like(gain * alpha, x))
        above = t.op("RELU", x)
        return t.op("ADD", above if gain == 1.0 else t.op("MUL", above, t.like(gain, x)), below)

    return in_float32(node, t, formula)


@lowering("tflite", "ThresholdedRelu")
def thresholded_relu(node: OpNode, t: TFLite) -> Value:
    x = node.input(0)
    return t.op("SELECT_V2", t.op("GREATER", x, t.like(node.attr("alpha"), x)), x, t.like(0, x))


@lowering("tflite", "HardSigmoid")
def hard_sigmoid(node: OpNode, t: TFLite) -> Value:
    alpha, beta = node.attr("alpha"), node.attr("beta")

    def formula(x: Value) -> Value:
        """RELU6 of six times the line: XNNPACK has no RELU_0_TO_1, and the usual alpha of 1/6 needs no product then."""
        slope, height = np.float32(6 * alpha), t.like(6 * beta, x)
        line = t.op("ADD", x if slope == 1 else t.op("MUL", x, t.like(slope, x)), height)
        return t.op("MUL", t.op("RELU6", line), t.like(1 / 6, x))

    return in_float32(node, t, formula)


@lowering("tflite", "Softsign")
def softsign(node: OpNode, t: TFLite) -> Value:
    return in_float32(node, t, lambda x: t.op("DIV", x, t.op("ADD", t.op("ABS", x), t.like(1, x))))


_LOG1P = (2.0000000079, 0.6666631462, 0.4002491374, 0.2796054294, 0.2817864812)
"""log(1 + e) = w P(w^2) with w = e / (2 + e): minimax for e in [0, 1], relative error 4e-9."""


@lowering("tflite", "Softplus")
def softplus(node: OpNode, t: TFLite) -> Value:
    """max(x, 0) + log(1 + exp(-|x|)); LOG loses all small results, so its argument's part above 1 is used directly."""

    def formula(x: Value) -> Value:
        small = t.op("EXP", t.op("NEG", t.op("ABS", x)))
        w = t.op("DIV", small, t.op("ADD", small, t.like(2, x)))
        return t.op("ADD", t.op("RELU", x), t.op("MUL", w, polynomial(t, t.op("MUL", w, w), _LOG1P)))

    return in_float32(node, t, formula)


@lowering("tflite", "Mish")
def mish(node: OpNode, t: TFLite) -> Value:
    """x tanh(log(1 + e^x)) = x n / (n + 2) with n = e^x (e^x + 2); from x = 20 on it is x in float32."""

    def formula(x: Value) -> Value:
        power = t.op("EXP", t.op("MINIMUM", x, t.like(20, x)))
        n = t.op("MUL", power, t.op("ADD", power, t.like(2, x)))
        return t.op("MUL", x, t.op("DIV", n, t.op("ADD", n, t.like(2, x))))

    return in_float32(node, t, formula)


@lowering("tflite", "Gelu")
def gelu(node: OpNode, t: TFLite) -> Value:
    approximate = node.attr("approximate") == "tanh"
    return in_float32(node, t, lambda x: t.op("GELU", x, approximate=approximate))


_ERF = (
    1.1283792e00,
    1.0276987e-01,
    -1.9528836e-04,
    -6.1483803e-04,
    8.4596504e-05,
    -4.7945873e-06,
    2.7574220e-08,
    5.4216747e-09,
)
"""atanh(erf(x)) = x P(x^2) for |x| <= 3.95, weighted so that erf's relative error is 7e-8 (2e-7 in float32)."""


@lowering("tflite", "Erf")
def erf(node: OpNode, t: TFLite) -> Value:
    """tanh(x P(x^2)): right to float32's precision everywhere, near 0 too. Beyond 3.95 erf is 1 in float32."""

    def formula(x: Value) -> Value:
        near = t.op("MINIMUM", t.op("MAXIMUM", x, t.like(-3.95, x)), t.like(3.95, x))
        return t.op("TANH", t.op("MUL", near, polynomial(t, t.op("MUL", near, near), _ERF)))

    return in_float32(node, t, formula)


@lowering("tflite", "Swish")
def swish(node: OpNode, t: TFLite) -> Value:
    alpha = node.attr("alpha")

    def formula(x: Value) -> Value:
        scaled = x if alpha == 1.0 else t.op("MUL", x, t.like(alpha, x))
        return t.op("MUL", x, t.op("LOGISTIC", scaled))

    return in_float32(node, t, formula)


@lowering("tflite", "Shrink")
def shrink(node: OpNode, t: TFLite) -> Value:
    """x - bias above lambd, x + bias below -lambd, 0 between; integers are computed in float32, as far as it holds them."""
    lambd, bias, dtype = node.attr("lambd"), node.attr("bias"), node.dtype()
    if dtype in (DataType.INT32, DataType.INT64, DataType.UINT32) and not (
        float(lambd).is_integer() and float(bias).is_integer()
    ):
        node.refuse(f"a fractional lambd or bias with {dtype.name.lower()}", "cast the input to float32")
    x = node.input(0)
    if dtype not in (DataType.INT32, DataType.INT64):
        x = t.cast(x, DataType.FLOAT)
    above = t.op("GREATER", x, t.like(lambd, x))
    below = t.op("LESS", x, t.like(-lambd, x))
    outer, inner = t.op("SUB", x, t.like(bias, x)), t.op("ADD", x, t.like(bias, x))
    low = t.op("SELECT_V2", below, inner, t.like(0, x))
    return t.cast(t.op("SELECT_V2", above, outer, low), dtype)


_CLIPS = {
    (0.0, 6.0): "RELU6",
    (0.0, 1.0): "RELU_0_TO_1",
    (-1.0, 1.0): "RELU_N1_TO_1",
    (0.0, math.inf): "RELU",
}


@lowering("tflite", "Clip")
def clip(node: OpNode, t: TFLite) -> Value:
    """min(max(x, low), high), in this order: where low > high the result is high."""
    x, dtype = node.input(0), node.dtype()
    low, high = _bound(node, 1, -math.inf), _bound(node, 2, math.inf)
    if dtype == DataType.FLOAT and low is not None and high is not None and (low, high) in _CLIPS:
        return t.op(_CLIPS[low, high], x)
    if low != -math.inf:
        x = t.op("MAXIMUM", x, _scalar(t, node.input(1)))
    return x if high == math.inf else t.op("MINIMUM", x, _scalar(t, node.input(2)))


def _bound(node: OpNode, index: int, absent: float) -> float | None:
    """A constant bound; `absent` where it is not given or bounds nothing; None where it is known at run time only."""
    if not node.has(index):
        return absent
    array = node.const(index)
    if array is None or array.size != 1:
        return None
    found = array.reshape(-1)[0]
    if array.dtype.kind in "iu":
        limits = np.iinfo(array.dtype)
        extreme = limits.min if absent < 0 else limits.max
    else:
        extreme = np.finfo(array.dtype).min if absent < 0 else np.finfo(array.dtype).max
    return absent if found == extreme else float(found)


def _scalar(t: TFLite, bound: Value) -> Value:
    """Exporters also write bounds of shape [1], which must not give a scalar a dimension."""
    return t.reshape(bound, [])


_MIL_UNARY = {
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
    "Softsign": "softsign",
    "Softplus": "softplus",
    "Erf": "erf",
}


@lowering("coreml", *_MIL_UNARY)
def mil_unary(node: OpNode, m: MIL) -> Value:
    return m.op(_MIL_UNARY[node.op_type], node.input(0))


@lowering("coreml", "Relu")
def mil_relu(node: OpNode, m: MIL) -> Value:
    x = node.input(0)
    return m.op("relu", x) if x.dtype in FLOATS else m.op("maximum", x, m.like(0, x))


@lowering("coreml", "LeakyRelu")
def mil_leaky_relu(node: OpNode, m: MIL) -> Value:
    return m.op("leaky_relu", node.input(0), alpha=float(node.attr("alpha")))


@lowering("coreml", "PRelu")
def mil_prelu(node: OpNode, m: MIL) -> Value:
    """One slope for all is leaky_relu, one a channel of an image is prelu; any other is written out."""
    x, slope, shape = node.input(0), node.const(1), node.dims()
    if x.dtype in FLOATS and slope is not None and slope.size == 1:
        return m.op("leaky_relu", x, alpha=float(slope.reshape(-1)[0]))
    channels = shape[1] if len(shape) == 4 else None
    if (
        x.dtype in FLOATS
        and slope is not None
        and slope.size == channels
        and slope.shape[-3:-2] == (channels,)
    ):
        return m.op("prelu", x, m.rewriter.constant(slope.reshape(-1)))
    below = m.op("mul", node.input(1), m.op("minimum", x, m.like(0, x)))
    return m.op("add", m.op("maximum", x, m.like(0, x)), below)


@lowering("coreml", "Elu", "Selu", "Celu")
def mil_elu(node: OpNode, m: MIL) -> Value:
    """gain * (relu(x) + alpha * (exp(min(x, 0) / inner) - 1))."""
    alpha, gain, inner, x = node.attr("alpha"), 1.0, 1.0, node.input(0)
    if node.op_type == "Selu":
        gain = node.attr("gamma")
    elif node.op_type == "Celu":
        inner = alpha
        if inner == 0:
            node.refuse("alpha = 0 divides by zero")
    if inner == 1.0:
        y = m.op("elu", x, alpha=float(alpha))
    else:
        negative = m.op(
            "elu", m.op("real_div", m.op("minimum", x, m.like(0, x)), m.like(inner, x)), alpha=float(alpha)
        )
        y = m.op("add", m.op("relu", x), negative)
    return y if gain == 1.0 else m.op("mul", y, m.like(gain, x))


@lowering("coreml", "ThresholdedRelu")
def mil_thresholded_relu(node: OpNode, m: MIL) -> Value:
    """Not MIL's thresholded_relu, which keeps an x equal to alpha."""
    x = node.input(0)
    above = m.cast(m.op("greater", x, m.like(node.attr("alpha"), x)), node.dtype())
    return m.op("mul", x, above)


@lowering("coreml", "HardSigmoid")
def mil_hard_sigmoid(node: OpNode, m: MIL) -> Value:
    return m.op("sigmoid_hard", node.input(0), alpha=float(node.attr("alpha")), beta=float(node.attr("beta")))


@lowering("coreml", "HardSwish")
def mil_hard_swish(node: OpNode, m: MIL) -> Value:
    x = node.input(0)
    return m.op("mul", x, m.op("sigmoid_hard", x, alpha=1 / 6, beta=0.5))


@lowering("coreml", "Mish")
def mil_mish(node: OpNode, m: MIL) -> Value:
    x = node.input(0)
    return m.op("mul", x, m.op("tanh", m.op("softplus", x)))


@lowering("coreml", "Gelu")
def mil_gelu(node: OpNode, m: MIL) -> Value:
    mode = "TANH_APPROXIMATION" if node.attr("approximate") == "tanh" else "EXACT"
    return m.op("gelu", node.input(0), mode=mode)


@lowering("coreml", "Swish")
def mil_swish(node: OpNode, m: MIL) -> Value:
    x, alpha = node.input(0), node.attr("alpha")
    if alpha == 1.0:
        return m.op("silu", x)
    return m.op("mul", x, m.op("sigmoid", m.op("mul", x, m.like(alpha, x))))


@lowering("coreml", "Shrink")
def mil_shrink(node: OpNode, m: MIL) -> Value:
    """x - bias above lambd, x + bias below -lambd, 0 between."""
    lambd, bias, dtype, x = node.attr("lambd"), node.attr("bias"), node.dtype(), node.input(0)
    if dtype not in FLOATS and not (float(lambd).is_integer() and float(bias).is_integer()):
        node.refuse(f"a fractional lambd or bias with {dtype.name.lower()}", "cast the input to float32")
    above, below = m.op("greater", x, m.like(lambd, x)), m.op("less", x, m.like(-lambd, x))
    upper = m.op("mul", m.op("sub", x, m.like(bias, x)), m.cast(above, dtype))
    lower = m.op("mul", m.op("add", x, m.like(bias, x)), m.cast(below, dtype))
    return m.op("add", upper, lower)


@lowering("coreml", "Clip")
def mil_clip(node: OpNode, m: MIL) -> Value:
    """min(max(x, low), high), in this order: where low > high the result is high."""
    x, dtype = node.input(0), node.dtype()
    low, high = _bound(node, 1, -math.inf), _bound(node, 2, math.inf)
    if dtype in FLOATS and low is not None and high is not None and -math.inf < low <= high < math.inf:
        return m.op("relu6", x) if (low, high) == (0, 6) else m.op("clip", x, alpha=low, beta=high)
    if dtype in FLOATS and (low, high) == (0, math.inf):
        return m.op("relu", x)
    if low != -math.inf:
        x = m.op("maximum", x, m.reshape(node.input(1), []))
    return x if high == math.inf else m.op("minimum", x, m.reshape(node.input(2), []))


# -- for a target that reads ONNX ------------------------------------------------------------------------------------------

_CONVOLUTIONS = ("Conv", "ConvTranspose")
_BETWEEN = ("Add", "Mul", "BatchNormalization")


@lowering("openvino", "PRelu")
def prelu_as_asked(node: OpNode, b: Onnx) -> Value | Sequence[Value]:
    """OpenVINO's own behind a convolution; elsewhere slopes by channel are written out.

    Its CPU plugin fuses them into a product of matrices, and takes them for slopes along the last dimension there. It knows
    the forms with Relu for what they are, too.
    """
    x, slope = node.input(0), node.input(1)
    if set(node.dims(1)) <= {1} or node.rank() < 3 or x.dtype not in FLOATS or _is_convolved(x):
        return node.outputs
    return b.op("Where", b.op("Less", x, b.like(0, x)), b.op("Mul", x, slope), x)


def _is_convolved(x: Value) -> bool:
    """True where a convolution makes `x`, with a bias and a normalisation at most behind it."""
    value: Value | None = x
    for _ in range(4):
        producer = value.producer() if value is not None else None
        if producer is None or producer.op_type in _CONVOLUTIONS:
            return producer is not None
        if producer.op_type not in _BETWEEN:
            return False
        value = next((item for item in producer.inputs if not is_constant(item)), None)
    return False
