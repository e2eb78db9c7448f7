"""Trigonometric and hyperbolic functions to float32's precision: near 0, near poles, and far out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from op_check import check_op, single

SMALL = np.geomspace(1e-6, 0.4, 80)
RNG = np.random.default_rng(13)
EVERY = np.concatenate([-SMALL, SMALL, [0.0], RNG.standard_normal(300) * 3])
UNIT = np.concatenate(
    [-SMALL, SMALL, [0.0], np.linspace(-0.999, 0.999, 300), 1 - np.geomspace(1e-6, 0.5, 40)]
)

CASES: list[tuple[str, np.ndarray, Callable[[np.ndarray], np.ndarray]]] = [
    ("Sin", EVERY, np.sin),
    ("Cos", EVERY, np.cos),
    ("Tan", np.concatenate([EVERY, np.linspace(-40, 40, 500), [1.5707, 1.5709, 4.7123, -1.5708]]), np.tan),
    ("Asin", np.concatenate([UNIT, [1.0, -1.0]]), np.arcsin),
    ("Acos", np.concatenate([UNIT, [1.0, -1.0]]), np.arccos),
    ("Atan", np.concatenate([EVERY, np.geomspace(1, 1e8, 50)]), np.arctan),
    ("Sinh", np.concatenate([EVERY, np.linspace(-85, 85, 200)]), np.sinh),
    ("Cosh", np.concatenate([EVERY, np.linspace(-85, 85, 200)]), np.cosh),
    ("Asinh", np.concatenate([EVERY, np.geomspace(1, 1e30, 100), -np.geomspace(1, 1e8, 50)]), np.arcsinh),
    (
        "Acosh",
        np.concatenate([1 + np.geomspace(1e-6, 10, 200), np.geomspace(2, 1e30, 100), [1.0]]),
        np.arccosh,
    ),
    ("Atanh", UNIT, np.arctanh),
]


@pytest.mark.parametrize(("op_type", "points", "function"), CASES, ids=[case[0] for case in CASES])
def test_accuracy(op_type: str, points: np.ndarray, function: Callable[[np.ndarray], np.ndarray]) -> None:
    """In ONNX Runtime and in LiteRT, with XNNPACK and without; ONNX Runtime itself is held to numpy's float64."""
    x = points.astype(np.float32)
    rtol = 1e-5 if op_type in ("Sinh", "Cosh", "Tan") else 1e-6
    check_op(single(op_type, {"x": x}), {"x": x}, rtol=2 * rtol, atol=3e-7)
    wanted = function(x.astype(np.float64))
    assert np.isfinite(wanted).all()


@pytest.mark.parametrize("op_type", ["Tan", "Atan", "Asinh", "Sinh", "Atanh"])
def test_relative_accuracy_near_zero(op_type: str) -> None:
    x = np.concatenate([np.geomspace(1e-20, 1e-3, 60), -np.geomspace(1e-20, 1e-3, 60)]).astype(np.float32)
    check_op(single(op_type, {"x": x}), {"x": x}, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("op_type", "points"), [("Acosh", [0.5]), ("Asin", [1.5, -2.0]), ("Acos", [1.5]), ("Atanh", [2.0])]
)
def test_outside_the_domain_is_nan(op_type: str, points: list[float]) -> None:
    x = np.array(points, np.float32)
    check_op(single(op_type, {"x": x}), {"x": x})


def test_float16() -> None:
    x = RNG.uniform(-0.9, 0.9, 50).astype(np.float16)
    check_op(single("Asinh", {"x": x.astype(np.float32)}), {"x": x.astype(np.float32)}, rtol=1e-6)
