"""Arithmetic, division, powers and bits: every element type, broadcasting, and the values where languages disagree."""

from __future__ import annotations

import numpy as np
import pytest

from graphrewrite.errors import NotExpressible
from op_check import check_op, lowered, single

RNG = np.random.default_rng(11)
FLOATS = (np.float32, np.float16)
SIGNED = (np.int8, np.int16, np.int32, np.int64)
UNSIGNED = (np.uint8, np.uint16, np.uint32)


def sample(dtype: type, *shape: int, low: int = -100, high: int = 100) -> np.ndarray:
    if np.issubdtype(dtype, np.floating):
        return RNG.standard_normal(shape).astype(dtype)
    return RNG.integers(max(low, np.iinfo(dtype).min), min(high, np.iinfo(dtype).max), shape, dtype=dtype)


def check(op_type: str, *operands: np.ndarray, **attributes: object) -> None:
    """All operands at run time, then all but the first as constants."""
    inputs = {f"x{index}": array for index, array in enumerate(operands)}
    rtol = 2e-3 if operands[0].dtype == np.float16 else 1e-5
    check_op(single(op_type, inputs, **attributes), inputs, rtol=rtol, atol=rtol / 10)
    if len(operands) > 1:
        constants = {name: array for name, array in inputs.items() if name != "x0"}
        model = single(op_type, inputs, constants=constants, **attributes)
        check_op(model, {"x0": operands[0]}, rtol=rtol, atol=rtol / 10)


@pytest.mark.parametrize("dtype", [np.float32, *SIGNED])
@pytest.mark.parametrize("op_type", ["Abs", "Neg", "Sign"])
def test_unary(op_type: str, dtype: type) -> None:
    check(op_type, sample(dtype, 3, 5))


@pytest.mark.parametrize("op_type", ["Abs", "Sign"])
def test_unary_unsigned(op_type: str) -> None:
    check(op_type, sample(np.uint8, 3, 5, low=0, high=255))


@pytest.mark.parametrize("op_type", ["Exp", "Sqrt", "Log", "Reciprocal", "Floor", "Ceil"])
def test_float_functions(op_type: str) -> None:
    check(op_type, np.abs(sample(np.float32, 4, 6)) + 0.5)


def test_round_halves_to_even() -> None:
    check("Round", np.array([0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 0.49999997, 8388609.0, -1e20], np.float32))


@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.int64, np.uint8, np.int8, np.int16])
@pytest.mark.parametrize("op_type", ["Add", "Sub", "Mul"])
@pytest.mark.parametrize("shapes", [((2, 3, 4), (3, 1)), ((4,), (2, 1, 4)), ((2, 3), ())])
def test_binary(op_type: str, dtype: type, shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    """Integers wrap."""
    check(op_type, *(sample(dtype, *shape) for shape in shapes))


@pytest.mark.parametrize("op_type", ["Sum", "Max", "Min", "Mean"])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_variadic(op_type: str, count: int) -> None:
    check(op_type, *(sample(np.float32, *shape) for shape in [(2, 3), (3,), (1, 1), (2, 1)][:count]))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int64, np.float16])
@pytest.mark.parametrize("op_type", ["Max", "Min"])
def test_extremes_of_other_types(op_type: str, dtype: type) -> None:
    check(op_type, sample(dtype, 2, 3), sample(dtype, 3))


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.int64, np.uint8])
def test_division_truncates(dtype: type) -> None:
    """Towards zero, whatever the signs."""
    x = np.array([7, -7, 7, -7, 6, -6, 0, 1, 100], np.int64).astype(dtype)
    y = np.array([2, 2, -2, -2, 3, 3, 5, 7, -3], np.int64).astype(dtype)
    check("Div", x, y)


def test_long_division_is_exact() -> None:
    """int64 has no kernel; quotients come from float32 estimates and exact remainders."""
    top = np.iinfo(np.int64).max
    x = np.array([top, -top, top, 2**62, -(2**62), 10**18 + 7, 123456789012345678, 5, -1, 2**40], np.int64)
    y = np.array([1, -1, 3, -(2**31), 2**31 - 1, 10**9, 1234567, -7, top, 2**40], np.int64)
    check("Div", x, y)
    x = RNG.integers(-top, top, 4000)
    y = RNG.integers(1, top, 4000) >> RNG.integers(0, 62, 4000)
    y = np.where(y == 0, 1, y) * RNG.choice([-1, 1], 4000)
    x[::3], x[1::3] = y[::3] * RNG.integers(-1, 2, len(y[::3])), x[1::3] // 10**9
    check("Div", x, y)


@pytest.mark.parametrize("fmod", [0, 1])
@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.int64, np.uint8])
def test_mod_of_integers(dtype: type, fmod: int) -> None:
    x = np.array([-128, 127, 5, -5, 5, -5, 0, 6, -6], np.int64).astype(dtype)
    y = np.array([3, -5 % 7, 3, 3, -3 % 11, -4 % 9, 7, 3, 3], np.int64).astype(dtype)
    if dtype != np.uint8:
        y[4:6] *= -1
    check("Mod", x, y, fmod=fmod)


def test_fmod_of_floats_is_exact() -> None:
    x = np.array([-4.3, 7.2, 5.0, 4.3, -7.2, 8.0, 1e9, -1e9], np.float32)
    y = np.array([2.1, -3.4, 8.0, -2.1, 3.4, 5.0, 0.7, 0.7], np.float32)
    inputs = {"x": x, "y": y}
    check_op(single("Mod", inputs, fmod=1), inputs, rtol=0, atol=0)


@pytest.mark.parametrize("exponent", [-2.0, -1.0, 0.0, 0.5, 1.0, 1.7, 2.0, 3.0, 7.0])
def test_power_by_a_constant(exponent: float) -> None:
    check("Pow", np.abs(sample(np.float32, 3, 4)) + 0.1, np.array(exponent, np.float32))


@pytest.mark.parametrize("base", [np.float32, np.int32, np.int64])
@pytest.mark.parametrize("exponent", [np.float32, np.int32, np.int64])
def test_power_of_mixed_types(base: type, exponent: type) -> None:
    check("Pow", np.array([[1, 2, -3, 5], [0, -1, 7, 2]], base), np.array([4, 5, 3, 0], exponent))


def test_integer_power_with_negative_and_broadcast_exponents() -> None:
    base, exponent = np.array([[2], [-1], [1]], np.int64), np.array([-1, -3, 40], np.int64)
    check("Pow", base, exponent)


@pytest.mark.parametrize("dtype", [*SIGNED, *UNSIGNED])
@pytest.mark.parametrize("op_type", ["BitwiseAnd", "BitwiseOr", "BitwiseXor"])
def test_bitwise(op_type: str, dtype: type) -> None:
    check(op_type, sample(dtype, 2, 5), sample(dtype, 5))


@pytest.mark.parametrize("dtype", [*SIGNED, *UNSIGNED])
def test_bitwise_not(dtype: type) -> None:
    check("BitwiseNot", sample(dtype, 2, 5))


@pytest.mark.parametrize("direction", ["LEFT", "RIGHT"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint32])
def test_bit_shift(direction: str, dtype: type) -> None:
    x = np.array([[1, 200, 255], [16, 7, 129]], dtype)
    check("BitShift", x, np.array([1, 3, 7], dtype), direction=direction)


def test_bit_cast() -> None:
    x = sample(np.float32, 2, 3)
    check_op(single("BitCast", {"x": x}, to=6), {"x": x})


def test_float64_is_refused_by_name() -> None:
    with pytest.raises(NotExpressible, match=r"Mean.*float32.*double"):
        lowered(single("Mean", {"x": np.ones(3), "y": np.ones(3)}))
