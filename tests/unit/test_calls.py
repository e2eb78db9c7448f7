"""A model's own functions may import other operator sets than it does, as long as their operators are the same ones."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx.parser
import pytest

import graphrewrite
from graphrewrite.errors import InvalidModel


def calling(of_function: int, of_model: str, body: str, uncalled: str = "") -> onnx.ModelProto:
    return onnx.parser.parse_model(
        f"""<ir_version: 10, opset_import: [{of_model}"lab" : 1]> g (float[2, 3] x) => (float[2, 3] y) {{
            y = lab.Twice(x)
        }}
        <domain: "lab", opset_import: ["" : {of_function}, "lab" : 1]> Once (a) => (b) {{ {body} }}
        <domain: "lab", opset_import: ["" : {of_function}, "lab" : 1]> Twice (a) => (b) {{ c = Once(a)  b = Once(c) }}
        {uncalled}""".replace("c = Once", "c = lab.Once").replace("b = Once", "b = lab.Once")
    )


@pytest.mark.parametrize("of_function", [14, 17, 20])
def test_the_same_operators_in_another_set(of_function: int, tmp_path: Path) -> None:
    """Relu is of version 14 in all of them."""
    model = calling(of_function, '"" : 18, ', "b = Relu(a)")
    graphrewrite.run(model, output=tmp_path / "m.tflite")


def test_another_operator_of_the_same_name() -> None:
    """ReduceSum took its axes as an attribute before opset 13."""
    model = calling(12, '"" : 18, ', "b = ReduceSum<axes = [0], keepdims = 1>(a)")
    with pytest.raises(
        InvalidModel, match=r"'lab::Once' is written in opset 12 .* ReduceSum is another operator"
    ):
        graphrewrite.run(model, output="never.tflite")


def test_one_that_is_not_called_is_no_obstacle(tmp_path: Path) -> None:
    other = '<domain: "lab", opset_import: ["" : 12]> Old (a) => (b) { b = ReduceSum<axes = [0]>(a) }'
    model = calling(18, '"" : 18, ', "b = Relu(a)", other)
    graphrewrite.run(model, output=tmp_path / "m.tflite")


def test_the_set_of_the_functions_is_the_model_s_where_it_has_none(tmp_path: Path) -> None:
    """Read as today's opset, Unsqueeze would be malformed."""
    model = calling(12, "", "b = Relu(a)")
    model.functions[0].node[0].CopyFrom(onnx.helper.make_node("Softmax", ["a"], ["b"], axis=0))
    found = graphrewrite.run(model, output=tmp_path / "m.tflite", check=False)
    assert found.report["details"]["operators"].get("SOFTMAX") == 2
