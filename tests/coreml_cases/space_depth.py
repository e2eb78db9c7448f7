"""Blocks between channels and space, element by element."""

from __future__ import annotations

import numpy as np

from coreml_cases.case import Array, Case, floats


def to_space(x: Array, block: int, *, blocks_first: bool) -> Array:
    """[N, C * block^2, H, W] to [N, C, H * block, W * block]."""
    batch, deep, height, width = x.shape
    channels = deep // block**2
    y = np.zeros((batch, channels, height * block, width * block), x.dtype)
    for c, row, column in np.ndindex(channels, block, block):
        place = row * block + column
        source = place * channels + c if blocks_first else c * block**2 + place
        y[:, c, row::block, column::block] = x[:, source]
    return y


def to_depth(x: Array, block: int, *, blocks_first: bool) -> Array:
    """The inverse."""
    batch, channels, height, width = x.shape
    y = np.zeros((batch, channels * block**2, height // block, width // block), x.dtype)
    for c, row, column in np.ndindex(channels, block, block):
        place = row * block + column
        target = place * channels + c if blocks_first else c * block**2 + place
        y[:, target] = x[:, c, row::block, column::block]
    return y


CASES = [
    Case(
        "depth_to_space",
        [floats(1, 12, 2, 3)],
        {"block_size": 2},
        lambda x: to_space(x, 2, blocks_first=True),
    ),
    Case(
        "pixel_shuffle",
        [floats(1, 18, 2, 3)],
        {"upscale_factor": 3},
        lambda x: to_space(x, 3, blocks_first=False),
    ),
    Case(
        "space_to_depth",
        [floats(1, 3, 4, 6)],
        {"block_size": 2},
        lambda x: to_depth(x, 2, blocks_first=True),
    ),
    Case(
        "pixel_unshuffle",
        [floats(1, 3, 4, 6)],
        {"downscale_factor": 2},
        lambda x: to_depth(x, 2, blocks_first=False),
        target="iOS16",
    ),
]
