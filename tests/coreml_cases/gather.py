"""Picking elements by index."""

from __future__ import annotations

import numpy as np

from coreml_cases.case import Case, floats, ints

CASES = [
    Case("gather", [floats(4, 5, 6), np.asarray([3, 0, -1], np.int32)], {"axis": 1}),
    Case("gather", [ints(4, 5), np.asarray([[1, 2], [0, -4]], np.int32)]),
    Case("gather", [floats(4, 5), np.asarray(2, np.int32)], {"axis": -1}),
]
