"""Elementwise ops."""

from __future__ import annotations

import numpy as np

from coreml_cases.case import Case, bools, floats, ints

_SMALL = {"acos", "asin", "atanh"}
_POSITIVE = {"log", "sqrt", "rsqrt", "inverse"}
_UNARY = (
    *(
        "abs",
        "acos",
        "asin",
        "atan",
        "atanh",
        "ceil",
        "cos",
        "cosh",
        "erf",
        "exp",
        "exp2",
        "floor",
        "identity",
    ),
    *("inverse", "log", "round", "rsqrt", "sign", "sin", "sinh", "sqrt", "square", "tan"),
)


def _operand(op: str) -> np.ndarray:
    if op in _SMALL:
        return floats(2, 3, 4, low=-0.95, high=0.95)
    return floats(2, 3, 4, low=0.1, high=4.0) if op in _POSITIVE else floats(2, 3, 4, low=-1.4, high=1.4)


CASES = [
    *(Case(op, [_operand(op)]) for op in _UNARY),
    *(Case(op, [floats(5, low=0.0, high=1.0)], {"epsilon": 0.25}) for op in ("log", "rsqrt", "inverse")),
    Case("log", [floats(5, low=0.1, high=9.0)], {"epsilon": 0.0}),
    Case("round", [np.asarray([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 3.4999], np.float32)]),
    Case("abs", [ints(3, 4)]),
    Case("sign", [ints(3, 4)]),
    Case("logical_not", [bools(3, 4)]),
    Case("clip", [floats(3, 4)], {"alpha": -0.5, "beta": 1.25}),
    Case("threshold", [floats(3, 4)], {"alpha": 0.25}),
    *(
        Case(op, [floats(2, 1, 4, low=0.2), floats(3, 1, low=0.2)])
        for op in ("add", "sub", "mul", "maximum", "minimum", "pow", "real_div", "floor_div", "mod")
    ),
    *(Case(op, [floats(4, 5), floats(4, 5, low=0.4)]) for op in ("real_div", "floor_div", "mod")),
    *(Case(op, [floats(4, 5), floats(4, 5, low=-2.0, high=-0.4)]) for op in ("floor_div", "mod")),
    *(Case(op, [ints(4, 5), ints(5)]) for op in ("add", "sub", "mul", "maximum", "minimum")),
    *(Case(op, [ints(4, 5), ints(4, 5, low=1)]) for op in ("floor_div", "mod")),
    *(Case(op, [ints(4, 5), ints(4, 5, low=-9, high=0)]) for op in ("floor_div", "mod")),
    *(
        Case(op, [ints(3, 4, low=0, high=3), ints(4, low=0, high=3)])
        for op in ("equal", "not_equal", "greater", "greater_equal", "less", "less_equal")
    ),
    *(Case(op, [floats(3, 4), floats(4)]) for op in ("equal", "greater", "less_equal")),
    *(Case(op, [bools(3, 4), bools(3, 4)]) for op in ("logical_and", "logical_or", "logical_xor")),
    Case("select", [bools(3, 4), floats(3, 4), floats(3, 4)]),
    Case("select", [bools(3, 4), ints(3, 4), ints(3, 4)]),
    Case("select", [bools(3, 4), bools(3, 4), bools(3, 4)]),
    Case("cast", [floats(3, 4, low=-9.0, high=9.0)], {"dtype": "int32"}),
    Case("cast", [ints(3, 4)], {"dtype": "fp32"}),
    Case("cast", [ints(3, 4, low=0, high=2)], {"dtype": "bool"}),
    Case("cast", [bools(3, 4)], {"dtype": "int32"}),
    Case("cast", [floats(3, 4)], {"dtype": "fp16"}),
]
