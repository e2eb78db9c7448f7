"""Elementwise operators, choices and conversions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tools.kernel_cases.case import (
    Case,
    family,
    kind_of,
    need,
    shape_of,
    values,
)

_erf = np.vectorize(math.erf, otypes=[np.float64])

FLOAT_UNARY: dict[str, tuple[Callable[[np.ndarray], np.ndarray], float, float, dict[str, Any]]] = {
    "SQRT": (np.sqrt, 0.1, 5, {}),
    "RSQRT": (lambda x: 1 / np.sqrt(x), 0.1, 5, {}),
    "EXP": (np.exp, -3, 3, {}),
    "LOG": (np.log, 0.1, 5, {}),
    "SIN": (np.sin, -3, 3, {}),
    "COS": (np.cos, -3, 3, {}),
    "TANH": (np.tanh, -3, 3, {}),
    "LOGISTIC": (lambda x: 1 / (1 + np.exp(-x)), -3, 3, {}),
    "ELU": (lambda x: np.where(x > 0, x, np.expm1(x)), -3, 3, {}),
    "HARD_SWISH": (lambda x: x * np.clip(x + 3, 0, 6) / 6, -4, 4, {}),
    "LEAKY_RELU": (lambda x: np.where(x > 0, x, x * 0.25), -3, 3, {"alpha": 0.25}),
    "GELU": (lambda x: 0.5 * x * (1 + _erf(x / math.sqrt(2))), -3, 3, {"approximate": False}),
    "CEIL": (np.ceil, -3, 3, {}),
    "FLOOR": (np.floor, -3, 3, {}),
    "ROUND": (np.round, -3, 3, {}),
    "SOFTMAX": (lambda x: np.exp(x) / np.exp(x).sum(-1, keepdims=True), -3, 3, {"beta": 1.0}),
    "LOG_SOFTMAX": (lambda x: x - np.log(np.exp(x).sum(-1, keepdims=True)), -3, 3, {}),
    "L2_NORMALIZATION": (lambda x: x / np.sqrt((x * x).sum(-1, keepdims=True)), -3, 3, {}),
}
ANY_UNARY: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "ABS": np.abs,
    "NEG": np.negative,
    "SQUARE": lambda x: x * x,
    "SIGN": np.sign,
    "RELU": lambda x: np.maximum(x, 0),
    "RELU6": lambda x: np.clip(x, 0, 6),
    "RELU_N1_TO_1": lambda x: np.clip(x, -1, 1),
    "RELU_0_TO_1": lambda x: np.clip(x, 0, 1),
    "ZEROS_LIKE": np.zeros_like,
}


@family(*FLOAT_UNARY, ranked=True)
def float_unary(op: str, dtype: str, rank: int = 2) -> Case:
    need(kind_of(dtype) == "f", "floating point only")
    function, low, high, attrs = FLOAT_UNARY[op]
    need(rank > 0 or op not in ("SOFTMAX", "LOG_SOFTMAX", "L2_NORMALIZATION"), "needs an axis")
    x = values(dtype, shape_of(rank), 1, low, high)
    return Case(op, [x], [np.asarray(function(x.astype(np.float64))).astype(dtype)], attrs)


@family(*ANY_UNARY, ranked=True)
def any_unary(op: str, dtype: str, rank: int = 2) -> Case:
    need(kind_of(dtype) != "b" or op == "ZEROS_LIKE", "not for bool")
    need(kind_of(dtype) != "u" or op not in ("NEG", "SIGN"), "not for unsigned")
    need(kind_of(dtype) != "u" or op != "RELU_N1_TO_1", "not for unsigned")
    x = values(dtype, shape_of(rank), 1, -8, 8)
    return Case(op, [x], [np.asarray(ANY_UNARY[op](x)).astype(dtype)])


@family("LOGICAL_NOT", ranked=True)
def logical_not(op: str, dtype: str, rank: int = 2) -> Case:
    need(dtype == "bool", "bool only")
    x = values(dtype, shape_of(rank))
    return Case(op, [x], [np.logical_not(x)])


BINARY: dict[str, tuple[Callable[..., np.ndarray], str, bool]] = {
    # function, kinds of dtype it has a meaning for, whether extremes cannot overflow
    "ADD": (np.add, "fiu", True),
    "SUB": (np.subtract, "fi", True),
    "MUL": (np.multiply, "fiu", False),
    "DIV": (lambda a, b: (a / b if a.dtype.kind == "f" else np.trunc(a / b)).astype(a.dtype), "fiu", False),
    "FLOOR_DIV": (
        lambda a, b: np.floor(a / b).astype(a.dtype) if a.dtype.kind == "f" else a // b,
        "fiu",
        False,
    ),
    "FLOOR_MOD": (np.mod, "fiu", False),
    "POW": (lambda a, b: np.power(np.abs(a), np.abs(b)), "fiu", False),
    "MAXIMUM": (np.maximum, "fiu", True),
    "MINIMUM": (np.minimum, "fiu", True),
    "SQUARED_DIFFERENCE": (lambda a, b: (a - b) * (a - b), "fi", False),
    "ATAN2": (np.arctan2, "f", False),
    "BITWISE_XOR": (np.bitwise_xor, "iub", True),
    "RIGHT_SHIFT": (np.right_shift, "iu", False),
    "LOGICAL_AND": (np.logical_and, "b", True),
    "LOGICAL_OR": (np.logical_or, "b", True),
    "PRELU": (lambda a, b: np.where(a >= 0, a, a * b), "f", False),
    "EQUAL": (np.equal, "fiub", True),
    "NOT_EQUAL": (np.not_equal, "fiub", True),
    "LESS": (np.less, "fiu", True),
    "LESS_EQUAL": (np.less_equal, "fiu", True),
    "GREATER": (np.greater, "fiu", True),
    "GREATER_EQUAL": (np.greater_equal, "fiu", True),
    "STABLEHLO_ADD": (np.add, "fiu", True),
    "STABLEHLO_MULTIPLY": (np.multiply, "fiu", False),
    "STABLEHLO_MAXIMUM": (np.maximum, "fiu", True),
    "STABLEHLO_MINIMUM": (np.minimum, "fiu", True),
    "STABLEHLO_AND": (np.bitwise_and, "iub", True),
    "STABLEHLO_SHIFT_LEFT": (np.left_shift, "iu", False),
}
COMPARISONS = {"EQUAL", "NOT_EQUAL", "LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL"}


@family(*BINARY, ranked=True, max_rank_same_shape=("same_shape_rank", range(11)))
def binary(op: str, dtype: str, rank: int = 3, same_shape_rank: int | None = None) -> Case:
    function, kinds, wide = BINARY[op]
    need(kind_of(dtype) in kinds, "no meaning")
    if op.startswith("STABLEHLO") or op == "ATAN2":  # these do not broadcast
        same_shape_rank = rank if same_shape_rank is None else same_shape_rank
    if same_shape_rank is not None:
        left = right = shape_of(same_shape_rank)
    else:
        left = shape_of(rank)
        right = tuple(1 if axis % 2 == 0 else side for axis, side in enumerate(left))
        if op != "PRELU" and rank > 1:  # both operands stretch
            left = (*left[:-1], 1) if rank % 2 == 0 else (*left[:-2], 1, left[-1])
    a, b = values(dtype, left, 1, -6, 6, wide), values(dtype, right, 2, -6, 6, wide)
    if op in ("DIV", "FLOOR_DIV", "FLOOR_MOD"):
        b = np.where(b == 0, np.ones_like(b) * 2, b)
    if op == "POW":
        a, b = np.abs(a), np.clip(np.abs(b), 0, 2).astype(dtype)
    if "SHIFT" in op:
        b = np.clip(np.abs(b), 0, 5).astype(dtype)
        if op == "STABLEHLO_SHIFT_LEFT":
            a = np.abs(a)
    if op in COMPARISONS and dtype != "bool" and a.size > 1 and a.shape == b.shape:
        b.flat[0] = a.flat[0]
    out = np.asarray(function(a, b))
    return Case(
        op, [a, b], [out if op in COMPARISONS else out.astype(dtype)], constants=[1] if op == "PRELU" else []
    )


@family("SELECT_V2", "SELECT", ranked=True)
def select(op: str, dtype: str, rank: int = 3) -> Case:
    shape = shape_of(rank)
    narrow = shape if op == "SELECT" else tuple(1 if i % 2 else s for i, s in enumerate(shape))
    condition, a, b = (
        values("bool", narrow, 3),
        values(dtype, shape, 1, wide=True),
        values(dtype, shape, 2, wide=True),
    )
    return Case(op, [condition, a, b], [np.where(condition, a, b).astype(dtype)])


@family("ADD_N")
def add_n(op: str, dtype: str) -> Case:
    need(kind_of(dtype) != "b", "not for bool")
    xs = [values(dtype, (2, 3), seed) for seed in range(3)]
    return Case(op, xs, [xs[0] + xs[1] + xs[2]])


CAST_DTYPES = (
    "float32",
    "float16",
    "float64",
    "int8",
    "uint8",
    "int16",
    "uint16",
    "int32",
    "uint32",
    "int64",
    "bool",
)


@family("CAST", ranked=True, pairs=("pair", [f"{a}>{b}" for a in CAST_DTYPES for b in CAST_DTYPES if a != b]))
def cast(op: str, dtype: str, rank: int = 2, pair: str | None = None) -> Case:
    source, target = pair.split(">") if pair else (dtype, "float32" if dtype != "float32" else "int32")
    low = 0 if "u" in source + target else -90
    x = values(source, shape_of(rank), 4, low, 90)
    if kind_of(source) == "f" and kind_of(target) in "iu":
        x = x.astype(np.float64) // 1 + np.where(x % 1 == 0.5, 0.25, 0.75) * (1 if low == 0 else np.sign(x))
        x = x.astype(source)
    if target == "bool":
        x = np.where(np.arange(x.size).reshape(x.shape) % 2 == 0, np.zeros_like(x), x).astype(source)
    out = (
        np.trunc(x.astype(np.float64)).astype(target)
        if kind_of(source) == "f" and kind_of(target) in "iu"
        else x.astype(target)
    )
    attrs = {"in_data_type": source.upper(), "out_data_type": target.upper()}
    return Case(op, [x], [out], attrs)


@family(
    "BITCAST",
    pairs=(
        "pair",
        ["float32>int32", "int32>float32", "float32>uint32", "int64>float64", "int8>uint8", "int16>float16"],
    ),
)
def bitcast(op: str, dtype: str, pair: str | None = None) -> Case:
    need(pair is not None or dtype == "float32", "pairs only")
    source, target = (pair or "float32>int32").split(">")
    x = values(source, (2, 3))
    return Case(op, [x], [x.view(target)])
