"""Pools: borders, ceil_mode, dilations, Indices, ranks and unknown sizes against ONNX Runtime."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from graphrewrite.errors import NotExpressible
from op_check import check_op, lowered, single


@pytest.mark.parametrize("op_type", ["MaxPool", "AveragePool", "LpPool"])
@pytest.mark.parametrize("seed", range(30))
def test_pool(op_type: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.choice([1, 2, 2, 3]))
    kernel = [int(n) for n in rng.integers(1, 5, count)]
    strides = [int(n) for n in rng.integers(1, 4, count)]
    attributes: dict[str, Any] = {"kernel_shape": kernel, "strides": strides}
    pads = rng.random() < 0.7
    if pads:
        attributes["pads"] = [int(rng.integers(0, n)) for n in [*kernel, *kernel]]
    else:
        attributes["auto_pad"] = str(rng.choice(["SAME_UPPER", "SAME_LOWER", "VALID"]))
        attributes["strides"] = [min(s, k) for s, k in zip(strides, kernel)]
    if pads and rng.random() < 0.4:
        attributes["dilations"] = [int(n) for n in rng.integers(1, 3, count)]
    outputs = 1
    if op_type == "AveragePool":
        attributes["count_include_pad"] = int(rng.integers(0, 2))
    if op_type == "LpPool":
        attributes["p"] = int(rng.integers(1, 4))
    if op_type == "MaxPool" and rng.random() < 0.4:
        outputs, attributes["storage_order"] = 2, int(rng.integers(0, 2))
    free = [axis for axis in (0, *range(2, count + 2)) if outputs == 1 and rng.random() < 0.2]
    if not free:
        attributes["ceil_mode"] = int(rng.integers(0, 2))
    x = rng.standard_normal([2, 3, *(int(n) for n in rng.integers(9, 14, count))]).astype(np.float32)
    if op_type == "MaxPool" and rng.random() < 0.3:
        x = np.round(x * 20).astype(np.int8)
    model = single(op_type, {"x": x}, outputs=outputs, **attributes)
    for axis in free:
        dim = model.graph.input[0].type.tensor_type.shape.dim[axis]
        dim.Clear()
        dim.dim_param = f"d{axis}"
    check_op(model, {"x": x})


def test_same_pads_need_no_pad_operator() -> None:
    x = np.ones((1, 3, 8, 8), np.float32)
    for op_type in ("MaxPool", "AveragePool"):
        graph = lowered(single(op_type, {"x": x}, kernel_shape=[3, 3], strides=[1, 1], pads=[1, 1, 1, 1]))
        found = Counter(node.op_type for node in graph.graph)
        assert found["PAD"] == found["PADV2"] == found["MUL"] == 0


def test_volume_is_two_pools() -> None:
    x = np.random.default_rng(0).standard_normal((1, 3, 6, 6, 6)).astype(np.float32)
    graph = check_op(single("MaxPool", {"x": x}, kernel_shape=[2, 2, 2], strides=[2, 2, 2]), {"x": x})
    assert Counter(node.op_type for node in graph.graph)["MAX_POOL_2D"] == 2


def test_dilations_with_auto_pad_are_refused() -> None:
    x = np.ones((1, 1, 8, 8), np.float32)
    with pytest.raises(NotExpressible, match="dense one"):
        lowered(single("MaxPool", {"x": x}, kernel_shape=[2, 2], dilations=[2, 2], auto_pad="SAME_UPPER"))


@pytest.mark.parametrize("op_type", ["GlobalAveragePool", "GlobalMaxPool"])
@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 3, 4, 5), (2, 3, 2, 3, 4)])
def test_global_pool(op_type: str, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    check_op(single(op_type, {"x": x}), {"x": x})


@pytest.mark.parametrize("p", [1, 2, 3])
def test_global_lp_pool(p: int) -> None:
    x = np.random.default_rng(1).standard_normal((2, 3, 4, 5)).astype(np.float32)
    check_op(single("GlobalLpPool", {"x": x}, opset=21, p=p), {"x": x})


@pytest.mark.parametrize("kernel", [2, 3])
def test_max_unpool(kernel: int) -> None:
    """Overlapping windows (kernel above stride) name one place twice."""
    x = np.random.default_rng(2).standard_normal((1, 2, 7, 7)).astype(np.float32)
    size = (7 - kernel) // 2 + 1
    values, places = np.zeros((1, 2, size, size), np.float32), np.zeros((1, 2, size, size), np.int64)
    whole = (size - 1) * 2 + kernel
    for channel, row, column in np.ndindex(2, size, size):
        window = x[0, channel, row * 2 : row * 2 + kernel, column * 2 : column * 2 + kernel]
        at = np.unravel_index(window.argmax(), window.shape)
        values[0, channel, row, column] = window.max()
        flat = channel * whole * whole + (row * 2 + at[0]) * whole + column * 2 + at[1]
        places[0, channel, row, column] = flat
    feeds = {"x": values, "i": places}
    check_op(single("MaxUnpool", feeds, kernel_shape=[kernel, kernel], strides=[2, 2]), feeds)
