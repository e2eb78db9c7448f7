"""Nodes kept in float32 since a float16 program's roundings add up: which, in what order, and when none are."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest

import graphrewrite
from graphrewrite import ir
from graphrewrite.errors import OutputsDiffer
from graphrewrite.numeric.check import CheckReport
from graphrewrite.numeric.metrics import FP16, Comparison, compare
from graphrewrite.numeric.original import Original
from graphrewrite.numeric.rounding import Rounding, left
from graphrewrite.pipeline import Stage, build, run_pipeline
from graphrewrite.report.text import report_lines

MODELS = Path(__file__).resolve().parent.parent / "golden" / "models"
CANCELLING = """<ir_version: 10, opset_import: ["" : 20]>
g (float[2,8] x) => (float[2,8] y) <float k = {1000.0}> {
    [up] a = Add(x, k)
    [down] b = Sub(a, k)
    [calm] y = Sigmoid(b)
}"""
"""float16 has steps of 0.5 near 1000."""


def judged(sqnr: float) -> CheckReport:
    """A check of `y`, which is that many dB from the original."""
    wanted = np.ones((2, 8), np.float32)
    item = compare("y", wanted, wanted * np.float32(1 + 10 ** (-sqnr / 20)), FP16)
    return CheckReport(item.passed, (item,), 1, ("runner",), "runner", 0)


def rounding(source: onnx.ModelProto | str) -> tuple[ir.Model, Rounding]:
    """Of a model whose input `x` has two rows."""
    proto = onnx.parser.parse_model(source) if isinstance(source, str) else source
    width = proto.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    sample = {"x": np.linspace(-1, 1, 2 * width, dtype=np.float32).reshape(2, width)}
    model = ir.load(proto)
    run_pipeline(model, [item for item in build("none", "tflite") if item.stage < Stage.LEGALIZE])
    return model, Rounding(model, Original(proto, [sample]), FP16)


def marked(model: ir.Model) -> list[str]:
    return [ir.source_name(node) for node in model.graph if ir.keeps_float(node)]


def test_what_is_left_is_the_worst_output() -> None:
    noise = np.array([[4.0, 0.0], [2.0, 1.0], [0.0, 3.0]])
    assert left(noise).tolist() == [6.0, 4.0, 3.0]


def test_what_makes_and_what_reads_the_loudest_value_is_marked() -> None:
    model, found = rounding(CANCELLING)
    assert found.mark(judged(20))
    assert marked(model) == ["up", "down"]
    assert found.report is not None
    assert (found.report.kept, found.report.total, found.report.rounds) == (2, 3, 1)


def test_more_is_marked_until_everything_is() -> None:
    model, found = rounding(CANCELLING)
    counts = []
    while found.mark(judged(20)):
        assert found.report is not None
        counts.append(found.report.kept)
    assert counts == sorted(counts)
    assert len(counts) <= 4
    assert marked(model) == ["up", "down", "calm"]


def test_an_error_that_rounding_does_not_explain_marks_nothing() -> None:
    model, found = rounding(CANCELLING.replace("1000.0", "0.5"))
    assert not found.mark(judged(20))
    assert marked(model) == []
    assert found.report is None


@pytest.mark.parametrize(
    "wrong",
    [
        compare("y", np.zeros(3, np.int64), np.ones(3, np.int64), FP16),
        compare("y", np.ones(3, np.float32), np.full(3, math.nan, np.float32), FP16),
        compare("y", np.ones(3, np.float32), np.ones(4, np.float32), FP16),
    ],
    ids=["integers", "NaN", "shape"],
)
def test_other_faults_mark_nothing(wrong: Comparison) -> None:
    model, found = rounding(CANCELLING)
    assert not found.mark(CheckReport(False, (wrong,), 1, ("runner",), "runner", 0))
    assert marked(model) == []


def test_large_weights_stay_in_half_where_that_is_enough() -> None:
    """The bias makes the loss; the weights, which are exact in float16, need no float32."""
    weights = onnx.numpy_helper.from_array(np.eye(64, dtype=np.float32), "w")
    proto = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 20]> g (float[2,64] x) => (float[2,64] y) <float k = {1000.0}> '
        "{ a = MatMul(x, w) b = Add(a, k) y = Sub(b, k) }"
    )
    proto.graph.initializer.append(weights)
    model, found = rounding(proto)
    assert found.mark(judged(20))
    assert ir.stores_half(model.graph.initializers["w"])


class TestCoreML:
    @pytest.fixture(autouse=True)
    def needs_coremltools(self) -> None:
        pytest.importorskip("coremltools")

    @pytest.mark.parametrize("version", ["iOS15", "iOS18"])
    @pytest.mark.parametrize("exporter", ["ts17", "dyn"])
    def test_a_deep_model(self, exporter: str, version: str, tmp_path: Path) -> None:
        result = graphrewrite.run(
            MODELS / f"inception_v3.{exporter}.onnx",
            f"coreml{{precision=fp16,minimum_deployment_target={version}}}",
            output=tmp_path / "a.mlpackage",
        )
        found = json.loads(json.dumps(result.report))["half"]["rounding"]
        assert result.report["check"]["outputs"][0]["sqnr"] >= 40
        assert found["sqnr"] < 40 == found["needed"]
        assert 0 < found["kept"] < found["total"] / 3
        line = f"rounding: {found['sqnr']:.1f} dB, 40 needed; {found['kept']} of {found['total']} nodes compute in float32"
        assert line in report_lines(result)

    def test_the_input_is_not_rounded_where_its_reader_is_marked(self, tmp_path: Path) -> None:
        proto = onnx.parser.parse_model(
            '<ir_version: 10, opset_import: ["" : 20]> g (float[4] x) => (float[4] y) <float k = {1000.0}> '
            "{ y = Sub(x, k) }"
        )
        samples = [{"x": np.float32([1000.1, 1000.2, 999.9, 999.7])}]
        result = graphrewrite.run(
            proto, "coreml{precision=fp16}", output=tmp_path / "a.mlpackage", samples=samples
        )
        assert result.report["half"]["rounding"]["kept"] == 1
        assert float(result.report["check"]["outputs"][0]["sqnr"]) > 80

    @pytest.mark.parametrize(("version", "stored"), [("iOS15", 4), ("iOS16", 2)])
    def test_weights_of_a_marked_node_are_stored_in_half(
        self, version: str, stored: int, tmp_path: Path
    ) -> None:
        rng = np.random.default_rng(0)
        weights = rng.standard_normal((256, 64)).astype(np.float16).astype(np.float32)
        proto = onnx.parser.parse_model(
            '<ir_version: 10, opset_import: ["" : 20]> g (float[4,256] x) => (float[4,64] y) <float k = {64.0}> '
            "{ a = MatMul(x, w) b = Mul(a, k) y = Sin(b) }"
        )
        proto.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
        result = graphrewrite.run(
            proto,
            f"coreml{{precision=fp16,minimum_deployment_target={version}}}",
            output=tmp_path / "a.mlpackage",
        )
        details = result.report["details"]
        assert result.report["half"]["rounding"]["kept"] == result.report["half"]["rounding"]["total"]
        assert details["weight_bytes"] // weights.size == stored
        assert details["operators"].get("constexpr_cast", 0) == (stored == 2)

    def test_a_wrong_program_stays_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from graphrewrite.targets.coreml.target import CoreMLTarget, Evaluated

        def shifted(self: CoreMLTarget, path: Path) -> dict[str, object]:
            run = Evaluated(path)
            return {"shifted": lambda sample: {name: item * 1.1 for name, item in run(sample).items()}}

        monkeypatch.setattr(CoreMLTarget, "runners", shifted)
        proto = onnx.parser.parse_model(CANCELLING.replace("1000.0", "0.5"))
        with pytest.raises(OutputsDiffer, match="SQNR 20"):
            graphrewrite.run(proto, "coreml{precision=fp16}", output=tmp_path / "a.mlpackage")
        assert not (tmp_path / "a.mlpackage").exists()
