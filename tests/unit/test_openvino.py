"""The OpenVINO target: names, order and shapes kept, weights not copied, both files or none, refusals by source name."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import onnx.parser
import pytest

import graphrewrite
from graphrewrite import ir
from graphrewrite.errors import NotExpressible, OutputsDiffer, UsageError
from graphrewrite.targets.base import target as find_target
from graphrewrite.targets.failures import InputRefused, LoadFailed
from graphrewrite.targets.openvino.emit import write
from graphrewrite.targets.openvino.package import core
from graphrewrite.targets.openvino.proto import readable
from graphrewrite.targets.openvino.runtime import CpuPlugin

ROOT = Path(__file__).resolve().parents[2]


def text(body: str, *, opset: int = 21) -> onnx.ModelProto:
    return onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : {opset}]> agraph {body}')


def ports(path: Path) -> tuple[list[Any], list[Any]]:
    """(names, type, dimensions) of the inputs and outputs in the saved model, in its order."""
    model = core().read_model(path)

    def facts(found: Sequence[Any]) -> list[Any]:
        return [
            (port.get_names(), port.get_element_type().get_type_name(), str(port.get_partial_shape()))
            for port in found
        ]

    return facts(model.inputs), facts(model.outputs)


def test_names_order_types_and_shapes_are_the_source_s(tmp_path: Path) -> None:
    source = text(
        """(float[3] z, int64[2, batch] a, bool[4] m, float16[1, 2] unread) =>
        (bool[4] v, float[3] u, float[2, batch] w, int64[2, batch] same) {
            v = Not(m)
            u = Exp(z)
            w = Cast<to = 1>(a)
            same = Identity(a)
        }"""
    )
    graphrewrite.run(source, "openvino", output=tmp_path / "m.xml")
    inputs, outputs = ports(tmp_path / "m.xml")
    assert [(kind, shape) for _, kind, shape in inputs] == [
        ("f32", "[3]"),
        ("i64", "[2,?]"),
        ("boolean", "[4]"),
        ("f16", "[1,2]"),
    ]
    assert [(kind, shape) for _, kind, shape in outputs] == [
        ("boolean", "[4]"),
        ("f32", "[3]"),
        ("f32", "[2,?]"),
        ("i64", "[2,?]"),
    ]
    for name, (names, _, _) in zip(["z", "a", "m", "unread"], inputs, strict=True):
        assert name in names
    for name, (names, _, _) in zip(["v", "u", "w", "same"], outputs, strict=True):
        assert name in names


def test_one_file_runs_at_several_shapes(tmp_path: Path) -> None:
    weights = onnx.numpy_helper.from_array(
        np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32), "w"
    )
    source = text(
        """(float[batch, 3, height, width] x) => (float[batch, 4, h2, w2] y) {
            a = Conv<pads = [1, 1, 1, 1]>(x, w)
            b = Relu(a)
            y = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(b)
        }"""
    )
    source.graph.initializer.append(weights)
    samples = [
        {"x": np.random.default_rng(1).standard_normal(shape).astype(np.float32)}
        for shape in ((1, 3, 8, 8), (2, 3, 12, 10), (5, 3, 31, 17))
    ]
    result = graphrewrite.run(source, "openvino", output=tmp_path / "m.xml", samples=samples)
    assert result.report["check"]["samples"] == 3
    runner = CpuPlugin(tmp_path / "m.xml")
    assert [runner(sample)["y"].shape for sample in samples] == [(1, 4, 4, 4), (2, 4, 6, 5), (5, 4, 15, 8)]


def large() -> onnx.ModelProto:
    model = text("(float[1, 256] x) => (float[1, 512] y) { y = MatMul(x, w) }")
    weights = np.random.default_rng(0).standard_normal((256, 512)).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    return model


def test_weights_are_read_where_they_lie() -> None:
    graph = ir.load(large())
    source = readable(graph)
    assert len(source.data) < 1000
    assert [array.nbytes for array in source.weights] == [256 * 512 * 4]
    tensor = graph.graph.initializers["w"].const_value
    assert tensor is not None
    assert np.shares_memory(source.weights[0], tensor.numpy())


def test_half_precision_halves_the_weights(tmp_path: Path) -> None:
    sizes = {}
    for precision in ("fp32", "fp16"):
        path = tmp_path / f"{precision}.xml"
        report = graphrewrite.run(large(), "openvino", output=path, precision=precision).report
        sizes[precision] = report["details"]["weight_bytes"]
        assert path.with_suffix(".bin").stat().st_size == sizes[precision]
        assert report["check"]["passed"]
    assert sizes == {"fp32": 256 * 512 * 4, "fp16": 256 * 512 * 2}
    with pytest.raises(UsageError, match="precision"):
        graphrewrite.run(large(), "openvino", output=tmp_path / "m.xml", precision="fp8")


def test_equal_models_give_equal_bytes_in_one_process_too(tmp_path: Path) -> None:
    source = text("(float[2, 3] x) => (float[2, 3] y) { a = HardSwish(x) b = LogSoftmax(a) y = Mish(b) }")
    for name in ("a.xml", "b.xml"):
        graphrewrite.run(source, "openvino", output=tmp_path / name, check=name == "a.xml")
    for suffix in (".xml", ".bin"):
        first, second = (tmp_path / f"{name}{suffix}" for name in "ab")
        assert first.read_bytes() == second.read_bytes()


def test_nothing_is_left_of_a_model_whose_outputs_differ(tmp_path: Path) -> None:
    def spoilt(model: ir.Model, path: Path) -> dict[str, int]:
        for value in model.graph.initializers.values():
            assert value.const_value is not None
            value.const_value = ir.Tensor(value.const_value.numpy() + 1)
        return write(model, path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("graphrewrite.targets.openvino.emit.write", spoilt)
        with pytest.raises(OutputsDiffer):
            graphrewrite.run(large(), "openvino", output=tmp_path / "m.xml")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["repro"]
    (kept,) = (tmp_path / "repro").iterdir()
    assert {"rejected.xml", "rejected.bin"} <= {path.name for path in kept.iterdir()}


def test_every_node_that_can_t_be_read_is_named_at_once(tmp_path: Path) -> None:
    source = text(
        """(float[3] x, float[3] z) => (float[3] y, int32[3] c, float[N] d) {
            [first] a = EagerPyFunc(x)
            [own] b = some.domain.Op(a)
            y = Relu(b)
            [bits] c = BitCast<to = 6>(z)
            [many] d = TfIdfVectorizer<max_gram_length = 1, max_skip_count = 0, min_gram_length = 1, mode = "TF",
                ngram_counts = [0], ngram_indexes = [0], pool_int64s = [2]>(c)
        }""",
        opset=26,
    )
    source.opset_import.append(onnx.helper.make_opsetid("some.domain", 1))
    with pytest.raises(NotExpressible) as caught:
        graphrewrite.run(source, "openvino", output=tmp_path / "m.xml", check=False)
    assert sorted((item.node, item.op) for item in caught.value.blockers) == [
        ("bits", "BitCast"),
        ("first", "EagerPyFunc"),
        ("many", "TfIdfVectorizer"),
        ("own", "some.domain.Op"),
    ]
    assert all(item.reason for item in caught.value.blockers)
    assert list(tmp_path.iterdir()) == []


def test_a_rank_known_only_at_run_time_is_refused(tmp_path: Path) -> None:
    source = text("(float[2, 3] x, int64[n] shape) => (float y) { [view] y = Reshape(x, shape) }")
    with pytest.raises(NotExpressible, match=r"'view'.*rank"):
        graphrewrite.run(source, "openvino", output=tmp_path / "m.xml", check=False)


def test_branches_hold_no_obstacle_where_they_are_never_taken(tmp_path: Path) -> None:
    source = text(
        """(float[3] x) => (float[3] y)
        <bool taken = {1}>
        {
            y = If (taken) <
                then_branch = yes () => (float[3] a) { a = Relu(x) },
                else_branch = no () => (float[3] b) { b = some.domain.Op(x) }
            >
        }"""
    )
    source.opset_import.append(onnx.helper.make_opsetid("some.domain", 1))
    result = graphrewrite.run(source, "openvino", output=tmp_path / "m.xml", check=False)
    assert "If" not in result.report["details"]["operators"]


def test_runner_says_what_is_wrong_with_file_or_inputs(tmp_path: Path) -> None:
    graphrewrite.run(large(), "openvino", output=tmp_path / "m.xml", check=False)
    runner = CpuPlugin(tmp_path / "m.xml")
    with pytest.raises(InputRefused, match="'x'"):
        runner({"q": np.zeros((1, 256), np.float32)})
    with pytest.raises(InputRefused, match="float64"):
        runner({"x": np.zeros((1, 256))})
    with pytest.raises(InputRefused, match="shape"):
        runner({"x": np.zeros((2, 256), np.float32)})
    (tmp_path / "m.bin").unlink()
    with pytest.raises(LoadFailed):
        CpuPlugin(tmp_path / "m.xml")({"x": np.zeros((1, 256), np.float32)})


def test_neither_telemetry_nor_other_targets_are_imported(tmp_path: Path) -> None:
    onnx.save(large(), tmp_path / "m.onnx")
    code = """if True:
        import sys, graphrewrite
        graphrewrite.run(sys.argv[1], "openvino", output=sys.argv[2])
        targets = tuple(f"graphrewrite.targets.{name}" for name in ("tflite", "coreml"))
        heavy = ("openvino_telemetry", "ai_edge_litert", "coremltools", *targets)
        print([name for name in sys.modules if name.startswith(heavy)])
        """
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "m.onnx"), str(tmp_path / "m.xml")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


def test_without_openvino_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"graphrewrite\[openvino\]"):
        find_target("openvino").require()


def test_what_is_multiplied_with_quantised_weights_is_not_rounded(tmp_path: Path) -> None:
    """The plugin's own default quantises it to 8 bits where the machine has the instructions: 42 dB."""
    rng = np.random.default_rng(0)
    weights = onnx.helper.make_tensor(
        "q", onnx.TensorProto.INT4, (64, 128), rng.integers(-8, 8, (64, 128)).ravel()
    )
    scales = onnx.numpy_helper.from_array(rng.uniform(0.01, 0.1, (2, 128)).astype(np.float32), "s")
    source = text(
        """(float[2, 64] x) => (float[2, 128] y) {
            w = DequantizeLinear<axis = 0, block_size = 32>(q, s)
            y = MatMul(x, w)
        }"""
    )
    source.graph.initializer.extend([weights, scales])
    result = graphrewrite.run(source, "openvino", output=tmp_path / "m.xml")
    assert result.report["check"]["passed"]


@pytest.mark.parametrize("of_a_node", [False, True])
def test_small_weights_in_another_file(of_a_node: bool, tmp_path: Path) -> None:
    """They are written into what the front end reads, which knows no folder."""
    weights = onnx.numpy_helper.from_array(np.arange(12, dtype=np.float32).reshape(3, 4), "w")
    source = text("(float[2, 3] x) => (float[2, 4] y) { y = MatMul(x, w) }")
    if of_a_node:
        source.graph.node.insert(0, onnx.helper.make_node("Constant", [], ["w"], value=weights))
    else:
        source.graph.initializer.append(weights)
    path = tmp_path / "m.onnx"
    onnx.save(
        source, path, save_as_external_data=True, location="w.bin", size_threshold=0, convert_attribute=True
    )
    graphrewrite.run(path, "openvino", output=tmp_path / "m.xml")


@pytest.mark.parametrize("by_axis", [False, True])
@pytest.mark.parametrize("dtype", ["int16", "uint16"])
def test_values_of_16_bits_saturate(dtype: str, by_axis: bool, tmp_path: Path) -> None:
    """The plugin takes such pairs away, or fails on them where they lie between two ends."""
    size, content = ("[3]", "{1e-5, 2e-5, 3e-5}") if by_axis else ("", "{1e-5}")
    zeros = "{7, 8, 9}" if by_axis else "{7}"
    source = text(
        f"""(float[2, 3] x) => (float[2, 3] y, float[2, 3] z)
        <float{size} s = {content}, {dtype}{size} n = {zeros}> {{
            q = QuantizeLinear(x, s, n)
            y = DequantizeLinear(q, s, n)
            r = Relu(x)
            p = QuantizeLinear(r, s, n)
            d = DequantizeLinear(p, s, n)
            z = Sigmoid(d)
        }}"""
    )
    graphrewrite.run(source, "openvino", output=tmp_path / "m.xml")


@pytest.mark.parametrize("op_type", ["Add", "Sub", "Mul"])
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_arithmetic_of_8_bits_wraps_around(dtype: str, op_type: str, tmp_path: Path) -> None:
    """The plugin saturates it."""
    source = text(f"({dtype}[50] a, {dtype}[50] b) => ({dtype}[50] y) {{ y = {op_type}(a, b) }}")
    graphrewrite.run(source, "openvino", output=tmp_path / "m.xml")
