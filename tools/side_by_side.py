"""A PNG of what an ONNX model and a .tflite file of it draw for the same input: original, file, and their difference.

Usage: python tools/side_by_side.py model.onnx model.tflite picture.png
"""

from __future__ import annotations

import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from graphrewrite.ir import load
from graphrewrite.numeric.inputs import make_samples
from graphrewrite.numeric.reference import open_reference
from graphrewrite.targets.tflite.runtime import runner

Pixels = npt.NDArray[np.uint8]
GAP = 8
"""White pixels between the pictures."""
GAIN = 10_000
"""How much the difference is amplified, so that there is something to see."""


def main(model: str, file: str, picture: str) -> None:
    """Run both on one seeded sample and write the picture."""
    sample = make_samples(load(model).graph, 1)[0]
    original = next(iter(open_reference(model).run(sample).values()))
    found = next(iter(runner.run(file, sample).outputs.values()))
    panels = [image(original), image(found), image(np.abs(found - original) * GAIN, span=(0.0, 1.0))]
    gap = np.full((panels[0].shape[0], GAP, 3), 255, np.uint8)
    write_png(Path(picture), np.concatenate([panels[0], gap, panels[1], gap, panels[2]], axis=1))
    print(
        f"wrote {picture}: original | file | difference x {GAIN:,}; largest difference {np.abs(found - original).max():.2g}"
    )


def image(values: npt.NDArray[np.float32], span: tuple[float, float] | None = None) -> Pixels:
    """[1, 3, H, W] floats as [H, W, 3] bytes; `span` is black and white, by default what fits a generator's output."""
    low, high = span if span is not None else (-1.0, 1.0)
    scaled = np.clip((values[0] - low) / (high - low), 0, 1) * 255
    return np.ascontiguousarray(scaled.round().astype(np.uint8).transpose(1, 2, 0))


def write_png(path: Path, pixels: Pixels) -> None:
    """Write [H, W, 3] bytes as an RGB PNG (ISO/IEC 15948): each row behind a filter byte of 0, deflated."""
    height, width, _ = pixels.shape
    rows = np.concatenate([np.zeros((height, 1), np.uint8), pixels.reshape(height, -1)], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", zlib.compress(rows.tobytes(), 6))
        + _chunk(b"IEND", b"")
    )


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


if __name__ == "__main__":
    main(*sys.argv[1:])
