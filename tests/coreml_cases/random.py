"""Random numbers, in distributions that leave no choice."""

from __future__ import annotations

import numpy as np

from coreml_cases.case import Case

_SHAPE = np.asarray([2, 3], np.int32)
_SURE = np.asarray([[[0, -np.inf, -np.inf], [-np.inf, -np.inf, 0]]], np.float32)

CASES = [
    Case(
        "random_normal",
        [_SHAPE],
        {"mean": 1.5, "stddev": 0.0},
        lambda shape: np.full(tuple(shape), 1.5, np.float32),
    ),
    Case(
        "random_uniform",
        [_SHAPE],
        {"low": 0.5, "high": 0.5},
        lambda shape: np.full(tuple(shape), 0.5, np.float32),
    ),
    Case(
        "random_categorical",
        [_SURE],
        {"size": 4},
        lambda x: np.asarray([[[0] * 4, [2] * 4]], np.float32),
    ),
    Case(
        "random_categorical",
        [np.exp(_SURE)],
        {"mode": "probs"},
        lambda x: np.asarray([[[0], [2]]], np.float32),
    ),
]
