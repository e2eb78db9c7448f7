"""Trigonometric and hyperbolic functions and their inverses, from SIN, COS, ATAN2, TANH, EXP, LOG and SQRT.

XNNPACK's LOG and COS are right to 2e-7 absolutely, not relatively: results near 0 and poles near a zero of COS take forms
in which that does not matter.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from graphrewrite.ir import Value
from graphrewrite.registry import OpNode, lowering

from .precision import in_float32, in_mil_float32, polynomial

if TYPE_CHECKING:
    from graphrewrite.targets.coreml.builder import MIL
    from graphrewrite.targets.tflite.builder import TFLite

_HALF_PI = (1.5703125, 4.837512969970703125e-4, 7.54978995489188e-8)
"""pi / 2 in three parts; products of the first two with small whole numbers are exact in float32."""
_ASINH = (0.9999999988947608, -0.1666663402, 0.0749843045, -0.0443638340, 0.0280852743, -0.0131143772)
"""asinh(x) = x P(x^2) for |x| <= 0.5: minimax, relative error 1e-9."""
_ATANH = (
    1.0000000012642588,
    0.3333328487,
    0.2000301887,
    0.1421579222,
    0.1187063069,
    0.0498479458,
    0.1785584635,
)
"""atanh(x) = x P(x^2) for |x| <= 0.5: minimax, relative error 1e-9."""


@lowering("tflite", "Sin", "Cos")
def sine(node: OpNode, t: TFLite) -> Value:
    return t.op(node.op_type.upper(), node.input(0))


def _tan(t: TFLite, x: Value) -> Value:
    """tan(r) or -1 / tan(r) for the rest r of x after whole multiples k of pi / 2, so that poles are right too."""
    k = t.op("ROUND", t.op("MUL", x, t.like(2 / math.pi, x)))
    rest = x
    for part in _HALF_PI:
        rest = t.op("SUB", rest, t.op("MUL", k, t.like(part, x)))
    half = t.op("MUL", k, t.like(0.5, x))
    odd = t.op("NOT_EQUAL", t.op("FLOOR", half), half)
    sin, cos = t.op("SIN", rest), t.op("COS", rest)
    above = t.op("SELECT_V2", odd, t.op("NEG", cos), sin)
    return t.op("DIV", above, t.op("SELECT_V2", odd, sin, cos))


def _atan(t: TFLite, x: Value) -> Value:
    """ATAN2 does not broadcast."""
    return t.op("ATAN2", x, t.op("FILL", t.shape_of(x), t.like(1, x)))


def _leg(t: TFLite, x: Value) -> Value:
    """sqrt(1 - x^2) without cancellation."""
    one = t.like(1, x)
    return t.op("SQRT", t.op("MUL", t.op("SUB", one, x), t.op("ADD", one, x)))


def _asin(t: TFLite, x: Value) -> Value:
    return t.op("ATAN2", x, _leg(t, x))


def _acos(t: TFLite, x: Value) -> Value:
    return t.op("ATAN2", _leg(t, x), x)


def _cosh(t: TFLite, x: Value) -> Value:
    """a + 1 / (4 a) with a = e^|x| / 2, which overflows only where cosh does."""
    half = t.op("EXP", t.op("SUB", t.op("ABS", x), t.like(math.log(2), x)))
    return t.op("ADD", half, t.op("DIV", t.like(0.25, x), half))


def _sinh(t: TFLite, x: Value) -> Value:
    """tanh(x) cosh(x): no difference of exponentials."""
    return t.op("MUL", t.op("TANH", x), _cosh(t, x))


def _asinh_from(t: TFLite, x: Value, size: Value) -> Value:
    """asinh of `x`, `size` being |x|: its polynomial below 0.5, log(|x| (1 + sqrt(1 + 1 / x^2))) above."""
    one = t.like(1, x)
    inverse = t.op("DIV", one, t.op("MAXIMUM", size, t.like(0.5, x)))
    root = t.op("SQRT", t.op("ADD", t.op("MUL", inverse, inverse), one))
    large = t.op("LOG", t.op("MUL", size, t.op("ADD", root, one)))
    if size is not x:
        large = t.op("SELECT_V2", t.op("LESS", x, t.like(0, x)), t.op("NEG", large), large)
    return _near_zero(t, x, size, _ASINH, large)


def _near_zero(t: TFLite, x: Value, size: Value, coefficients: tuple[float, ...], far: Value) -> Value:
    near = t.op("MINIMUM", t.op("MAXIMUM", x, t.like(-0.5, x)), t.like(0.5, x))
    small = t.op("MUL", near, polynomial(t, t.op("MUL", near, near), coefficients))
    return t.op("SELECT_V2", t.op("LESS", size, t.like(0.5, x)), small, far)


def _asinh(t: TFLite, x: Value) -> Value:
    return _asinh_from(t, x, t.op("ABS", x))


def _acosh(t: TFLite, x: Value) -> Value:
    """asinh(sqrt(x^2 - 1)), accurate near 1; NaN below 1 through the root."""
    one = t.like(1, x)
    root = t.op("MUL", t.op("SQRT", t.op("SUB", x, one)), t.op("SQRT", t.op("ADD", x, one)))
    return _asinh_from(t, root, root)


def _atanh(t: TFLite, x: Value) -> Value:
    one = t.like(1, x)
    ratio = t.op("DIV", t.op("ADD", one, x), t.op("SUB", one, x))
    large = t.op("MUL", t.op("LOG", ratio), t.like(0.5, x))
    return _near_zero(t, x, t.op("ABS", x), _ATANH, large)


_FORMULAS: dict[str, Callable[[TFLite, Value], Value]] = {
    "Tan": _tan,
    "Asin": _asin,
    "Acos": _acos,
    "Atan": _atan,
    "Sinh": _sinh,
    "Cosh": _cosh,
    "Asinh": _asinh,
    "Acosh": _acosh,
    "Atanh": _atanh,
}


@lowering("tflite", *_FORMULAS)
def function(node: OpNode, t: TFLite) -> Value:
    return in_float32(node, t, lambda x: _FORMULAS[node.op_type](t, x))


# -- Core ML ---------------------------------------------------------------------------------------------------------------


@lowering("coreml", "Sin", "Cos", "Tan", "Asin", "Acos", "Atan", "Sinh", "Cosh", "Atanh")
def mil_function(node: OpNode, m: MIL) -> Value:
    return m.op(node.op_type.lower(), node.input(0))


@lowering("coreml", "Asinh")
def mil_asinh(node: OpNode, m: MIL) -> Value:
    return in_mil_float32(node, m, lambda x: m.op("mul", m.op("sign", x), _mil_asinh(m, m.op("abs", x))))


@lowering("coreml", "Acosh")
def mil_acosh(node: OpNode, m: MIL) -> Value:
    """asinh(sqrt(x^2 - 1)), accurate near 1; NaN below 1 through the root."""

    def formula(x: Value) -> Value:
        one = m.like(1, x)
        root = m.op("mul", m.op("sqrt", m.op("sub", x, one)), m.op("sqrt", m.op("add", x, one)))
        return _mil_asinh(m, root)

    return in_mil_float32(node, m, formula)


def _mil_asinh(m: MIL, x: Value) -> Value:
    """asinh of x >= 0: its polynomial below 0.5, log(x (1 + sqrt(1 + 1 / x^2))) above, which never overflows."""
    one, half = m.like(1, x), m.like(0.5, x)
    inverse = m.op("real_div", one, m.op("maximum", x, half))
    root = m.op("sqrt", m.op("add", m.op("mul", inverse, inverse), one))
    far = m.op("log", m.op("mul", m.op("maximum", x, half), m.op("add", root, one)), epsilon=0.0)
    near = m.op("minimum", x, half)
    square = m.op("mul", near, near)
    total = m.like(_ASINH[-1], x)
    for coefficient in reversed(_ASINH[:-1]):
        total = m.op("add", m.op("mul", square, total), m.like(coefficient, x))
    return m.op("select", m.op("less", x, half), m.op("mul", near, total), far)
