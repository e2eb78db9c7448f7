"""Operators that reduce or search along axes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tools.kernel_cases.case import (
    Case,
    family,
    i32,
    kind_of,
    need,
    shape_of,
    values,
)

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
