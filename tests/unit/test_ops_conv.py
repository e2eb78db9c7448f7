"""Conv, ConvTranspose, DepthToSpace: every kind of padding, group, dilation and rank against ONNX Runtime."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import onnx
import pytest

from graphrewrite import ir
from graphrewrite.errors import NotExpressible
from op_check import check_op, lowered, single

Feeds = dict[str, np.ndarray]


def operators(model: ir.Model) -> Counter[str]:
    return Counter(node.op_type for node in model.graph)


def free_dimensions(model: onnx.ModelProto, feeds: Feeds, axes: list[int]) -> onnx.ModelProto:
    """The model with some dimensions of its first input known only at run time."""
    shape = model.graph.input[0].type.tensor_type.shape
    for axis in axes:
        shape.dim[axis].Clear()
        shape.dim[axis].dim_param = f"d{axis}"
    return model


def random_conv(rng: np.random.Generator, transposed: bool) -> tuple[onnx.ModelProto, Feeds, dict[str, Any]]:
    count = int(rng.choice([1, 2, 2, 3]))
    group = int(rng.choice([1, 1, 2, 3]))
    inner, outer = (1, int(rng.integers(1, 3))) if group > 1 and rng.random() < 0.5 else rng.integers(1, 4, 2)
    kernel = [int(n) for n in rng.integers(1, 5, count)]
    strides = [int(n) for n in rng.integers(1, 4, count)]
    dilations = [int(n) for n in rng.choice([1, 1, 2], count)]
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations)]
    attributes: dict[str, Any] = {"strides": strides, "dilations": dilations, "group": group}
    if rng.random() < 0.4:
        attributes["pads"] = [(n - 1) // 2 for n in reach] * 2
    elif rng.random() < 0.5:
        attributes["pads"] = [int(rng.integers(0, n)) for n in [*reach, *reach]]
    else:
        attributes["auto_pad"] = str(rng.choice(["SAME_UPPER", "SAME_LOWER", "VALID"]))
        attributes["dilations"] = [1] * count  # ONNX Runtime takes no dilations with auto_pad
        attributes["strides"] = [min(s, k + 1) for s, k in zip(strides, kernel)]
    sizes = [int(n) for n in (rng.integers(4, 7, count) if transposed else rng.integers(9, 14, count))]
    x = rng.standard_normal([2, group * int(inner), *sizes]).astype(np.float32)
    shape = (
        [group * int(inner), int(outer), *kernel] if transposed else [group * int(outer), int(inner), *kernel]
    )
    feeds = {"x": x, "w": rng.standard_normal(shape).astype(np.float32)}
    if rng.random() < 0.6:
        feeds["b"] = rng.standard_normal(group * int(outer)).astype(np.float32)
    constants = {name: feeds[name] for name in ("w", "b") if name in feeds and rng.random() < 0.7}
    model = single("ConvTranspose" if transposed else "Conv", feeds, constants=constants, **attributes)
    free = [axis for axis in (0, *range(2, count + 2)) if rng.random() < 0.2]
    feeds = {name: array for name, array in feeds.items() if name not in constants}
    return free_dimensions(model, feeds, free), feeds, attributes


@pytest.mark.parametrize("seed", range(40))
def test_conv(seed: int) -> None:
    model, feeds, _ = random_conv(np.random.default_rng(seed), transposed=False)
    check_op(model, feeds)


@pytest.mark.parametrize("seed", range(40))
def test_conv_transpose(seed: int) -> None:
    model, feeds, attributes = random_conv(np.random.default_rng(1000 + seed), transposed=True)
    graph = check_op(model, feeds)
    assert operators(graph)["TRANSPOSE_CONV"] + operators(graph)["CONV_3D_TRANSPOSE"] <= 1, attributes


def test_pads_equal_to_same_need_no_pad() -> None:
    x, w = np.ones((1, 3, 8, 8), np.float32), np.ones((4, 3, 3, 3), np.float32)
    graph = lowered(single("Conv", {"x": x, "w": w}, constants={"w": w}, pads=[1, 1, 1, 1]))
    assert operators(graph)["PAD"] == 0
    graph = lowered(single("Conv", {"x": x, "w": w}, constants={"w": w}, pads=[1, 1, 1, 1], strides=[2, 2]))
    assert operators(graph)["PAD"] == 1, "SAME pads an even size at stride 2 behind only"


def test_grouped_conv_is_one_operator() -> None:
    x, w = np.ones((1, 12, 8, 8), np.float32), np.ones((24, 4, 3, 3), np.float32)
    graph = lowered(single("Conv", {"x": x, "w": w}, constants={"w": w}, group=3))
    assert operators(graph)["CONV_2D"] == 1


def test_depthwise_conv_transpose_does_not_grow_with_channels() -> None:
    rng = np.random.default_rng(5)
    x, w = rng.standard_normal((1, 64, 6, 6)), rng.standard_normal((64, 1, 4, 4))
    feeds = {"x": x.astype(np.float32), "w": w.astype(np.float32)}
    model = single(
        "ConvTranspose", feeds, constants={"w": feeds["w"]}, group=64, strides=[2, 2], pads=[1, 1, 1, 1]
    )
    graph = check_op(model, {"x": feeds["x"]}, passes="default,-decompose-upfirdn2d")
    found = operators(graph)
    assert found["DEPTHWISE_CONV_2D"] == 4
    assert found["TRANSPOSE_CONV"] == found["PAD"] == found["SLICE"] == 0


@pytest.mark.parametrize("group", [1, 2, 4])
def test_conv_transpose_of_many_phases(group: int) -> None:
    rng = np.random.default_rng(7)
    feeds = {
        "x": rng.standard_normal((1, 4, 3, 3)).astype(np.float32),
        "w": rng.standard_normal((4, 2, 9, 9)).astype(np.float32),
        "b": rng.standard_normal(2 * group).astype(np.float32),
    }
    constants = {"w": feeds["w"], "b": feeds["b"]}
    model = single(
        "ConvTranspose", feeds, constants=constants, group=group, strides=[5, 5], pads=[2, 2, 2, 2]
    )
    check_op(model, {"x": feeds["x"]})


def test_conv_transpose_output_shape() -> None:
    rng = np.random.default_rng(8)
    feeds = {
        "x": rng.standard_normal((1, 2, 5, 5)).astype(np.float32),
        "w": rng.standard_normal((2, 3, 3, 3)).astype(np.float32),
    }
    model = single("ConvTranspose", feeds, constants={"w": feeds["w"]}, strides=[2, 2], output_shape=[10, 9])
    check_op(model, {"x": feeds["x"]})


def test_too_many_spatial_dimensions_are_refused() -> None:
    x, w = np.ones((1, 1, 3, 3, 3, 3), np.float32), np.ones((1, 1, 2, 2, 2, 2), np.float32)
    with pytest.raises(NotExpressible, match="at most three spatial dimensions"):
        lowered(single("Conv", {"x": x, "w": w}, constants={"w": w}))


def test_negative_padding_by_auto_pad_is_refused() -> None:
    x, w = np.ones((1, 1, 12, 12), np.float32), np.ones((1, 1, 1, 1), np.float32)
    with pytest.raises(NotExpressible, match="negative padding"):
        lowered(single("Conv", {"x": x, "w": w}, constants={"w": w}, strides=[4, 4], auto_pad="SAME_UPPER"))


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
@pytest.mark.parametrize("free", [[], [0], [0, 2, 3]])
def test_depth_to_space(mode: str, free: list[int]) -> None:
    x = np.arange(2 * 12 * 2 * 3, dtype=np.float32).reshape(2, 12, 2, 3)
    model = free_dimensions(single("DepthToSpace", {"x": x}, blocksize=2, mode=mode), {"x": x}, free)
    check_op(model, {"x": x})


def test_space_to_depth() -> None:
    x = np.arange(2 * 3 * 4 * 6).reshape(2, 3, 4, 6).astype(np.float32)
    check_op(single("SpaceToDepth", {"x": x}, opset=12, blocksize=2), {"x": x})
