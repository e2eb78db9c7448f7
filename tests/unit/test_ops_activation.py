"""Activations: parameters, types, and accuracy far from 0 and near it."""

from __future__ import annotations

import math

import numpy as np
import onnx
import pytest

from graphrewrite import ir
from graphrewrite.numeric.reference import create_session
from op_check import check_op, lowered, single

RNG = np.random.default_rng(12)
X = np.concatenate(
    [
        RNG.standard_normal(200) * 3,
        np.geomspace(1e-7, 80, 60),
        -np.geomspace(1e-7, 80, 60),
        [0.0, 1.0, -1.0, 6.0, 3.0, -3.0],
    ]
).astype(np.float32)


def operators(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph]


def check_and_run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    """What the lowered graph computes."""
    session = create_session(ir.to_runnable_proto(lowered(model)))
    return session.run(None, {"x": x})[0]


@pytest.mark.parametrize(
    ("op_type", "attributes"),
    [
        ("Relu", {}),
        ("LeakyRelu", {}),
        ("LeakyRelu", {"alpha": 1.5}),
        ("Elu", {}),
        ("Elu", {"alpha": 2.0}),
        ("Selu", {}),
        ("Selu", {"alpha": 2.0, "gamma": 3.0}),
        ("Celu", {}),
        ("Celu", {"alpha": 2.0}),
        ("ThresholdedRelu", {}),
        ("ThresholdedRelu", {"alpha": 2.0}),
        ("Sigmoid", {}),
        ("HardSigmoid", {}),
        ("HardSigmoid", {"alpha": 0.5, "beta": 0.6}),
        ("HardSwish", {}),
        ("Softplus", {}),
        ("Softsign", {}),
        ("Mish", {}),
        ("Shrink", {}),
        ("Shrink", {"lambd": 1.5, "bias": 1.5}),
        ("Tanh", {}),
        ("Erf", {}),
    ],
)
def test_activation(op_type: str, attributes: dict[str, float]) -> None:
    check_op(single(op_type, {"x": X}, **attributes), {"x": X}, rtol=2e-5, atol=5e-7)


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu(approximate: str) -> None:
    check_op(single("Gelu", {"x": X}, approximate=approximate), {"x": X}, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("op_type", ["Elu", "Sigmoid", "Softplus", "Gelu", "HardSigmoid"])
def test_float16_is_rounded_once(op_type: str) -> None:
    x = X[:200].astype(np.float16)
    wide = single(op_type, {"x": x.astype(np.float32)})
    wanted = check_and_run(wide, x.astype(np.float32)).astype(np.float16)
    found = check_and_run(single(op_type, {"x": x}), x)
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-6)


def test_erf_against_the_c_library() -> None:
    x = np.concatenate([np.linspace(-6, 6, 4001), np.geomspace(1e-30, 1, 200)]).astype(np.float32)
    found = check_and_run(single("Erf", {"x": x}), x)
    wanted = np.array([math.erf(item) for item in x.tolist()])
    assert np.abs(found - wanted).max() < 3e-7
    nonzero = wanted != 0
    assert np.abs(found[nonzero] / wanted[nonzero] - 1).max() < 5e-7


@pytest.mark.parametrize("alpha", [1.0, 2.0])
def test_swish(alpha: float) -> None:
    """ONNX Runtime does not know it."""
    found = check_and_run(single("Swish", {"x": X}, alpha=alpha), X)
    np.testing.assert_allclose(found, X / (1 + np.exp(-alpha * X.astype(np.float64))), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.int8, np.int32])
def test_relu_of_integers(dtype: type) -> None:
    x = np.array([[-5, 0, 7], [100, -128, 3]], dtype)
    check_op(single("Relu", {"x": x}), {"x": x})


@pytest.mark.parametrize("shape", [(4,), (3, 1, 1), (1, 3, 1, 1), (1,), ()])
@pytest.mark.parametrize("constant", [True, False])
def test_prelu(shape: tuple[int, ...], constant: bool) -> None:
    x = RNG.standard_normal((2, 3, 5, 4)).astype(np.float32)
    slope = np.asarray(RNG.uniform(0.1, 2.0, shape), np.float32)
    inputs = {"x": x, "slope": slope}
    model = single("PRelu", inputs, constants={"slope": slope} if constant else None)
    check_op(model, {"x": x} if constant else inputs)


def test_prelu_of_integers() -> None:
    """ONNX Runtime does not know it."""
    x, slope = np.array([[-5, 0, 7], [100, -128, 3]], np.int64), np.array([2, -1, 3], np.int64)
    model = single("PRelu", {"x": x, "slope": slope}, constants={"slope": slope})
    np.testing.assert_array_equal(check_and_run(model, x), np.where(x < 0, x * slope, x))


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.uint8])
def test_shrink_of_integers(dtype: type) -> None:
    x = np.array([0, 1, 2, 3, 100], dtype) if dtype == np.uint8 else np.array([-3, -1, 0, 2, 100], dtype)
    check_op(single("Shrink", {"x": x}, lambd=1.0, bias=1.0), {"x": x})


@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    [
        (0.0, 6.0, ["RELU6"]),
        (0.0, 1.0, ["RELU_0_TO_1"]),
        (-1.0, 1.0, ["RELU_N1_TO_1"]),
        (0.0, None, ["RELU"]),
        (0.0, np.inf, ["RELU"]),
        (float(np.finfo(np.float32).min), 0.5, ["MINIMUM"]),
        (-0.5, 2.0, ["MAXIMUM", "MINIMUM"]),
        (2.0, -2.0, ["MAXIMUM", "MINIMUM"]),
    ],
)
def test_clip_between_constants(low: float | None, high: float | None, wanted: list[str]) -> None:
    bounds = {
        name: None if bound is None else np.array(bound, np.float32)
        for name, bound in (("low", low), ("high", high))
    }
    x = np.array([[-9, -1, -0.5, 0], [0.3, 1, 5, 9]], np.float32)
    constants = {name: array for name, array in bounds.items() if array is not None}
    graph = check_op(single("Clip", {"x": x, **bounds}, constants=constants), {"x": x})
    assert operators(graph) == wanted


def test_clip_without_bounds() -> None:
    x = np.array([-1e30, 0, 1e30], np.float32)
    check_op(single("Clip", {"x": x}), {"x": x})


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int8, np.uint8, np.int32, np.int64])
def test_clip_at_run_time(dtype: type) -> None:
    feeds = {
        "x": np.array([0, 1, 5, 9, 100], dtype),
        "low": np.array(2, dtype),
        "high": np.array(7, dtype),
    }
    check_op(single("Clip", feeds), feeds)
