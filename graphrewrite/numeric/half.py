"""float16: its limits, and what does not fit in it."""

from __future__ import annotations

import numpy as np

from graphrewrite.ir import Array

LARGEST = 65504.0
SMALLEST_NORMAL = 2.0**-14
"""6.1e-5; below it, each halving costs a bit of precision."""
ROUNDING = 2.0**-11
"""Largest relative error of rounding a value in the normal range."""


def misfit(array: Array) -> str:
    """Why float16 can't hold the float array; empty where it can. Infinities are the same in both."""
    with np.errstate(over="ignore"):
        half = array.astype(np.float16).astype(np.float32)
    finite = np.isfinite(array)
    if not np.array_equal(np.isfinite(half), finite):
        largest = float(np.abs(array[finite]).max())
        return f"a value of {largest:.3g} is beyond float16's largest, 65504"
    array, half = array[finite], half[finite]
    scale = float(np.abs(array).max(initial=0.0))
    if scale == 0.0:
        return ""
    wanted, found = array / scale, half / scale  # so that squares of small values do not vanish
    # Rounding in the normal range costs less than half of this bound, so values below it must matter.
    if np.linalg.norm(found - wanted) > 2 * ROUNDING * np.linalg.norm(wanted):
        return f"with values up to {scale:.3g} it is below float16's normal range, which ends at 6.1e-05"
    return ""
