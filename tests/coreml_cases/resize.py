"""Resizing."""

from __future__ import annotations

import numpy as np

from coreml_cases.case import Array, Case, floats


def _weights(size: int, out: int, sampling: str) -> Array:
    """[out, size], from the grid points that MIL's documentation gives."""
    if sampling == "STRICT_ALIGN_CORNERS":
        points = np.arange(out) * (size - 1) / (out - 1)
    elif sampling == "DEFAULT":
        points = np.arange(out) * (size - size / out) / (out - 1)
    else:
        points = (np.arange(out) + 0.5) * size / out - 0.5
    points = np.clip(points, 0, size - 1)
    return np.asarray(np.maximum(0, 1 - np.abs(points[:, None] - np.arange(size))), np.float32)


def _bilinear(x: Array, height: int, width: int, sampling: str) -> Array:
    rows, columns = _weights(x.shape[-2], height, sampling), _weights(x.shape[-1], width, sampling)
    return np.asarray(rows @ x @ columns.T, np.float32)


def _resized(*shape: int, height: int, width: int, sampling: str) -> Case:
    parameters = {"target_size_height": height, "target_size_width": width, "sampling_mode": sampling}
    return Case(
        "resize_bilinear", [floats(*shape)], parameters, lambda x: _bilinear(x, height, width, sampling)
    )


def _upsampled(sampling: str, **flags: bool) -> Case:
    parameters = {"scale_factor_height": 2, "scale_factor_width": 3, **flags}
    return Case(
        "upsample_bilinear", [floats(1, 2, 3, 4)], parameters, lambda x: _bilinear(x, 6, 12, sampling)
    )


def _resampled(sampling: str, aligned: bool, coordinates: str = "normalized_minus_one_to_one") -> Case:
    """The value of each point as the sum of all elements with the weights of a tent; zeros or the border's elements outside."""
    low = 0.0 if coordinates.endswith("zero_to_one") else -1.0
    grid = floats(1, 4, 3, 2, low=1.4 * low - 0.2, high=1.2)

    def expected(x: Array, grid: Array) -> Array:
        rows, columns = x.shape[2:]
        weights = []
        for size, place in ((rows, grid[0, ..., 1]), (columns, grid[0, ..., 0])):
            share = (place.astype(np.float64) - low) / (1 - low)
            point = share * (size - 1) if aligned else share * size - 0.5
            if sampling == "border":
                point = np.clip(point, 0, size - 1)
            weights.append(np.maximum(0, 1 - np.abs(point[..., None] - np.arange(size))))
        return np.asarray(np.einsum("nchw,ijh,ijw->ncij", x, *weights), np.float32)

    parameters = {
        "sampling_mode": "bilinear",
        "padding_mode": sampling,
        "padding_value": 0.0,
        "coordinates_mode": coordinates,
        "align_corners": aligned,
    }
    return Case("resample", [floats(1, 2, 5, 4), grid], parameters, expected)


CASES = [
    _resampled("constant", aligned=False),
    _resampled("border", aligned=True),
    _resampled("constant", aligned=True, coordinates="normalized_zero_to_one"),
    _resized(1, 2, 5, 4, height=8, width=3, sampling="UNALIGN_CORNERS"),
    _resized(2, 5, 4, height=8, width=7, sampling="STRICT_ALIGN_CORNERS"),
    _resized(1, 2, 5, 4, height=9, width=4, sampling="DEFAULT"),
    _upsampled("STRICT_ALIGN_CORNERS"),
    _upsampled("UNALIGN_CORNERS", align_corners=False),
    _upsampled("DEFAULT", align_corners=False, half_pixel_centers=False),
    Case(
        "resize",
        [floats(1, 2, 3, 4), np.asarray([9, 6, 0], np.int32)],
        {"resized_dims": 2, "interpolation_mode": "LINEAR", "sampling_mode": "UNALIGN_CORNERS"},
        lambda x, shape: _bilinear(x, 6, 4, "UNALIGN_CORNERS"),
    ),
    Case(
        "upsample_nearest_neighbor",
        [floats(1, 2, 3, 4)],
        {"scale_factor_height": 2, "scale_factor_width": 3},
        lambda x: np.repeat(np.repeat(x, 2, 2), 3, 3),
    ),
]
