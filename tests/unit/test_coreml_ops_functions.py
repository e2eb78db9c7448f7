"""Trigonometric functions and powers for Core ML."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("coremltools")

from coreml_check import check_coreml

from op_check import single

_TINY = [0.0, 1e-6, -1e-4, 0.03]
_DOMAINS = {
    "Sin": [*_TINY, 3.0, -7.5],
    "Cos": [*_TINY, 3.0, -7.5],
    "Tan": [*_TINY, 1.5, -7.5],
    "Asin": [*_TINY, 0.9, -1.0],
    "Acos": [*_TINY, 0.9, -1.0],
    "Atan": [*_TINY, 50.0, -1.0],
    "Sinh": [*_TINY, 5.0, -1.0],
    "Cosh": [*_TINY, 5.0, -1.0],
    "Asinh": [*_TINY, 0.499, 0.501, -5.0, 1e30, -1e30],
    "Acosh": [1.0, 1.0001, 1.1, 1.2, 5.0, 1e30],
    "Atanh": [*_TINY, 0.9, -0.4],
}


@pytest.mark.parametrize("op", list(_DOMAINS))
def test_functions(op: str) -> None:
    """Relative accuracy near zero, no overflow at the ends."""
    x = np.asarray(_DOMAINS[op], np.float32)
    check_coreml(single(op, {"x": x}), {"x": x}, rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("base", [np.int32, np.int64])
@pytest.mark.parametrize("fixed", [True, False])
def test_powers_of_integers(base: type, fixed: bool) -> None:
    feeds = {
        "x": np.asarray([[2, -3, 7, 0, 1, -1]], base),
        "y": np.asarray([[5], [3], [0], [1]], np.int32),
    }
    constants = {"y": feeds["y"]} if fixed else {}
    check_coreml(single("Pow", feeds, constants=constants), {"x": feeds["x"]} if fixed else feeds)


def test_negative_exponents_of_integers() -> None:
    """ONNX Runtime computes them in float64 and cuts the fraction off."""
    feeds = {"x": np.asarray([2, -3, 1, -1, -1], np.int32), "y": np.asarray([-1, -2, -5, -3, -2], np.int32)}
    check_coreml(single("Pow", feeds), feeds)


@pytest.mark.parametrize("fixed", [True, False])
def test_float_exponents_of_integers(fixed: bool) -> None:
    """Whole ones are exact beyond the 24 bits of float32."""
    feeds = {"x": np.asarray([2, 9, 3, 10], np.int32), "y": np.asarray([0.5, 1.5, 19.0, 0.0], np.float32)}
    constants = {"y": feeds["y"]} if fixed else {}
    check_coreml(single("Pow", feeds, constants=constants), {"x": feeds["x"]} if fixed else feeds, rtol=0)
