"""Evaluating packages that coremltools itself made: its default passes, half precision, and every kind of compressed weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.numpy_helper
import onnx.parser
import pytest

pytest.importorskip("coremltools")

import coremltools
from coremltools.converters.mil import Builder as mb
from coremltools.converters.mil.mil import types
from coremltools.optimize import coreml as optimize
from coremltools.proto import Model_pb2

from graphrewrite.cli.main import main
from graphrewrite.errors import NotChecked
from graphrewrite.targets.coreml.evaluate import Evaluator

rng = np.random.default_rng(3)
WEIGHTS = rng.normal(size=(16, 8, 3, 3)).astype(np.float32)
LAST = rng.normal(size=(10, 16)).astype(np.float32)
X = rng.normal(size=(1, 8, 6, 6)).astype(np.float32)


def _convert(target: Any, precision: Any) -> Any:
    @mb.program(input_specs=[mb.TensorSpec(shape=X.shape, dtype=types.fp32)], opset_version=target)
    def program(x: Any) -> Any:
        y = mb.relu(x=mb.conv(x=x, weight=WEIGHTS, pad_type="same"))
        y = mb.reduce_mean(x=y, axes=[2, 3], keep_dims=False)
        return mb.softmax(x=mb.linear(x=y, weight=LAST), axis=-1, name="y")

    return coremltools.convert(
        program, convert_to="mlprogram", minimum_deployment_target=target, compute_precision=precision
    )


def _evaluated(model: Any, path: Path) -> np.ndarray:
    model.save(str(path))
    run = Evaluator(path)
    (found,) = run({run.inputs[0].name: X}).values()
    return found


def _expected() -> np.ndarray:
    padded = np.pad(X, [(0, 0), (0, 0), (1, 1), (1, 1)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3))
    y = np.maximum(np.einsum("nchwij,ocij->nohw", windows, WEIGHTS), 0).mean((2, 3)) @ LAST.T
    return np.exp(y) / np.exp(y).sum()


@pytest.mark.parametrize("target", ["iOS15", "iOS16", "iOS17", "iOS18"])
def test_what_coremltools_converts(tmp_path: Path, target: str) -> None:
    chosen = getattr(coremltools.target, target)
    single = _evaluated(_convert(chosen, coremltools.precision.FLOAT32), tmp_path / "a.mlpackage")
    np.testing.assert_allclose(single, _expected(), rtol=1e-5)
    half = _evaluated(_convert(chosen, coremltools.precision.FLOAT16), tmp_path / "b.mlpackage")
    np.testing.assert_allclose(half, _expected(), rtol=1e-2, atol=1e-3)
    assert np.any(half != single)


def _linear(**given: Any) -> Callable[[Any], Any]:
    config = optimize.OpLinearQuantizerConfig(weight_threshold=10, **given)
    return lambda model: optimize.linear_quantize_weights(model, optimize.OptimizationConfig(config))


def _palette(**given: Any) -> Callable[[Any], Any]:
    config = optimize.OpPalettizerConfig(weight_threshold=10, mode="uniform", **given)
    return lambda model: optimize.palettize_weights(model, optimize.OptimizationConfig(config))


def _pruned(model: Any) -> Any:
    config = optimize.OpMagnitudePrunerConfig(target_sparsity=0.6, weight_threshold=10)
    return optimize.prune_weights(model, optimize.OptimizationConfig(config))


COMPRESSIONS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "int8 (iOS16)": ("iOS16", _linear(mode="linear_symmetric")),
    "uint8 with zero point (iOS16)": ("iOS16", _linear(mode="linear", dtype="uint8")),
    "4-bit palette (iOS16)": ("iOS16", _palette(nbits=4)),
    "6-bit palette (iOS16)": ("iOS16", _palette(nbits=6)),
    "pruned (iOS16)": ("iOS16", _pruned),
    "int8 (iOS18)": ("iOS18", _linear(mode="linear", dtype="int8", granularity="per_channel")),
    "int4 by block (iOS18)": (
        "iOS18",
        _linear(mode="linear", dtype="int4", granularity="per_block", block_size=4),
    ),
    "3-bit palette (iOS18)": ("iOS18", _palette(nbits=3)),
    "palette a group (iOS18)": ("iOS18", _palette(nbits=2, granularity="per_grouped_channel", group_size=8)),
    "pruned (iOS18)": ("iOS18", _pruned),
    "pruned, then a palette (iOS18)": ("iOS18", lambda model: _palette(nbits=4)(_pruned(model))),
    "pruned, then int8 (iOS18)": ("iOS18", lambda model: _linear(mode="linear_symmetric")(_pruned(model))),
}


@pytest.mark.parametrize("name", COMPRESSIONS)
def test_compressed_weights(tmp_path: Path, name: str) -> None:
    """A compressed model is what coremltools decompresses it to, and not the original."""
    target, compress = COMPRESSIONS[name]
    plain = _convert(getattr(coremltools.target, target), coremltools.precision.FLOAT32)
    compressed = compress(plain)
    dense = optimize.decompress_weights(compressed)
    found = _evaluated(compressed, tmp_path / "compressed.mlpackage")
    np.testing.assert_allclose(found, _evaluated(dense, tmp_path / "dense.mlpackage"), rtol=1e-5, atol=1e-7)
    assert np.any(found != _evaluated(plain, tmp_path / "plain.mlpackage"))


def test_a_damaged_package_is_no_answer(tmp_path: Path) -> None:
    with pytest.raises(NotChecked, match="no readable"):
        Evaluator(tmp_path / "missing.mlpackage")
    path = tmp_path / "m.mlpackage"
    _convert(coremltools.target.iOS15, coremltools.precision.FLOAT32).save(str(path))
    (weights,) = path.rglob("weight.bin")
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(NotChecked, match="ends before"):
        Evaluator(path)


def test_ops_without_a_meaning_are_named(tmp_path: Path) -> None:
    @mb.program(input_specs=[mb.TensorSpec(shape=(2, 3), dtype=types.fp32)])
    def program(x: Any) -> Any:
        return mb.band_part(x=x, lower=0, upper=-1, name="y")

    path = tmp_path / "m.mlpackage"
    coremltools.convert(program, convert_to="mlprogram").save(str(path))
    with pytest.raises(NotChecked, match="band_part"):
        Evaluator(path)


def _altered(path: Path, alter: Callable[[Any], None]) -> Path:
    """`path`, after its protobuf was changed."""
    (file,) = path.rglob("*.mlmodel")
    spec = Model_pb2.Model.FromString(file.read_bytes())
    alter(spec)
    file.write_bytes(spec.SerializeToString())
    return path


def test_a_description_of_other_outputs_is_damage(tmp_path: Path) -> None:
    """Core ML looks for what the description names."""
    path = tmp_path / "m.mlpackage"
    _convert(coremltools.target.iOS15, coremltools.precision.FLOAT32).save(str(path))

    def alter(spec: Any) -> None:
        spec.description.output[0].name = "z"

    with pytest.raises(NotChecked, match="outputs are described as z, and those of its program are y"):
        Evaluator(_altered(path, alter))


def test_declared_shapes_must_be_those_that_are_computed(tmp_path: Path) -> None:
    """A mean that keeps its dimensions goes on as if it did not, in a program of other declared shapes."""
    path = tmp_path / "m.mlpackage"

    @mb.program(input_specs=[mb.TensorSpec(shape=(1, 3), dtype=types.fp32)])
    def program(x: Any) -> Any:
        return mb.mul(x=x, y=mb.reduce_mean(x=x, axes=[1], keep_dims=True), name="y")

    coremltools.convert(program, convert_to="mlprogram").save(str(path))

    def alter(spec: Any) -> None:
        function = spec.mlProgram.functions["main"]
        block = function.block_specializations[function.opset]
        (kept,) = (item for item in block.operations if item.outputs[0].name.endswith("keep_dims_0"))
        kept.attributes["val"].immediateValue.tensor.bools.values[0] = False

    Evaluator(path)
    with pytest.raises(NotChecked, match="declared"):
        Evaluator(_altered(path, alter))


def test_verify_judges_what_others_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against the same network in ONNX: coremltools' own package is right, its palettes of 16 colours are not."""
    monkeypatch.chdir(tmp_path)
    initializers = [onnx.numpy_helper.from_array(WEIGHTS, "w"), onnx.numpy_helper.from_array(LAST.T, "l")]
    text = """<ir_version: 9, opset_import: ["" : 17]>
    g (float[1,8,6,6] x) => (float[1,10] y) { c = Conv <pads = [1,1,1,1]> (x, w) r = Relu(c)
      m = ReduceMean <axes = [2,3], keepdims = 0> (r) p = MatMul(m, l) y = Softmax(p) }"""
    model = onnx.parser.parse_model(text)
    model.graph.initializer.extend(initializers)
    onnx.save(model, "m.onnx")
    plain = _convert(coremltools.target.iOS16, coremltools.precision.FLOAT32)
    plain.save("plain.mlpackage")
    _linear(mode="linear_symmetric")(plain).save("int8.mlpackage")
    _palette(nbits=4)(plain).save("palette.mlpackage")
    assert main(["verify", "m.onnx", "plain.mlpackage"]) == 0
    assert main(["verify", "m.onnx", "int8.mlpackage"]) == 4
    assert main(["verify", "m.onnx", "int8.mlpackage", "--precision", "fp16"]) == 0
    assert main(["verify", "m.onnx", "palette.mlpackage", "--precision", "fp16"]) == 4
