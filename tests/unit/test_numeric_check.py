"""What the check says of its own worth: outputs of which the samples prove little."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx.parser
import pytest

import graphrewrite
from graphrewrite.cli.main import main
from graphrewrite.numeric.check import check_recorded
from graphrewrite.numeric.metrics import FP32


def weak(*outputs: np.ndarray) -> dict[str, str]:
    """Of a runner that is right."""
    known = [{"y": array} for array in outputs]
    index = iter(range(len(known)))
    report = check_recorded(
        lambda k: known[k],
        [{} for _ in known],
        {"runner": lambda sample: known[next(index)]},
        names=["y"],
        tolerance=FP32,
        margin={},
        first_sample_only=frozenset(),
    )
    assert report.passed
    return dict(report.weak)


class TestWeakOutputs:
    def test_another_samples_output_would_pass(self) -> None:
        y = np.linspace(1, 2, 8, dtype=np.float32)
        assert weak(y, y, y) == {"y": "the original gives the same on all 3 samples"}
        assert weak(y, y + np.float32(1e-7)) == {"y": "the original gives the same on all 2 samples"}

    def test_one_sample_that_differs_is_enough(self) -> None:
        y = np.linspace(1, 2, 8, dtype=np.float32)
        assert weak(y, y, y + 1) == {}

    def test_one_sample_says_nothing(self) -> None:
        assert weak(np.zeros(3, np.float32)) == {}

    @pytest.mark.parametrize("shapes", [((2, 3), (4, 3)), ((0,), (0,))])
    def test_other_sizes_and_none(self, shapes: tuple[tuple[int, ...], ...]) -> None:
        assert weak(*(np.zeros(shape, np.float32) for shape in shapes)) == {}

    def test_labels(self) -> None:
        assert "y" in weak(np.array([3]), np.array([3]))
        assert weak(np.array([3]), np.array([4])) == {}

    def test_nothing_finite(self) -> None:
        nan = np.full(4, np.nan, np.float32)
        assert weak(nan) == {"y": "the original gives no finite number"}
        assert weak(nan, np.array([1, 2, np.nan, 4], np.float32)) == {}


class TestInTheReport:
    @pytest.fixture
    def dead(self, tmp_path: Path) -> Path:
        """Relu of what is never positive."""
        text = """<ir_version: 10, opset_import: ["" : 20]> g (float[2,3] x) => (float[2,3] y)
        { s = Mul (x, x) n = Neg (s) y = Relu (n) }"""
        path = tmp_path / "dead.onnx"
        path.write_bytes(onnx.parser.parse_model(text).SerializeToString())
        return path

    def test_run(self, dead: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        output = tmp_path / "dead.tflite"
        assert main(["run", str(dead), "-o", str(output)]) == 0
        text = capsys.readouterr().out
        assert "the check proves little here" in text
        assert "'y': the original gives the same on all 3 samples" in text
        assert main(["verify", "--json", str(dead), str(output)]) == 0
        assert json.loads(capsys.readouterr().out)["check"]["weak"].keys() == {"y"}

    def test_better_samples(self, tmp_path: Path) -> None:
        text = """<ir_version: 10, opset_import: ["" : 20]> g (float[2] x) => (float[2] y)
        <float[2] far = {90.0, 90.0}> { d = Sub (x, far) y = Relu (d) }"""
        model = onnx.parser.parse_model(text)
        drawn = graphrewrite.run(model, output=tmp_path / "a.tflite").report["check"]
        assert drawn["weak"]
        samples = [{"x": np.array([value, 95], np.float32)} for value in (91, 100)]
        given = graphrewrite.run(model, output=tmp_path / "b.tflite", samples=samples).report["check"]
        assert given["passed"]
        assert given["weak"] == {}
