"""widen-half: float16 models are computed in float32 and keep their types at the ends."""

from __future__ import annotations

import numpy as np

from graphrewrite.pipeline import histogram
from op_check import check_op


def test_types_at_the_ends_are_kept_and_nothing_in_between_is_half() -> None:
    x = np.random.default_rng(0).standard_normal((2, 8)).astype(np.float16)
    model = """<ir_version: 10, opset_import: ["" : 20]> g (float16[2,8] x) => (float16[2,8] y)
        <float16[8] k = {1, 2, 3, 4, 5, 6, 7, 8}> { a = Mul(x, k) b = Tanh(a) c = Softmax(b) y = Add(c, x) }"""
    graph = check_op(model, {"x": x}, rtol=2e-3, atol=2e-3)
    assert histogram(graph)["tflite.CAST"] == 2
    assert graph.graph.inputs[0].dtype == graph.graph.outputs[0].dtype
    assert all(
        v.dtype.name != "FLOAT16" for n in graph.graph if n.op_type != "CAST" for v in n.outputs if v.dtype
    )


def test_explicit_rounding_stays() -> None:
    x = np.random.default_rng(0).standard_normal((2, 8)).astype(np.float32)
    model = """<ir_version: 10, opset_import: ["" : 20]> g (float[2,8] x) => (float[2,8] y)
        { a = Cast<to = 10>(x) y = Cast<to = 1>(a) }"""
    graph = check_op(model, {"x": x}, atol=1e-7, rtol=1e-7)
    assert histogram(graph) == {"tflite.CAST": 2}


def test_integers_are_left_alone() -> None:
    x = np.arange(8, dtype=np.int32)
    model = '<ir_version: 10, opset_import: ["" : 20]> g (int32[8] x) => (int32[8] y) { y = Add(x, x) }'
    assert histogram(check_op(model, {"x": x})) == {"tflite.ADD": 1}
