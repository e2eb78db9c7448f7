"""One tiny test case per TFLite operator, dtype and rank, with numpy as the oracle.

`CASES[op]` is a `Family`: a function of `dtype` and, where it makes sense, `rank` and further
choices, that returns the operator's operands, attributes and right answers.
"""

from __future__ import annotations

from tools.kernel_cases import elementwise, images, movement, reductions, stablehlo
from tools.kernel_cases.case import CASES, DTYPES, Case, Family, NotApplicableError, empty_axis

__all__ = [
    "CASES",
    "DTYPES",
    "Case",
    "Family",
    "NotApplicableError",
    "elementwise",
    "empty_axis",
    "images",
    "movement",
    "reductions",
    "stablehlo",
]
