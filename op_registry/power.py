"""Pow: any mix of base and exponent types; the result has the base's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from graphrewrite.ir import DataType, Value, dims
from graphrewrite.registry import OpNode, lowering

from .precision import FLOATS

if TYPE_CHECKING:
    from graphrewrite.targets.coreml.builder import MIL
    from graphrewrite.targets.tflite.builder import TFLite

_MOST_PRODUCTS = 8
"""Whole constant exponents up to this one become products: POW is a call of the C library for each element."""


@lowering("tflite", "Pow")
def power(node: OpNode, t: TFLite) -> Value:
    x, y = node.input(0), node.input(1)
    dtype = node.dtype()
    exponent = _uniform(node)
    if dtype in FLOATS:
        base = t.cast(x, DataType.FLOAT)
        made = None if exponent is None else _known_power(t, base, exponent)
        if made is None:
            made = t.op("POW", base, t.cast(y, DataType.FLOAT))
        return t.cast(made, dtype)
    if dtype not in (DataType.INT32, DataType.INT64):
        node.refuse(f"TFLite has no exact power of {dtype.name.lower()}", "cast the base to float32")
    if exponent is not None and exponent == int(exponent) and 0 <= exponent <= _MOST_PRODUCTS:
        return _product(t, x, int(exponent))
    return _integer_power(node, t, x, y)


def _uniform(node: OpNode) -> float | None:
    """The exponent, where it is one constant for all elements and does not widen the result."""
    array = node.const(1)
    shape = dims(node.input(0))
    if array is None or array.size == 0 or shape is None or array.ndim > len(shape):
        return None
    if array.size > 1 and tuple(shape[len(shape) - array.ndim :]) != array.shape:
        return None
    first = array.reshape(-1)[0]
    return float(first) if np.all(array == first) else None


def _known_power(t: TFLite, x: Value, exponent: float) -> Value | None:
    if exponent == 0.5:
        return t.op("SQRT", x)
    if abs(exponent) != int(abs(exponent)) or not 1 <= abs(exponent) <= _MOST_PRODUCTS:
        return None
    made = _product(t, x, int(abs(exponent)))
    return t.op("DIV", t.like(1, x), made) if exponent < 0 else made


def _product(t: TFLite, x: Value, exponent: int) -> Value:
    """x ** exponent by squaring."""
    if exponent == 0:
        return t.op("ADD", t.op("MUL", x, t.like(0, x)), t.like(1, x))
    result, square = None, x
    while exponent:
        if exponent & 1:
            result = square if result is None else t.op("MUL", result, square)
        exponent >>= 1
        if exponent:
            square = t.op("MUL", square, square)
    assert result is not None
    return result


def _integer_power(node: OpNode, t: TFLite, x: Value, y: Value) -> Value:
    """Exact for every whole exponent, by squaring; fractional ones in float32.

    Powers beyond the type's range wrap. Negative exponents leave 0 but for the bases 1 and -1.
    """
    dtype, kind = node.dtype(), node.dtype(1)
    one = t.like(1, x)
    count = t.op("ABS", t.cast(y, DataType.INT32))
    result, square = one, x
    for _ in range(
        6 if dtype == DataType.INT32 else 7
    ):  # from 2^32 (2^64) on every power of 2 has wrapped to 0
        odd = t.op("EQUAL", t.op("FLOOR_MOD", count, t.i32(2)), t.i32(1))
        count = t.op("FLOOR_DIV", count, t.i32(2))
        result = t.op("MUL", result, t.op("SELECT_V2", odd, square, one))
        square = t.op("MUL", square, square)
    unit = t.op("EQUAL", t.op("MUL", x, x), one)
    negative = t.op("LESS", t.cast(y, DataType.INT32), t.i32(0))
    dropped = t.op("LOGICAL_AND", negative, t.op("LOGICAL_NOT", unit))
    result = t.op("SELECT_V2", dropped, t.like(0, x), result)
    if kind not in FLOATS:
        return result
    exponent = t.cast(y, DataType.FLOAT)
    whole = t.op("EQUAL", t.op("FLOOR", exponent), exponent)
    fractional = t.cast(t.op("POW", t.cast(x, DataType.FLOAT), exponent), dtype)
    return t.op("SELECT_V2", whole, result, fractional)


@lowering("coreml", "Pow")
def mil_power(node: OpNode, m: MIL) -> Value:
    """Small whole exponents are products, exact for integers too; Core ML's pow is of floats."""
    x, y = node.input(0), node.input(1)
    dtype, exponent = node.dtype(), _uniform(node)
    whole = exponent is not None and exponent == int(exponent) and abs(exponent) <= _MOST_PRODUCTS
    if exponent is not None and whole and exponent > 0:
        return _mil_product(m, x, int(exponent))
    if dtype not in FLOATS:
        return _mil_integer_power(node, m, x, y)
    if exponent == 0.5:
        return m.op("sqrt", x)
    if exponent is not None and whole and exponent < 0:
        return m.op("real_div", m.like(1, x), _mil_product(m, x, int(-exponent)))
    return m.op("pow", x, m.cast(y, dtype))


def _mil_integer_power(node: OpNode, m: MIL, x: Value, y: Value) -> Value:
    """Exact for every whole exponent, by squaring; fractional ones in float32.

    Negative exponents leave 0 but for the bases 1 and -1.
    """
    exponent = m.cast(y, DataType.INT32)
    one, count, square = m.like(1, x), m.op("abs", exponent), x
    result: Value = one
    for _ in range(6):  # from 2^32 on every power of 2 has wrapped to 0
        odd = m.cast(m.op("mod", count, m.i32(2)), node.dtype())
        count = m.op("floor_div", count, m.i32(2))
        # odd is 0 or 1: the factor is 1 or the square
        result = m.op("mul", result, m.op("add", one, m.op("mul", odd, m.op("sub", square, one))))
        square = m.op("mul", square, square)
    known, dtype = node.const(1), node.dtype()
    if node.dtype(1) in FLOATS and (known is None or not np.array_equal(known, np.floor(known))):
        whole = m.cast(m.op("equal", m.op("floor", y), y), dtype)
        power = m.cast(m.op("pow", m.cast(x, DataType.FLOAT), m.cast(y, DataType.FLOAT)), dtype)
        fraction = m.op("mul", power, m.op("sub", one, whole))
        result = m.op("add", m.op("mul", result, whole), fraction)
    if known is not None and known.min(initial=0) >= 0:
        return result
    unit = m.cast(m.op("equal", m.op("mul", x, x), one), node.dtype())
    positive = m.cast(m.op("greater_equal", exponent, m.i32(0)), node.dtype())
    return m.op("mul", result, m.op("maximum", unit, positive))


def _mil_product(m: MIL, x: Value, exponent: int) -> Value:
    """x to a whole power above 0, by squaring."""
    result: Value | None = None
    while True:
        if exponent & 1:
            result = x if result is None else m.op("mul", result, x)
        exponent >>= 1
        if not exponent:
            assert result is not None
            return result
        x = m.op("mul", x, x)
