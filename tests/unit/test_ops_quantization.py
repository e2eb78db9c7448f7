"""Quantising, dequantising, and integer products: exact to the last bit, halves to even, saturating."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import onnx.parser
import pytest

import graphrewrite
from op_check import check_op, single

RNG = np.random.default_rng(16)


def scalar(value: float) -> np.ndarray:
    return np.array(value, np.float32)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.uint16])
def test_quantize(dtype: type) -> None:
    limits = np.iinfo(dtype)
    zero = np.array(limits.max // 3, dtype)
    x = np.array([0, 1, 3, 5, -1, -3, 1e6, -1e6, 2.5, 7.49], np.float32)
    inputs = {"x": x, "scale": scalar(2), "zero": zero}
    check_op(single("QuantizeLinear", inputs), inputs, rtol=0, atol=0)
    constants = {"scale": scalar(2), "zero": zero}
    check_op(single("QuantizeLinear", inputs, constants=constants), {"x": x}, rtol=0, atol=0)


@pytest.mark.parametrize("axis", [1, -1])
def test_quantize_by_axis(axis: int) -> None:
    x = (RNG.standard_normal((2, 3, 3)) * 20).astype(np.float32)
    inputs = {"x": x, "scale": np.array([0.5, 1, 2], np.float32), "zero": np.array([1, 100, 200], np.uint8)}
    check_op(single("QuantizeLinear", inputs, axis=axis), inputs, rtol=0, atol=0)


@pytest.mark.parametrize("at_run_time", [False, True])
def test_blocks(at_run_time: bool) -> None:
    x = (RNG.standard_normal((3, 6)) * 50).astype(np.float32)
    scale = RNG.uniform(0.5, 2, (3, 3)).astype(np.float32)
    zero = RNG.integers(0, 20, (3, 3), dtype=np.uint8)
    inputs = {"x": x, "scale": scale, "zero": zero}
    constants = None if at_run_time else {"scale": scale, "zero": zero}
    model = single("QuantizeLinear", inputs, constants=constants, axis=1, block_size=2)
    check_op(model, inputs if at_run_time else {"x": x}, rtol=0, atol=0)
    inputs = {"x": RNG.integers(0, 255, (3, 6), dtype=np.uint8), "scale": scale, "zero": zero}
    model = single("DequantizeLinear", inputs, constants=constants, axis=1, block_size=2)
    check_op(model, inputs if at_run_time else {"x": inputs["x"]})


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.int32])
def test_dequantize(dtype: type) -> None:
    x = np.array([0, 3, 100, 127], dtype)
    inputs = {"x": x, "scale": scalar(0.3)} | ({} if dtype == np.int32 else {"zero": np.array(7, dtype)})
    check_op(single("DequantizeLinear", inputs), inputs)


def test_dynamic_quantize() -> None:
    x = np.array([0, 2, -3, -2.5, 1.34, 0.5], np.float32)
    check_op(single("DynamicQuantizeLinear", {"x": x}, outputs=3), {"x": x})


@pytest.mark.parametrize("length", [8, 700])
def test_mat_mul_integer(length: int) -> None:
    """700 products of 255 * 255 exceed 2^24: their sum is not exact in float32 in one piece."""
    a = RNG.integers(200, 256, (3, length), dtype=np.uint8)
    b = RNG.integers(200, 256, (length, 2), dtype=np.uint8)
    inputs = {"a": a, "b": b, "za": np.array(0, np.uint8), "zb": np.array([0, 3], np.uint8)}
    check_op(single("MatMulInteger", inputs), inputs, rtol=0, atol=0)
    check_op(single("MatMulInteger", {"a": a, "b": b}), {"a": a, "b": b}, rtol=0, atol=0)


def test_mat_mul_integer_by_column() -> None:
    """Weights with a zero point a column, as `quantize_dynamic(per_channel=True)` writes them: constants."""
    a = RNG.integers(0, 256, (3, 8), dtype=np.uint8)
    constants = {
        "b": RNG.integers(-128, 128, (8, 5), dtype=np.int8),
        "za": np.array(3, np.uint8),
        "zb": np.array([0, 3, -4, 5, 9], np.int8),
    }
    model = single("MatMulInteger", {"a": a, **constants}, constants=constants)
    check_op(model, {"a": a}, rtol=0, atol=0)


def test_conv_integer() -> None:
    x = RNG.integers(0, 256, (1, 40, 6, 6), dtype=np.uint8)
    w = RNG.integers(0, 256, (4, 40, 3, 3), dtype=np.uint8)
    inputs = {"x": x, "w": w, "zx": np.array(1, np.uint8)}
    model = single("ConvInteger", inputs, constants={"w": w, "zx": inputs["zx"]}, pads=[1, 1, 1, 1])
    check_op(model, {"x": x}, rtol=0, atol=0)


@pytest.mark.parametrize("group", [1, 2])
@pytest.mark.parametrize("channels", [4, 80])
def test_q_linear_conv(channels: int, group: int) -> None:
    x = RNG.integers(0, 256, (1, channels, 5, 5), dtype=np.uint8)
    w = RNG.integers(-128, 128, (4, channels // group, 3, 3), dtype=np.int8)
    constants = {
        "xs": scalar(0.02),
        "xz": np.array(128, np.uint8),
        "w": w,
        "ws": np.array([0.01, 0.02, 0.015, 0.03], np.float32),
        "wz": np.zeros(4, np.int8),
        "ys": scalar(0.1),
        "yz": np.array(120, np.uint8),
        "b": RNG.integers(-1000, 1000, 4, dtype=np.int32),
    }
    model = single("QLinearConv", {"x": x, **constants}, constants=constants, pads=[1, 1, 1, 1], group=group)
    check_op(model, {"x": x}, rtol=0, atol=0)


def test_q_linear_mat_mul() -> None:
    a = RNG.integers(0, 256, (2, 5, 300), dtype=np.uint8)
    b = RNG.integers(0, 256, (2, 300, 4), dtype=np.uint8)
    inputs = {
        "a": a,
        "as": scalar(0.0066),
        "az": np.array(113, np.uint8),
        "b": b,
        "bs": scalar(0.00705),
        "bz": np.array(114, np.uint8),
        "ys": scalar(0.0107),
        "yz": np.array(118, np.uint8),
    }
    check_op(single("QLinearMatMul", inputs), inputs, rtol=0, atol=0)


@pytest.mark.parametrize("target", ["tflite", "coreml", "openvino"])
@pytest.mark.parametrize("block", [0, 4])
@pytest.mark.parametrize("dtype", ["int4", "uint4"])
def test_weights_of_four_bits(dtype: str, block: int, target: str, tmp_path: Path) -> None:
    """One scale a column, or one for each 4 of its 10 rows."""
    proto = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 21]> g (float[3,10] x) => (float[3,6] y) '
        f"{{ w = DequantizeLinear<axis = {0 if block else 1}, block_size = {block}>(q, s, z)  y = MatMul(x, w) }}"
    )
    kind = getattr(onnx.TensorProto, dtype.upper())
    low = -8 if dtype == "int4" else 0
    shape = (3, 6) if block else (6,)
    scales = RNG.uniform(0.01, 0.1, shape).astype(np.float32)
    proto.graph.initializer.extend(
        [
            onnx.helper.make_tensor("q", kind, (10, 6), RNG.integers(low, low + 16, 60)),
            onnx.numpy_helper.from_array(scales, "s"),
            onnx.helper.make_tensor("z", kind, shape, RNG.integers(low, low + 16, scales.size)),
        ]
    )
    graphrewrite.run(proto, target, output=tmp_path / "m{suffix}")
