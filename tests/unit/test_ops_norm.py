"""Normalisations, with constant and run-time parameters, against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest

from op_check import check_op, single

RNG = np.random.default_rng(11)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("shape", [(4, 3), (2, 3, 5), (2, 3, 4, 5), (2, 3, 2, 3, 4)])
@pytest.mark.parametrize("fixed", [True, False])
def test_batch_normalization(shape: tuple[int, ...], fixed: bool) -> None:
    feeds = {
        "x": normal(*shape),
        "scale": normal(3),
        "bias": normal(3),
        "mean": normal(3),
        "variance": np.abs(normal(3)),
    }
    constants = {name: array for name, array in feeds.items() if name != "x"} if fixed else {}
    model = single("BatchNormalization", feeds, constants=constants, epsilon=1e-3)
    check_op(model, {name: array for name, array in feeds.items() if name not in constants})


@pytest.mark.parametrize("shape", [(2, 3, 5), (2, 3, 4, 5), (1, 3, 2, 3, 4)])
def test_instance_normalization(shape: tuple[int, ...]) -> None:
    feeds = {"x": normal(*shape), "scale": normal(3), "bias": normal(3)}
    check_op(single("InstanceNormalization", feeds, epsilon=1e-4), feeds)


@pytest.mark.parametrize("axis", [-1, 1, -2])
@pytest.mark.parametrize("bias", [True, False])
def test_layer_normalization(axis: int, bias: bool) -> None:
    x = normal(2, 3, 4)
    shape = x.shape[axis:]
    feeds = {"x": x, "scale": normal(*shape), **({"bias": normal(*shape)} if bias else {})}
    check_op(single("LayerNormalization", feeds, axis=axis, epsilon=1e-3), feeds)


@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize("shape", [(2, 6, 4), (2, 6, 3, 5)])
def test_group_normalization(groups: int, shape: tuple[int, ...]) -> None:
    feeds = {"x": normal(*shape), "scale": normal(6), "bias": normal(6)}
    check_op(single("GroupNormalization", feeds, num_groups=groups), feeds)


def test_rms_normalization() -> None:
    feeds = {"x": normal(2, 3, 8), "scale": normal(8)}
    check_op(single("RMSNormalization", feeds, axis=-1), feeds)


@pytest.mark.parametrize("size", [1, 3, 5])
def test_lrn(size: int) -> None:
    feeds = {"x": normal(2, 6, 3, 4)}
    check_op(single("LRN", feeds, size=size, alpha=0.3, beta=0.6, bias=1.5), feeds)
