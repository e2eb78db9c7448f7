"""The activation functions that LSTM, GRU and RNN name in their attributes."""

from __future__ import annotations

from collections.abc import Callable

from graphrewrite.ir import Value
from graphrewrite.registry import Onnx, OpNode

Activation = Callable[[Value], Value]


def _one(b: Onnx, name: str, alpha: float | None, beta: float | None) -> Activation:
    def plain(op_type: str, **attributes: float) -> Activation:
        return lambda x: b.op(op_type, x, **attributes)

    def affine(x: Value) -> Value:
        return b.op("Add", b.op("Mul", x, b.like(alpha, x)), b.like(beta, x))

    def scaled_tanh(x: Value) -> Value:
        return b.op("Mul", b.op("Tanh", b.op("Mul", x, b.like(beta, x))), b.like(alpha, x))

    found: dict[str, Activation] = {
        "relu": plain("Relu"),
        "tanh": plain("Tanh"),
        "sigmoid": plain("Sigmoid"),
        "softsign": plain("Softsign"),
        "softplus": plain("Softplus"),
        "affine": affine,
        "scaledtanh": scaled_tanh,
        "leakyrelu": plain("LeakyRelu", alpha=alpha or 0.0),
        "thresholdedrelu": plain("ThresholdedRelu", alpha=alpha or 0.0),
        "elu": plain("Elu", alpha=alpha or 0.0),
        "hardsigmoid": plain("HardSigmoid", alpha=alpha or 0.0, beta=beta or 0.0),
    }
    return found[name]


_DEFAULTS: dict[str, tuple[float | None, float | None]] = {
    "relu": (None, None),
    "tanh": (None, None),
    "sigmoid": (None, None),
    "softsign": (None, None),
    "softplus": (None, None),
    "affine": (1.0, 0.0),
    "scaledtanh": (1.0, 1.0),
    "leakyrelu": (0.01, None),
    "thresholdedrelu": (1.0, None),
    "elu": (1.0, None),
    "hardsigmoid": (0.2, 0.5),
}
"""alpha and beta of each activation where the op gives none; None for those that take none."""


def activations_of(node: OpNode, b: Onnx, default: list[str], directions: int) -> list[Activation]:
    """One function a gate group and direction; alphas and betas go in turn to those that take them."""
    names = node.attr("activations") or default * directions
    alphas, betas = list(node.attr("activation_alpha") or []), list(node.attr("activation_beta") or [])
    found = []
    for name in names:
        key = name.lower()
        if key not in _DEFAULTS:
            node.refuse(f"there is no activation '{name}'")
        alpha, beta = _DEFAULTS[key]
        if alpha is not None and alphas:
            alpha = alphas.pop(0)
        if beta is not None and betas:
            beta = betas.pop(0)
        found.append(_one(b, key, alpha, beta))
    return found
