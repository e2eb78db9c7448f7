"""Normalisations, against their formulas."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from coreml_cases.case import Array, Case, floats


def by_channel(value: Array, rank: int) -> Array:
    """[C] as [C, 1, ...]."""
    return value.reshape(-1, *[1] * (rank - 2))


def standardised(x: Array, axes: Sequence[int], epsilon: float) -> Array:
    """Zero mean and unit variance over `axes`."""
    mean, variance = x.mean(tuple(axes), keepdims=True), x.var(tuple(axes), keepdims=True)
    return np.asarray((x - mean) / np.sqrt(variance + epsilon), np.float32)


def _batch(
    x: Array, mean: Array, variance: Array, gamma: Array | None = None, beta: Array | None = None
) -> Array:
    y = (x - by_channel(mean, x.ndim)) / np.sqrt(by_channel(variance, x.ndim) + 1e-3)
    return y if gamma is None or beta is None else y * by_channel(gamma, x.ndim) + by_channel(beta, x.ndim)


def _instance(x: Array, gamma: Array | None = None, beta: Array | None = None) -> Array:
    y = standardised(x, range(2, x.ndim), 1e-3)
    return y if gamma is None or beta is None else y * by_channel(gamma, x.ndim) + by_channel(beta, x.ndim)


def _local(x: Array) -> Array:
    squares = np.pad(x * x, [(0, 0), (1, 1), *[(0, 0)] * (x.ndim - 2)])
    total = squares[:, :-2] + squares[:, 1:-1] + squares[:, 2:]
    return np.asarray(x / (2 + 0.5 / 3 * total) ** 0.6, np.float32)


_EPSILON = {"epsilon": 1e-3}
_VARIANCE = floats(3, low=0.1)

CASES = [
    Case("batch_norm", [floats(2, 3, 4, 5), floats(3), _VARIANCE], _EPSILON, _batch),
    Case("batch_norm", [floats(2, 3, 4), floats(3), _VARIANCE, floats(3), floats(3)], _EPSILON, _batch),
    Case("instance_norm", [floats(2, 3, 4, 5)], _EPSILON, _instance),
    Case("instance_norm", [floats(2, 3, 6), floats(3), floats(3)], _EPSILON, _instance),
    Case("layer_norm", [floats(2, 3, 4)], {"axes": [1, 2], "epsilon": 1e-3}),
    Case("layer_norm", [floats(2, 3, 4)], {}, lambda x: standardised(x, (0, 1, 2), 1e-5)),
    Case("layer_norm", [floats(2, 3, 4, 5), floats(3, 5), floats(3, 5)], {"axes": [1, -1]}, constant=[1, 2]),
    Case("l2_norm", [floats(2, 3, 4, 5)]),
    Case(
        "local_response_norm", [floats(1, 5, 2, 3)], {"size": 3, "alpha": 0.5, "beta": 0.6, "k": 2.0}, _local
    ),
    Case("local_response_norm", [floats(1, 5, 2)], {"size": 3, "alpha": 0.5, "beta": 0.6, "k": 2.0}, _local),
]
