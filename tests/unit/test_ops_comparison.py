"""Comparisons, logic, selection, tests for NaN and infinity, and casts between every pair of types."""

from __future__ import annotations

import numpy as np
import pytest

from graphrewrite.errors import NotExpressible
from op_check import check_op, lowered, single

TYPES = (np.float32, np.float16, np.int8, np.uint8, np.int16, np.int32, np.int64)
COMPARISONS = ("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual")


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("op_type", COMPARISONS)
def test_comparison(op_type: str, dtype: type) -> None:
    feeds = {"x": np.array([[0, 1, 2], [3, 4, 100]], dtype), "y": np.array([2, 1, 100], dtype)}
    check_op(single(op_type, feeds), feeds)


@pytest.mark.parametrize("op_type", ["And", "Or", "Xor", "Equal"])
def test_logic(op_type: str) -> None:
    feeds = {"x": np.array([[True, False, True], [False, False, True]]), "y": np.array([True, False, False])}
    check_op(single(op_type, feeds), feeds)


def test_not() -> None:
    check_op(single("Not", {"x": np.array([True, False])}), {"x": np.array([True, False])})


@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.int32, np.int64])
def test_where(dtype: type) -> None:
    feeds = {
        "c": np.array([[True], [False]]),
        "x": np.array([1, 2, 3], dtype),
        "y": np.array(9, dtype),
    }
    check_op(single("Where", feeds), feeds)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_not_a_number(dtype: type) -> None:
    x = np.array([np.nan, 1, np.inf, -np.inf, 0, -np.nan], dtype)
    check_op(single("IsNaN", {"x": x}), {"x": x})


@pytest.mark.parametrize(("positive", "negative"), [(1, 1), (1, 0), (0, 1), (0, 0)])
def test_infinity(positive: int, negative: int) -> None:
    x = np.array([np.nan, 1, np.inf, -np.inf, 0], np.float32)
    check_op(single("IsInf", {"x": x}, detect_positive=positive, detect_negative=negative), {"x": x})


def test_strings_are_refused() -> None:
    x = np.array(["a", "b"], object)
    with pytest.raises(NotExpressible, match="strings"):
        lowered(single("Equal", {"x": x, "y": x}))


ONNX_TYPES = {
    np.float32: 1,
    np.float16: 10,
    np.int8: 3,
    np.uint8: 2,
    np.int16: 5,
    np.int32: 6,
    np.int64: 7,
    np.bool_: 9,
}


@pytest.mark.parametrize("target", ONNX_TYPES)
@pytest.mark.parametrize("source", ONNX_TYPES)
def test_cast(source: type, target: type) -> None:
    """Fractions are cut off, integers wrap, anything but 0 is true, NaN too."""
    values = [0, 1, 2, 100, 127] if source in (np.bool_, np.uint8) else [0, 1, -1, 100, -100, 127]
    if source == np.float32 and target in (np.int8, np.int16, np.int32, np.int64, np.float16, np.bool_):
        values += [0.5, -0.5, 1.9, -1.9, 300.7, -300.7]
    elif source in (np.int32, np.int64):
        values += [300, -300, 70000]
    x = np.array(values).astype(source)
    check_op(single("Cast", {"x": x}, to=ONNX_TYPES[target]), {"x": x})


def test_cast_like() -> None:
    feeds = {"x": np.array([1.7, -2.5], np.float32), "like": np.zeros(1, np.int64)}
    check_op(single("CastLike", feeds), feeds)
