"""One tiny test case per TFLite operator, dtype and rank, with numpy as the oracle.

`CASES[op]` is a `Family`: a function of `dtype` and, where it makes sense, `rank` and further
choices, that returns the operator's operands, attributes and right answers.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

DTYPES = (
    "float32", "float16", "float64", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "bool",
)  # fmt: skip


class NotApplicableError(Exception):
    """This dtype or rank makes no sense for this operator (the sine of a bool)."""


@dataclass
class Case:
    """One operator with its operands and the right answers.

    Attributes:
        op: name of the operator.
        inputs: operands, None for an absent optional one.
        outputs: the right answers; their shapes and dtypes are declared in the file.
        attrs: option fields in the schema's snake_case.
        constants: positions in `inputs` that are stored in the file instead of fed.
        body: a one-operator second subgraph (STABLEHLO_SCATTER, ...).
    """

    op: str
    inputs: Sequence[np.ndarray | None]
    outputs: Sequence[np.ndarray]
    attrs: Mapping[str, Any] = field(default_factory=dict)
    constants: Sequence[int] = ()
    body: Case | None = None

    def __post_init__(self) -> None:
        """numpy turns rank 0 arrays into scalars at every turn; turn them back."""
        self.inputs = [None if item is None else np.asarray(item) for item in self.inputs]
        self.outputs = [np.asarray(item) for item in self.outputs]


@dataclass
class Family:
    """All cases of one operator; call with `dtype=` and optionally `rank=` or another axis."""

    make: Callable[..., Case]
    ranked: bool = False
    axes: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    axis_argument: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, **choice: Any) -> Case:
        return self.make(**choice)


CASES: dict[str, Family] = {}


def family(*ops: str, ranked: bool = False, **axes: tuple[str, Sequence[Any]]) -> Callable[..., Any]:
    """Register `make(op, dtype, ...)` for `ops`; `axes` are `json_key=(argument, values)`."""

    def register(make: Callable[..., Case]) -> Callable[..., Case]:
        for op in ops:
            CASES[op] = Family(
                lambda op=op, **choice: make(op, **choice),
                ranked,
                {key: values for key, (_, values) in axes.items()},
                {key: argument for key, (argument, _) in axes.items()},
            )
        return make

    return register


# --- data -------------------------------------------------------------------------------------

# No side is 1 and neighbours differ in what they stretch, so that no kernel can merge axes.
SIDES = (2, 3, 2, 3, 2, 2, 3, 2, 2, 2)


@contextlib.contextmanager
def empty_axis() -> Iterator[None]:
    """Within the block, cases of rank 2 and more have an axis 1 of size 0."""
    global SIDES
    saved, SIDES = SIDES, (2, 0, 2, 3, 2, 2, 3, 2, 2, 2)
    try:
        yield
    finally:
        SIDES = saved


def shape_of(rank: int) -> tuple[int, ...]:
    return SIDES[:rank]


def values(
    dtype: str, shape: Sequence[int], seed: int = 0, low: float = -3, high: float = 3, wide: bool = False
) -> np.ndarray:
    """Deterministic operands. `wide` adds the extremes of the dtype, which a detour through
    another dtype (int64 through int32 or float) would spoil."""
    rng = np.random.default_rng(seed)
    kind = np.dtype(dtype).kind
    if kind == "f":
        return np.asarray(np.round(rng.uniform(low, high, shape) * 64) / 64, dtype)
    if kind == "b":
        return np.asarray(rng.integers(0, 2, shape), bool)
    if wide:
        info = np.iinfo(dtype)
        out = rng.integers(info.min // 2, info.max // 2, shape, dtype=dtype, endpoint=True)
        return np.asarray(out, dtype)
    low = max(low, 0) if kind == "u" else low
    return np.asarray(rng.integers(math.ceil(low), math.floor(high), shape, endpoint=True), dtype)


def i32(items: Any) -> np.ndarray:
    return np.array(items, np.int32)


def kind_of(dtype: str) -> str:
    return np.dtype(dtype).kind


def need(condition: bool, why: str) -> None:
    if not condition:
        raise NotApplicableError(why)


# --- elementwise ------------------------------------------------------------------------------

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


# --- reductions -------------------------------------------------------------------------------

REDUCTIONS: dict[str, tuple[Callable[..., np.ndarray], str]] = {
    "MEAN": (np.mean, "fiu"),
    "SUM": (np.sum, "fiu"),
    "REDUCE_MAX": (np.max, "fiub"),
    "REDUCE_MIN": (np.min, "fiub"),
    "REDUCE_PROD": (np.prod, "fiu"),
    "REDUCE_ANY": (np.any, "b"),
    "REDUCE_ALL": (np.all, "b"),
}


@family(*REDUCTIONS, ranked=True, keep_dims=("keep_dims", [False, True]))
def reduction(op: str, dtype: str, rank: int = 3, keep_dims: bool = True) -> Case:
    function, kinds = REDUCTIONS[op]
    need(kind_of(dtype) in kinds, "no meaning")
    x = values(dtype, shape_of(rank), 1, -2, 2, wide=op in ("REDUCE_MAX", "REDUCE_MIN"))
    axes = tuple(range(0, rank, 2))
    if op == "MEAN" and kind_of(dtype) in "iu":  # an exact mean, so that rounding does not matter
        x = np.broadcast_to(
            values(dtype, shape_of(rank)[-1:] if rank else (), 1, -9, 9), shape_of(rank)
        ).copy()
        axes = axes[: max(len(axes) - rank % 2, 0)]
    out = np.asarray(function(x, axis=axes or None if rank == 0 else axes, keepdims=keep_dims)).astype(dtype)
    return Case(op, [x, i32(axes)], [out], {"keep_dims": keep_dims}, [1])


@family("ARG_MAX", "ARG_MIN", ranked=True, output_dtypes=("out", ["int32", "int64"]))
def arg_reduction(op: str, dtype: str, rank: int = 3, out: str = "int32") -> Case:
    need(rank > 0, "needs an axis")
    x = values(dtype, shape_of(rank), 5, -9, 9, wide=True)
    function = np.argmax if op == "ARG_MAX" else np.argmin
    return Case(
        op, [x, i32(0)], [np.asarray(function(x, axis=0)).astype(out)], {"output_type": out.upper()}, [1]
    )


@family("CUMSUM", ranked=True)
def cumsum(op: str, dtype: str, rank: int = 3) -> Case:
    need(kind_of(dtype) != "b" and rank > 0, "no meaning")
    x = values(dtype, shape_of(rank))
    return Case(op, [x, i32(0)], [np.cumsum(x, 0).astype(dtype)], {}, [1])


@family("TOPK_V2", ranked=True, index_dtypes=("index", ["int32", "int16"]))
def topk(op: str, dtype: str, rank: int = 2, index: str = "int32") -> Case:
    need(rank > 0 and dtype != "bool", "no meaning")
    shape = (*shape_of(rank)[:-1], 5)
    x = np.argsort(values("float32", shape, 6), -1).astype(dtype)
    order = np.argsort(-x.astype(np.float64), -1, kind="stable")[..., :2]
    return Case(op, [x, i32(2)], [np.take_along_axis(x, order, -1), order.astype(index)], {}, [1])


# --- data movement ----------------------------------------------------------------------------


@family("RESHAPE", ranked=True)
def reshape(op: str, dtype: str, rank: int = 3) -> Case:
    x = values(dtype, shape_of(rank), wide=True)
    flat = x.reshape(-1) if rank else x.reshape(1)
    return Case(op, [x, i32(flat.shape)], [flat], {"new_shape": list(flat.shape)}, [1])


@family("TRANSPOSE", ranked=True)
def transpose(op: str, dtype: str, rank: int = 3) -> Case:
    x = values(dtype, shape_of(rank), wide=True)
    order = tuple((axis * 2 + 1) % rank if rank % 2 else rank - 1 - axis for axis in range(rank))
    return Case(op, [x, i32(order)], [x.transpose(order).copy()], {}, [1])


@family("CONCATENATION", ranked=True)
def concatenation(op: str, dtype: str, rank: int = 3) -> Case:
    need(rank > 0, "needs an axis")
    xs = [values(dtype, shape_of(rank), seed, wide=True) for seed in range(3)]
    return Case(op, xs, [np.concatenate(xs, rank - 1)], {"axis": rank - 1})


@family("SLICE", ranked=True, index_dtypes=("index", ["int32", "int64"]))
def slice_(op: str, dtype: str, rank: int = 3, index: str = "int32") -> Case:
    x = values(dtype, shape_of(rank), wide=True)
    begin = [1 if side > 1 else 0 for side in x.shape]
    size = [side - start for side, start in zip(x.shape, begin, strict=True)]
    out = x[tuple(slice(b, None) for b in begin)]
    return Case(op, [x, np.array(begin, index), np.array(size, index)], [out.copy()], {}, [1, 2])


@family("STRIDED_SLICE", ranked=True)
def strided_slice(op: str, dtype: str, rank: int = 3) -> Case:
    x = values(dtype, shape_of(rank), wide=True)
    out = x[tuple(slice(None, None, 2) for _ in range(rank))]
    attrs = {"begin_mask": 0, "end_mask": 2**rank - 1}
    return Case(op, [x, i32([0] * rank), i32(x.shape), i32([2] * rank)], [out.copy()], attrs, [1, 2, 3])


@family("PAD", "PADV2", "MIRROR_PAD", ranked=True, index_dtypes=("index", ["int32", "int64"]))
def pad(op: str, dtype: str, rank: int = 3, index: str = "int32") -> Case:
    need(rank > 0, "nothing to pad")
    x = values(dtype, shape_of(rank), wide=True)
    pads = [(1, 1) if axis % 2 else (0, 1) for axis in range(rank)]
    inputs = [x, np.array(pads, index).reshape(rank, 2)]
    if op == "MIRROR_PAD":
        return Case(op, inputs, [np.pad(x, pads, "symmetric")], {"mode": "SYMMETRIC"}, [1])
    fill = np.array([1] if dtype == "bool" else [3]).astype(dtype)
    if op == "PADV2":
        inputs.append(fill)
        return Case(op, inputs, [np.pad(x, pads, constant_values=fill[0])], {}, [1, 2])
    return Case(op, inputs, [np.pad(x, pads)], {}, [1])


@family("GATHER", ranked=True, index_dtypes=("index", ["int32", "int64", "int16"]))
def gather(op: str, dtype: str, rank: int = 3, index: str = "int32") -> Case:
    need(rank > 0, "needs an axis")
    x = values(dtype, shape_of(rank), wide=True)
    indices = np.array([[1, 0], [0, 1]], index)
    return Case(op, [x, indices], [np.take(x, indices, 0)], {"axis": 0})


@family("GATHER_ND", ranked=True, index_dtypes=("index", ["int32", "int64", "int16"]))
def gather_nd(op: str, dtype: str, rank: int = 3, index: str = "int32") -> Case:
    need(rank > 0, "needs an axis")
    x = values(dtype, shape_of(rank), wide=True)
    indices = np.array([[1], [0], [1]], index)
    return Case(op, [x, indices], [x[indices[:, 0]]], {})


@family("SCATTER_ND", ranked=True)
def scatter_nd(op: str, dtype: str, rank: int = 3) -> Case:
    need(rank > 0, "needs an axis")
    updates = values(dtype, shape_of(rank), wide=True)
    out = np.zeros((4, *updates.shape[1:]), dtype)
    out[[2, 0]] = updates
    return Case(op, [i32([[2], [0]]), updates, i32(out.shape)], [out], {}, [2])


@family("TILE", ranked=True, index_dtypes=("index", ["int32", "int64"]))
def tile(op: str, dtype: str, rank: int = 3, index: str = "int32") -> Case:
    x = values(dtype, shape_of(rank), wide=True)
    repeats = [2 if axis % 2 else 1 for axis in range(rank)]
    return Case(
        op,
        [x, np.array(repeats, index)],
        [np.tile(x, repeats).reshape([s * r for s, r in zip(x.shape, repeats, strict=True)])],
        {},
        [1],
    )


@family("SPLIT", ranked=True)
def split(op: str, dtype: str, rank: int = 3) -> Case:
    need(rank > 0, "needs an axis")
    x = values(dtype, shape_of(rank), wide=True)
    return Case(op, [i32(0), x], [p.copy() for p in np.split(x, 2, 0)], {"num_splits": 2}, [0])


@family("SPLIT_V", ranked=True)
def split_v(op: str, dtype: str, rank: int = 3) -> Case:
    need(rank > 0, "needs an axis")
    x = values(dtype, (5, *shape_of(rank)[1:]), wide=True)
    parts = [x[:2].copy(), x[2:].copy()]
    return Case(op, [x, i32([2, 3]), i32(0)], parts, {"num_splits": 2}, [1, 2])


@family("PACK", ranked=True)
def pack(op: str, dtype: str, rank: int = 2) -> Case:
    xs = [values(dtype, shape_of(rank), seed, wide=True) for seed in range(3)]
    return Case(op, xs, [np.stack(xs, 0)], {"values_count": 3, "axis": 0})


@family("UNPACK", ranked=True)
def unpack(op: str, dtype: str, rank: int = 3) -> Case:
    need(rank > 0, "needs an axis")
    x = values(dtype, shape_of(rank), wide=True)
    return Case(op, [x], [x[i].copy() for i in range(x.shape[0])], {"num": x.shape[0], "axis": 0})


@family("REVERSE_V2", ranked=True)
def reverse(op: str, dtype: str, rank: int = 3) -> Case:
    need(rank > 0, "needs an axis")
    x = values(dtype, shape_of(rank), wide=True)
    return Case(op, [x, i32([rank - 1])], [np.flip(x, rank - 1).copy()], {}, [1])


@family("REVERSE_SEQUENCE", ranked=True)
def reverse_sequence(op: str, dtype: str, rank: int = 3) -> Case:
    need(rank > 1, "needs two axes")
    x = values(dtype, shape_of(rank), wide=True)
    out = x.copy()
    out[0, :2] = x[0, 1::-1]
    out[1, :3] = x[1, ::-1]
    return Case(op, [x, i32([2, 3])], [out], {"seq_dim": 1, "batch_dim": 0})


@family("ONE_HOT", ranked=True, index_dtypes=("index", ["int32", "int64", "uint8", "int8", "int16"]))
def one_hot(op: str, dtype: str, rank: int = 1, index: str = "int32") -> Case:
    indices = values("int32", shape_of(rank), 3, 0, 3)
    on, off = values(dtype, (), 1, 1, 9), values(dtype, (), 2, 0, 0)
    if dtype == "bool":
        on, off = np.array(True), np.array(False)
    out = np.where(indices[..., None] == np.arange(4), on, off).astype(dtype)
    return Case(op, [indices.astype(index), i32(4), on, off], [out], {"axis": -1}, [1, 2, 3])


@family("RANGE")
def range_(op: str, dtype: str) -> Case:
    need(dtype != "bool", "no meaning")
    start, limit, delta = (np.array(v, dtype) for v in (1, 9, 2))
    return Case(op, [start, limit, delta], [np.arange(1, 9, 2).astype(dtype)], {}, [0, 1, 2])


@family("FILL", ranked=True, index_dtypes=("index", ["int32", "int64"]))
def fill(op: str, dtype: str, rank: int = 3, index: str = "int32") -> Case:
    value = values(dtype, (), 1, 1, 9, wide=True)
    return Case(op, [np.array(shape_of(rank), index), value], [np.full(shape_of(rank), value)], {}, [0])


@family("BROADCAST_TO", ranked=True, index_dtypes=("index", ["int32", "int64"]))
def broadcast_to(op: str, dtype: str, rank: int = 3, index: str = "int32") -> Case:
    shape = shape_of(rank)
    x = values(dtype, tuple(1 if i % 2 else s for i, s in enumerate(shape)), wide=True)
    return Case(op, [x, np.array(shape, index)], [np.broadcast_to(x, shape).copy()], {}, [1])


@family("BROADCAST_ARGS")
def broadcast_args(op: str, dtype: str) -> Case:
    need(dtype in ("int32", "int64"), "shapes")
    return Case(op, [np.array([2, 1, 3], dtype), np.array([4, 1], dtype)], [np.array([2, 4, 3], dtype)])


@family("SHAPE", ranked=True, output_dtypes=("out", ["int32", "int64"]))
def shape(op: str, dtype: str, rank: int = 3, out: str = "int32") -> Case:
    x = values(dtype, shape_of(rank))
    return Case(op, [x], [np.array(x.shape, out)], {"out_type": out.upper()})


@family("RANK", ranked=True)
def rank_(op: str, dtype: str, rank: int = 3) -> Case:
    return Case(op, [values(dtype, shape_of(rank))], [i32(rank)])


@family("EXPAND_DIMS", ranked=True, index_dtypes=("index", ["int32", "int64"]))
def expand_dims(op: str, dtype: str, rank: int = 2, index: str = "int32") -> Case:
    x = values(dtype, shape_of(rank), wide=True)
    return Case(op, [x, np.array(0, index)], [x[None]], {}, [1])


@family("SQUEEZE", ranked=True)
def squeeze(op: str, dtype: str, rank: int = 3) -> Case:
    need(rank > 0, "needs an axis")
    x = values(dtype, (1, *shape_of(rank)[1:]), wide=True)
    return Case(op, [x], [x[0]], {"squeeze_dims": [0]})


@family("WHERE", ranked=True)
def where(op: str, dtype: str, rank: int = 2) -> Case:
    x = values(dtype, shape_of(rank), 7, 0, 1)
    return Case(op, [x], [np.argwhere(x).astype(np.int64)])


@family("UNIQUE", output_dtypes=("out", ["int32", "int64"]))
def unique(op: str, dtype: str, out: str = "int32") -> Case:
    need(dtype != "bool", "no meaning")
    x = np.array([3, 1, 3, 2, 1], dtype)
    return Case(
        op, [x], [np.array([3, 1, 2], dtype), np.array([0, 1, 0, 2, 1], out)], {"idx_out_type": out.upper()}
    )


@family("SPARSE_TO_DENSE")
def sparse_to_dense(op: str, dtype: str) -> Case:
    updates, zero = values(dtype, (2,), 1, 1, 9), np.zeros((), dtype)
    out = np.zeros(5, dtype)
    out[[1, 3]] = updates
    return Case(op, [i32([1, 3]), i32([5]), updates, zero], [out], {}, [0, 1, 3])


@family("MATRIX_DIAG", ranked=True)
def matrix_diag(op: str, dtype: str, rank: int = 2) -> Case:
    need(rank > 0, "needs an axis")
    x = values(dtype, shape_of(rank))
    return Case(op, [x], [(x[..., None] * np.eye(x.shape[-1])).astype(dtype)])


@family("MATRIX_SET_DIAG")
def matrix_set_diag(op: str, dtype: str) -> Case:
    x, diagonal = values(dtype, (2, 3, 3), 1), values(dtype, (2, 3), 2)
    return Case(op, [x, diagonal], [np.where(np.eye(3, dtype=bool), diagonal[:, :, None], x).astype(dtype)])


@family("DYNAMIC_UPDATE_SLICE", ranked=True, index_dtypes=("index", ["int32", "int64"]))
def dynamic_update_slice(op: str, dtype: str, rank: int = 2, index: str = "int32") -> Case:
    x = values(dtype, shape_of(rank), 1, wide=True)
    update = values(dtype, (1,) * rank, 2, wide=True)
    out = np.array(x)
    start = [min(1, side - 1) for side in x.shape]
    out[tuple(start)] = update.reshape(())
    return Case(op, [x, update, np.array(start, index)], [out])


@family(
    "SEGMENT_SUM",
    "UNSORTED_SEGMENT_SUM",
    "UNSORTED_SEGMENT_PROD",
    "UNSORTED_SEGMENT_MAX",
    "UNSORTED_SEGMENT_MIN",
    ranked=True,
)
def segment(op: str, dtype: str, rank: int = 2) -> Case:
    need(dtype != "bool" and rank > 0, "no meaning")
    x = values(dtype, (4, *shape_of(rank)[1:]), 1, -3, 3)
    ids = [0, 0, 1, 1]
    combine: Any = {"SUM": np.sum, "PROD": np.prod, "MAX": np.max, "MIN": np.min}[op.rsplit("_", 1)[1]]
    out = np.stack([combine(x[:2], axis=0), combine(x[2:], axis=0)]).astype(dtype)
    inputs = [x, i32(ids)] if op == "SEGMENT_SUM" else [x, i32(ids), i32(2)]
    return Case(op, inputs, [out], {}, [2] if len(inputs) == 3 else [])


@family("SPACE_TO_DEPTH", "DEPTH_TO_SPACE")
def space_depth(op: str, dtype: str) -> Case:
    small = values(dtype, (1, 2, 3, 8), wide=True)
    large = small.reshape(1, 2, 3, 2, 2, 2).transpose(0, 1, 3, 2, 4, 5).reshape(1, 4, 6, 2)
    pair = [large, small] if op == "SPACE_TO_DEPTH" else [small, large]
    return Case(op, pair[:1], pair[1:], {"block_size": 2})


@family("SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND")
def space_batch(op: str, dtype: str) -> Case:
    large = values(dtype, (1, 4, 6, 2), wide=True)
    small = large.reshape(1, 2, 2, 3, 2, 2).transpose(2, 4, 0, 1, 3, 5).reshape(4, 2, 3, 2)
    pair = [large, small] if op == "SPACE_TO_BATCH_ND" else [small, large]
    return Case(op, [pair[0], i32([2, 2]), i32([[0, 0], [0, 0]])], pair[1:], {}, [1, 2])


@family("EMBEDDING_LOOKUP")
def embedding_lookup(op: str, dtype: str) -> Case:
    table = values(dtype, (4, 3), wide=True)
    return Case(op, [i32([2, 0, 3]), table], [table[[2, 0, 3]]], {}, [1])


@family("DILATE", ranked=True)
def dilate(op: str, dtype: str, rank: int = 2) -> Case:
    need(rank > 0, "nothing to dilate")
    x = values(dtype, shape_of(rank), wide=True)
    out = np.full([2 * side - 1 for side in x.shape], 1 if dtype == "bool" else 7).astype(dtype)
    out[tuple(slice(None, None, 2) for _ in range(rank))] = x
    return Case(
        op, [x, i32([2] * rank), np.array([7 if dtype != "bool" else 1]).astype(dtype)], [out], {}, [1, 2]
    )


@family("STABLEHLO_PAD", ranked=True)
def stablehlo_pad(op: str, dtype: str, rank: int = 2) -> Case:
    need(rank > 0, "nothing to pad")
    x = values(dtype, shape_of(rank), wide=True)
    value = np.array(1).astype(dtype)
    out = np.full([2 * side + 1 for side in x.shape], value)
    out[tuple(slice(1, -1, 2) for _ in range(rank))] = x
    attrs = {"edge_padding_low": [1] * rank, "edge_padding_high": [1] * rank, "interior_padding": [1] * rank}
    return Case(op, [x, value], [out], attrs)


@family("STABLEHLO_GATHER")
def stablehlo_gather(op: str, dtype: str) -> Case:
    x = values(dtype, (4, 3), wide=True)
    attrs = {
        "offset_dims": [1],
        "collapsed_slice_dims": [0],
        "start_index_map": [0],
        "index_vector_dim": 1,
        "slice_sizes": [1, 3],
    }
    return Case(op, [x, i32([[2], [0]])], [x[[2, 0]]], attrs)


@family(
    "STABLEHLO_SCATTER",
    update=(
        "update",
        ["STABLEHLO_ADD", "STABLEHLO_MULTIPLY", "STABLEHLO_MAXIMUM", "STABLEHLO_MINIMUM", "ADD", "MAXIMUM"],
    ),
    index_dtypes=("index", ["int32", "int64"]),
)
def stablehlo_scatter(op: str, dtype: str, update: str = "STABLEHLO_ADD", index: str = "int32") -> Case:
    need(dtype != "bool", "no meaning")
    x, updates = values(dtype, (4, 3), 1), values(dtype, (2, 3), 2)
    out = x.copy()
    for row, add in zip((2, 0), updates, strict=True):
        out[row] = BINARY[update][0](out[row], add)
    attrs = {
        "update_window_dims": [1],
        "inserted_window_dims": [0],
        "scatter_dims_to_operand_dims": [0],
        "index_vector_dim": 1,
        "update_computation_subgraph_index": 1,
    }
    scalar = np.zeros((), dtype)
    body = Case(update, [scalar, scalar], [scalar])
    return Case(op, [x, np.array([[2], [0]], index), updates], [out], attrs, body=body)


@family(
    "STABLEHLO_REDUCE_WINDOW",
    update=("update", ["STABLEHLO_ADD", "STABLEHLO_MULTIPLY", "STABLEHLO_MAXIMUM", "STABLEHLO_MINIMUM"]),
)
def stablehlo_reduce_window(op: str, dtype: str, update: str = "STABLEHLO_MAXIMUM") -> Case:
    need(dtype != "bool", "no meaning")
    x = values(dtype, (4, 6), 1, 0, 3)
    blocks = x.reshape(2, 2, 3, 2).transpose(0, 2, 1, 3).reshape(2, 3, 4)
    combine: Any = {"ADD": np.sum, "MULTIPLY": np.prod, "MAXIMUM": np.max, "MINIMUM": np.min}[
        update.split("_")[1]
    ]
    init = np.array({"ADD": 0, "MULTIPLY": 1, "MAXIMUM": 0, "MINIMUM": 100}[update.split("_")[1]]).astype(
        dtype
    )
    attrs = {
        "window_dimensions": [2, 2],
        "window_strides": [2, 2],
        "base_dilations": [1, 1],
        "window_dilations": [1, 1],
        "padding": [0, 0, 0, 0],
        "body_subgraph_index": 1,
    }
    scalar = np.zeros((), dtype)
    return Case(
        op,
        [x, init],
        [combine(blocks, axis=-1).astype(dtype)],
        attrs,
        [],
        body=Case(update, [scalar, scalar], [scalar]),
    )


@family("REDUCE_WINDOW", function=("function", ["ADD", "MUL", "MINIMUM", "MAXIMUM", "ALL", "ANY"]))
def reduce_window(op: str, dtype: str, function: str = "MAXIMUM") -> Case:
    need(dtype != "bool" or function in ("ALL", "ANY"), "no meaning")
    dtype = "bool" if function in ("ALL", "ANY") else dtype
    x = values(dtype, (4, 6), 1, 0, 3)
    blocks = x.reshape(2, 2, 3, 2).transpose(0, 2, 1, 3).reshape(2, 3, 4)
    combine: Any = {
        "ADD": np.sum,
        "MUL": np.prod,
        "MAXIMUM": np.max,
        "MINIMUM": np.min,
        "ALL": np.all,
        "ANY": np.any,
    }[function]
    init = np.array({"ADD": 0, "MUL": 1, "MAXIMUM": 0, "MINIMUM": 100, "ALL": 1, "ANY": 0}[function]).astype(
        dtype
    )
    window, strides, dilations = (np.array(v, np.int64) for v in ([2, 2], [2, 2], [1, 1]))
    out = combine(blocks, axis=-1).astype(dtype)
    return Case(op, [x, init, window, strides, dilations], [out], {"reduce_function": function}, [2, 3, 4])


# --- linear algebra and image -----------------------------------------------------------------


@family("FULLY_CONNECTED")
def fully_connected(op: str, dtype: str) -> Case:
    need(dtype != "bool", "no meaning")
    x, w, b = values(dtype, (2, 4), 1), values(dtype, (3, 4), 2), values(dtype, (3,), 3)
    return Case(op, [x, w, b], [x @ w.T + b], {}, [1, 2])


@family("BATCH_MATMUL", ranked=True)
def batch_matmul(op: str, dtype: str, rank: int = 3) -> Case:
    need(dtype != "bool" and rank > 1, "no meaning")
    batch = shape_of(rank - 2)
    x, y = values(dtype, (*batch, 2, 4), 1), values(dtype, (*batch, 4, 3), 2)
    return Case(op, [x, y], [x @ y], {})


@family("CONV_2D", "DEPTHWISE_CONV_2D")
def conv_2d(op: str, dtype: str) -> Case:
    need(dtype != "bool", "no meaning")
    channels = 4
    x = values(dtype, (1, 5, 5, channels), 1)
    w = values(dtype, (3, 1, 1, channels) if op == "CONV_2D" else (1, 1, 1, channels), 2)
    b = values(dtype, w.shape[:1] if op == "CONV_2D" else (channels,), 3)
    out = x @ w.reshape(3, channels).T + b if op == "CONV_2D" else x * w + b
    return Case(op, [x, w, b], [out.astype(dtype)], {"padding": "VALID"}, [1, 2])


@family("CONV_3D")
def conv_3d(op: str, dtype: str) -> Case:
    need(dtype != "bool", "no meaning")
    x, w, b = values(dtype, (1, 2, 3, 3, 4), 1), values(dtype, (1, 1, 1, 4, 3), 2), values(dtype, (3,), 3)
    return Case(op, [x, w, b], [(x @ w[0, 0, 0] + b).astype(dtype)], {"padding": "VALID"}, [1, 2])


@family("TRANSPOSE_CONV")
def transpose_conv(op: str, dtype: str) -> Case:
    need(dtype != "bool", "no meaning")
    x, w, b = values(dtype, (1, 3, 3, 4), 1), values(dtype, (2, 1, 1, 4), 2), values(dtype, (2,), 3)
    out = x @ w.reshape(2, 4).T + b
    return Case(op, [i32(out.shape), w, x, b], [out.astype(dtype)], {"padding": "VALID"}, [0, 1, 3])


@family("CONV_3D_TRANSPOSE")
def conv_3d_transpose(op: str, dtype: str) -> Case:
    need(dtype != "bool", "no meaning")
    x, w, b = values(dtype, (1, 2, 3, 3, 4), 1), values(dtype, (1, 1, 1, 2, 4), 2), values(dtype, (2,), 3)
    out = x @ w[0, 0, 0].T + b
    return Case(op, [i32(out.shape), w, x, b], [out.astype(dtype)], {"padding": "VALID"}, [0, 1, 3])


@family("MAX_POOL_2D", "AVERAGE_POOL_2D", "L2_POOL_2D")
def pool_2d(op: str, dtype: str) -> Case:
    need(dtype != "bool", "no meaning")
    x = values(dtype, (1, 4, 6, 2), 1, 0, 9)
    blocks = x.reshape(1, 2, 2, 3, 2, 2)
    functions: dict[str, Callable[[Any], Any]] = {
        "MAX_POOL_2D": lambda v: v.max((2, 4)),
        "AVERAGE_POOL_2D": lambda v: v.mean((2, 4)),
        "L2_POOL_2D": lambda v: np.sqrt((v * v).mean((2, 4))),
    }
    if op == "AVERAGE_POOL_2D" and kind_of(dtype) in "iu":
        blocks = np.broadcast_to(blocks[:, :, :1, :, :1], blocks.shape)
        x = blocks.reshape(x.shape).copy()
    attrs = {"padding": "VALID", "stride_h": 2, "stride_w": 2, "filter_height": 2, "filter_width": 2}
    return Case(op, [x], [functions[op](blocks).astype(dtype)], attrs)


@family("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR")
def resize(op: str, dtype: str) -> Case:
    need(dtype != "bool" or op == "RESIZE_NEAREST_NEIGHBOR", "no meaning")
    x = values(dtype, (1, 2, 3, 2), 1, 0, 9)
    if op == "RESIZE_BILINEAR":  # constant rows and columns: only the sizes matter to the answer
        x = np.broadcast_to(x[:, :1, :1], x.shape).copy()
    return Case(op, [x, i32([4, 6])], [x.repeat(2, 1).repeat(2, 2)], {}, [1])


@family("LOCAL_RESPONSE_NORMALIZATION")
def local_response_normalization(op: str, dtype: str) -> Case:
    need(kind_of(dtype) == "f", "floating point only")
    x = values(dtype, (1, 2, 2, 4), 1)
    square = np.pad(x * x, [(0, 0)] * 3 + [(1, 1)])
    total = square[..., :-2] + square[..., 1:-1] + square[..., 2:]
    out = x * (1 + 0.5 * total) ** -0.75
    return Case(op, [x], [out.astype(dtype)], {"radius": 1, "bias": 1.0, "alpha": 0.5, "beta": 0.75})


@family("DEQUANTIZE")
def dequantize(op: str, dtype: str) -> Case:
    need(dtype == "float16", "integers need quantisation parameters")
    x = values(dtype, (2, 3))
    return Case(op, [x], [x.astype(np.float32)])
