"""broadcast-without-reshape: fires on leading ones only."""

from __future__ import annotations

import numpy as np
import pytest

from graphrewrite.pipeline import histogram
from op_check import check_op

RNG = np.random.default_rng(0)


def _model(style: str, shape: str) -> str:
    return f"""<ir_version: 10, opset_import: ["" : 20]> g (float[2,4,4,8] x, float[{style}] s) => (float[2,4,4,8] y)
        <int64[4] shape = {{{shape}}}> {{ t = Reshape(s, shape) y = Mul(x, t) }}"""


@pytest.mark.parametrize(("style", "shape"), [((1, 8), "1,1,1,8"), ((8,), "1,1,1,8"), ((1, 1, 8), "1,1,1,8")])
def test_fires(style: tuple[int, ...], shape: str) -> None:
    feeds = {n: RNG.standard_normal(d).astype(np.float32) for n, d in (("x", (2, 4, 4, 8)), ("s", style))}
    graph = check_op(_model(",".join(map(str, style)), shape), feeds)
    assert histogram(graph) == {"tflite.MUL": 1}


@pytest.mark.parametrize(("style", "shape"), [((2, 8), "2,1,1,8"), ((4, 8), "1,4,1,8"), ((8, 1), "1,1,1,8")])
def test_does_not_fire_where_another_dimension_moves(style: tuple[int, ...], shape: str) -> None:
    feeds = {n: RNG.standard_normal(d).astype(np.float32) for n, d in (("x", (2, 4, 4, 8)), ("s", style))}
    graph = check_op(_model(",".join(map(str, style)), shape), feeds)
    assert histogram(graph)["tflite.RESHAPE"] == 1


def test_a_square_keeps_its_rank() -> None:
    model = """<ir_version: 10, opset_import: ["" : 20]> g (float[2,8] s) => (float[1,2,8] y)
        <int64[3] shape = {1,2,8}> { t = Reshape(s, shape) y = Mul(t, t) }"""
    graph = check_op(model, {"s": RNG.standard_normal((2, 8)).astype(np.float32)})
    assert histogram(graph)["tflite.RESHAPE"] == 1
