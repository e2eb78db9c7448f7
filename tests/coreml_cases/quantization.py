"""Affine quantisation to 8 bits, and back."""

from __future__ import annotations

import numpy as np

from coreml_cases.case import Array, Case, floats

_SCALES = np.asarray([0.5, 0.02, 0.125], np.float32)


def _bytes(dtype: type, *shape: int) -> Array:
    limits = np.iinfo(dtype)
    return np.random.default_rng(0).integers(limits.min, limits.max, shape, endpoint=True).astype(dtype)


CASES = [
    Case(
        "quantize",
        [floats(4, 3), np.asarray(0.02, np.float32), np.asarray(-5, np.int8)],
        {"output_dtype": "int8"},
        target="iOS17",
    ),
    Case(
        "quantize",
        [floats(4, 3), _SCALES, np.asarray([1, 128, 255], np.uint8)],
        {"output_dtype": "uint8", "axis": 1},
        target="iOS17",
    ),
    Case("quantize", [floats(4, 3), np.asarray(0.02, np.float32)], {"output_dtype": "uint8"}, target="iOS17"),
    Case(
        "dequantize",
        [_bytes(np.int8, 4, 3), _SCALES, np.asarray([1, -128, 127], np.int8)],
        {"axis": 1},
        lambda x, scale, zero: (x.astype(np.float32) - zero) * scale,
        target="iOS17",
    ),
    Case(
        "dequantize",
        [_bytes(np.uint8, 4, 3), np.asarray(0.25, np.float32)],
        expected=lambda x, scale: x * scale,
        target="iOS17",
    ),
]
