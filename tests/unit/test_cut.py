"""--inputs and --outputs: parts of a model, and the same part of the original to compare with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest

import graphrewrite
from graphrewrite.cli.main import main
from graphrewrite.errors import UsageError
from graphrewrite.sources.cut import cut

TEXT = """<ir_version: 10, opset_import: ["" : 20]> g (float[N,3] x, float[3] mask, bool c) => (float[N,3] y, float[N,3] z)
<float[3] w = {1, 2, 3}> {
  [scale] a = Mul(x, w)
  [act] b = Relu(a)
  [one] d = Add(b, mask)
  [two] y = Exp(d)
  [choose] z = If(c) <then_branch = t () => (float[N,3] p) { p = Neg(b) }, else_branch = e () => (float[N,3] q) { q = Abs(d) }>
}"""


def proto() -> onnx.ModelProto:
    return onnx.parser.parse_model(TEXT)


def names(values: Sequence[onnx.ValueInfoProto]) -> list[str]:
    return [item.name for item in values]


@pytest.mark.parametrize(
    ("inputs", "outputs", "begins", "ends", "nodes"),
    [
        ([], ["b"], ["x"], ["b"], ["scale", "act"]),
        ([], ["d", "a"], ["x", "mask"], ["d", "a"], ["scale", "act", "one"]),
        (["b", "mask"], ["y"], ["b", "mask"], ["y"], ["one", "two"]),
        (["mask", "b", "c"], [], ["mask", "b", "c"], ["y", "z"], ["one", "two", "choose"]),
        (["w", "x"], ["a"], ["w", "x"], ["a"], ["scale"]),
        (["a", "b", "mask"], ["d", "b"], ["a", "b", "mask"], ["d", "b"], ["one"]),
        ([], ["z"], ["x", "mask", "c"], ["z"], ["scale", "act", "one", "choose"]),
    ],
)
def test_parts(
    inputs: list[str], outputs: list[str], begins: list[str], ends: list[str], nodes: list[str]
) -> None:
    if "a" in inputs:
        with pytest.raises(UsageError, match="no output depends on the input 'a'"):
            cut(proto(), inputs, outputs)
        return
    before = proto().SerializeToString()
    source = proto()
    made = cut(source, inputs, outputs)
    assert source.SerializeToString() == before, "the source is as it was"
    assert names(made.graph.input) == begins
    assert names(made.graph.output) == ends
    assert [node.name for node in made.graph.node] == nodes
    assert [item.name for item in made.graph.initializer] == (
        ["w"] if "scale" in nodes and "w" not in inputs else []
    )
    onnx.checker.check_model(made)


@pytest.mark.parametrize(
    ("inputs", "outputs", "reason"),
    [
        (["bb"], [], "--inputs: the main graph has no value 'bb'; the nearest are 'b'"),
        ([], ["y1"], "--outputs: the main graph has no value 'y1'; the nearest are 'y'"),
        ([], ["two"], "'two' is a Exp node; the value that it computes is 'y'"),
        ([], ["p"], "the main graph has no value 'p'"),
        (["b", "b"], ["y"], "--inputs names 'b' twice"),
        ([], ["y", "y"], "--outputs names 'y' twice"),
        (["b"], ["y"], "--inputs leaves out what the outputs need: 'mask'"),
        (["b", "mask", "c"], ["y"], "no output depends on the input 'c'"),
    ],
)
def test_wrong(inputs: list[str], outputs: list[str], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        cut(proto(), inputs, outputs)


def test_a_value_of_unknown_type() -> None:
    text = '<ir_version: 10, opset_import: ["" : 20, "lab" : 1]> g (float[2] x) => (float[2] y) { a = lab.Odd(x) y = Neg(a) }'
    with pytest.raises(UsageError, match="the type of 'a' can't be told"):
        cut(onnx.parser.parse_model(text), ["a"], [])


def test_a_part_is_converted_and_compared_with_the_same_part(tmp_path: Path) -> None:
    onnx.save(proto(), tmp_path / "net.onnx")
    result = graphrewrite.run(
        tmp_path / "net.onnx", inputs="b,mask", outputs=["d", "y"], output=tmp_path / "part.tflite"
    )
    assert [item["name"] for item in result.report["inputs"]] == ["b", "mask"]
    assert [item["name"] for item in result.report["check"]["outputs"]] == ["d", "y"]
    assert result.report["source"] == str(tmp_path / "net.onnx")


def test_weights_outside_of_the_file(tmp_path: Path) -> None:
    model = proto()
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.ones(3, np.float32), "w"))
    onnx.save(model, tmp_path / "net.onnx", save_as_external_data=True, size_threshold=0)
    assert len(list(tmp_path.iterdir())) == 2
    result = graphrewrite.run(tmp_path / "net.onnx", outputs="b", output=tmp_path / "part.tflite")
    assert result.report["check"]["passed"] is True


def test_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    onnx.save(proto(), "net.onnx")
    flags = ["--inputs", "b", "--inputs", "mask", "--outputs", "y"]
    assert main(["run", "net.onnx", *flags]) == 0
    assert main(["verify", "net.onnx", "net.tflite", *flags]) == 0
    assert main(["check", "net.onnx", *flags]) == 0
    assert main(["diff", "net.onnx", *flags, "--summary"]) == 0
    assert main(["run", "net.onnx", "--outputs", "dd"]) == 2
    assert "the nearest are 'd'" in capsys.readouterr().err
