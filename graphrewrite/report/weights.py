"""What weights look like: statistics for a reader, never the numbers themselves."""

from __future__ import annotations

import dataclasses
import math
import weakref
from typing import Any

import numpy as np

from graphrewrite.ir import TensorProtocol

_BINS = 24
"""Bars of a histogram."""
_SAMPLE = 1 << 16
"""Elements, evenly spread, that the histogram is drawn from."""


@dataclasses.dataclass(frozen=True)
class WeightStatistics:
    """Statistics of one constant.

    `histogram` counts equal steps from `low` to `high` in a sample of the finite elements.
    """

    dtype: str
    shape: tuple[int, ...]
    nbytes: int
    low: float
    high: float
    mean: float
    deviation: float
    zeros: int
    not_finite: int
    histogram: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, rounded to six digits."""
        found = dataclasses.asdict(self)
        return {key: float(f"{item:.6g}") if isinstance(item, float) else item for key, item in found.items()}


def statistics(tensor: TensorProtocol) -> WeightStatistics | None:
    """Statistics of `tensor`; None where it does not hold numbers."""
    array = tensor.numpy()
    dtype = tensor.dtype.name.lower()
    if array.dtype.kind not in "iufb" and dtype != "bfloat16":
        return None
    flat = array.reshape(-1)
    if array.dtype.kind != "f":
        flat = flat.astype(np.float64)
    finite = np.isfinite(flat)
    count = int(np.count_nonzero(finite))
    zeros = int(flat.size - np.count_nonzero(flat))
    known = flat if count == flat.size else flat[finite]
    if not count:
        return WeightStatistics(dtype, array.shape, tensor.nbytes, 0, 0, 0, 0, zeros, flat.size, ())
    low, high = float(known.min()), float(known.max())
    mean = float(known.mean(dtype=np.float64))
    deviation = math.sqrt(max(float(known.var(dtype=np.float64)), 0.0))
    sample = known[:: max(1, known.size // _SAMPLE)].astype(np.float64)
    bins = np.histogram(sample, bins=_BINS, range=(low, high))[0] if high > low else np.array([sample.size])
    return WeightStatistics(
        dtype,
        array.shape,
        tensor.nbytes,
        low,
        high,
        mean,
        deviation,
        zeros,
        int(flat.size) - count,
        tuple(int(item) for item in bins),
    )


class WeightTable:
    """Statistics by number; a tensor is looked at once, and is not kept alive."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any] | None] = []
        self._known: weakref.WeakKeyDictionary[TensorProtocol, int] = weakref.WeakKeyDictionary()

    def number(self, tensor: TensorProtocol | None) -> int | None:
        """The row of `tensor`; None where it is gone."""
        if tensor is None:
            return None
        known = self._known.get(tensor)
        if known is None:
            found = statistics(tensor)
            known = self._known[tensor] = len(self.rows)
            self.rows.append(found.to_json() if found is not None else None)
        return known
