"""A float16 program that overflows in plain float16 stays right on Core ML, since what can't be float16 is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

pytest.importorskip("coremltools")

import graphrewrite
from graphrewrite import conversion
from graphrewrite.errors import OutputsDiffer
from graphrewrite.numeric.ranges import HalfReport

MODELS = Path(__file__).resolve().parent.parent / "golden" / "models"


def with_large_styles(factor: float) -> onnx.ModelProto:
    """StyleGAN2 whose styles are `factor` times as large; demodulation divides them out again."""
    proto = onnx.load(MODELS / "stylegan2_kept_fused.ts17.onnx")
    weights = {item.name: item for item in proto.graph.initializer}
    for node in proto.graph.node:
        if node.op_type == "Gemm" and "conv" in node.name:
            for name in node.input[1:]:
                array = onnx.numpy_helper.to_array(weights[name]) * np.float32(factor)
                weights[name].CopyFrom(onnx.numpy_helper.from_array(array, name))
    return proto


def test_large_styles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proto = with_large_styles(3000)
    output = tmp_path / "a.mlpackage"
    result = graphrewrite.run(proto, "coreml{precision=fp16}", output=output)
    assert result.report["check"]["outputs"][0]["sqnr"] > 50
    kept = result.report["half"]["kept"]
    assert 0 < len(kept) < result.report["details"]["operator_count"] / 2

    def unmarked(*arguments: object) -> HalfReport:
        return HalfReport(0, (), (), ())

    monkeypatch.setattr(conversion, "examine", unmarked)
    with pytest.raises(OutputsDiffer, match="NaN or infinite"):
        graphrewrite.run(proto, "coreml{precision=fp16}", output=output)
    assert output.is_dir(), "the right one is still there"


def test_styles_as_they_are_need_no_float32(tmp_path: Path) -> None:
    result = graphrewrite.run(with_large_styles(1), "coreml{precision=fp16}", output=tmp_path / "a.mlpackage")
    assert result.report["half"]["kept"] == ()
    assert result.report["check"]["passed"] is True
