"""Reductions, arg-max and cumulative ops: every form of axes, sets with nothing in them, high ranks."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
import pytest

from graphrewrite import ir
from graphrewrite.numeric.reference import create_session
from op_check import check_op, lowered, single

RNG = np.random.default_rng(14)
X = RNG.uniform(0.5, 2.0, (2, 3, 4, 5)).astype(np.float32)
PLAIN = ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd")
DERIVED = ("ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp")


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("axes", [[-1], [3, 1, -4], [0, 1, 2, 3]])
@pytest.mark.parametrize("op_type", [*PLAIN, *DERIVED])
def test_constant_axes(op_type: str, axes: list[int], keepdims: int) -> None:
    operand = np.array(axes, np.int64)
    model = single(op_type, {"x": X, "axes": operand}, constants={"axes": operand}, keepdims=keepdims)
    check_op(model, {"x": X})


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("op_type", ["ReduceSum", "ReduceMax", "ReduceL2", "ReduceLogSumExp"])
def test_axes_at_run_time(op_type: str, keepdims: int) -> None:
    feeds = {"x": X, "axes": np.array([1, -1], np.int64)}
    check_op(single(op_type, feeds, keepdims=keepdims), feeds)


@pytest.mark.parametrize("noop", [0, 1])
@pytest.mark.parametrize("empty", [True, False])
@pytest.mark.parametrize("op_type", ["ReduceSum", "ReduceL1", "ReduceLogSum", "ReduceSumSquare"])
def test_no_axes(op_type: str, empty: bool, noop: int) -> None:
    axes = np.zeros(0, np.int64)
    inputs = {"x": X, "axes": axes} if empty else {"x": X}
    model = single(op_type, inputs, constants={"axes": axes} if empty else None, noop_with_empty_axes=noop)
    if op_type == "ReduceSum" and noop:
        assert [node.op_type for node in lowered(model).graph] != []
    else:
        check_op(model, {"x": X})


@pytest.mark.parametrize("op_type", [*PLAIN, *DERIVED])
def test_scalar(op_type: str) -> None:
    x = np.array(2.5, np.float32)
    if op_type in PLAIN:
        model = single(op_type, {"x": x})
        assert lowered(model).graph.outputs[0].shape == ()
    else:
        check_op(single(op_type, {"x": x}), {"x": x})


@pytest.mark.parametrize("at_run_time", [False, True])
@pytest.mark.parametrize(
    "op_type", ["ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceLogSumExp", "ReduceLogSum"]
)
def test_nothing_to_reduce(op_type: str, at_run_time: bool) -> None:
    x, axes = np.zeros((2, 0, 4), np.float32), np.array([1], np.int64)
    inputs = {"x": x, "axes": axes}
    model = single(op_type, inputs, constants=None if at_run_time else {"axes": axes})
    check_op(model, inputs if at_run_time else {"x": x})


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize("op_type", [*PLAIN, "ReduceL1", "ReduceSumSquare"])
def test_integers(op_type: str, dtype: type) -> None:
    x, axes = np.array([[-7, 2, 4], [-8, 1, 3]], dtype), np.array([1], np.int64)
    check_op(single(op_type, {"x": x, "axes": axes}, constants={"axes": axes}), {"x": x})


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.bool_])
@pytest.mark.parametrize("op_type", ["ReduceMax", "ReduceMin"])
def test_extremes_of_small_types(op_type: str, dtype: type) -> None:
    x, axes = np.array([[0, 1, 1], [0, 0, 0], [1, 1, 1]]).astype(dtype), np.array([1], np.int64)
    check_op(single(op_type, {"x": x, "axes": axes}, constants={"axes": axes}), {"x": x})


@pytest.mark.parametrize("keepdims", [0, 1])
def test_more_dimensions_than_the_kernels_take(keepdims: int) -> None:
    x, axes = RNG.standard_normal((2, 1, 2, 3, 1, 2, 2)).astype(np.float32), np.array([0, 3, 4], np.int64)
    inputs = {"x": x, "axes": axes}
    check_op(single("ReduceSum", inputs, constants={"axes": axes}, keepdims=keepdims), {"x": x})


def test_log_sum_exp_of_large_values() -> None:
    x = np.array([[1000.0, 1000.5, 999.0], [-1000.0, -1001.0, -2000.0]], np.float32)
    axes = np.array([1], np.int64)
    check_op(single("ReduceLogSumExp", {"x": x, "axes": axes}, constants={"axes": axes}), {"x": x})


@pytest.mark.parametrize("op_type", ["ReduceL2", "ReduceLogSum"])
def test_roots_and_logarithms_of_integers(op_type: str) -> None:
    x = RNG.integers(1, 100, (3, 7), dtype=np.int32)
    check_op(single(op_type, {"x": x}, keepdims=0), {"x": x})


def test_dynamic_dimensions() -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 26]> g (float[n, c] x) => (float[n, 1] y) '
        "{ axes = Constant<value = int64[1] {1}>() y = ReduceLogSumExp(x, axes) }"
    )
    check_op(model, {"x": X[0, 0]})


@pytest.mark.parametrize("last", [0, 1])
@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("op_type", ["ArgMax", "ArgMin"])
def test_arg(op_type: str, axis: int, keepdims: int, last: int) -> None:
    """Ties go to the first, or with select_last_index to the last."""
    x = RNG.integers(0, 3, (3, 4, 5)).astype(np.float32)
    check_op(single(op_type, {"x": x}, axis=axis, keepdims=keepdims, select_last_index=last), {"x": x})


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.int64, np.float16])
def test_arg_of_other_types(dtype: type) -> None:
    x = np.array([[3, 7, 7], [9, 1, 9]], dtype)
    for op_type in ("ArgMax", "ArgMin"):
        check_op(single(op_type, {"x": x}, axis=1), {"x": x})


def test_arg_of_wide_int64() -> None:
    """Values that no float32 and no int32 tells apart."""
    x = np.array([[2**60, 2**60 + 1, 2**60 - 1], [-(2**60), -(2**60) - 1, 0]], np.int64)
    check_op(single("ArgMax", {"x": x}, axis=1, keepdims=0), {"x": x})


@pytest.mark.parametrize("at_run_time", [False, True])
@pytest.mark.parametrize("reverse", [0, 1])
@pytest.mark.parametrize("exclusive", [0, 1])
def test_cumulative_sum(exclusive: int, reverse: int, at_run_time: bool) -> None:
    inputs = {"x": X, "axis": np.array(-2, np.int64)}
    constants = None if at_run_time else {"axis": inputs["axis"]}
    model = single("CumSum", inputs, constants=constants, exclusive=exclusive, reverse=reverse)
    check_op(model, inputs if at_run_time else {"x": X})


@pytest.mark.parametrize("at_run_time", [False, True])
@pytest.mark.parametrize("reverse", [0, 1])
@pytest.mark.parametrize("exclusive", [0, 1])
def test_cumulative_product(exclusive: int, reverse: int, at_run_time: bool) -> None:
    """ONNX Runtime does not know it."""
    axis = np.array(1, np.int64)
    inputs = {"x": X, "axis": axis}
    model = single(
        "CumProd",
        inputs,
        constants=None if at_run_time else {"axis": axis},
        exclusive=exclusive,
        reverse=reverse,
    )
    feeds = inputs if at_run_time else {"x": X}
    found = create_session(ir.to_runnable_proto(lowered(model))).run(None, feeds)[0]
    turned = X[:, ::-1] if reverse else X
    if exclusive:
        turned = np.concatenate([np.ones_like(turned[:, :1]), turned[:, :-1]], axis=1)
    wanted = np.cumprod(turned, axis=1)
    np.testing.assert_allclose(found, wanted[:, ::-1] if reverse else wanted, rtol=1e-6)
