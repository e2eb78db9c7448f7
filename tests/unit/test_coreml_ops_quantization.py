"""Core ML rows of QuantizeLinear and DequantizeLinear: source, lowered graph and saved package agree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx.helper
import onnx.numpy_helper
import pytest

pytest.importorskip("coremltools")

from coreml_check import check_coreml

import graphrewrite

HEAD = '<ir_version: 10, opset_import: ["": 21]>'
PRECISIONS = pytest.mark.parametrize("precision", ["fp32", "fp16"])
X = np.asarray([[-4, -0.75, 0.25, 100, 3e4], [0.5, -2e4, 1.25, 2, -0.25]], np.float32)


@PRECISIONS
@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16"])
def test_there_and_back(dtype: str, precision: str) -> None:
    """Beyond the range it saturates; in a float16 program the quotients themselves would overflow."""
    zero = {"uint8": 128, "int8": -3, "uint16": 40000, "int16": 7}[dtype]
    model = f"""{HEAD} m (float[2,5] x) => ({dtype}[2,5] q, float[2,5] y)
      <float s = {{0.25}}, {dtype} z = {{{zero}}}> {{ q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z) }}"""
    check_coreml(model, {"x": X}, precision=precision, rtol=1e-3)


@PRECISIONS
@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_the_pair_that_core_ml_knows(dtype: str, precision: str) -> None:
    """From iOS17 on, where nothing else reads the 8 bits; here one of the two pairs has another reader."""
    model = f"""{HEAD} m (float[2,5] x) => (float[2,5] y, float[2,5] w, {dtype}[2,5] r)
      <float s = {{0.25}}, {dtype} z = {{3}}, float[5] t = {{0.5, 1, 0.125, 2, 0.25}}, {dtype}[5] u = {{0, 1, 2, 100, 7}}> {{
        q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z)
        p = QuantizeLinear<axis=1>(x, t, u) d = DequantizeLinear<axis=1>(p, t, u)
        w = Neg(d) r = QuantizeLinear(d, s, z) v = DequantizeLinear(r, s, z) }}"""
    graph = check_coreml(model, {"x": X}, precision=precision, deployment="iOS17", rtol=1e-3)
    kinds = [node.op_type for node in graph.graph]
    assert kinds.count("quantize") == kinds.count("dequantize") == 2
    assert "real_div" in kinds
    assert "quantize" not in [node.op_type for node in check_coreml(model, {"x": X}).graph]


def test_run_time_scales_by_axis() -> None:
    model = f"""{HEAD} m (float[2,5] x, float[5] s, uint8[5] z) => (uint8[2,5] q, float[2,5] y) {{
      q = QuantizeLinear<axis=-1>(x, s, z) y = DequantizeLinear<axis=1>(q, s, z) }}"""
    scales = np.asarray([0.5, 1, 0.125, 2, 0.25], np.float32)
    check_coreml(model, {"x": X, "s": scales, "z": np.asarray([0, 1, 2, 128, 255], np.uint8)})


def test_blocks() -> None:
    model = f"""{HEAD} m (int32[2,6] q, float[2,3] s) => (float[2,6] y) {{
      y = DequantizeLinear<axis=1, block_size=2>(q, s) }}"""
    scales = np.asarray([[0.5, 1, 2], [0.25, 4, 8]], np.float32)
    check_coreml(model, {"q": np.arange(-6, 6, dtype=np.int32).reshape(2, 6), "s": scales})


@PRECISIONS
def test_quantised_products(precision: str) -> None:
    model = f"""{HEAD} m (uint8[2,4] a, int8[4,3] b) => (uint8[2,3] y, int32[2,3] n)
      <float s = {{0.5}}, float t = {{0.25}}, float u = {{2}}, uint8 z = {{128}}, int8 w = {{-2}}> {{
        y = QLinearMatMul(a, s, z, b, t, w, u, z) n = MatMulInteger(a, b, z, w) }}"""
    rng = np.random.default_rng(0)
    feeds = {
        "a": rng.integers(0, 256, (2, 4)).astype(np.uint8),
        "b": rng.integers(-128, 128, (4, 3)).astype(np.int8),
    }
    half = precision == "fp16"
    check_coreml(model, feeds, precision=precision, rtol=1e-3 if half else 0, atol=1 if half else 0)


def _weights(product: str, axis: int, dtype: type, scale: float) -> onnx.ModelProto:
    """A product with dequantised weights: Conv [32, 16, 3, 3], or MatMul [64, 80]."""
    rng = np.random.default_rng(0)
    shape, data = ((32, 16, 3, 3), [1, 16, 8, 8]) if product == "Conv" else ((64, 80), [3, 64])
    limits = np.iinfo(dtype)
    count = shape[axis]
    constants = {
        "q": rng.integers(limits.min, limits.max, shape, endpoint=True).astype(dtype),
        "s": np.asarray(rng.uniform(0.5, 1, count) * scale, np.float32),
        "z": rng.integers(max(limits.min, -3), 4, count).astype(dtype),
    }
    make = onnx.helper.make_node
    graph = onnx.helper.make_graph(
        [make("DequantizeLinear", ["q", "s", "z"], ["w"], axis=axis), make(product, ["x", "w"], ["y"])],
        "quantised",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, data)],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return onnx.helper.make_model(graph, ir_version=8, opset_imports=[onnx.helper.make_opsetid("", 17)])


def _bytes(path: Path) -> int:
    return sum(item.stat().st_size for item in path.rglob("*.bin"))


@PRECISIONS
@pytest.mark.parametrize(
    ("product", "axis", "dtype"),
    [("Conv", 0, np.int8), ("Conv", 0, np.uint8), ("MatMul", 1, np.int8), ("MatMul", 0, np.int8)],
)
def test_weights_stay_in_8_bits(product: str, axis: int, dtype: type, precision: str, tmp_path: Path) -> None:
    """The file holds them as the source does, from iOS16 on; before there is no op that unpacks them."""
    model, path = _weights(product, axis, dtype, 0.02), tmp_path / "m.mlpackage"
    elements = 32 * 16 * 9 if product == "Conv" else 64 * 80
    for deployment, size in (("iOS15", 4 if precision == "fp32" else 2), ("iOS16", 1)):
        target = f"coreml{{minimum_deployment_target={deployment},precision={precision}}}"
        graphrewrite.run(model, target=target, output=path)
        assert size * elements <= _bytes(path) < size * elements + 2000


def test_scales_that_float16_can_not_hold(tmp_path: Path) -> None:
    """Below 6e-5 a float16 has few digits left: such weights are written out."""
    path = tmp_path / "m.mlpackage"
    target = "coreml{minimum_deployment_target=iOS16,precision=fp16}"
    graphrewrite.run(_weights("Conv", 0, np.int8, 1e-5), target=target, output=path)
    assert _bytes(path) >= 2 * 32 * 16 * 9
