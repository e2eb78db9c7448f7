"""Operators that move elements: shapes, slices, gathers, scatters."""

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
