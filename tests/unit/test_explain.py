"""Explaining: the condition that is not met, passes that look at the whole graph, and nodes that are gone."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import onnx.parser
import pytest

from graphrewrite import ir
from graphrewrite.cli.main import main
from graphrewrite.errors import UsageError
from graphrewrite.pipeline import build
from graphrewrite.pipeline.explain import Explanation, explain

GOLDEN = Path(__file__).resolve().parent.parent / "golden" / "models"
MODEL = """<ir_version: 9, opset_import: ["" : 17]>
g (float[1,3,8,8] x) => (float[1,3,8,8] y, float[1,3,8,8] z) <float half = {0.5}, float one = {1.0}, float r = {1.4142135}> {
  ["half_one"] c = Mul(half, one)
  ["scaled"] a = Mul(x, c)
  ["same"] b = Identity(a)
  ["divided"] d = Div(b, r)
  ["erf"] e = Erf(d)
  ["plus"] f = Add(e, one)
  ["times"] g0 = Mul(b, f)
  ["gelu"] y = Mul(g0, half)
  ["act"] z = Relu(b)
}"""


def told(name: str, node: str, text: str = MODEL) -> Explanation:
    model = ir.load(onnx.parser.parse_model(text))
    return explain(model, build("default", "tflite"), name, node)


def test_a_rule_that_acts_and_one_that_does_not() -> None:
    (verdict,) = told("fuse-gelu", "gelu").verdicts
    assert verdict.acts
    assert "Erf" in verdict.reason
    found = told("fuse-gelu", "gelu", MODEL.replace("r = {1.4142135}", "r = {1.5}"))
    assert not found.verdicts[0].acts
    assert found.verdicts[0].culprit is not None


def test_a_node_at_which_no_rule_starts() -> None:
    (verdict,) = told("fuse-gelu", "act").verdicts
    assert "starts at" in verdict.reason


def test_a_pass_that_looks_at_the_whole_graph_is_watched() -> None:
    (verdict,) = told("lower-to-tflite", "act").verdicts
    assert verdict.acts
    assert "lower-Relu makes it %z" in verdict.reason
    (verdict,) = told("eliminate-common-subexpressions", "act").verdicts
    assert not verdict.acts


def test_a_refusal_is_told() -> None:
    text = (
        '<ir_version: 9, opset_import: ["" : 17]> g (float[2] x) => (float[2] y) { ["it"] y = Nonsense(x) }'
    )
    (verdict,) = told("lower-to-tflite", "it", text).verdicts
    assert not verdict.acts
    assert "refused" in verdict.reason


def test_a_rule_of_a_pass_with_several_is_found() -> None:
    model = ir.load(GOLDEN / "stylegan2_kept_unfused.ts17.onnx")
    passes = build("default", "tflite")
    (verdict,) = explain(model, passes, "fuse-leaky-relu", "/blocks.2/conv0/Mul_5").verdicts
    assert verdict.acts
    assert "move-gain" in verdict.reason


def test_a_node_that_lives_on_in_another() -> None:
    found = told("lower-to-tflite", "erf")
    assert "Gelu" in found.verdicts[0].line
    assert found.history == ("fuse-gelu rewrote it at 'gelu'",)


def test_a_node_that_is_gone_is_followed() -> None:
    found = told("lower-to-tflite", "same")
    assert found.verdicts == ()
    assert found.history[-1].endswith("its value is 'a' now, from Mul 'scaled'")
    found = told("lower-to-tflite", "half_one")
    assert found.verdicts == ()
    assert "the constant" in found.history[-1]


def test_a_value_names_its_node() -> None:
    assert told("fuse-gelu", "y") == told("fuse-gelu", "gelu")


def test_unknown_names() -> None:
    with pytest.raises(UsageError, match="did you mean 'gelu'"):
        told("fuse-gelu", "gelo")
    with pytest.raises(UsageError, match="not in this pipeline"):
        told("fuse-glue", "gelu")


def test_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    onnx.save(onnx.parser.parse_model(MODEL), "model.onnx")
    assert main(["explain", "lower-to-tflite", "model.onnx", "--node", "same"]) == 0
    assert "'same' is not there any more when lower-to-tflite runs" in capsys.readouterr().out
    assert main(["explain", "fuse-gelu", "model.onnx", "--node", "act", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["nodes"][0]["matches"] is False
    assert document["nodes"][0]["verdict"].startswith("no match: ")
