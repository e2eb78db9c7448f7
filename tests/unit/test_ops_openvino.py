"""What OpenVINO's front end lacks or gets wrong: `run` itself compares each file with ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx.helper
import onnx.numpy_helper
import onnx.parser
import pytest

import graphrewrite
from graphrewrite.errors import NotExpressible
from graphrewrite.targets.openvino.runtime import CpuPlugin
from op_check import single

Array = npt.NDArray[Any]
RNG = np.random.default_rng(0)


def normal(*shape: int) -> Array:
    return RNG.standard_normal(shape).astype(np.float32)


def with_weights(text: str) -> onnx.ModelProto:
    """The model, the values that are declared without data filled at random."""
    model = onnx.parser.parse_model(text)
    for value in model.graph.value_info:
        shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        model.graph.initializer.append(onnx.numpy_helper.from_array(normal(*shape), value.name))
    del model.graph.value_info[:]
    return model


def right(
    model: onnx.ModelProto, *samples: Mapping[str, Array], folder: Path, names: Sequence[str] = ()
) -> None:
    """`model` comes out as a file that meets ONNX Runtime on `samples`; its operations include `names`."""
    report = graphrewrite.run(model, "openvino", output=folder / "m.xml", samples=list(samples)).report
    assert report["check"]["passed"]
    assert set(names) <= set(report["details"]["operators"])


def run_time(
    op_type: str, inputs: Mapping[str, Array | None], *, outputs: int = 1, **attributes: object
) -> Any:
    """A model of one node with every operand at run time, and its sample."""
    model = single(op_type, inputs, outputs=outputs, **attributes)
    return model, {name: array for name, array in inputs.items() if array is not None}


@pytest.mark.parametrize("repeats", [[1, 1, 1], [2, 1, 3], [1, 4, 2], [0, 1, 1]])
def test_tile_with_run_time_repeats(tmp_path: Path, repeats: list[int]) -> None:
    model, sample = run_time("Tile", {"x": normal(2, 3, 4), "r": np.asarray(repeats)})
    right(model, sample, folder=tmp_path)


@pytest.mark.parametrize("op_type", ["ReduceMax", "ReduceSum", "ReduceLogSumExp"])
@pytest.mark.parametrize("keepdims", [0, 1])
def test_reductions_over_run_time_axes(tmp_path: Path, op_type: str, keepdims: int) -> None:
    model, sample = run_time(op_type, {"x": normal(2, 3, 4), "a": np.asarray([-1, 0])}, keepdims=keepdims)
    right(model, sample, {**sample, "a": np.asarray([1, 2])}, folder=tmp_path)


@pytest.mark.parametrize("op_type", ["ReduceMax", "ReduceMin"])
def test_extremes_of_nothing(tmp_path: Path, op_type: str) -> None:
    axes = {"a": np.asarray([1])}
    for x in (np.zeros((2, 0, 4), np.float32), np.zeros((2, 0, 4), np.int32)):
        right(single(op_type, {"x": x, **axes}, constants=axes), {"x": x}, folder=tmp_path)


@pytest.mark.parametrize(("op_type", "worst"), [("ReduceMax", -np.inf), ("ReduceMin", np.inf)])
def test_extremes_that_are_asked_for_infinity(tmp_path: Path, op_type: str, worst: float) -> None:
    x = np.asarray([[worst, worst], [worst, 1], [3.4028235e38, -3.4028235e38]], np.float32)
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node(op_type, ["x", "axis"], ["r"], keepdims=0),
            onnx.helper.make_node("Equal", ["r", "worst"], ["y"]),
        ],
        "g",
        [onnx.helper.make_tensor_value_info("x", 1, x.shape)],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.BOOL, [3])],
        [
            onnx.numpy_helper.from_array(np.asarray([1]), "axis"),
            onnx.numpy_helper.from_array(np.float32(worst), "worst"),
        ],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 21)], ir_version=10)
    right(model, {"x": x}, folder=tmp_path)


@pytest.mark.parametrize("op_type", ["Unsqueeze", "Squeeze"])
def test_dimensions_of_one_at_run_time_axes(tmp_path: Path, op_type: str) -> None:
    model, sample = run_time(op_type, {"x": normal(1, 3, 1, 4), "a": np.asarray([2, 0])})
    right(model, sample, {**sample, "a": np.asarray([-2, 0])}, folder=tmp_path)


@pytest.mark.parametrize(("pads", "axes"), [([0, 3, 0, 9], None), ([7, -1], [1]), ([-1, 2, 5, -1], None)])
def test_pad_wraps(tmp_path: Path, pads: list[int], axes: list[int] | None) -> None:
    operands: dict[str, Array | None] = {"x": normal(3, 4), "p": np.asarray(pads)}
    if axes is not None:
        operands |= {"v": None, "a": np.asarray(axes)}
    fixed = {name: array for name, array in operands.items() if array is not None and name != "x"}
    model = single("Pad", operands, constants=fixed, mode="wrap")
    x = operands["x"]
    assert x is not None
    right(model, {"x": x}, folder=tmp_path)


@pytest.mark.parametrize(
    ("largest", "dtype"), [(1, np.float32), (0, np.float32), (1, np.int32), (0, np.int64)]
)
def test_of_equal_elements_top_k_takes_the_first(tmp_path: Path, largest: int, dtype: Any) -> None:
    x = RNG.integers(0, 3, (4, 40)).astype(dtype)
    constants = {"k": np.asarray([25])}
    model = single("TopK", {"x": x, **constants}, constants=constants, outputs=2, largest=largest)
    right(model, {"x": x}, folder=tmp_path)


@pytest.mark.parametrize("strides", [[2, 2], [3, 3], [4, 3]])
@pytest.mark.parametrize("pads", [[0, 0, 0, 0], [1, 0, 0, 1], [1, 1, 1, 1]])
def test_max_pool_rounds_sizes_up(tmp_path: Path, strides: list[int], pads: list[int]) -> None:
    x = normal(1, 2, 7, 8)
    model = single("MaxPool", {"x": x}, kernel_shape=[2, 2], strides=strides, pads=pads, ceil_mode=1)
    right(model, {"x": x}, folder=tmp_path, names=["MaxPool"])


@pytest.mark.parametrize("strides", [[2, 2], [3, 1]])
@pytest.mark.parametrize("pads", [[0, 0, 0, 0], [1, 0, 0, 1], [1, 1, 1, 1]])
@pytest.mark.parametrize("size", [[4, 5], ["H", "W"]], ids=str)
def test_average_pool_rounds_sizes_up_and_counts_padding(
    tmp_path: Path, strides: list[int], pads: list[int], size: list[int | str]
) -> None:
    x = normal(1, 2, 4, 5)
    attributes = {"kernel_shape": [3, 3], "strides": strides, "pads": pads}
    model = single("AveragePool", {"x": x}, ceil_mode=1, count_include_pad=1, **attributes)
    for dim, known in zip(model.graph.input[0].type.tensor_type.shape.dim[2:], size):
        if isinstance(known, str):
            dim.dim_param = known
    if isinstance(size[0], str) and any(pads) and any(a + b > 3 for a, b in zip(strides, pads[2:])):
        with pytest.raises(NotExpressible, match="may start in the padding"):
            graphrewrite.run(model, "openvino", output=tmp_path / "m.xml")
    else:
        right(model, {"x": x}, folder=tmp_path, names=["AvgPool"])


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize(
    "attributes",
    [
        {"antialias": 1},
        {"coordinate_transformation_mode": "half_pixel_symmetric"},
        {"keep_aspect_ratio_policy": "not_larger", "axes": [2, 3]},
        {"keep_aspect_ratio_policy": "not_smaller", "axes": [2, 3]},
        {"exclude_outside": 1, "cubic_coeff_a": -0.5},
    ],
    ids=str,
)
@pytest.mark.parametrize("size", [[5, 9], [13, 4]])
def test_forms_of_resize(tmp_path: Path, mode: str, attributes: dict[str, Any], size: list[int]) -> None:
    if ("antialias" in attributes and mode == "nearest") or (
        "exclude_outside" in attributes and mode != "cubic"
    ):
        pytest.skip("ONNX has no such form")
    x = normal(1, 2, 7, 8)
    sizes = np.asarray(size if "axes" in attributes else [1, 2, *size])
    operands = {"x": x, "roi": None, "scales": None, "sizes": sizes}
    right(
        single("Resize", operands, constants={"sizes": sizes}, mode=mode, **attributes),
        {"x": x},
        folder=tmp_path,
    )


@pytest.mark.parametrize("op_type", ["LSTM", "GRU", "RNN"])
def test_batch_first_is_the_same_transposed(tmp_path: Path, op_type: str) -> None:
    """ONNX Runtime has no kernel for it, so the file is run beside the one of the other layout."""
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[op_type]
    x = normal(5, 3, 4)
    weights = {"w": normal(1, gates * 6, 4), "r": normal(1, gates * 6, 6)}
    found = []
    for layout, data in ((0, x), (1, x.transpose(1, 0, 2))):
        model = single(
            op_type, {"x": data, **weights}, constants=weights, opset=22, hidden_size=6, layout=layout
        )
        graphrewrite.run(model, "openvino", output=tmp_path / "m.xml", check=False)
        found.append(CpuPlugin(tmp_path / "m.xml")({"x": data})["y0"])
    np.testing.assert_allclose(found[1].transpose(1, 2, 0, 3), found[0], rtol=1e-5, atol=1e-6)


def test_overlaps_equal_to_the_threshold_are_kept(tmp_path: Path) -> None:
    boxes = np.asarray([[[0, 0, 1, 1], [0, 0, 1, 0.5], [0, 0, 0.5, 0.5], [2, 2, 3, 3]]], np.float32)
    scores = np.asarray([[[0.9, 0.8, 0.7, 0.6]]], np.float32)
    constants = {"m": np.asarray([4]), "t": np.asarray([0.5], np.float32)}
    model = single("NonMaxSuppression", {"b": boxes, "s": scores, **constants}, constants=constants)
    right(model, {"b": boxes, "s": scores}, folder=tmp_path, names=["NonMaxSuppression"])


@pytest.mark.parametrize("exclusive", [0, 1])
@pytest.mark.parametrize("reverse", [0, 1])
def test_cumulative_products(tmp_path: Path, exclusive: int, reverse: int) -> None:
    x = normal(3, 7)
    for constants in ({"a": np.asarray(-1)}, {}):
        model = single(
            "CumProd",
            {"x": x, "a": np.asarray(-1)},
            constants=constants,
            exclusive=exclusive,
            reverse=reverse,
        )
        sample = {"x": x} if constants else {"x": x, "a": np.asarray(-1)}
        right(model, sample, folder=tmp_path)


@pytest.mark.parametrize("op_type", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"direction": "reverse"},
        {"direction": "bidirectional"},
        {"clip": 0.3},
        {"activations": "other"},
        {"lengths": True},
        {"states": True, "direction": "bidirectional"},
        {"coupled": True},
    ],
    ids=str,
)
def test_forms_of_recurrent_layers(tmp_path: Path, op_type: str, attributes: dict[str, Any]) -> None:
    gates, outputs = {"LSTM": (4, 3), "GRU": (3, 2), "RNN": (1, 2)}[op_type]
    attributes = dict(attributes)
    ways = 2 if attributes.get("direction") == "bidirectional" else 1
    others = {"LSTM": ["Sigmoid", "Relu", "Tanh"], "GRU": ["HardSigmoid", "Tanh"], "RNN": ["Relu"]}
    if "activations" in attributes:
        attributes["activations"] = others[op_type] * ways
    steps, batch, width, hidden = 5, 3, 4, 6
    x = normal(steps, batch, width)
    operands: dict[str, Array | None] = {
        "x": x,
        "w": normal(ways, gates * hidden, width),
        "r": normal(ways, gates * hidden, hidden),
        "b": normal(ways, 2 * gates * hidden),
        "lengths": np.asarray([5, 2, 4], np.int32) if attributes.pop("lengths", False) else None,
    }
    if attributes.pop("states", False):
        operands["h"] = normal(ways, batch, hidden)
        if op_type == "LSTM":
            operands["c"] = normal(ways, batch, hidden)
            operands["p"] = normal(ways, 3 * hidden)
    if attributes.pop("coupled", False):
        if op_type == "RNN":
            pytest.skip("it has no such form")
        attributes["input_forget" if op_type == "LSTM" else "linear_before_reset"] = 1
    while operands and list(operands.values())[-1] is None:
        operands.popitem()
    fixed = {name: array for name, array in operands.items() if array is not None and name != "x"}
    model = single(
        op_type, operands, constants=fixed, outputs=outputs, opset=22, hidden_size=hidden, **attributes
    )
    right(model, {"x": x}, folder=tmp_path)


@pytest.mark.parametrize("mode", ["linear", "nearest"])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("align", [0, 1])
def test_sampling_of_volumes(tmp_path: Path, mode: str, padding: str, align: int) -> None:
    x, grid = normal(2, 3, 4, 5, 6), 1.2 * normal(2, 3, 2, 4, 3)
    model = single("GridSample", {"x": x, "g": grid}, mode=mode, padding_mode=padding, align_corners=align)
    right(model, {"x": x, "g": grid}, folder=tmp_path)


@pytest.mark.parametrize(
    "attributes", [{}, {"strides": [2, 1], "pads": [1, 0, 1, 2], "dilations": [1, 2]}], ids=str
)
def test_deformable_convolution(tmp_path: Path, attributes: dict[str, Any]) -> None:
    height, width = (4, 8) if attributes else (6, 7)
    operands = {
        "x": normal(2, 4, 8, 8),
        "w": normal(6, 2, 3, 2),
        "o": normal(2, 2 * 2 * 6, height, width),
        "b": normal(6),
        "m": normal(2, 2 * 6, height, width),
    }
    fixed = {name: array for name, array in operands.items() if name in "wb"}
    model = single("DeformConv", operands, constants=fixed, group=2, offset_group=2, **attributes)
    sample = {name: array for name, array in operands.items() if name not in fixed}
    right(model, sample, folder=tmp_path, names=["GroupConvolution"])


def test_values_go_back_to_where_they_were_the_maximum(tmp_path: Path) -> None:
    x = normal(1, 2, 2, 3)
    place = np.asarray([0, 3, 4, 13, 14, 16]).reshape(2, 3)
    index = np.stack([place, place + 24])[None]
    model = single("MaxUnpool", {"x": x, "i": index}, kernel_shape=[2, 2], strides=[2, 2])
    right(model, {"x": x, "i": index}, folder=tmp_path)


@pytest.mark.parametrize(("axis", "p"), [(0, 2), (-1, 2), (1, 1)])
def test_norms_of_small_numbers(tmp_path: Path, axis: int, p: int) -> None:
    """OpenVINO's own normalisation adds something to the squares."""
    model, sample = run_time("LpNormalization", {"x": normal(1, 3, 4) * np.float32(1e-3)}, axis=axis, p=p)
    right(model, sample, folder=tmp_path)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    ("pads", "strides"), [([0, 1, 0, 1], [1, 2]), ([1, 1, 1, 1], [2, 2]), ([0, 0, 1, 0], [3, 1])]
)
def test_padded_kernels_of_one_element(
    tmp_path: Path, pads: list[int], strides: list[int], bias: bool
) -> None:
    """The CPU plugin gives too many rows of these where what comes before prefers blocked channels."""
    feeds = {"x": normal(1, 10, 7, 8), "w": normal(8, 10, 1, 1)} | ({"b": normal(8)} if bias else {})
    model = single("Conv", feeds, kernel_shape=[1, 1], pads=pads, strides=strides)
    exp = onnx.helper.make_node("Exp", ["x"], ["e"])
    model.graph.node[0].input[0] = "e"
    model.graph.node.insert(0, exp)
    right(model, feeds, folder=tmp_path, names=["Exp"])


@pytest.mark.parametrize("slopes", [(8, 1, 1), (8, 4, 1), (5,), (1,)])
@pytest.mark.parametrize("bias", [False, True])
def test_slopes_behind_a_product(tmp_path: Path, slopes: tuple[int, ...], bias: bool) -> None:
    """The CPU plugin takes slopes by channel for slopes along the last dimension of a product."""
    text = f"""<ir_version: 10, opset_import: ["" : 20]> g (float[2,8,4,3] x) => (float[2,8,4,5] y)
        <float[3,5] w, float[5] b, float[{",".join(map(str, slopes))}] s>
        {{ m = MatMul (x, w) {"a = Add (m, b)" if bias else "a = Identity (m)"} y = PRelu (a, s) }}"""
    right(with_weights(text), {"x": normal(2, 8, 4, 3)}, folder=tmp_path)


def test_slopes_behind_a_convolution_are_its_own(tmp_path: Path) -> None:
    text = """<ir_version: 10, opset_import: ["" : 20]> g (float[1,3,6,6] x) => (float[1,4,6,6] y)
        <float[4,3,1,1] w, float[4] b, float[4,1,1] s> { c = Conv (x, w, b) y = PRelu (c, s) }"""
    right(with_weights(text), {"x": normal(1, 3, 6, 6)}, folder=tmp_path, names=["PRelu"])


@pytest.mark.parametrize(
    ("shape", "length", "axis", "attributes"),
    [
        ((2, 6, 8, 2), None, 2, {}),
        ((2, 6, 8, 2), None, 0, {"inverse": 1}),
        ((2, 6, 8, 1), None, -2, {"onesided": 1}),
        ((2, 6, 8, 1), 5, 2, {}),
        ((2, 6, 8, 2), None, None, {}),
        ((3, 8, 2), None, 1, {}),
        ((3, 8, 1), None, 1, {"onesided": 1}),
    ],
)
def test_dft_along_every_axis(
    tmp_path: Path, shape: tuple[int, ...], length: int | None, axis: int | None, attributes: dict[str, int]
) -> None:
    given = {
        "length": None if length is None else np.asarray(length),
        "axis": None if axis is None else np.asarray(axis),
    }
    constants = {name: array for name, array in given.items() if array is not None}
    operands = {"x": normal(*shape), **given} if constants else {"x": normal(*shape)}
    right(single("DFT", operands, constants=constants, **attributes), {"x": operands["x"]}, folder=tmp_path)
