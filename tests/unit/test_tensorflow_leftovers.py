"""strip-tf-leftovers against the definitions of the TensorFlow ops, written out in numpy."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import onnx
import onnx.helper
import onnx.numpy_helper
import pytest

from graphrewrite import ir
from graphrewrite.numeric.reference import create_session
from graphrewrite.pipeline import Stage, build, run_pipeline

Array = npt.NDArray[np.float32]
RNG = np.random.default_rng(7)


def normal(*shape: int) -> Array:
    return RNG.standard_normal(shape).astype(np.float32)


def translate(
    op_type: str,
    inputs: Mapping[str, npt.NDArray[np.generic]],
    outputs: Mapping[str, tuple[int, ...]],
    *,
    constants: tuple[str, ...] = (),
    **attributes: object,
) -> ir.Model:
    """A model of one TensorFlow op after the pass."""
    node = onnx.helper.make_node(op_type, list(inputs), list(outputs), **attributes)
    types = {name: onnx.helper.np_dtype_to_tensor_dtype(array.dtype) for name, array in inputs.items()}
    graph = onnx.helper.make_graph(
        [node],
        "leftover",
        [
            onnx.helper.make_tensor_value_info(name, types[name], array.shape)
            for name, array in inputs.items()
            if name not in constants
        ],
        [onnx.helper.make_tensor_value_info(name, 1, shape) for name, shape in outputs.items()],
        [onnx.numpy_helper.from_array(inputs[name], name) for name in constants],
    )
    model = ir.load(
        onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
    )
    passes = [item for item in build("none,strip-tf-leftovers", "tflite") if item.stage <= Stage.CANONICALIZE]
    run_pipeline(model, passes, debug=True)
    return model


def compute(
    op_type: str,
    inputs: Mapping[str, npt.NDArray[np.generic]],
    outputs: Mapping[str, tuple[int, ...]],
    *,
    constants: tuple[str, ...] = (),
    **attributes: object,
) -> list[Array]:
    model = translate(op_type, inputs, outputs, constants=constants, **attributes)
    assert all(ir.schema(node.op_type) is not None for node in model.graph)
    session = create_session(ir.to_runnable_proto(model))
    feeds = {name: array for name, array in inputs.items() if name not in constants}
    found: list[Array] = session.run(None, feeds)
    return found


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def lstm_step(
    x: Array,
    cs: Array,
    h: Array,
    w: Array,
    peep: list[Array] | None,
    b: Array,
    forget: float,
    clip: float,
    order: str,
) -> list[Array]:
    gates = dict(zip(order, np.split(np.concatenate([x, h], 1) @ w + b, 4, 1), strict=True))
    wci, wcf, wco = peep or [np.zeros(cs.shape[1], np.float32)] * 3
    i = sigmoid(gates["i"] + cs * wci)
    f = sigmoid(gates["f"] + forget + cs * wcf)
    ci = np.tanh(gates["c"])
    new = ci * i + cs * f
    if clip > 0:
        new = np.clip(new, -clip, clip)
    o = sigmoid(gates["o"] + new * wco)
    co = np.tanh(new)
    return [i, new, f, o, ci, co, co * o]


@pytest.mark.parametrize("peephole", [0, 1])
@pytest.mark.parametrize("clip", [-1.0, 0.3])
def test_lstm_block_cell(peephole: int, clip: float) -> None:
    x, cs, h, w, b = normal(2, 3), normal(2, 4), normal(2, 4), normal(7, 16), normal(16)
    peep = [normal(4) for _ in range(3)]
    names = dict(zip(("x", "cs", "h", "w", "wci", "wcf", "wco", "b"), (x, cs, h, w, *peep, b), strict=True))
    outputs = dict.fromkeys(("i", "new", "f", "o", "ci", "co", "y"), (2, 4))
    found = compute(
        "LSTMBlockCell",
        names,
        outputs,
        constants=("w", "b"),
        forget_bias=0.5,
        cell_clip=clip,
        use_peephole=peephole,
    )
    wanted = lstm_step(x, cs, h, w, peep if peephole else None, b, 0.5, clip, "icfo")
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("op_type", "order", "forget", "clip"),
    [("BlockLSTM", "icfo", 1.0, 3.0), ("BlockLSTMV2", "ifco", 0.0, 0.0)],
)
def test_block_lstm(op_type: str, order: str, forget: float, clip: float) -> None:
    x, cs, h, w, b = normal(5, 2, 3), normal(2, 4), normal(2, 4), normal(7, 16), normal(16)
    zeros = np.zeros(4, np.float32)
    arrays = (np.array(5, np.int64), x, cs, h, w, zeros, zeros, zeros, b)
    inputs = dict(zip(("n", "x", "cs", "h", "w", "wci", "wcf", "wco", "b"), arrays, strict=True))
    outputs = dict.fromkeys(("i", "new", "f", "o", "ci", "co", "y"), (5, 2, 4))
    found = compute(op_type, inputs, outputs, constants=("n", "w", "wci", "wcf", "wco", "b"))
    for step in range(5):
        wanted = lstm_step(x[step], cs, h, w, None, b, forget, clip, order)
        cs, h = wanted[1], wanted[6]
        for one, other in zip(found, wanted, strict=True):
            np.testing.assert_allclose(one[step], other, rtol=1e-4, atol=1e-5)


def test_block_lstm_of_a_shorter_length_stays() -> None:
    zeros = np.zeros(4, np.float32)
    arrays = (
        np.array(3, np.int64),
        normal(5, 2, 3),
        normal(2, 4),
        normal(2, 4),
        normal(7, 16),
        zeros,
        zeros,
        zeros,
        zeros,
    )
    inputs = dict(zip(("n", "x", "cs", "h", "w", "wci", "wcf", "wco", "b"), arrays, strict=True))
    outputs = dict.fromkeys(("i", "new", "f", "o", "ci", "co", "y"), (5, 2, 4))
    model = translate("BlockLSTM", inputs, outputs, constants=("n",))
    assert [node.op_type for node in model.graph] == ["BlockLSTM"]


def test_gru_block_cell() -> None:
    x, h, w_gates, w_cell, b_gates, b_cell = (
        normal(2, 3),
        normal(2, 4),
        normal(7, 8),
        normal(7, 4),
        normal(8),
        normal(4),
    )
    names = dict(
        zip(("x", "h", "wg", "wc", "bg", "bc"), (x, h, w_gates, w_cell, b_gates, b_cell), strict=True)
    )
    found = compute("GRUBlockCell", names, dict.fromkeys(("r", "u", "c", "y"), (2, 4)))
    r, u = np.split(sigmoid(np.concatenate([x, h], 1) @ w_gates + b_gates), 2, 1)
    c = np.tanh(np.concatenate([x, h * r], 1) @ w_cell + b_cell)
    for one, other in zip(found, [r, u, c, (1 - u) * c + u * h], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def bilinear(image: Array, x: float, y: float) -> Array:
    """One sample of [H, W, C], zeros outside."""
    out = np.zeros(image.shape[2], np.float32)
    x0, y0 = int(np.floor(x)), int(np.floor(y))
    for yy, wy in ((y0, 1 - (y - y0)), (y0 + 1, y - y0)):
        for xx, wx in ((x0, 1 - (x - x0)), (x0 + 1, x - x0)):
            if 0 <= yy < image.shape[0] and 0 <= xx < image.shape[1]:
                out += wy * wx * image[yy, xx]
    return out


def test_resampler() -> None:
    data, warp = normal(2, 5, 6, 3), RNG.uniform(-2, 7, (2, 4, 3, 2)).astype(np.float32)
    (found,) = compute("Resampler", {"data": data, "warp": warp}, {"y": (2, 4, 3, 3)})
    for place in np.ndindex(2, 4, 3):
        x, y = warp[place]
        np.testing.assert_allclose(found[place], bilinear(data[place[0]], x, y), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("mode", ["NEAREST", "BILINEAR"])
@pytest.mark.parametrize("divisor", [0.0, 0.05])
def test_image_projective_transform(mode: str, divisor: float) -> None:
    images = normal(2, 5, 6, 3)
    transforms = np.array(
        [[1.1, 0.2, -0.4, -0.1, 0.9, 0.3, divisor, 0], [1, 0, 0.5, 0, 1, 0, 0, divisor]], np.float32
    )
    size = np.array([4, 7], np.int32)
    inputs = {"images": images, "transforms": transforms, "size": size}
    constants = ("size",) if divisor else ("size", "transforms")
    (found,) = compute(
        "ImageProjectiveTransformV2", inputs, {"y": (2, 4, 7, 3)}, constants=constants, interpolation=mode
    )
    for n, y, x in np.ndindex(2, 4, 7):
        a = transforms[n]
        k = a[6] * x + a[7] * y + 1
        sx, sy = (a[0] * x + a[1] * y + a[2]) / k, (a[3] * x + a[4] * y + a[5]) / k
        if mode == "NEAREST":
            sx, sy = (float(np.sign(item) * np.floor(abs(item) + 0.5)) for item in (sx, sy))
        np.testing.assert_allclose(found[n, y, x], bilinear(images[n], sx, sy), rtol=1e-3, atol=1e-3)


def test_projective_transform_with_reflection_stays() -> None:
    inputs = {"images": normal(1, 5, 6, 3), "transforms": normal(1, 8), "size": np.array([4, 7], np.int32)}
    model = translate(
        "ImageProjectiveTransformV2", inputs, {"y": (1, 4, 7, 3)}, constants=("size",), fill_mode="REFLECT"
    )
    assert [node.op_type for node in model.graph] == ["ImageProjectiveTransformV2"]


@pytest.mark.parametrize("scaled", [0, 1])
def test_batch_norm_with_global_normalization(scaled: int) -> None:
    x, mean, variance, beta, gamma = normal(2, 3, 4, 5), normal(5), np.abs(normal(5)), normal(5), normal(5)
    inputs = {"x": x, "m": mean, "v": variance, "beta": beta, "gamma": gamma}
    (found,) = compute(
        "BatchNormWithGlobalNormalization",
        inputs,
        {"y": x.shape},
        constants=("m", "v", "beta", "gamma"),
        variance_epsilon=0.01,
        scale_after_normalization=scaled,
    )
    factor = (gamma if scaled else 1) / np.sqrt(variance + 0.01)
    np.testing.assert_allclose(found, (x - mean) * factor + beta, rtol=1e-4, atol=1e-5)


def test_adjust_hsv_in_yiq() -> None:
    image = RNG.random((2, 3, 4, 3)).astype(np.float32)
    hue, saturation, value = np.float32(0.7), np.float32(1.3), np.float32(0.9)
    inputs = {"x": image, "h": np.array(hue), "s": np.array(saturation), "v": np.array(value)}
    (found,) = compute("AdjustHsvInYiq", inputs, {"y": image.shape})
    to_yiq = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
    u, w = value * saturation * np.cos(hue), value * saturation * np.sin(hue)
    turn = np.array([[value, 0, 0], [0, u, -w], [0, w, u]])
    matrix = np.linalg.inv(to_yiq) @ turn @ to_yiq
    np.testing.assert_allclose(found, image @ matrix.T, atol=2e-3)


def test_adjusting_nothing_changes_nothing() -> None:
    image = RNG.random((3, 4, 3)).astype(np.float32)
    one = np.array(1, np.float32)
    (found,) = compute(
        "AdjustHsvInYiq", {"x": image, "h": np.array(0, np.float32), "s": one, "v": one}, {"y": image.shape}
    )
    np.testing.assert_allclose(found, image, atol=2e-3)


def test_periodic_resample_is_depth_to_space_on_the_last_axis() -> None:
    x = np.arange(2 * 2 * 4, dtype=np.float32).reshape(2, 2, 4)
    (found,) = compute("PeriodicResample", {"x": x}, {"y": (4, 4, 1)}, shape=[4, 4, -1])
    for i, j in np.ndindex(4, 4):
        assert found[i, j, 0] == x[i // 2, j // 2, i % 2 + 2 * (j % 2)]


def test_pass_through_ops_inside_a_branch() -> None:
    then = onnx.helper.make_graph(
        [onnx.helper.make_node("Print", ["x", "x"], ["p"]), onnx.helper.make_node("Neg", ["p"], ["a"])],
        "then",
        [],
        [onnx.helper.make_tensor_value_info("a", 1, [2])],
    )
    other = onnx.helper.make_graph(
        [onnx.helper.make_node("Snapshot", ["x"], ["b"])],
        "else",
        [],
        [onnx.helper.make_tensor_value_info("b", 1, [2])],
    )
    node = onnx.helper.make_node("If", ["c"], ["y"], then_branch=then, else_branch=other)
    graph = onnx.helper.make_graph(
        [node],
        "g",
        [onnx.helper.make_tensor_value_info("c", 9, []), onnx.helper.make_tensor_value_info("x", 1, [2])],
        [onnx.helper.make_tensor_value_info("y", 1, [2])],
    )
    model = ir.load(
        onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
    )
    run_pipeline(
        model,
        [item for item in build("none,strip-tf-leftovers", "tflite") if item.stage <= Stage.CANONICALIZE],
        debug=True,
    )
    session = create_session(ir.to_runnable_proto(model))
    x = normal(2)
    for flag, wanted in ((True, -x), (False, x)):
        (found,) = session.run(None, {"c": np.array(flag), "x": x})
        np.testing.assert_array_equal(found, wanted)


def test_python_functions_are_named_in_the_report() -> None:
    node = onnx.helper.make_node("EagerPyFunc", ["x"], ["y"], token="pyfunc_3", name="call")
    graph = onnx.helper.make_graph(
        [node],
        "g",
        [onnx.helper.make_tensor_value_info("x", 1, [2])],
        [onnx.helper.make_tensor_value_info("y", 1, [2])],
    )
    model = ir.load(
        onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
    )
    passes = [item for item in build("none,strip-tf-leftovers", "tflite") if item.stage <= Stage.CANONICALIZE]
    records = run_pipeline(model, passes)
    assert "pyfunc_3" in records[-1].notes[0]
    assert [item.op_type for item in model.graph] == ["EagerPyFunc"]


@pytest.mark.parametrize(
    ("op_type", "wanted"),
    [
        ("Erfc", np.vectorize(math.erfc)),
        ("Expm1", np.expm1),
        ("Log1p", np.log1p),
        ("Inv", np.reciprocal),
    ],
)
def test_functions_of_one_operand(op_type: str, wanted: Callable[[Array], Array]) -> None:
    x = np.abs(normal(2, 3)) + 0.1 if op_type in ("Log1p", "Inv") else normal(2, 3)
    (found,) = compute(op_type, {"x": x}, {"y": (2, 3)})
    np.testing.assert_allclose(found, wanted(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("op_type", "wanted"),
    [("Xlogy", lambda x, y: x * np.log(y)), ("Xlog1py", lambda x, y: x * np.log1p(y)), ("Xdivy", np.divide)],
)
def test_functions_that_are_zero_where_the_first_operand_is(
    op_type: str, wanted: Callable[[Array, Array], Array]
) -> None:
    x, y = np.array([0, 0, 2, -3], np.float32), np.array([0, -1, 0.5, 4], np.float32)
    (found,) = compute(op_type, {"x": x, "y": y}, {"z": (4,)})
    np.testing.assert_allclose(found, [0, 0, *wanted(x[2:], y[2:])], rtol=1e-5)


def test_half_the_sum_of_squares() -> None:
    x = normal(2, 3)
    (found,) = compute("L2Loss", {"x": x}, {"y": ()})
    np.testing.assert_allclose(found, np.sum(x * x) / 2, rtol=1e-5)


def test_functions_of_integers_are_left_where_they_are_none() -> None:
    model = translate("Erfc", {"x": np.ones(3, np.int32)}, {"y": (3,)})
    assert [node.op_type for node in model.graph] == ["Erfc"]
