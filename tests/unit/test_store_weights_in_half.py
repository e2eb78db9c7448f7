"""store-weights-in-half: which constants become float16, which stay, and what is said of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import pytest

import graphrewrite
from graphrewrite import ir
from graphrewrite.cli.main import main
from graphrewrite.errors import UsageError
from graphrewrite.numeric.reference import create_session
from graphrewrite.pipeline import build, describe, histogram, run_pipeline

RNG = np.random.default_rng(0)
WEIGHT = RNG.standard_normal((64, 64)).astype(np.float32) / 8


def product(weight: np.ndarray) -> onnx.ModelProto:
    """y = x w."""
    return onnx.helper.make_model(
        onnx.helper.make_graph(
            [onnx.helper.make_node("MatMul", ["x", "w"], ["y"], name="product")],
            "g",
            [onnx.helper.make_tensor_value_info("x", 1, [3, 64])],
            [onnx.helper.make_tensor_value_info("y", 1, [3, 64])],
            [onnx.numpy_helper.from_array(weight, "w")],
        ),
        opset_imports=[onnx.helper.make_opsetid("", 20)],
        ir_version=10,
    )


def converted(proto: onnx.ModelProto, spec: str = "default", **options: str) -> tuple[ir.Model, list[str]]:
    model = ir.load(proto)
    records = run_pipeline(model, build(spec, "tflite", options), debug=True)
    return model, [note for record in records for note in record.notes]


def constant_types(model: ir.Model) -> list[str]:
    return sorted(value.dtype.name for value in model.graph.initializers.values() if value.dtype is not None)


def test_a_weight_is_stored_as_half_and_every_state_runs() -> None:
    model, notes = converted(product(WEIGHT), precision="fp16")
    assert histogram(model)["tflite.DEQUANTIZE"] == 1
    assert constant_types(model) == ["FLOAT16"]
    assert notes == []
    x = RNG.standard_normal((3, 64)).astype(np.float32)
    (found,) = create_session(ir.to_runnable_proto(model)).run(None, {"x": x})
    np.testing.assert_allclose(found, x @ WEIGHT.astype(np.float16).astype(np.float32), rtol=1e-5, atol=1e-5)


def test_nothing_happens_in_float32() -> None:
    for options in ({}, {"precision": "fp32"}):
        model, _ = converted(product(WEIGHT), **options)
        assert constant_types(model) == ["FLOAT"]


def test_small_constants_stay() -> None:
    model, _ = converted(product(WEIGHT), "default,store-weights-in-half{minimum=4097}", precision="fp16")
    assert constant_types(model) == ["FLOAT"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ((0, 7e4), "a value of 7e+04 is beyond float16's largest, 65504"),
        ((0, -7e4), "a value of 7e+04 is beyond float16's largest, 65504"),
        ((slice(None), WEIGHT * 1e-6), "is below float16's normal range"),
        ((slice(None), WEIGHT * 1e-30), "is below float16's normal range"),
    ],
)
def test_what_half_cannot_hold_stays_and_is_told(change: tuple[object, object], reason: str) -> None:
    weight = WEIGHT.copy()
    weight[change[0]] = change[1]
    model, notes = converted(product(weight), precision="fp16")
    assert constant_types(model) == ["FLOAT"]
    (note,) = notes
    assert reason in note
    assert "of 'product'" in note


@pytest.mark.parametrize("value", [0.0, np.inf, -np.inf, np.nan, 65504.0, 1e-9])
def test_what_half_can_hold_beside_other_values(value: float) -> None:
    weight = WEIGHT.copy()
    weight[0] = value
    model, notes = converted(product(weight), precision="fp16")
    assert constant_types(model) == ["FLOAT16"]
    assert notes == []
    (half,) = (item.const_value for item in model.graph.initializers.values())
    assert half is not None
    assert np.isfinite(half.numpy()).all() == np.isfinite(value)


def test_a_constant_output_and_one_read_twice(tmp_path: Path) -> None:
    proto = product(WEIGHT)
    proto.graph.node.append(onnx.helper.make_node("MatMul", ["y", "w"], ["z"]))
    proto.graph.node.append(onnx.helper.make_node("Identity", ["w"], ["v"]))
    for name, shape in (("z", [3, 64]), ("v", [64, 64])):
        proto.graph.output.append(onnx.helper.make_tensor_value_info(name, 1, shape))
    result = graphrewrite.run(proto, "tflite{precision=fp16}", output=tmp_path / "a.tflite")
    assert result.report["details"]["operators"]["DEQUANTIZE"] == 2, (
        "the product's, which is transposed, and the output's"
    )
    outputs = {item["name"]: item for item in result.report["check"]["outputs"]}
    assert all(item["sqnr"] > 60 for item in outputs.values())


def test_inside_a_loop(tmp_path: Path) -> None:
    """A DEQUANTIZE stands in each graph that reads the constant: subgraphs see constants of outer ones, not values."""
    body = onnx.helper.make_graph(
        [
            onnx.helper.make_node("MatMul", ["state", "w"], ["next"]),
            onnx.helper.make_node("Identity", ["go"], ["again"]),
        ],
        "body",
        [
            onnx.helper.make_tensor_value_info("i", 7, []),
            onnx.helper.make_tensor_value_info("go", 9, []),
            onnx.helper.make_tensor_value_info("state", 1, [3, 64]),
        ],
        [
            onnx.helper.make_tensor_value_info("again", 9, []),
            onnx.helper.make_tensor_value_info("next", 1, [3, 64]),
        ],
    )
    proto = product(WEIGHT)
    proto.graph.input.append(onnx.helper.make_tensor_value_info("count", 7, []))
    proto.graph.node.append(onnx.helper.make_node("Loop", ["count", "", "y"], ["z"], body=body))
    proto.graph.output.append(onnx.helper.make_tensor_value_info("z", 1, [3, 64]))
    samples = [{"x": np.ones((3, 64), np.float32), "count": np.array(count)} for count in (0, 3)]
    result = graphrewrite.run(proto, "tflite{precision=fp16}", output=tmp_path / "a.tflite", samples=samples)
    assert result.report["details"]["operators"]["DEQUANTIZE"] == 2


def test_the_target_hands_its_option_to_the_pass_and_to_the_check(tmp_path: Path) -> None:
    output = tmp_path / "a.tflite"
    plain = graphrewrite.run(product(WEIGHT), output=output)
    half = graphrewrite.run(product(WEIGHT), precision="fp16", output=output)
    assert half.report["size"] < 0.7 * plain.report["size"]
    assert half.report["options"] == {"precision": "fp16"}
    assert 40 < half.report["check"]["outputs"][0]["sqnr"] < 80 < plain.report["check"]["outputs"][0]["sqnr"]
    (record,) = [entry for entry in half.record if entry.rewrites and entry.label == "approximate"]
    assert record.spec == "store-weights-in-half{precision=fp16}"
    passes = build("none", "tflite", {"precision": "fp16"})
    assert record.spec in [describe(item) for item in passes]


def test_the_tolerance_of_every_check_is_float16_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    onnx.save(product(WEIGHT), "net.onnx")
    result = graphrewrite.run("net.onnx", precision="fp16", numeric_each=True)
    assert not [note for entry in result.record for note in entry.notes]
    assert main(["verify", "net.onnx", "net.tflite"]) == 4
    assert main(["verify", "net.onnx", "net.tflite", "--precision", "fp16"]) == 0


def test_an_unknown_precision() -> None:
    for spec in ("tflite{precision=int3}", "tflite{precision=16}"):
        with pytest.raises(UsageError, match="precision is fp32 or fp16"):
            graphrewrite.run(product(WEIGHT), spec)
