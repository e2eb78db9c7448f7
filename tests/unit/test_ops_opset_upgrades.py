"""Nodes of older opsets mean after import what they meant before."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.helper
import onnx.parser
import pytest

from graphrewrite import ir
from graphrewrite.errors import InvalidModel
from graphrewrite.numeric.reference import create_session
from graphrewrite.registry.importing import import_model
from graphrewrite.rewrite import Rewriter
from op_check import single

RNG = np.random.default_rng(7)


def floats(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def imported(proto: onnx.ModelProto) -> ir.Model:
    model = ir.load(proto)
    import_model(model, Rewriter(model))
    ir.verify(model)
    return model


def check(proto: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> ir.Model:
    wanted = create_session(proto).run(None, feeds)
    model = imported(proto)
    found = create_session(ir.to_runnable_proto(model)).run(None, feeds)
    for a, b in zip(wanted, found, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    return model


X = floats(2, 6, 4, 4)
CASES = {
    "squeeze": (7, "Squeeze", [floats(2, 1, 3, 1)], {"axes": [1, 3]}, 1),
    "squeeze all": (7, "Squeeze", [floats(2, 1, 3, 1)], {}, 1),
    "unsqueeze": (9, "Unsqueeze", [floats(2, 3)], {"axes": [0, 3]}, 1),
    "split": (7, "Split", [X], {"axis": 1, "split": [1, 2, 3]}, 3),
    "split evenly": (7, "Split", [X], {"axis": 1}, 3),
    "split evenly 13": (13, "Split", [X], {"axis": 1}, 2),
    "reduce sum": (7, "ReduceSum", [X], {"axes": [1, 2], "keepdims": 0}, 1),
    "reduce all": (11, "ReduceSum", [X], {}, 1),
    "reduce mean": (17, "ReduceMean", [X], {"axes": [-1]}, 1),
    "slice": (9, "Slice", [X], {"starts": [1, -3], "ends": [5, 1000], "axes": [1, 3]}, 1),
    "slice without axes": (7, "Slice", [X], {"starts": [1], "ends": [2]}, 1),
    "pad": (7, "Pad", [X], {"pads": [0, 0, 1, 2, 0, 0, 3, 0], "value": 1.5}, 1),
    "pad reflect": (10, "Pad", [X], {"pads": [0, 0, 1, 2, 0, 0, 3, 0], "mode": "reflect"}, 1),
    "clip": (7, "Clip", [X], {"min": -0.5, "max": 0.25}, 1),
    "clip above": (10, "Clip", [X], {"max": 0.25}, 1),
    "top k": (9, "TopK", [X], {"k": 3, "axis": 1}, 2),
    "dropout": (7, "Dropout", [X], {"ratio": 0.5}, 1),
    "dropout mask": (10, "Dropout", [X], {"ratio": 0.5}, 2),
    "softmax": (7, "Softmax", [X], {}, 1),
    "softmax of one dimension": (9, "Softmax", [floats(2, 7, 1, 1)], {}, 1),
    "softmax last": (11, "Softmax", [X], {"axis": -1}, 1),
    "log softmax": (11, "LogSoftmax", [X], {"axis": 2}, 1),
    "hardmax": (11, "Hardmax", [X], {"axis": 2}, 1),
    "batch norm": (
        7,
        "BatchNormalization",
        [X, *(np.abs(floats(6)) for _ in range(4))],
        {"epsilon": 0.01},
        1,
    ),
    "batch norm per activation": (
        7,
        "BatchNormalization",
        [X, *(np.abs(floats(6, 4, 4)) for _ in range(4))],
        {"spatial": 0},
        1,
    ),
    "group norm": (18, "GroupNormalization", [X, floats(3), floats(3)], {"num_groups": 3}, 1),
    "grid sample": (16, "GridSample", [X, floats(2, 3, 3, 2)], {"mode": "bicubic"}, 1),
    "grid sample default": (16, "GridSample", [X, floats(2, 3, 3, 2)], {}, 1),
    "scatter": (9, "Scatter", [X, np.zeros((1, 2, 1, 1), np.int64), floats(1, 2, 1, 1)], {"axis": 1}, 1),
    "upsample": (7, "Upsample", [X], {"scales": [1.0, 1.0, 2.0, 2.5]}, 1),
    "upsample linear": (7, "Upsample", [X], {"scales": [1.0, 1.0, 2.0, 2.0], "mode": "linear"}, 1),
    "image scaler": (9, "ImageScaler", [floats(1, 3, 4, 4)], {"scale": 0.5, "bias": [1.0, 2.0, 3.0]}, 1),
    "affine": (9, "Affine", [X], {"alpha": 0.5, "beta": 2.0}, 1),
    "scaled tanh": (9, "ScaledTanh", [X], {"alpha": 0.5, "beta": 2.0}, 1),
    "parametric softplus": (9, "ParametricSoftplus", [X], {"alpha": 0.5, "beta": 2.0}, 1),
    "crop": (9, "Crop", [X], {"border": [1, 0, 1, 2]}, 1),
}


@pytest.mark.parametrize("name", CASES)
def test_means_the_same(name: str) -> None:
    opset, op_type, arrays, attributes, outputs = CASES[name]
    feeds = {f"x{index}": array for index, array in enumerate(arrays)}
    check(single(op_type, feeds, outputs=outputs, opset=opset, **attributes), feeds)


@pytest.mark.parametrize(
    ("opset", "op_type", "operands"),
    [
        (9, "Upsample", {"scales": [1, 1, 2, 3]}),
        (10, "Resize", {"scales": [1, 1, 0.6, 0.5]}),
        (10, "Resize", {"scales": [1, 1, 0.6, 2.5]}),
        (11, "Resize", {"roi": [], "scales": [1, 1, 1.5, 2]}),
        (13, "Resize", {"roi": [], "scales": [1, 1, 1.5, 2]}),
    ],
)
def test_resize(opset: int, op_type: str, operands: dict[str, list[float]]) -> None:
    constants = {name: np.asarray(content, np.float32) for name, content in operands.items()}
    for mode in ("nearest", "linear"):
        check(single(op_type, {"x": X, **constants}, constants=constants, opset=opset, mode=mode), {"x": X})


def test_resize_with_sizes_and_empty_constants() -> None:
    empty, sizes = np.zeros(0, np.float32), np.array([2, 6, 7, 5], np.int64)
    constants = {"roi": empty, "scales": empty, "sizes": sizes}
    model = check(
        single("Resize", {"x": X, **constants}, constants=constants, opset=11, mode="linear"), {"x": X}
    )
    (node,) = model.graph
    assert node.inputs[1] is None
    assert node.inputs[2] is None


def test_tf_half_pixel_for_nn() -> None:
    constants = {"roi": np.zeros(0, np.float32), "scales": np.array([1, 1, 1.5, 2.5], np.float32)}
    attributes = {"coordinate_transformation_mode": "tf_half_pixel_for_nn", "nearest_mode": "floor"}
    check(single("Resize", {"x": X, **constants}, constants=constants, opset=11, **attributes), {"x": X})


def test_scan_8_runs_per_batch_entry() -> None:
    proto = onnx.parser.parse_model(
        """<ir_version: 3, opset_import: ["": 8]>
        scan (float[2, 3] start, float[2, 5, 3] xs) => (float[2, 3] end, float[2, 5, 3] ys) {
          end, ys = Scan <num_scan_inputs = 1, body = step (float[3] s, float[3] x) => (float[3] t, float[3] y) {
            t = Add(s, x)
            y = Identity(t)
          }> (, start, xs)
        }"""
    )
    start, xs = floats(2, 3), floats(2, 5, 3)
    model = imported(proto)
    session = create_session(ir.to_runnable_proto(model))
    end, ys = session.run(None, {"start": start, "xs": xs})
    np.testing.assert_allclose(end, start + xs.sum(axis=1), rtol=1e-5)
    np.testing.assert_allclose(ys, start[:, None] + np.cumsum(xs, axis=1), rtol=1e-5, atol=1e-6)


def test_roi_align_keeps_its_old_default() -> None:
    feeds = {"x": X, "rois": np.array([[0, 0, 2, 3]], np.float32), "batch": np.array([1], np.int64)}
    (node,) = imported(single("RoiAlign", feeds, opset=10, output_height=2, output_width=2)).graph
    assert node.attributes["coordinate_transformation_mode"].as_string() == "output_half_pixel"


def test_training_statistics_are_refused() -> None:
    feeds = {name: floats(2, 3) if name == "x" else np.abs(floats(3)) for name in "xsbmv"}
    proto = single("BatchNormalization", feeds, outputs=5, opset=9)
    with pytest.raises(InvalidModel, match="training mode"):
        imported(proto)
