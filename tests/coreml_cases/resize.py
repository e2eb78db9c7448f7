"""Resizing."""

from __future__ import annotations

import numpy as np

from coreml_cases.case import Case, floats

CASES = [
    Case(
        "upsample_nearest_neighbor",
        [floats(1, 2, 3, 4)],
        {"scale_factor_height": 2, "scale_factor_width": 3},
        lambda x: np.repeat(np.repeat(x, 2, 2), 3, 3),
    ),
]
