"""Wide transposed convolutions of stride 2 are one convolution a phase, with no product by a zero."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from graphrewrite.pipeline import histogram
from op_check import check_op, single

RNG = np.random.default_rng(0)


def _model(
    kernel: int, channels: int, pads: list[int], extra: list[int]
) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    x = RNG.standard_normal((1, channels, 5, 6)).astype(np.float32)
    w = (RNG.standard_normal((channels, channels, kernel, kernel)) * 0.05).astype(np.float32)
    b = RNG.standard_normal(channels).astype(np.float32)
    model = single(
        "ConvTranspose",
        {"x": x, "w": w, "b": b},
        constants={"w": w, "b": b},
        opset=20,
        strides=[2, 2],
        pads=pads,
        output_padding=extra,
    )
    return model, {"x": x}


@pytest.mark.parametrize("kernel", [3, 4, 5, 6])
@pytest.mark.parametrize("pads", [[0, 0, 0, 0], [1, 1, 1, 1], [1, 0, 2, 1]])
@pytest.mark.parametrize("extra", [[0, 0], [1, 1]])
def test_phases(kernel: int, pads: list[int], extra: list[int]) -> None:
    model, feeds = _model(kernel, 64, pads, extra)
    found = histogram(check_op(model, feeds, atol=1e-4))
    assert found["tflite.CONV_2D"] == 4
    assert found["tflite.DEPTH_TO_SPACE"] == 1
    assert "tflite.TRANSPOSE_CONV" not in found


@pytest.mark.parametrize(("kernel", "channels"), [(3, 8), (2, 64)])
def test_narrow_ones_and_those_without_overlap_stay(kernel: int, channels: int) -> None:
    model, feeds = _model(kernel, channels, [0, 0, 0, 0], [0, 0])
    assert histogram(check_op(model, feeds, atol=1e-4))["tflite.TRANSPOSE_CONV"] == 1
