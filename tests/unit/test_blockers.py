"""What is refused for the types at a model's ends and for foreign domains, and that consequences are not listed as reasons."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx.helper
import onnx.parser
import pytest

import graphrewrite
from graphrewrite.errors import Blocker, NotExpressible, UsageError

TARGETS = ("tflite", "coreml", "openvino")


def text(body: str) -> onnx.ModelProto:
    return onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 20, "com.microsoft" : 1, "ai.onnx.ml" : 3, "lab" : 1]> agraph '
        + body
    )


def refused(model: onnx.ModelProto, target: str) -> list[Blocker]:
    """The blockers of a whole conversion, which draws samples first, and of a look ahead: they are the same."""
    with pytest.raises(NotExpressible) as found:
        graphrewrite.run(model, target, output="never{suffix}")
    (outcome,) = graphrewrite.api.preflight(model, target).values()
    assert isinstance(outcome.error, NotExpressible)
    assert [*outcome.error.blockers] == [*found.value.blockers]
    return [*found.value.blockers]


@pytest.mark.parametrize("target", TARGETS)
def test_text_at_the_ends(target: str) -> None:
    model = text(
        """(float[2] x, string[2] words) => (float[2] y, string[2] same, string[1] label)
        <string[1] cat = {"cat"}> { y = Relu(x) same = Identity(words) label = Identity(cat) }"""
    )
    found = refused(model, target)
    assert [(item.op, item.node) for item in found] == [
        ("input", "words"),
        ("output", "same"),
        ("output", "label"),
    ]
    assert all("text" in item.reason and "--outputs" in item.hint for item in found)


@pytest.mark.parametrize("target", TARGETS)
def test_sequences_and_optionals_at_the_ends(target: str) -> None:
    model = text(
        "(float[2] x, seq(float[2]) many) => (seq(float[2]) pair) { pair = SequenceInsert(many, x) }"
    )
    found = [(item.op, item.node, item.reason.split(",")[0]) for item in refused(model, target)]
    assert found[:2] == [("input", "many", "it is a sequence"), ("output", "pair", "it is a sequence")]
    model = text("(optional(float[2]) maybe) => (bool there) { there = OptionalHasElement(maybe) }")
    assert refused(model, target)[0].reason.startswith("it is an optional")


@pytest.mark.parametrize("target", TARGETS)
def test_inputs_of_any_rank(target: str) -> None:
    model = text("(float[2] x) => (float[2] y) { y = Relu(x) }")
    model.graph.input[0].type.tensor_type.ClearField("shape")
    model.graph.output[0].type.tensor_type.ClearField("shape")
    (found,) = refused(model, target)
    assert (found.op, found.node) == ("input", "x")
    assert "--shape x=" in found.hint


@pytest.mark.parametrize("target", TARGETS)
def test_every_foreign_op_and_no_consequence_of_one(target: str) -> None:
    """Behind `a` nothing is known, so that MatMul and Cast could only say that; ReverseSequence lies elsewhere."""
    model = text(
        """(float[2, 3] x) => (y, z) <float[3, 4] w = {1,1,1,1,1,1,1,1,1,1,1,1}> {
            a = lab.Odd(x)
            b = MatMul(a, w)
            c = Cast<to = 7>(b)
            d = com.microsoft.Odd(c)
            y = ai.onnx.ml.Scaler(d)
            z = NoSuchOp(x)
        }"""
    )
    found = {item.op: item for item in refused(model, target)}
    assert list(found) == ["lab.Odd", "com.microsoft.Odd", "ai.onnx.ml.Scaler", "NoSuchOp"]
    assert "before ONNX Runtime's optimiser" in found["com.microsoft.Odd"].hint
    assert "Hummingbird" in found["ai.onnx.ml.Scaler"].hint


def test_what_can_not_be_drawn_is_told_where_nothing_is_refused(tmp_path: Path) -> None:
    model = text("(bfloat16[2] x) => (float[2] y) { y = Cast<to = 1>(x) }")
    with pytest.raises(UsageError, match="bfloat16: give samples"):
        graphrewrite.run(model, "openvino", output=tmp_path / "m.xml")
