"""Softmax, LogSoftmax and Hardmax along every axis; normalisations of one tensor."""

from __future__ import annotations

import numpy as np
import pytest

from op_check import check_op, single

RNG = np.random.default_rng(15)


@pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 3, 4, 5), (1, 2, 2, 3, 2, 2, 2)])
@pytest.mark.parametrize("op_type", ["Softmax", "LogSoftmax", "Hardmax"])
def test_every_axis(op_type: str, shape: tuple[int, ...]) -> None:
    x = (RNG.standard_normal(shape) * 5).astype(np.float32)
    for axis in {0, 1 % len(shape), -1}:
        check_op(single(op_type, {"x": x}, axis=axis), {"x": x}, rtol=1e-5)


@pytest.mark.parametrize("op_type", ["Softmax", "LogSoftmax"])
def test_large_values(op_type: str) -> None:
    x = np.array([[1e4, 1e4 - 1, -1e4], [0, 80, -80]], np.float32)
    check_op(single(op_type, {"x": x}), {"x": x})


def test_float16_is_as_exact_as_float16_can_be() -> None:
    x = (RNG.standard_normal((16, 50)) * 2).astype(np.float16)
    check_op(single("Softmax", {"x": x}), {"x": x}, rtol=2e-3, atol=1e-7)


def test_hardmax_takes_the_first_of_equals() -> None:
    x = np.array([[3, 3, 3, 1], [0, 1, 2, 2]], np.float32)
    check_op(single("Hardmax", {"x": x}), {"x": x})


@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_lp_normalization(axis: int, p: int) -> None:
    x = RNG.standard_normal((3, 4, 5)).astype(np.float32)
    x[:, 1], x[2] = 0, 0
    check_op(single("LpNormalization", {"x": x}, axis=axis, p=p), {"x": x})


@pytest.mark.parametrize("axes", [None, [1, 2]])
def test_mean_variance_normalization(axes: list[int] | None) -> None:
    x = (RNG.standard_normal((2, 3, 8, 8)) + 5).astype(np.float32)
    attributes = {} if axes is None else {"axes": axes}
    check_op(single("MeanVarianceNormalization", {"x": x}, **attributes), {"x": x})
