"""ONNX Runtime's own operators, which its optimiser and quantisers write, become ONNX."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphrewrite.ir import Node, Value, rank
from graphrewrite.pipeline import RewritePass, Stage
from graphrewrite.rewrite import Match, MatchFailure, Rewriter

from .onnxruntime_quantized import QUANTIZED
from .onnxruntime_weights import mat_mul_n_bits

Outputs = Sequence["Value | None"]
Build = Callable[[Rewriter], Outputs]
"""Makes the values for a node's outputs."""

_DOMAIN = "com.microsoft"
_CONV = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")


@dataclasses.dataclass
class _Expanded(Match):
    build: Build | None = None


@dataclasses.dataclass(frozen=True)
class ExpandOnnxruntimeOps(RewritePass):
    """Write the operators of the domain com.microsoft out as ONNX.

        %y = com.microsoft.FusedConv(%x, %w, %b) {activation="Relu"}
        --->
        %a = Conv(%x, %w, %b)    %y = Relu(%a)

    FusedConv, FusedGemm, FusedMatMul, Gelu and its kin, SkipLayerNormalization, SimplifiedLayerNormalization, MatMulNBits, the
    quantised ones (QLinearAdd, QGemm, DynamicQuantizeMatMul, ...) and those that are only ONNX's under another domain. Those
    that no standard op expresses (com.microsoft.nchwc's blocked layouts, Attention) stay, and targets refuse them by name.
    Exact: see https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md.
    """

    stage = Stage.CANONICALIZE

    @property
    def roots(self) -> tuple[str, ...]:
        """Every op that is written out; the one of ONNX's own domain is ONNX Runtime's all the same."""
        return ("SimplifiedLayerNormalization", *(f"{_DOMAIN}.{name}" for name in _EXPANSIONS))

    def match(self, node: Node) -> Match:
        """What builds the node's outputs; fails with the reason where there is no standard form."""
        if not node.inputs or node.inputs[0] is None or node.inputs[0].dtype is None:
            raise MatchFailure("the type of its first operand is not known", node)
        return _Expanded(node, {}, {}, (node,), build=_EXPANSIONS[node.op_type](node))

    def rewrite(self, match: Match, rewriter: Rewriter) -> Outputs:
        """The outputs in ONNX ops."""
        assert isinstance(match, _Expanded)
        assert match.build is not None
        return match.build(rewriter)


def _attributes(node: Node, *names: str) -> dict[str, Any]:
    return {name: node.attributes[name] for name in names if name in node.attributes}


def _operand(node: Node, index: int) -> Value | None:
    return node.inputs[index] if index < len(node.inputs) else None


def _same(node: Node) -> Build:
    """ONNX has the operator under the same name, with the same operands and attributes."""
    attributes: dict[str, Any] = dict(node.attributes.items())
    return lambda b: b.ops(node.op_type, *node.inputs, outputs=len(node.outputs), **attributes)


def _activation(node: Node, parameters: Sequence[float]) -> Callable[[Rewriter, Value], Value]:
    """The function that is fused into `node`; `parameters` are its alpha and beta, as far as they are given."""
    name = node.attributes.get_string("activation", "")
    alpha_beta = dict(zip(("alpha", "beta"), parameters, strict=False))
    if name == "":
        return lambda b, y: y
    if name in ("Relu", "Tanh", "Sigmoid"):
        return lambda b, y: b.op(name, y)
    if name == "LeakyRelu":
        return lambda b, y: b.op(name, y, alpha=alpha_beta.get("alpha", 0.01))
    if name == "HardSigmoid":
        return lambda b, y: b.op(
            name, y, alpha=alpha_beta.get("alpha", 0.2), beta=alpha_beta.get("beta", 0.5)
        )
    if name == "Clip" and len(parameters) == 2:
        low, high = parameters
        return lambda b, y: b.op("Clip", y, _number(b, node, low), _number(b, node, high))
    raise MatchFailure(f"the fused activation '{name}' is not known", node)


def _number(b: Rewriter, node: Node, number: float) -> Value:
    """A scalar of the type of the first operand."""
    dtype = node.inputs[0].dtype if node.inputs[0] is not None else None
    assert dtype is not None  # `match` looks
    return b.constant(np.asarray(number, dtype.numpy()))


def _fused_conv(node: Node) -> Build:
    activation = _activation(node, node.attributes.get_floats("activation_params", ()))

    def build(b: Rewriter) -> Outputs:
        y = b.op("Conv", *node.inputs[:3], **_attributes(node, *_CONV))
        added = _operand(node, 3)
        return [activation(b, y if added is None else b.op("Add", y, added))]

    return build


def _fused_gemm(node: Node) -> Build:
    names = [f"activation_{name}" for name in ("alpha", "beta")]
    given = [node.attributes.get_float(name) for name in names if name in node.attributes]
    activation = _activation(node, [float(item) for item in given if item is not None])

    def build(b: Rewriter) -> Outputs:
        y = b.op("Gemm", *node.inputs, **_attributes(node, "alpha", "beta", "transA", "transB"))
        return [activation(b, y)]

    return build


def _fused_mat_mul(node: Node) -> Build:
    if node.attributes.get_int("transBatchA", 0) or node.attributes.get_int("transBatchB", 0):
        raise MatchFailure("it transposes batches", node)
    ranks = [rank(value) for value in node.inputs[:2]]
    if len(ranks) != 2 or None in ranks:
        raise MatchFailure("the rank of an operand is not known", node)

    def operand(b: Rewriter, index: int, name: str) -> Value | None:
        count, value = ranks[index], node.inputs[index]
        if not node.attributes.get_int(name, 0) or count is None or count < 2:
            return value
        return b.op("Transpose", value, perm=[*range(count - 2), count - 1, count - 2])

    def build(b: Rewriter) -> Outputs:
        y = b.op("MatMul", operand(b, 0, "transA"), operand(b, 1, "transB"))
        alpha = node.attributes.get_float("alpha", 1.0)
        return [y if alpha == 1 else b.op("Mul", y, _number(b, node, alpha))]

    return build


def _gelu(node: Node) -> Build:
    """Gelu, BiasGelu (with an addend) and FastGelu (by tanh, perhaps with an addend)."""
    form = "tanh" if node.op_type == "FastGelu" else "none"

    def build(b: Rewriter) -> Outputs:
        added = _operand(node, 1)
        x = node.inputs[0] if added is None else b.op("Add", node.inputs[0], added)
        return [b.op("Gelu", x, approximate=form)]

    return build


def _quick_gelu(node: Node) -> Build:
    def build(b: Rewriter) -> Outputs:
        x = node.inputs[0]
        scaled = b.op("Mul", x, _number(b, node, node.attributes.get_float("alpha", 1.702)))
        return [b.op("Mul", x, b.op("Sigmoid", scaled))]

    return build


def _skip_normalization(node: Node) -> Build:
    """Normalisation of the sum of two or three values; the sum itself is the fourth output."""
    if any(value.uses() or value.is_graph_output() for value in node.outputs[1:3]):
        raise MatchFailure("mean or deviation are used", node)
    simplified = node.op_type == "SkipSimplifiedLayerNormalization"
    epsilon = node.attributes.get_float("epsilon", 1e-12)

    def build(b: Rewriter) -> Outputs:
        gamma, beta = node.inputs[2], None if simplified else _operand(node, 3)
        added = _operand(node, 3 if simplified else 4)
        total = b.op("Add", node.inputs[0], node.inputs[1])
        if added is not None:
            total = b.op("Add", total, added)
        if simplified:
            y = b.op("RMSNormalization", total, gamma, axis=-1, epsilon=epsilon)
        else:
            y = b.op("LayerNormalization", total, gamma, beta, axis=-1, epsilon=epsilon)
        return [y, None, None, total][: len(node.outputs)]

    return build


def _simplified_normalization(node: Node) -> Build:
    if any(value.uses() or value.is_graph_output() for value in node.outputs[1:]):
        raise MatchFailure("the deviation is used", node)
    return lambda b: [
        b.op("RMSNormalization", *node.inputs, **_attributes(node, "axis", "epsilon", "stash_type")),
        *[None] * (len(node.outputs) - 1),
    ]


_EXPANSIONS: dict[str, Callable[[Node], Build]] = {
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear", "Trilu"), _same),
    "FusedConv": _fused_conv,
    "FusedGemm": _fused_gemm,
    **dict.fromkeys(("FusedMatMul", "TransposeMatMul"), _fused_mat_mul),
    **dict.fromkeys(("Gelu", "BiasGelu", "FastGelu"), _gelu),
    "QuickGelu": _quick_gelu,
    **dict.fromkeys(("SkipLayerNormalization", "SkipSimplifiedLayerNormalization"), _skip_normalization),
    "SimplifiedLayerNormalization": _simplified_normalization,
    "MatMulNBits": mat_mul_n_bits,
    **QUANTIZED,
}
