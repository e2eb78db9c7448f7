"""Matrix products, convolutions, pools and resizing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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
