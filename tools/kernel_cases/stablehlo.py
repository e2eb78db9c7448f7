"""Operators that came with StableHLO: dilation, padding, gathers and scatters by dimension numbers, windows with a function."""

from __future__ import annotations

from typing import Any

import numpy as np

from tools.kernel_cases.case import (
    Case,
    family,
    i32,
    need,
    shape_of,
    values,
)
from tools.kernel_cases.elementwise import BINARY


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
