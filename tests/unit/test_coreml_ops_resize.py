"""Resize for Core ML: every mode at every rank, and sizes known only at run time."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

pytest.importorskip("coremltools")

from coreml_check import check_coreml

from graphrewrite.errors import NotExpressible
from graphrewrite.ir import Model

rng = np.random.default_rng(11)


def _model(
    shape: list[int | str],
    *,
    scales: list[float] | None = None,
    sizes: list[int] | None = None,
    roi: list[float] | None = None,
    kind: int = onnx.TensorProto.FLOAT,
    computed: bool = False,
    **attributes: object,
) -> onnx.ModelProto:
    given = {
        "roi": None if roi is None else np.asarray(roi, np.float32),
        "scales": None if scales is None else np.asarray(scales, np.float32),
        "sizes": None if sizes is None else np.asarray(sizes),
    }
    names = [name if array is not None else "" for name, array in given.items()]
    node = onnx.helper.make_node("Resize", ["x", *names], ["y"], **attributes)
    inputs = [onnx.helper.make_tensor_value_info("x", kind, shape)]
    if computed:
        inputs.append(onnx.helper.make_tensor_value_info("sizes", onnx.TensorProto.INT64, [len(sizes or ())]))
    constants = [
        onnx.numpy_helper.from_array(array, name)
        for name, array in given.items()
        if array is not None and not computed
    ]
    graph = onnx.helper.make_graph(
        [node], "g", inputs, [onnx.helper.make_tensor_value_info("y", kind, None)], constants
    )
    return onnx.helper.make_model(graph, ir_version=10, opset_imports=[onnx.helper.make_opsetid("", 19)])


def _floats(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def _ops(model: Model) -> list[str]:
    return [node.op_type for node in model.graph]


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize(
    "transform",
    ["half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric"],
)
@pytest.mark.parametrize("sizes", [[1, 2, 9, 10], [1, 2, 3, 4], [1, 2, 12, 1], [1, 2, 6, 5]])
def test_images(mode: str, transform: str, sizes: list[int]) -> None:
    attributes = {"mode": mode, "coordinate_transformation_mode": transform}
    check_coreml(_model([1, 2, 6, 5], sizes=sizes, **attributes), {"x": _floats(1, 2, 6, 5)})


@pytest.mark.parametrize("rounding", ["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"])
@pytest.mark.parametrize("scales", [[1.0, 2.0, 0.5], [1.0, 1.0, 2.3], [2.0, 3.0, 1.0]])
def test_nearest_of_every_axis(rounding: str, scales: list[float]) -> None:
    attributes = {"nearest_mode": rounding, "coordinate_transformation_mode": "asymmetric"}
    check_coreml(_model([2, 3, 8], scales=scales, **attributes), {"x": _floats(2, 3, 8)})
    x = rng.integers(-9, 9, (2, 3, 8))
    check_coreml(
        _model([2, 3, 8], scales=scales, kind=onnx.TensorProto.INT32, **attributes), {"x": x.astype(np.int32)}
    )


@pytest.mark.parametrize(
    "scales", [[1.0, 1.0, 2.0, 1.5, 0.7], [1.0, 1.0, 1.0, 2.0, 2.0], [1.0, 1.0, 0.5, 1.0, 1.0]]
)
def test_volumes(scales: list[float]) -> None:
    x = _floats(1, 2, 4, 5, 6)
    check_coreml(_model([1, 2, 4, 5, 6], scales=scales, mode="linear"), {"x": x})


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize(
    "roi", [[0.2, -0.3, 0.9, 0.7], [-0.5, 0.1, 1.5, 1.2], [0.1, 0.8, 0.9, 0.2], [1.5, 0.0, 1.9, 1.0]]
)
def test_crops(mode: str, roi: list[float]) -> None:
    """What lies outside of the data is filled; regions may be turned round, or lie outside altogether."""
    model = _model(
        [1, 2, 6, 7],
        sizes=[5, 6],
        roi=roi,
        axes=[2, 3],
        mode=mode,
        coordinate_transformation_mode="tf_crop_and_resize",
        extrapolation_value=7.5,
    )
    check_coreml(model, {"x": _floats(1, 2, 6, 7)})


@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("exclude", [0, 1])
def test_antialias(mode: str, exclude: int) -> None:
    model = _model([1, 2, 9, 8], sizes=[1, 2, 4, 3], mode=mode, antialias=1, exclude_outside=exclude)
    check_coreml(model, {"x": _floats(1, 2, 9, 8)})


def test_long_axes_are_gathered() -> None:
    check_coreml(_model([1, 1500], sizes=[1, 1700], mode="cubic"), {"x": _floats(1, 1500)}, atol=1e-3)


def test_bilinear_is_one_op() -> None:
    for transform in ("half_pixel", "align_corners", "asymmetric"):
        attributes = {"mode": "linear", "coordinate_transformation_mode": transform}
        graph = check_coreml(
            _model([1, 2, 6, 5], sizes=[1, 2, 13, 8], **attributes), {"x": _floats(1, 2, 6, 5)}
        )
        assert _ops(graph) == ["resize_bilinear"]


@pytest.mark.parametrize("transform", ["half_pixel", "align_corners", "asymmetric"])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_factors_of_run_time_sizes(mode: str, transform: str) -> None:
    if (mode, transform) in (("nearest", "align_corners"), ("linear", "asymmetric")):
        pytest.skip("Core ML has no op for it")
    attributes = {"mode": mode, "coordinate_transformation_mode": transform}
    if mode == "nearest" and transform == "asymmetric":
        attributes["nearest_mode"] = "floor"
    model = _model(["N", 3, "H", "W"], scales=[1, 1, 2, 3], **attributes)
    graph = check_coreml(model, {"x": _floats(2, 3, 5, 4)})
    assert len(_ops(graph)) == 1


@pytest.mark.parametrize("transform", ["half_pixel", "align_corners", "asymmetric"])
def test_constant_and_computed_sizes_of_run_time_sizes(transform: str) -> None:
    attributes = {"mode": "linear", "coordinate_transformation_mode": transform}
    shape: list[int | str] = [1, 3, "H", "W"]
    x = _floats(1, 3, 5, 4)
    check_coreml(_model(shape, sizes=[8, 9], axes=[2, 3], **attributes), {"x": x})
    model = _model(shape, sizes=[8], axes=[3], computed=True, **attributes)
    for deployment in ("iOS15", "iOS17"):
        graph = check_coreml(model, {"x": x, "sizes": np.asarray([8])}, deployment=deployment)
        assert ("resize" in _ops(graph)) == (deployment == "iOS17")


@pytest.mark.parametrize("deployment", ["iOS15", "iOS18"])
@pytest.mark.parametrize(
    "attributes",
    [
        {"mode": "nearest", "nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"},
        {"mode": "nearest"},
        {"mode": "linear", "coordinate_transformation_mode": "pytorch_half_pixel"},
        {"mode": "cubic", "exclude_outside": 1},
        {"mode": "linear", "antialias": 1},
    ],
    ids=str,
)
def test_computed_sizes(attributes: dict[str, object], deployment: str) -> None:
    """A pyramid's levels are resized to each other's sizes."""
    model = _model(["N", 3, "H", "W"], sizes=[7, 5], axes=[2, 3], computed=True, **attributes)
    feeds = {"x": _floats(2, 3, 5, 8), "sizes": np.asarray([7, 5])}
    check_coreml(model, feeds, deployment=deployment)


@pytest.mark.parametrize("deployment", ["iOS15", "iOS18"])
def test_crops_of_run_time_sizes(deployment: str) -> None:
    """The region must not get lost where an op takes computed sizes."""
    model = _model(
        [1, 2, 6, 7],
        sizes=[4, 5],
        roi=[0.1, 0.2, 0.7, 1.3],
        axes=[2, 3],
        mode="linear",
        coordinate_transformation_mode="tf_crop_and_resize",
        extrapolation_value=2.5,
    )
    sizes = model.graph.initializer[1]
    model.graph.input.append(onnx.helper.make_tensor_value_info(sizes.name, onnx.TensorProto.INT64, [2]))
    del model.graph.initializer[1]
    check_coreml(model, {"x": _floats(1, 2, 6, 7), "sizes": np.asarray([4, 5])}, deployment=deployment)


def test_integers_are_not_interpolated() -> None:
    model = _model([1, 2, 6, 7], scales=[1, 1, 2, 2], mode="linear", kind=onnx.TensorProto.INT32)
    with pytest.raises(NotExpressible, match="rounded"):
        check_coreml(model, {"x": np.ones((1, 2, 6, 7), np.int32)})
