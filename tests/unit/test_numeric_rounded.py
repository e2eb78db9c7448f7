"""Which outputs carry float16's roundings, and that these alone are held to its tolerance."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx.parser
import pytest

import graphrewrite
from graphrewrite import ir
from graphrewrite.numeric.rounded import rounded_outputs
from graphrewrite.registry.importing import import_model
from graphrewrite.rewrite import Rewriter

HEADER = '<ir_version: 10, opset_import: ["" : 20]> g '


def rounded(body: str) -> frozenset[str]:
    model = ir.load(onnx.parser.parse_model(HEADER + body))
    import_model(model, Rewriter(model))
    return rounded_outputs(model)


def test_a_product_in_float16_between_casts() -> None:
    """What converters to float16 write where inputs and outputs keep their type; z is computed in float32 beside it."""
    body = """(float[2, 3] x) => (float[2, 3] y, float[2, 3] z, float[3, 2] t) <float16[3] w = {1, 2, 3}> {
        h = Cast<to = 10>(x)  p = Mul(h, w)  q = Relu(p)  y = Cast<to = 1>(q)  z = Exp(x)
        t = Transpose<perm = [1, 0]>(y)
    }"""
    assert rounded(body) == {"y", "t"}


def test_weights_stored_in_float16() -> None:
    body = """(float[2, 3] x) => (float[2, 3] y) <float16[3] w = {1, 2, 3}> {
        v = Cast<to = 1>(w)  y = Mul(x, v)
    }"""
    assert rounded(body) == set()


def test_casts_there_and_back() -> None:
    assert rounded("(float[3] x) => (float[3] y) { h = Cast<to = 10>(x)  y = Cast<to = 1>(h) }") == set()


def test_inside_a_branch() -> None:
    body = """(bool c, float16[3] x) => (float[3] y) {
        s = If(c) <then_branch = t () => (float16[3] a) { a = Exp(x) }, else_branch = e () => (float16[3] b) { b = Neg(x) }>
        y = Cast<to = 1>(s)
    }"""
    assert rounded(body) == {"y"}


@pytest.mark.parametrize("target", ["tflite", "coreml", "openvino"])
def test_a_source_that_computes_in_float16(target: str, tmp_path: Path) -> None:
    """In float32 the sums are more exact than the source's own; OpenVINO repeats them in float16."""
    rng = np.random.default_rng(0)
    model = onnx.parser.parse_model(
        HEADER
        + """(float[4, 64] x) => (float[4, 64] y) {
            h = Cast<to = 10>(x)  a = MatMul(h, w)  b = Tanh(a)  c = MatMul(b, w)  y = Cast<to = 1>(c)
        }"""
    )
    weights = rng.standard_normal((64, 64)).astype(np.float16)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    result = graphrewrite.run(model, target, output=tmp_path / "m{suffix}")
    (output,) = result.report["check"]["outputs"]
    assert output["sqnr"] >= 40
    assert output["sqnr"] < 80 or target == "openvino"
