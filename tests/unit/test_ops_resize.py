"""Resize: every coordinate transformation, mode and rounding, known and unknown sizes, against ONNX Runtime."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest

import graphrewrite
from graphrewrite import ir
from graphrewrite.errors import NotExpressible
from op_check import check_op, lowered, single

TRANSFORMATIONS = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric")
X = np.random.default_rng(3).standard_normal((2, 3, 5, 7)).astype(np.float32)


def operators(model: ir.Model) -> Counter[str]:
    return Counter(node.op_type for node in model.graph)


def resize(
    x: np.ndarray,
    *,
    scales: list[float] | None = None,
    sizes: list[int] | None = None,
    free: tuple[int, ...] = (),
    fixed: bool = True,
    **attributes: Any,
) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    inputs: dict[str, np.ndarray | None] = {"x": x, "roi": None, "scales": None}
    if scales is not None:
        inputs["scales"] = np.array(scales, np.float32)
    else:
        inputs["sizes"] = np.array(sizes, np.int64)
    given = {name: array for name, array in inputs.items() if array is not None}
    constants = {name: array for name, array in given.items() if name != "x"} if fixed else {}
    model = single("Resize", inputs, constants=constants, **attributes)
    for axis in free:
        dim = model.graph.input[0].type.tensor_type.shape.dim[axis]
        dim.Clear()
        dim.dim_param = f"d{axis}"
    return model, {name: array for name, array in given.items() if name not in constants}


@pytest.mark.parametrize("transformation", TRANSFORMATIONS)
@pytest.mark.parametrize("rounding", ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
@pytest.mark.parametrize("fixed", [True, False])
def test_nearest(transformation: str, rounding: str, fixed: bool) -> None:
    attributes = {"coordinate_transformation_mode": transformation, "nearest_mode": rounding}
    whole = [1.0, 1.0, 2.0, 3.0]
    # half_pixel_symmetric puts the centre on an element at any scale: there floor and ceil follow the last bit of the sum
    cliff = transformation == "half_pixel_symmetric" and rounding in ("floor", "ceil")
    for scales in (whole,) if cliff else (whole, [1.0, 1.0, 0.6, 1.7]):
        check_op(*resize(X, scales=scales, fixed=fixed, mode="nearest", **attributes))


@pytest.mark.parametrize("transformation", TRANSFORMATIONS)
@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("fixed", [True, False])
def test_interpolated(transformation: str, mode: str, fixed: bool) -> None:
    attributes = {"coordinate_transformation_mode": transformation, "mode": mode}
    check_op(*resize(X, scales=[1, 1, 2, 1.7], fixed=fixed, **attributes))
    check_op(*resize(X, sizes=[2, 3, 3, 11], fixed=fixed, **attributes))


@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("exclude", [0, 1])
@pytest.mark.parametrize("fixed", [True, False])
def test_antialias(mode: str, exclude: int, fixed: bool) -> None:
    attributes = {"mode": mode, "antialias": 1, "exclude_outside": exclude}
    check_op(*resize(X, sizes=[2, 3, 2, 9], fixed=fixed, **attributes))


@pytest.mark.parametrize("policy", ["stretch", "not_larger", "not_smaller"])
@pytest.mark.parametrize("fixed", [True, False])
def test_aspect_ratio(policy: str, fixed: bool) -> None:
    check_op(
        *resize(X, sizes=[9, 9], axes=[2, 3], fixed=fixed, mode="nearest", keep_aspect_ratio_policy=policy)
    )


@pytest.mark.parametrize("shape", [(2, 3, 5), (2, 3, 4, 3, 5)])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_other_ranks(shape: tuple[int, ...], mode: str) -> None:
    x = np.random.default_rng(4).standard_normal(shape).astype(np.float32)
    check_op(*resize(x, scales=[1, 1, *[2.0] * (len(shape) - 2)], mode=mode))


@pytest.mark.parametrize(
    ("mode", "transformation"),
    [("nearest", "asymmetric"), ("linear", "half_pixel"), ("linear", "align_corners")],
)
@pytest.mark.parametrize("free", [(), (0,), (0, 2, 3)])
def test_native(mode: str, transformation: str, free: tuple[int, ...]) -> None:
    attributes = {"coordinate_transformation_mode": transformation, "nearest_mode": "floor"}
    graph = check_op(*resize(X, scales=[1, 1, 2, 2], free=free, mode=mode, **attributes))
    native = {"nearest": "RESIZE_NEAREST_NEIGHBOR", "linear": "RESIZE_BILINEAR"}[mode]
    assert operators(graph)[native] == 1
    assert operators(graph)["GATHER"] == 0


def test_channels_last_needs_no_transpose() -> None:
    graph = check_op(*resize(X, scales=[1, 2, 2, 1], mode="linear"))
    assert operators(graph) == {"RESIZE_BILINEAR": 1}


def test_crop_and_resize() -> None:
    roi = np.array([0, 0, 0.1, -0.2, 1, 1, 0.8, 1.1], np.float32)
    inputs = {"x": X, "roi": roi, "scales": None, "sizes": np.array([2, 3, 4, 6])}
    attributes = {"coordinate_transformation_mode": "tf_crop_and_resize", "extrapolation_value": 5.0}
    for mode in ("nearest", "linear"):
        constants = {"roi": roi, "sizes": inputs["sizes"]}
        check_op(single("Resize", inputs, constants=constants, mode=mode, **attributes), {"x": X})
    same = {**inputs, "sizes": np.array([2, 3, 5, 6])}
    with pytest.raises(NotExpressible, match="scale of exactly 1"):
        lowered(
            single("Resize", same, constants={"roi": roi, "sizes": same["sizes"]}, **attributes),
        )


def test_interpolated_integers_are_refused() -> None:
    with pytest.raises(NotExpressible, match="rounded"):
        lowered(resize(np.ones((1, 1, 4, 4), np.uint8), scales=[1, 1, 2, 2], mode="linear")[0])


@pytest.mark.parametrize("target", ["tflite", "coreml", "openvino"])
def test_sizes_by_scales_are_those_of_float32(target: str, tmp_path: Path) -> None:
    """7 times float32(13 / 7) is 13 in float32 and less in float64: tf2onnx writes such scales, and ONNX's rule infers 12."""
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 18]> g (float[1,3,7,9] x) => (float[1,3,13,17] y) '
        "<float[4] s = {1, 1, 1.8571428, 1.8888888}> {"
        '  r = Resize<mode = "linear", coordinate_transformation_mode = "align_corners">(x, , s)  y = Relu(r) }'
    )
    result = graphrewrite.run(model, target, output=tmp_path / "m{suffix}")
    assert result.report["outputs"][0]["shape"] == [1, 3, 13, 17]
