"""How far two tensors are apart, and how far they may be."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from graphrewrite.ir import Array

_SILENCE = 1e-6
"""Largest error allowed where the reference is exactly zero everywhere, so that no ratio can be formed."""


@dataclasses.dataclass(frozen=True)
class Tolerance:
    """What an output must meet.

    `sqnr` is in dB; `max_abs` is relative to max(1, largest absolute reference value); `mismatch` is the share of integer
    elements that may differ.
    """

    name: str
    sqnr: float
    max_abs: float
    mismatch: float = 0.0


FP32 = Tolerance("fp32", sqnr=80.0, max_abs=1e-4)
FP16 = Tolerance("fp16", sqnr=40.0, max_abs=5e-2)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One output against its reference. Errors are in the output's own unit unless said otherwise."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    passed: bool
    problem: str
    max_abs: float
    ref_max: float
    rmse: float
    cosine: float
    sqnr: float
    """Signal to quantisation noise ratio in dB; inf where equal."""
    border_max_abs: float
    """Largest error in the first and last two rows and columns (rank >= 3), where padding faults show."""
    interior_max_abs: float
    mismatch: float
    """Share of integer or boolean elements that differ."""
    required: float
    """The relative max_abs tolerance that would have been needed to pass."""

    def to_json(self) -> dict[str, Any]:
        """Plain numbers; infinities become strings that JSON can hold."""
        found = dataclasses.asdict(self)
        found["shape"] = list(self.shape)
        return {key: _plain(item) for key, item in found.items()}


def _plain(item: Any) -> Any:
    if isinstance(item, float) and not math.isfinite(item):
        return str(item)
    return item


def compare(
    name: str, reference: Array, found: Array, tolerance: Tolerance, margin: Array | None = None
) -> Comparison:
    """Compare one output.

    `margin` (same shape as an output of labels, whatever their type) is how far apart the two best candidates were in the
    reference; elements where it is below the float tolerance may be decided either way and are not counted.
    """
    problem = _structure_problem(reference, found)
    if problem:
        return _failed(name, reference, problem)
    if reference.dtype.kind not in "f":
        return _compare_integers(name, reference, found, tolerance, margin)
    ref, got = reference.astype(np.float64), found.astype(np.float64)
    if margin is not None and margin.shape == reference.shape:
        got = np.where(_undecided(margin, tolerance), ref, got)
    finite = np.isfinite(ref)
    if not np.array_equal(finite, np.isfinite(got)):
        count = int(np.count_nonzero(finite != np.isfinite(got)))
        return _failed(name, reference, f"{count} elements are NaN or infinite on one side only")
    special = ref[~finite]
    if special.size and not np.array_equal(special, got[~finite], equal_nan=True):
        return _failed(name, reference, "NaN or infinite elements differ in kind or sign")
    return _compare_floats(name, ref, got, finite, tolerance, str(reference.dtype))


def _structure_problem(reference: Array, found: Array) -> str:
    if reference.shape != found.shape:
        return f"the shape is {list(found.shape)} where the original has {list(reference.shape)}"
    if reference.dtype != found.dtype:
        return f"the type is {found.dtype} where the original has {reference.dtype}"
    return ""


def _failed(name: str, reference: Array, problem: str) -> Comparison:
    infinite = math.inf
    return Comparison(
        name,
        reference.shape,
        str(reference.dtype),
        False,
        problem,
        infinite,
        float(np.abs(reference[np.isfinite(reference)]).max(initial=0))
        if reference.dtype.kind == "f"
        else 0.0,
        infinite,
        0.0,
        -infinite,
        infinite,
        infinite,
        1.0,
        infinite,
    )


def _undecided(margin: Array, tolerance: Tolerance) -> Array:
    """Where the two best candidates are so close that either may win."""
    undecided: Array = margin <= tolerance.max_abs * max(1.0, float(np.abs(margin).max(initial=0.0)))
    return undecided


def _compare_integers(
    name: str, reference: Array, found: Array, tolerance: Tolerance, margin: Array | None
) -> Comparison:
    wrong = reference != found
    if margin is not None and margin.shape == reference.shape:
        wrong &= ~_undecided(margin, tolerance)
    rate = float(np.count_nonzero(wrong)) / max(reference.size, 1)
    distance = float(np.abs(reference.astype(np.float64) - found.astype(np.float64)).max(initial=0.0))
    problem = f"{rate:.3%} of the elements differ" if rate > tolerance.mismatch else ""
    return Comparison(
        name,
        reference.shape,
        str(reference.dtype),
        not problem,
        problem,
        distance,
        float(np.abs(reference.astype(np.float64)).max(initial=0.0)),
        distance,
        1.0,
        math.inf if rate == 0 else 0.0,
        0.0,
        0.0,
        rate,
        rate,
    )


def _compare_floats(
    name: str, ref: Array, got: Array, finite: Array, tolerance: Tolerance, dtype: str
) -> Comparison:
    with np.errstate(invalid="ignore"):  # infinity less infinity, which is masked
        error = np.where(finite, np.abs(ref - got), 0.0) if not finite.all() else np.abs(ref - got)
    signal = ref[finite]
    max_abs, ref_max = float(error.max(initial=0.0)), float(np.abs(signal).max(initial=0.0))
    noise_power, signal_power = float(np.square(error).sum()), float(np.square(signal).sum())
    sqnr = math.inf if noise_power == 0 else -math.inf
    if noise_power and signal_power:
        sqnr = 10 * math.log10(signal_power / noise_power)
    other = got[finite]
    norm = math.sqrt(signal_power) * math.sqrt(float(np.square(other).sum()))
    cosine = float(np.dot(signal.ravel(), other.ravel())) / norm if norm else float(noise_power == 0)
    border, interior = _border(error)
    required = max_abs / max(1.0, ref_max)
    problem = ""
    if signal_power == 0:
        problem = f"max abs {max_abs:.3g} where the original is zero" if max_abs > _SILENCE else ""
    elif sqnr < tolerance.sqnr:
        problem = f"SQNR {sqnr:.1f} dB is below {tolerance.sqnr:g} dB"
    elif required > tolerance.max_abs:
        problem = f"max abs {max_abs:.3g} exceeds {tolerance.max_abs:g} of max(1, {ref_max:.3g})"
    rmse = math.sqrt(noise_power / max(ref.size, 1))
    return Comparison(
        name,
        ref.shape,
        dtype,
        not problem,
        problem,
        max_abs,
        ref_max,
        rmse,
        cosine,
        sqnr,
        border,
        interior,
        0.0,
        required,
    )


def _border(error: Array) -> tuple[float, float]:
    """Largest error within two elements of the edge of the last two dimensions, and elsewhere."""
    if error.ndim < 3 or min(error.shape[-2:]) <= 4 or error.size == 0:
        return 0.0, float(error.max(initial=0.0))
    interior = float(error[..., 2:-2, 2:-2].max(initial=0.0))
    edges = (error[..., :2, :], error[..., -2:, :], error[..., :, :2], error[..., :, -2:])
    return max(float(edge.max(initial=0.0)) for edge in edges), interior
