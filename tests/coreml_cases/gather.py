"""Picking elements by index."""

from __future__ import annotations

import numpy as np

from coreml_cases.case import Case, bools, floats, ints

CASES = [
    Case("gather", [floats(4, 5, 6), np.asarray([3, 0, -1], np.int32)], {"axis": 1}),
    Case("gather", [ints(4, 5), np.asarray([[1, 2], [0, -4]], np.int32)]),
    Case("gather", [floats(4, 5), np.asarray(2, np.int32)], {"axis": -1}),
    Case("gather_along_axis", [floats(3, 4), np.asarray([[2, 0, 1, 1]], np.int32)]),
    Case("gather_along_axis", [ints(2, 5), np.asarray([[4, 0, -1], [1, 1, 2]], np.int32)], {"axis": -1}),
    Case(
        "gather_nd",
        [floats(3, 4, 2), np.asarray([[2, 3], [0, 1]], np.int32)],
        expected=lambda x, indices: x[tuple(indices.T)],
    ),
    Case(
        "gather_nd",
        [floats(2, 4, 3), np.asarray([[[3], [1]], [[0], [2]]], np.int32)],
        {"batch_dims": 1},
        lambda x, indices: np.stack([row[index[:, 0]] for row, index in zip(x, indices, strict=True)]),
        target="iOS16",
    ),
    Case("non_zero", [ints(3, 4, low=0, high=2)]),
    Case("non_zero", [bools(5)]),
]
