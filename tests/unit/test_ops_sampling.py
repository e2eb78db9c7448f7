"""Reading and writing at computed places: GridSample, AffineGrid, DeformConv, RoiAlign, Col2Im, MaxUnpool."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from coreml_check import check_coreml

from graphrewrite import ir
from graphrewrite.errors import NotExpressible
from op_check import check_op, single

Check = Callable[..., ir.Model]
RNG = np.random.default_rng(21)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


@pytest.fixture(params=["tflite", "coreml"])
def check(request: pytest.FixtureRequest) -> Check:
    """Runs a model and its feeds through one target, and compares."""
    if request.param == "coreml":
        pytest.importorskip("coremltools")
        return check_coreml
    return check_op


@pytest.mark.parametrize("mode", ["linear", "nearest", "cubic"])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("align", [0, 1])
def test_grid_sample(check: Check, mode: str, padding: str, align: int) -> None:
    feeds = {"x": normal(2, 3, 4, 6), "grid": RNG.uniform(-1.7, 1.7, (2, 3, 5, 2)).astype(np.float32)}
    check(single("GridSample", feeds, mode=mode, padding_mode=padding, align_corners=align), feeds, atol=1e-4)


def with_unknown_sizes(feeds: dict[str, np.ndarray]) -> onnx.ModelProto:
    model = single("GridSample", feeds)
    for operand, axes in enumerate(((0, 2, 3), (0, 1, 2))):
        for axis in axes:
            dim = model.graph.input[operand].type.tensor_type.shape.dim[axis]
            dim.Clear()
            dim.dim_param = f"d{operand}{axis}" if axis else "n"
    return model


def test_grid_sample_of_unknown_sizes(check: Check) -> None:
    feeds = {"x": normal(2, 3, 4, 6), "grid": RNG.uniform(-1, 1, (2, 3, 5, 2)).astype(np.float32)}
    graph = check(with_unknown_sizes(feeds), feeds, atol=1e-4)
    if check is check_coreml:
        assert [node.op_type for node in graph.graph] == ["resample"]


@pytest.mark.parametrize("mode", ["linear", "nearest"])
def test_grid_sample_of_volumes(check: Check, mode: str) -> None:
    feeds = {"x": normal(1, 2, 3, 4, 5), "grid": RNG.uniform(-1.2, 1.2, (1, 2, 3, 2, 3)).astype(np.float32)}
    check(single("GridSample", feeds, mode=mode), feeds, atol=1e-4)


@pytest.mark.parametrize("size", [[2, 3, 4, 5], [2, 3, 2, 4, 5]])
@pytest.mark.parametrize("align", [0, 1])
@pytest.mark.parametrize("fixed", [True, False])
def test_affine_grid(check: Check, size: list[int], align: int, fixed: bool) -> None:
    feeds = {"theta": normal(2, len(size) - 2, len(size) - 1), "size": np.array(size)}
    constants = {"size": feeds["size"]} if fixed else {}
    model = single("AffineGrid", feeds, constants=constants, align_corners=align)
    check(model, {name: array for name, array in feeds.items() if name not in constants})


@pytest.mark.parametrize(("group", "parts"), [(1, 1), (2, 1), (2, 2)])
def test_deform_conv(check: Check, group: int, parts: int) -> None:
    feeds = {
        "x": normal(2, 4, 6, 7),
        "w": normal(6, 4 // group, 3, 2),
        "offset": normal(2, parts * 12, 3, 3) * 2,
        "bias": normal(6),
        "mask": RNG.random((2, parts * 6, 3, 3)).astype(np.float32),
    }
    attributes = {"strides": [2, 2], "dilations": [1, 2], "pads": [1, 0, 0, 0]}
    model = single("DeformConv", feeds, group=group, offset_group=parts, **attributes)
    check(model, feeds, atol=1e-4)


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("transformation", ["half_pixel", "output_half_pixel"])
def test_roi_align(check: Check, mode: str, transformation: str) -> None:
    starts = RNG.uniform(-1, 7, (5, 2))
    feeds = {
        "x": normal(2, 3, 8, 9),
        "rois": np.concatenate([starts, starts + RNG.uniform(-0.2, 6, (5, 2))], 1).astype(np.float32),
        "batch": np.array([0, 1, 1, 0, 1]),
    }
    attributes = {"output_height": 2, "output_width": 3, "sampling_ratio": 2, "spatial_scale": 0.7}
    attributes |= {"mode": mode, "coordinate_transformation_mode": transformation}
    model = single("RoiAlign", feeds, opset=16, **attributes)
    check(model, feeds)


def test_roi_align_without_sampling_ratio_is_refused(check: Check) -> None:
    feeds = {
        "x": normal(1, 1, 4, 4),
        "rois": np.float32([[0, 0, 3, 3], [1, 0, 2, 3]]),
        "batch": np.array([0, 0]),
    }
    with pytest.raises(NotExpressible, match="sampling_ratio"):
        check(single("RoiAlign", feeds, opset=16), feeds)


@pytest.mark.parametrize("dilations", [[1, 1], [2, 1]])
def test_col2im(dilations: list[int]) -> None:
    image, block, pads, strides = [7, 6], [2, 3], [1, 0, 0, 1], [1, 2]
    places = [
        (image[i] + pads[i] + pads[i + 2] - (block[i] - 1) * dilations[i] - 1) // strides[i] + 1
        for i in range(2)
    ]
    x = normal(2, 3 * 6, places[0] * places[1])
    constants = {"image": np.array(image), "block": np.array(block)}
    model = single(
        "Col2Im",
        {"x": x, **constants},
        constants=constants,
        dilations=dilations,
        pads=pads,
        strides=strides,
    )
    check_op(model, {"x": x})


@pytest.mark.parametrize("strides", [[2, 2], [1, 2]])
def test_max_unpool(check: Check, strides: list[int]) -> None:
    """Overlapping windows can name one place twice."""
    x = np.array([[[[5.0, 6.0], [5.0, 8.0]]]], np.float32)
    index = np.array([[[[5, 7], [13, 15] if strides[0] == 2 else [5, 11]]]])
    feeds = {"x": x, "i": index}
    check(single("MaxUnpool", feeds, kernel_shape=[2, 2], strides=strides), feeds)
