"""Weights in 8 bits: the operands of `constexpr_affine_dequantize`, which Core ML unpacks when it loads a model."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphrewrite.ir import Array, Value, quant

_SCALE_ERROR = 2.0**-10
"""Relative; float16 keeps a normal number within half of it, and subnormal scales would spoil the weights."""


def packed_weights(value: Value, array: Array, dtype: Any) -> dict[str, Any] | None:
    """What `value`, whose content is `array`, is stored as in a program of type `dtype`; None where that is no equal."""
    facet = quant(value)
    if facet is None or array.ndim == 0:
        return None
    scale, zero = np.ravel(facet.scale), np.ravel(facet.zero_point)
    if scale.size != zero.size or scale.size not in (1, array.shape[facet.axis]):
        return None
    narrow = scale.astype(dtype)
    if (
        not np.all(np.abs(narrow.astype(np.float32) - scale) <= _SCALE_ERROR * np.abs(scale))
        or not scale.all()
    ):
        return None
    shape = (
        [-1 if index == facet.axis else 1 for index in range(array.ndim)]
        if scale.size > 1
        else [1] * array.ndim
    )
    steps = np.rint(array / scale.reshape(shape)).astype(np.int32)
    if not np.array_equal(steps.astype(np.float32) * scale.reshape(shape), array):
        return None
    stored = steps + zero.reshape(shape).astype(np.int32)
    for integer in (np.int8, np.uint8):
        limits = np.iinfo(integer)
        if all(limits.min <= part.min() and part.max() <= limits.max for part in (stored, zero)):
            scalar = scale.size == 1
            return {
                "quantized_data": stored.astype(integer),
                "zero_point": integer(zero[0]) if scalar else zero.astype(integer),
                "scale": narrow[0] if scalar else narrow,
                "axis": np.int32(facet.axis),
            }
    return None
