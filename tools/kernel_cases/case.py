"""What a case is, how families of them are registered, and the operands that they share."""

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
