"""copy-before-overwriting: LiteRT without XNNPACK computes what is in the file."""

from __future__ import annotations

import numpy as np
import pytest

from graphrewrite.pipeline import histogram
from tests.op_check import check_op

RNG = np.random.default_rng(0)


def model(first: str, second: str, third: str) -> str:
    """`a` is computed in place, and read by two reshapes; `second` and `third` compute on in the memory of one."""
    return f"""<ir_version: 10, opset_import: ["" : 20]> g (float[4,25] x) => (float[1,100] y, float[1,1,100] z)
        <float[100] c = {{{",".join("1.5" for _ in range(100))}}}, int64[2] s = {{1, 100}}, int64[3] t = {{1, 1, 100}}> {{
          e = Exp (x)
          a = {first}
          b = Reshape (a, s)
          d = {second}
          y = {third}
          z = Reshape (a, t)
        }}"""


@pytest.mark.parametrize("first", ["Mul (x, e)", "Div (x, e)", "Sub (e, x)", "Softmax (e)"])
@pytest.mark.parametrize("second", ["Mul (b, c)", "Softmax (b)", "Div (c, b)"])
def test_what_is_still_to_be_read_is_copied(first: str, second: str) -> None:
    x = RNG.uniform(0.5, 2, (4, 25)).astype(np.float32)
    graph = check_op(model(first, second, "Add (d, c)"), {"x": x})
    assert histogram(graph)["tflite.SLICE"] == 1


@pytest.mark.parametrize("second", ["Sin (b)", "Max (b, c)"])
def test_what_has_memory_of_its_own_is_not(second: str) -> None:
    x = RNG.uniform(0.5, 2, (4, 25)).astype(np.float32)
    graph = check_op(model("Mul (x, e)", second, "Add (d, c)"), {"x": x})
    assert "tflite.SLICE" not in histogram(graph)
