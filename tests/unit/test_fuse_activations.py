"""fuse-activations: fires where the operator takes it, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest

from graphrewrite.pipeline import histogram
from op_check import check_op

HEAD = '<ir_version: 10, opset_import: ["" : 20]> g (float[2,3] x, float[2,3] y)'
X, Y = (np.random.default_rng(k).standard_normal((2, 3)).astype(np.float32) * 4 for k in range(2))


@pytest.mark.parametrize("activation", ["Relu(s)", "Clip(s, zero, six)", "Clip(s, minus, one)"])
def test_fires(activation: str) -> None:
    model = (
        f"{HEAD} => (float[2,3] z) <float zero = {{0}}, float six = {{6}}, float minus = {{-1}}, float one = {{1}}>"
        f"{{ s = Add(x, y) z = {activation} }}"
    )
    graph = check_op(model, {"x": X, "y": Y})
    assert histogram(graph) == {"tflite.ADD": 1}


def test_not_where_the_sum_is_read_elsewhere() -> None:
    graph = check_op(
        f"{HEAD} => (float[2,3] z, float[2,3] s) {{ s = Add(x, y) z = Relu(s) }}", {"x": X, "y": Y}
    )
    assert histogram(graph) == {"tflite.ADD": 1, "tflite.RELU": 1}


def test_not_twice() -> None:
    model = f"{HEAD} => (float[2,3] z) <float six = {{6}}> {{ s = Add(x, y) r = Clip(s, , six) z = Relu(r) }}"
    graph = check_op(model, {"x": X, "y": Y})
    assert histogram(graph)["tflite.ADD"] == 1
