"""Pad and CenterCropPad for Core ML: modes, types, negative amounts, unknown sizes."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("coremltools")

from coreml_check import check_coreml

from graphrewrite.ir import Model
from op_check import single

rng = np.random.default_rng(7)


def _check(x: np.ndarray, pads: list[int], free: tuple[int, ...] = (), **attributes: object) -> Model:
    constants = {"pads": np.array(pads)}
    model = single("Pad", {"x": x, **constants}, constants=constants, **attributes)
    for axis in free:
        dim = model.graph.input[0].type.tensor_type.shape.dim[axis]
        dim.Clear()
        dim.dim_param = f"d{axis}"
    return check_coreml(model, {"x": x})


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge", "wrap"])
@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.int64])
@pytest.mark.parametrize(
    "pads", [[0, 0, 2, 1, 0, 0, 1, 3], [1, 0, -1, 1, 0, 2, 2, 0], [0] * 8, [0, 0, 0, 9, 0, 0, 8, 0]]
)
def test_modes(mode: str, dtype: type, pads: list[int]) -> None:
    if mode == "reflect":  # ONNX Runtime reflects once
        pads = [min(amount, 2) for amount in pads]
    _check(rng.integers(-9, 9, (2, 3, 4, 5)).astype(dtype), pads, mode=mode)


@pytest.mark.parametrize(
    ("mode", "free"), [("constant", (0, 1)), ("edge", (0, 1)), ("reflect", (0, 1)), ("wrap", (0, 1))]
)
def test_sizes_known_at_run_time(mode: str, free: tuple[int, ...]) -> None:
    pads = [1, 2, 2, 1] if mode in ("constant", "edge") else [0, 2, 0, 1]
    _check(rng.standard_normal((4, 5)).astype(np.float32), pads, free, mode=mode)


def test_reflection_of_an_image_is_one_op() -> None:
    x = rng.standard_normal((1, 3, 6, 6)).astype(np.float32)
    graph = _check(x, [0, 0, 3, 3, 0, 0, 3, 3], mode="reflect")
    assert [node.op_type for node in graph.graph] == ["pad"]


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int8, np.int64, np.bool_])
@pytest.mark.parametrize("fixed", [True, False])
def test_types_and_value(dtype: type, fixed: bool) -> None:
    x = np.arange(6).reshape(2, 3).astype(dtype)
    feeds = {"x": x, "pads": np.array([1, 0, 0, 2]), "value": np.asarray(1).astype(dtype)}
    constants = {name: feeds[name] for name in (("pads", "value") if fixed else ("pads",))}
    check_coreml(
        single("Pad", feeds, constants=constants), {k: v for k, v in feeds.items() if k not in constants}
    )


@pytest.mark.parametrize("fixed", [(), ("axes",), ("pads", "axes")])
def test_axes(fixed: tuple[str, ...]) -> None:
    x = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    arrays = {"pads": np.array([1, 0, 2, 1]), "axes": np.array([-1, 0])}
    constants = {name: arrays[name] for name in fixed}
    inputs = {"x": x, "pads": arrays["pads"], "value": None, "axes": arrays["axes"]}
    computed = {name: array for name, array in arrays.items() if name not in fixed}
    check_coreml(single("Pad", inputs, constants=constants), {"x": x, **computed})


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge", "wrap"])
@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.bool_])
@pytest.mark.parametrize("pads", [[0, 2, 2, 1], [-1, 1, 2, 0], [0, 0, 0, 0], [1, -1, 0, -2]])
def test_computed_amounts(mode: str, dtype: type, pads: list[int]) -> None:
    x = rng.integers(0, 9 if dtype != np.bool_ else 2, (4, 5)).astype(dtype)
    feeds = {"x": x, "pads": np.array(pads)}
    check_coreml(single("Pad", feeds, mode=mode), feeds)


def test_infinite_data_and_a_computed_value() -> None:
    """Nothing is multiplied: an infinity stays one, and so does the value around it."""
    feeds = {
        "x": np.asarray([[np.inf, -np.inf], [np.nan, 1]], np.float32),
        "pads": np.array([1, 0, 0, 1]),
        "value": np.asarray(np.inf, np.float32),
    }
    check_coreml(single("Pad", feeds), feeds)


@pytest.mark.parametrize(("shape", "axes"), [([3, 9], [0, 1]), ([7, 2], [-1, 0])])
def test_center_crop_pad(shape: list[int], axes: list[int]) -> None:
    x = np.arange(30, dtype=np.float32).reshape(5, 6)
    constants = {"shape": np.array(shape)}
    check_coreml(single("CenterCropPad", {"x": x, **constants}, constants=constants, axes=axes), {"x": x})
