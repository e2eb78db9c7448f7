"""Activations and softmax. Where no other default is named, parameters have none."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from graphrewrite.ir import Node
from graphrewrite.targets.coreml.dialect.op import MilBody, define

_PLAIN = {
    "relu": "Relu",
    "sigmoid": "Sigmoid",
    "softplus": "Softplus",
    "softsign": "Softsign",
    "tanh": "Tanh",
}


@define(*_PLAIN, operands="x")
def plain(node: Node, body: MilBody) -> Sequence[str]:
    return [body.op(_PLAIN[node.op_type], body.inputs[0])]


@define("relu6", operands="x")
def relu6(node: Node, body: MilBody) -> Sequence[str]:
    return [body.op("Clip", body.inputs[0], body.like(0), body.like(6))]


@define("silu", operands="x")
def silu(node: Node, body: MilBody) -> Sequence[str]:
    return [body.op("Mul", body.inputs[0], body.op("Sigmoid", body.inputs[0]))]


@define("gelu", operands="x")
def gelu(node: Node, body: MilBody) -> Sequence[str]:
    """EXACT by erf, TANH_APPROXIMATION, or SIGMOID_APPROXIMATION: x sigmoid(1.702 x)."""
    x, mode = body.inputs[0], body.text("mode", "EXACT")
    if mode == "SIGMOID_APPROXIMATION":
        return [body.op("Mul", x, body.op("Sigmoid", body.op("Mul", x, body.like(1.702))))]
    return [body.op("Gelu", x, approximate="none" if mode == "EXACT" else "tanh")]


@define("leaky_relu", "elu", operands="x")
def with_alpha(node: Node, body: MilBody) -> Sequence[str]:
    op_type = {"leaky_relu": "LeakyRelu", "elu": "Elu"}[node.op_type]
    return [body.op(op_type, body.inputs[0], alpha=body.float_("alpha"))]


@define("thresholded_relu", operands="x")
def thresholded_relu(node: Node, body: MilBody) -> Sequence[str]:
    """x from alpha on, 0 below."""
    x = body.inputs[0]
    return [body.op("Where", body.op("GreaterOrEqual", x, body.like(body.float_("alpha"))), x, body.like(0))]


@define("clamped_relu", operands="x")
def clamped_relu(node: Node, body: MilBody) -> Sequence[str]:
    """min(x, beta) from 0 on, alpha times x (at most beta) below."""
    x, zero = body.inputs[0], body.like(0)
    scaled = body.op("Mul", x, body.like(body.float_("alpha")))
    bent = body.op("Where", body.op("GreaterOrEqual", x, zero), x, scaled)
    return [body.op("Min", bent, body.like(body.float_("beta")))]


def _line(body: MilBody, x: str) -> str:
    """alpha x + beta."""
    scaled = body.op("Mul", x, body.like(body.float_("alpha")))
    return body.op("Add", scaled, body.like(body.float_("beta")))


def _scaled_tanh(body: MilBody, x: str) -> str:
    inner = body.op("Mul", x, body.like(body.float_("beta")))
    return body.op("Mul", body.like(body.float_("alpha")), body.op("Tanh", inner))


def _hard_sigmoid(body: MilBody, x: str) -> str:
    return body.op("Clip", _line(body, x), body.like(0), body.like(1))


_TWO: dict[str, Callable[[MilBody, str], str]] = {
    "linear_activation": _line,
    "scaled_tanh": _scaled_tanh,
    "sigmoid_hard": _hard_sigmoid,
}


@define(*_TWO, operands="x")
def with_alpha_and_beta(node: Node, body: MilBody) -> Sequence[str]:
    return [_TWO[node.op_type](body, body.inputs[0])]


@define("prelu", operands="x alpha", data=(0, 1))
def prelu(node: Node, body: MilBody) -> Sequence[str]:
    """alpha [C] along dimension 1."""
    x, slope = body.inputs[0], body.inputs[1]
    shape = body.const([1, -1, *[1] * (body.rank() - 2)])
    zero = body.like(0)
    below = body.op("Mul", body.op("Reshape", slope, shape), body.op("Min", x, zero))
    return [body.op("Add", body.op("Max", x, zero), below)]


@define("softplus_parametric", operands="x alpha beta", data=(0, 1, 2))
def softplus_parametric(node: Node, body: MilBody) -> Sequence[str]:
    """alpha log(1 + exp(beta x)), both [C] along dimension 1."""
    shape = body.const([1, -1, *[1] * (body.rank() - 2)])
    alpha, beta = (body.op("Reshape", name, shape) for name in body.inputs[1:])
    return [body.op("Mul", alpha, body.op("Softplus", body.op("Mul", beta, body.inputs[0])))]


@define("softmax", operands="x")
def softmax(node: Node, body: MilBody) -> Sequence[str]:
    return [body.op("Softmax", body.inputs[0], axis=body.int_("axis", -1))]
