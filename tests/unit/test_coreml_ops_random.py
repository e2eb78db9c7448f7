"""Core ML's random ops draw from the right distribution; Dropout is the identity in inference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnx.parser
import pytest

pytest.importorskip("coremltools")

from coreml_check import check_coreml

import graphrewrite
from graphrewrite import ir
from graphrewrite.errors import NotExpressible
from graphrewrite.pipeline import build, run_pipeline
from graphrewrite.targets.base import target
from graphrewrite.targets.coreml.evaluate import Evaluator

HEAD = '<ir_version: 8, opset_import: ["": 15]>'
X = np.full((100, 200), 0.3, np.float32)


def _drawn(
    text: str, folder: Path, precision: str, feeds: dict[str, npt.NDArray[np.generic]]
) -> list[npt.NDArray[np.generic]]:
    path, chosen = folder / "m.mlpackage", target(f"coreml{{precision={precision}}}")
    graph = ir.load(onnx.parser.parse_model(f"{HEAD} {text}"))
    run_pipeline(graph, build("default", chosen.name, chosen.options))
    chosen.write(graph, path)
    return list(Evaluator(path)(feeds).values())


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize(
    ("call", "mean", "deviation"),
    [
        ("RandomNormalLike(x)", 0.0, 1.0),
        ("RandomNormalLike<mean=3.0, scale=2.0, seed=7.0>(x)", 3.0, 2.0),
        ("RandomUniformLike(x)", 0.5, 12**-0.5),
        ("RandomUniform<low=-1.0, high=3.0, shape=[100, 200]>()", 1.0, 4 * 12**-0.5),
    ],
)
def test_distribution(call: str, mean: float, deviation: float, precision: str, tmp_path: Path) -> None:
    text = f"g (float[100,200] x) => (float[100,200] y, float[100,200] z) {{ y = {call} z = Neg(x) }}"
    found = _drawn(text, tmp_path, precision, {"x": X})[0]
    assert found.shape == X.shape
    assert found.dtype == np.float32
    assert abs(found.mean() - mean) < 0.05
    assert abs(found.std() - deviation) < 0.05
    assert abs(np.corrcoef(found[:, 1:].ravel(), found[:, :-1].ravel())[0, 1]) < 0.03


def test_choices(tmp_path: Path) -> None:
    chances = np.asarray([[0.1, 0.2, 0.7], [0.5, 0.4, 0.1]], np.float32)
    text = """g (float[100,200] x, float[2,3] l) => (bool[100,200] b, int64[2,2000] m) {
      b = Bernoulli<dtype=9>(x) m = Multinomial<sample_size=2000, dtype=7>(l) }"""
    bits, places = _drawn(text, tmp_path, "fp32", {"x": X, "l": np.log(chances)})
    assert abs(bits.mean() - 0.3) < 0.02
    shares = np.stack([np.bincount(row, minlength=3) / 2000 for row in places])
    np.testing.assert_allclose(shares, chances, atol=0.06)


@pytest.mark.parametrize("chosen", ["coreml", "coreml{precision=fp16}", "tflite"])
def test_choices_are_checked(chosen: str, tmp_path: Path) -> None:
    """Both sides are fed the same whole numbers and bools, and draw nothing."""
    text = """g (float[4,3] x, float[2,3] l) => (float[4,3] y, float[2,5,3] z) {
      b = Bernoulli<dtype=9>(x) zero = Constant<value = float {0.0}> () y = Where(b, x, zero)
      m = Multinomial<sample_size=5, dtype=6>(l) z = Gather<axis=0>(l, m) }"""
    path = tmp_path / ("m.tflite" if chosen == "tflite" else "m.mlpackage")
    graphrewrite.run(onnx.parser.parse_model(f"{HEAD} {text}"), target=chosen, output=path)
    assert path.exists()


def test_dropout() -> None:
    text = """g (float[2,3] x) => (float[2,3] y, bool[2,3] m) { y, m = Dropout(x) }"""
    check_coreml(f"{HEAD} {text}", {"x": np.ones((2, 3), np.float32)})
    text = """g (float[2,3] x, bool t) => (float[2,3] y) <float r = {0.5}> { y = Dropout(x, r, t) }"""
    with pytest.raises(NotExpressible, match="for training"):
        check_coreml(f"{HEAD} {text}", {"x": np.ones((2, 3), np.float32), "t": np.asarray(False)})
