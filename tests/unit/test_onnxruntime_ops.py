"""expand-onnxruntime-ops against ONNX Runtime's own kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx.helper as h
import onnx.numpy_helper as nh
import pytest

from graphrewrite import ir
from graphrewrite.numeric.reference import create_session
from graphrewrite.pipeline import Stage, build, run_pipeline

Array = np.ndarray[Any, np.dtype[Any]]
RNG = np.random.default_rng(7)


def normal(*shape: int) -> Array:
    return RNG.standard_normal(shape).astype(np.float32)


def bytes_of(dtype: type, *shape: int) -> Array:
    limits = np.iinfo(dtype)
    return RNG.integers(limits.min, limits.max + 1, shape).astype(dtype)


def scale(number: float) -> Array:
    return np.array(number, np.float32)


U8, I8 = np.uint8, np.int8
ZERO = np.array(121, U8)


def model(
    op_type: str, inputs: dict[str, Array | None], constants: tuple[str, ...], outputs: int, **attributes: Any
) -> onnx.ModelProto:
    domain = "" if op_type == "SimplifiedLayerNormalization" else "com.microsoft"
    names = [name if array is not None else "" for name, array in inputs.items()]
    made = [f"y{index}" for index in range(outputs)]
    node = h.make_node(op_type, names, made, "node", domain=domain, **attributes)
    given = {name: array for name, array in inputs.items() if array is not None}
    graph = h.make_graph(
        [node],
        "g",
        [
            h.make_tensor_value_info(name, h.np_dtype_to_tensor_dtype(array.dtype), array.shape)
            for name, array in given.items()
            if name not in constants
        ],
        [h.make_empty_tensor_value_info(name) for name in made],
        [nh.from_array(given[name], name) for name in constants],
    )
    opsets = [h.make_opsetid("", 17), h.make_opsetid("com.microsoft", 1)]
    return h.make_model(graph, opset_imports=opsets, ir_version=8)


def expanded(proto: onnx.ModelProto) -> ir.Model:
    found = ir.load(proto)
    passes = [item for item in build("none,expand-onnxruntime-ops", "") if item.stage <= Stage.CANONICALIZE]
    run_pipeline(found, passes, debug=True)
    return found


def check(
    op_type: str,
    inputs: dict[str, Array | None],
    *,
    constants: tuple[str, ...] = (),
    outputs: int = 1,
    compared: tuple[int, ...] = (0,),
    steps: int = 0,
    **attributes: Any,
) -> None:
    """Integers may be `steps` apart: ONNX Runtime's tables and fixed-point sums round some halves the other way."""
    proto = model(op_type, inputs, constants, outputs, **attributes)
    for index in sorted(set(range(outputs)) - set(compared), reverse=True):
        del proto.graph.output[index]
    graph = expanded(proto)
    assert not [node for node in graph.graph if node.domain]
    feeds = {name: array for name, array in inputs.items() if array is not None and name not in constants}
    wanted = create_session(proto).run(None, feeds)
    found = create_session(ir.to_runnable_proto(graph)).run(None, feeds)
    assert len(wanted) == len(found) == len(compared)
    for left, right in zip(wanted, found, strict=True):
        assert left.dtype == right.dtype
        assert left.shape == right.shape
        if left.dtype.kind == "f":
            np.testing.assert_allclose(right, left, rtol=1e-4, atol=1e-5)
        else:
            assert int(np.abs(left.astype(np.int64) - right).max()) <= steps
            assert np.mean(left != right) <= (0.02 if steps else 0)


@pytest.mark.parametrize(
    ("activation", "parameters"),
    [
        ("Relu", []),
        ("Tanh", []),
        ("Sigmoid", []),
        ("LeakyRelu", [0.3]),
        ("Clip", [-0.5, 0.5]),
        ("HardSigmoid", [0.3, 0.4]),
    ],
)
@pytest.mark.parametrize("added", [False, True])
def test_fused_conv(activation: str, parameters: list[float], added: bool) -> None:
    inputs = {"x": normal(1, 3, 6, 6), "w": normal(4, 3, 3, 3), "b": normal(4)}
    if added:
        inputs["z"] = normal(1, 4, 6, 6)
    given = {"activation_params": parameters} if parameters else {}
    check("FusedConv", inputs, activation=activation, pads=[1, 1, 1, 1], **given)


@pytest.mark.parametrize("activation", ["Relu", "LeakyRelu"])
def test_fused_gemm(activation: str) -> None:
    inputs = {"a": normal(4, 3), "b": normal(4, 5), "c": normal(5)}
    given = {"activation_alpha": 0.2} if activation == "LeakyRelu" else {}
    check("FusedGemm", inputs, activation=activation, transA=1, alpha=0.5, beta=2.0, **given)


@pytest.mark.parametrize(("left", "right"), [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_fused_mat_mul(left: int, right: int) -> None:
    a, b = normal(2, 4, 3) if left else normal(2, 3, 4), normal(2, 5, 4) if right else normal(2, 4, 5)
    check("FusedMatMul", {"a": a, "b": b}, transA=left, transB=right, alpha=0.25)


@pytest.mark.parametrize("op_type", ["Gelu", "BiasGelu", "FastGelu", "QuickGelu"])
def test_gelu(op_type: str) -> None:
    x = {"x": normal(2, 3, 8)}
    if op_type != "BiasGelu":
        check(op_type, x)
    if op_type in ("BiasGelu", "FastGelu"):
        check(op_type, x | {"b": normal(8)})


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("simplified", [False, True])
def test_skip_normalization(simplified: bool, biased: bool) -> None:
    inputs = {"x": normal(2, 3, 8), "skip": normal(2, 3, 8), "gamma": normal(8)}
    if not simplified:
        inputs["beta"] = normal(8)
    if biased:
        inputs["bias"] = normal(8)
    op_type = "SkipSimplifiedLayerNormalization" if simplified else "SkipLayerNormalization"
    check(op_type, inputs, outputs=4, compared=(0, 3), epsilon=1e-3)


def test_simplified_normalization() -> None:
    check("SimplifiedLayerNormalization", {"x": normal(2, 3, 8), "scale": normal(8)}, axis=-1, epsilon=1e-3)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16])
def test_quantize_and_dequantize(dtype: type) -> None:
    zero = np.array(3, dtype)
    check("QuantizeLinear", {"x": 5 * normal(2, 40), "s": scale(0.02), "z": zero})
    check("DequantizeLinear", {"x": bytes_of(dtype, 2, 40), "s": scale(0.02), "z": zero})


@pytest.mark.parametrize("zero", [3, 20])
@pytest.mark.parametrize("dtype", [U8, I8])
@pytest.mark.parametrize("op_type", ["QLinearAdd", "QLinearMul"])
def test_quantised_arithmetic(op_type: str, dtype: type, zero: int) -> None:
    """Scales that make halves, which an odd zero point sends the other way."""
    inputs = {"a": bytes_of(dtype, 4, 300), "as": scale(0.5), "az": np.array(3, dtype)}
    inputs |= {"b": bytes_of(dtype, 4, 300), "bs": scale(0.25), "bz": np.array(7, dtype)}
    check(op_type, inputs | {"ys": scale(1), "yz": np.array(zero, dtype)})


@pytest.mark.parametrize("zero", [3, 20])
@pytest.mark.parametrize("dtype", [U8, I8])
@pytest.mark.parametrize(
    ("op_type", "shape", "out", "attributes"),
    [
        ("QLinearSigmoid", (2, 200), 1 / 256, {}),
        ("QLinearLeakyRelu", (2, 200), 1, {"alpha": 0.5}),
        ("QLinearSoftmax", (20, 10), 1 / 255, {"axis": -1, "opset": 17}),
        ("QLinearSoftmax", (20, 10), 1 / 256.7, {"axis": -1, "opset": 17}),
        ("QLinearGlobalAveragePool", (1, 4, 2, 2), 1, {"channels_last": 0}),
        ("QLinearAveragePool", (1, 4, 6, 6), 1, {"kernel_shape": [2, 2], "strides": [2, 2]}),
    ],
)
def test_quantised_functions(
    op_type: str, shape: tuple[int, ...], out: float, attributes: dict[str, Any], dtype: type, zero: int
) -> None:
    inputs = {"x": bytes_of(dtype, *shape), "xs": scale(0.5), "xz": np.array(3, dtype)}
    if op_type == "QLinearSoftmax":  # of nearly equal numbers, so that many results are between two steps
        inputs |= {"x": (inputs["x"] // 32).astype(dtype), "xs": scale(0.05)}
    inputs |= {"ys": scale(out), "yz": np.array(zero, dtype)}
    check(op_type, inputs, constants=("xs", "xz", "ys", "yz"), **attributes)


def test_quantised_concat_and_where() -> None:
    x, y = bytes_of(U8, 2, 30), bytes_of(U8, 2, 30)
    parts = {"x": x, "xs": scale(0.02), "xz": ZERO, "y": y, "s2": scale(0.03), "z2": np.array(9, U8)}
    check("QLinearConcat", {"ys": scale(0.025), "yz": ZERO, **parts}, axis=1)
    which = RNG.random((2, 30)) < 0.5
    check("QLinearWhere", {"c": which, **parts, "ys": scale(0.025), "yz": ZERO})


@pytest.mark.parametrize("last", [0, 1])
def test_quantised_conv(last: int) -> None:
    inputs = {
        "x": bytes_of(U8, 1, 6, 7, 3) if last else bytes_of(U8, 1, 3, 6, 7),
        "xs": scale(0.02),
        "xz": ZERO,
        "w": bytes_of(I8, 4, 3, 3, 3),
        "ws": np.array([0.01, 0.02, 0.03, 0.04], np.float32),
        "wz": np.zeros(4, I8),
        "ys": scale(0.5),
        "yz": ZERO,
    }
    fixed = tuple(name for name in inputs if name != "x")
    check("QLinearConv", inputs, constants=fixed, channels_last=last, pads=[1, 1, 1, 1])


def test_pool_with_channels_last() -> None:
    check(
        "NhwcMaxPool", {"x": bytes_of(U8, 1, 6, 7, 3)}, kernel_shape=[2, 2], strides=[2, 2], pads=[0, 0, 1, 1]
    )


@pytest.mark.parametrize("floats", [False, True])
@pytest.mark.parametrize("turned", [0, 1])
@pytest.mark.parametrize("columns", [False, True])
def test_quantised_gemm(floats: bool, turned: int, columns: bool) -> None:
    inputs: dict[str, Array | None] = {
        "a": bytes_of(U8, 5, 8),
        "as": scale(0.02),
        "az": ZERO,
        "b": bytes_of(I8, 6, 8) if turned else bytes_of(I8, 8, 6),
        "bs": np.linspace(0.01, 0.06, 6, dtype=np.float32) if columns else scale(0.03),
        "bz": np.zeros(6, I8) if columns else np.array(2, I8),
        "c": RNG.integers(-1000, 1000, 6).astype(np.int32),
    }
    if not floats:
        inputs |= {"ys": scale(0.5), "yz": ZERO}
    check("QGemm", inputs, transB=turned, alpha=0.5)


def test_integer_products_to_floats() -> None:
    a, b = bytes_of(U8, 5, 8), bytes_of(I8, 8, 6)
    scales = {"as": scale(0.02), "bs": np.linspace(0.01, 0.06, 6, dtype=np.float32)}
    rest = {"az": ZERO, "bz": np.zeros(6, I8), "bias": normal(6)}
    check("MatMulIntegerToFloat", {"a": a, "b": b, **scales, **rest})
    check("MatMulIntegerToFloat", {"a": a, "b": b, **scales})
    dynamic = {"x": normal(5, 8), "b": b, "bs": scales["bs"], "bz": rest["bz"]}
    check("DynamicQuantizeMatMul", dynamic)
    check("DynamicQuantizeMatMul", dynamic | {"bias": normal(6)})


@pytest.mark.parametrize("zeros", [False, True])
@pytest.mark.parametrize(("rows", "block"), [(64, 32), (40, 16)])
@pytest.mark.parametrize("bits", [4, 8])
def test_weights_of_few_bits(bits: int, rows: int, block: int, zeros: bool) -> None:
    columns, blocks = 6, -(-rows // block)
    inputs: dict[str, Array | None] = {
        "x": normal(3, rows),
        "w": bytes_of(U8, columns, blocks, block * bits // 8),
        "s": np.abs(normal(columns * blocks)) / 8,
    }
    if zeros:
        inputs["z"] = bytes_of(U8, columns * -(-blocks * bits // 8))
    fixed = tuple(name for name in inputs if name != "x")
    check("MatMulNBits", inputs, constants=fixed, K=rows, N=columns, bits=bits, block_size=block)


@pytest.mark.parametrize(
    ("op_type", "attributes"),
    [
        ("FusedConv", {"activation": "Mystery"}),
        ("FusedMatMul", {"transBatchA": 1}),
        ("QLinearSigmoid", {"channels_last": 1}),
    ],
)
def test_what_has_no_standard_form_stays(op_type: str, attributes: dict[str, Any]) -> None:
    graph = expanded(model(op_type, {"x": normal(1, 2, 3, 3), "w": normal(1, 2, 3, 3)}, (), 1, **attributes))
    assert [node.domain for node in graph.graph] == ["com.microsoft"]


def test_what_stands_behind_an_unknown_operator_stays() -> None:
    """As in a file for one machine, whose operators of blocked layouts have no standard form."""
    proto = model("QuickGelu", {"a": normal(2, 3)}, (), 1)
    proto.graph.node.insert(0, h.make_node("Conv", ["x"], ["a"], domain="com.microsoft.nchwc"))
    proto.graph.input[0].name = "x"
    proto.opset_import.append(h.make_opsetid("com.microsoft.nchwc", 1))
    assert [node.op_type for node in expanded(proto).graph] == ["Conv", "QuickGelu"]
