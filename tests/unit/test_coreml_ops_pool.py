"""Pools for Core ML: what the conformance suite leaves out."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("coremltools")

from coreml_check import check_coreml

from graphrewrite.errors import NotExpressible

rng = np.random.default_rng(3)


def _model(op: str, shape: str, attributes: str, outputs: str = "y", result: str = "float y") -> str:
    return f"""<ir_version: 10, opset_import: ["" : 21]> g (float[{shape}] x) => ({result}) {{
        {outputs} = {op} <{attributes}> (x)
    }}"""


def _floats(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def _ops(graph: object) -> list[str]:
    return [node.op_type for node in graph.graph]  # type: ignore[attr-defined]


@pytest.mark.parametrize("include", [0, 1])
@pytest.mark.parametrize(
    ("shape", "window"),
    [
        ("1, 2, 9, 8", "kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]"),
        ("1, 2, 9, 8", "kernel_shape = [3, 2], strides = [2, 2], pads = [0, 1, 2, 0], ceil_mode = 1"),
        ("2, 2, 16, 12", "kernel_shape = [7, 7], strides = [4, 4], pads = [3, 3, 3, 3]"),
        ("1, 3, 11", "kernel_shape = [5], strides = [3], pads = [2, 2], ceil_mode = 1"),
        ("1, 3, 12, 12", "kernel_shape = [3, 3], dilations = [2, 3], pads = [1, 2, 2, 0]"),
        ("1, 2, 6, 7, 8", "kernel_shape = [2, 3, 4], strides = [2, 1, 2], pads = [1, 1, 0, 0, 1, 2]"),
        ("1, 2, 8, 9", 'kernel_shape = [4, 4], strides = [3, 2], auto_pad = "SAME_LOWER"'),
    ],
)
def test_average_counts(shape: str, window: str, include: int) -> None:
    model = _model("AveragePool", shape, f"{window}, count_include_pad = {include}")
    check_coreml(model, {"x": _floats(*(int(item) for item in shape.split(",")))})


def test_small_padded_average_is_one_op() -> None:
    window = "kernel_shape = [3, 3], pads = [1, 1, 1, 1]"
    graph = check_coreml(_model("AveragePool", "1, 2, 8, 8", window), {"x": _floats(1, 2, 8, 8)})
    assert _ops(graph) == ["avg_pool"]


@pytest.mark.parametrize("size", [9, 12])
@pytest.mark.parametrize(
    "window",
    [
        "kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]",
        "kernel_shape = [5, 5], strides = [2, 2], pads = [2, 2, 2, 2]",
        'kernel_shape = [3, 3], strides = [2, 2], auto_pad = "SAME_LOWER"',
        'kernel_shape = [3, 5], strides = [1, 2], auto_pad = "SAME_UPPER"',
    ],
)
def test_pools_of_run_time_sizes(window: str, size: int) -> None:
    for op in ("AveragePool", "MaxPool"):
        model = _model(op, "N, 3, H, W", window)
        check_coreml(model, {"x": _floats(2, 3, size, size + 1)}, deployment="iOS16")


def test_same_lower_of_run_time_sizes_needs_ios16() -> None:
    window = 'kernel_shape = [3], strides = [2], auto_pad = "SAME_LOWER"'
    with pytest.raises(NotExpressible, match="iOS16"):
        check_coreml(_model("MaxPool", "1, 3, L", window), {"x": _floats(1, 3, 9)})


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize(
    "window", ["kernel_shape = [2, 3], strides = [2, 1], pads = [0, 1, 1, 1]", "kernel_shape = [2, 2]"]
)
def test_indices_of_maxima(window: str, order: int) -> None:
    """Of equal elements the first counts."""
    model = _model(
        "MaxPool",
        "2, 3, 5, 6",
        f"{window}, storage_order = {order}",
        "y, i",
        "float[2, 3, a, b] y, int64[2, 3, a, b] i",
    )
    check_coreml(model, {"x": rng.integers(0, 3, (2, 3, 5, 6)).astype(np.float32)})


@pytest.mark.parametrize("shape", ["1, 2, 9, 8", "1, 2, H, W"])
def test_dilated_maximum(shape: str) -> None:
    window = "kernel_shape = [3, 2], strides = [2, 1], dilations = [2, 3], pads = [1, 0, 2, 1]"
    check_coreml(_model("MaxPool", shape, window), {"x": _floats(1, 2, 9, 8)})


@pytest.mark.parametrize("p", [1, 2, 3])
def test_norms_of_windows(p: int) -> None:
    x = _floats(2, 3, 7, 6)
    window = f"kernel_shape = [3, 2], strides = [2, 1], pads = [1, 0, 1, 1], p = {p}"
    check_coreml(_model("LpPool", "2, 3, 7, 6", window), {"x": x})
    check_coreml(_model("GlobalLpPool", "2, 3, 7, 6", f"p = {p}"), {"x": x})
