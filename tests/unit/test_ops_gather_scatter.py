"""Gather, scatter, ordering and detection rows against ONNX Runtime and LiteRT."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from graphrewrite import ir
from graphrewrite.errors import NotExpressible
from graphrewrite.numeric.reference import create_session
from graphrewrite.targets.tflite.emit import write
from graphrewrite.targets.tflite.runtime import runner
from op_check import check_op, lowered, single

RNG = np.random.default_rng(13)
X = RNG.standard_normal((3, 4, 5)).astype(np.float32)


def i64(content: object) -> np.ndarray:
    return np.array(content, np.int64)


def run_file(model: ir.Model, feeds: dict[str, np.ndarray], path: Path) -> list[np.ndarray]:
    write(model, path)
    found = runner.run(path, feeds).outputs
    return [found[value.name or ""] for value in model.graph.outputs]


def both_ways(op_type: str, operands: dict[str, np.ndarray], outputs: int = 1, **attributes: object) -> None:
    check_op(single(op_type, operands, outputs=outputs, **attributes), operands)
    first = next(iter(operands))
    rest = {name: array for name, array in operands.items() if name != first}
    check_op(
        single(op_type, operands, constants=rest, outputs=outputs, **attributes), {first: operands[first]}
    )


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("index", [0, -1, [0, 2], [1, 2], [[2, -1], [0, 0]], [-3, -2]])
def test_gather(axis: int, index: object) -> None:
    both_ways("Gather", {"x": X, "index": i64(index)}, axis=axis)


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
@pytest.mark.parametrize("shape", [(3, 4, 5), (2, 3, 4), (3, 2, 5)])
def test_gather_elements(axis: int, shape: tuple[int, ...]) -> None:
    index = RNG.integers(-X.shape[axis], X.shape[axis], shape)
    both_ways("GatherElements", {"x": X, "index": index}, axis=axis)


@pytest.mark.parametrize(
    ("index", "batch"),
    [([[0, 1], [2, -1]], 0), ([[[1]], [[-1]]], 0), ([[1, 2], [0, 0], [3, -1]], 1), ([[1], [0], [-4]], 1)],
)
def test_gather_nd(index: object, batch: int) -> None:
    both_ways("GatherND", {"x": X, "index": i64(index)}, batch_dims=batch)


@pytest.mark.parametrize("reduction", ["none", "add", "mul", "max", "min"])
@pytest.mark.parametrize("axis", [0, 2, -2])
def test_scatter_elements(reduction: str, axis: int) -> None:
    size = X.shape[axis]
    shape = [2, 3, 4]
    index = (
        np.stack([RNG.permutation(size)[: shape[axis]] for _ in range(24)]).reshape(-1)[:24].reshape(shape)
    )
    if reduction == "none":
        line = RNG.permutation(size)[: shape[axis]]
        index = np.broadcast_to(line.reshape([-1 if i == axis % 3 else 1 for i in range(3)]), shape).copy()
    updates = RNG.standard_normal(shape).astype(np.float32)
    both_ways(
        "ScatterElements", {"x": X, "index": i64(index), "updates": updates}, axis=axis, reduction=reduction
    )


@pytest.mark.parametrize("reduction", ["none", "add", "mul", "max", "min"])
def test_scatter_nd(reduction: str) -> None:
    index = i64([[2], [-3]] if reduction == "none" else [[2], [-3], [2]])
    updates = RNG.standard_normal((len(index), 4, 5)).astype(np.float32)
    both_ways("ScatterND", {"x": X, "index": index, "updates": updates}, reduction=reduction)
    points = i64([[0, 1, 2], [-1, -1, -1]])
    both_ways("ScatterND", {"x": X, "index": points, "updates": updates[0, 0, :2]}, reduction=reduction)


def test_scattering_keeps_what_is_not_finite() -> None:
    x = X.copy()
    x[0, 0] = [np.inf, -np.inf, np.nan, 0, 1]
    updates = np.full((1, 4, 5), np.inf, np.float32)
    both_ways("ScatterND", {"x": x, "index": i64([[1]]), "updates": updates})


@pytest.mark.parametrize("mode", ["linear", "circular"])
def test_tensor_scatter(mode: str) -> None:
    cache = RNG.standard_normal((2, 3, 6, 4)).astype(np.float32)
    update = RNG.standard_normal((2, 3, 2, 4)).astype(np.float32)
    starts = i64([1, 4] if mode == "linear" else [5, 2])
    expected = cache.copy()
    for entry, start in enumerate(starts):
        for step in range(2):
            expected[entry, :, (start + step) % 6] = update[entry, :, step]
    model = lowered(single("TensorScatter", {"x": cache, "u": update, "s": starts}, opset=24, mode=mode))
    (found,) = create_session(ir.to_runnable_proto(model)).run(None, {"x": cache, "u": update, "s": starts})
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_one_hot(axis: int) -> None:
    operands = {
        "x": i64([[1, -1, 7], [0, -9, 4]]),
        "depth": i64(5),
        "values": np.array([2.0, 5.0], np.float32),
    }
    both_ways("OneHot", operands, axis=axis)


@pytest.mark.parametrize("axis", [0, 1, None])
def test_compress(axis: int | None) -> None:
    condition = np.array([True, False, True])
    both_ways("Compress", {"x": X, "c": condition}, **({} if axis is None else {"axis": axis}))


def test_non_zero() -> None:
    x = np.round(X)
    check_op(single("NonZero", {"x": x}), {"x": x})


@pytest.mark.parametrize("axis", [0, -1])
@pytest.mark.parametrize("largest", [0, 1])
@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.int64, np.int8, np.uint8])
def test_top_k_with_ties(axis: int, largest: int, dtype: type, tmp_path: Path) -> None:
    x = RNG.integers(0, 4, (6, 7)).astype(dtype)
    if dtype == np.int32:
        x[0] = np.iinfo(np.int32).min
        x[1, :3] = np.iinfo(np.int32).max
    feeds = {"x": x, "k": i64([4])}
    if dtype in (np.int8, np.uint8):  # no kernel in ONNX Runtime: against a stable sort
        model = lowered(
            single("TopK", feeds, constants={"k": feeds["k"]}, outputs=2, axis=axis, largest=largest)
        )
        wide = x.astype(np.int64)
        order = np.argsort(-wide if largest else wide, axis=axis, kind="stable").take(range(4), axis=axis)
        values, indices = run_file(model, {"x": x}, tmp_path / "model.tflite")
        np.testing.assert_array_equal(indices, order)
        np.testing.assert_array_equal(values, np.take_along_axis(x, order, axis))
        return
    both_ways("TopK", feeds, outputs=2, axis=axis, largest=largest)


@pytest.mark.parametrize("ordered", [0, 1])
def test_unique(ordered: int) -> None:
    x = RNG.integers(-3, 3, (3, 5)).astype(np.float32)
    check_op(single("Unique", {"x": x}, outputs=4, sorted=ordered), {"x": x})


@pytest.mark.parametrize("ordered", [0, 1])
@pytest.mark.parametrize("axis", [0, -1])
def test_unique_along_an_axis(axis: int, ordered: int) -> None:
    x = RNG.integers(0, 2, (6, 2, 7)).astype(np.float32)
    check_op(single("Unique", {"x": x}, outputs=4, sorted=ordered, axis=axis), {"x": x})


def test_unique_of_too_much_is_refused() -> None:
    with pytest.raises(NotExpressible, match="unique slices along an axis"):
        lowered(single("Unique", {"x": np.zeros((5000, 2), np.float32)}, axis=0))


@pytest.mark.parametrize(("time", "batch"), [(0, 1), (1, 0)])
def test_reverse_sequence(time: int, batch: int) -> None:
    lengths = i64([1, 2, 3, 3] if time == 0 else [4, 1, 2])
    both_ways("ReverseSequence", {"x": X, "lengths": lengths}, time_axis=time, batch_axis=batch)


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_determinant(size: int) -> None:
    x = RNG.standard_normal((2, size, size)).astype(np.float32)
    check_op(single("Det", {"x": x}), {"x": x})


@pytest.mark.parametrize("center", [0, 1])
@pytest.mark.parametrize("threshold", [True, False])
def test_non_max_suppression_with_ties(center: int, threshold: bool) -> None:
    boxes = RNG.uniform(0, 4, (2, 24, 4)).astype(np.float32)
    boxes[..., 2:] = boxes[..., :2] + 2 if not center else 2
    scores = RNG.integers(1, 5, (2, 3, 24)).astype(np.float32) / 4
    operands = {
        "boxes": boxes,
        "scores": scores,
        "limit": i64([9]),
        "overlap": np.array([0.4], np.float32),
        **({"score": np.array([0.5], np.float32)} if threshold else {}),
    }
    both_ways("NonMaxSuppression", operands, center_point_box=center)


def test_an_overlap_equal_to_the_threshold_is_kept() -> None:
    boxes = np.array([[[0, 0, 1, 2], [0, 1, 1, 3], [0, 0, 1, 2]]], np.float32)
    operands = {
        "boxes": boxes,
        "scores": np.array([[[0.9, 0.8, 0.7]]], np.float32),
        "limit": i64([3]),
        "overlap": np.array([1 / 3], np.float32),
    }
    both_ways("NonMaxSuppression", operands)


@pytest.mark.parametrize("center", [0, 1])
@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e5])
@pytest.mark.parametrize("flat", [0.4, 1.0])
def test_boxes_without_an_area_are_all_kept(center: int, scale: float, flat: float) -> None:
    """They overlap nothing, themselves included; LiteRT's kernel returns one of them again and again."""
    boxes = RNG.uniform(-4, 4, (1, 40, 4)).astype(np.float32)
    boxes[..., 2:] = 1.5 if center else boxes[..., :2] + 1.5
    for side in (0, 1):
        rows = RNG.uniform(size=40) < flat
        boxes[0, rows, 2 + side] = 0 if center else boxes[0, rows, side]
    boxes[0, 7] = boxes[0, 5]
    operands = {
        "boxes": boxes * np.float32(scale),
        "scores": RNG.permutation(40).astype(np.float32).reshape(1, 1, 40) / 40,
        "limit": i64([30]),
        "overlap": np.array([0.3], np.float32),
        "score": np.array([0.1], np.float32),
    }
    both_ways("NonMaxSuppression", operands, center_point_box=center)


@pytest.mark.parametrize("floor", [0.3, 0.9])
def test_non_max_suppression_of_the_boxes_above_a_threshold(floor: float) -> None:
    """How many there are is known only at run time, and may be one."""
    boxes = RNG.uniform(0, 4, (24, 4)).astype(np.float32)
    boxes[:, 2:] = boxes[:, :2] + 2
    scores = np.append(RNG.permutation(23).astype(np.float32) / 32, np.float32(0.95))
    model = f"""<ir_version: 10, opset_import: ["" : 20]>
    g (float[24,4] b, float[24] s) => (int64[K,3] y)
    <float floor = {{{floor}}}, int64[1] zero = {{0}}, int64[2] ends = {{0, 1}}, int64 n = {{9}}, float t = {{0.4}}> {{
      above = Greater(s, floor)
      places = NonZero(above)
      place = Squeeze(places, zero)
      bs = Gather(b, place)
      ss = Gather(s, place)
      b3 = Unsqueeze(bs, zero)
      s3 = Unsqueeze(ss, ends)
      y = NonMaxSuppression(b3, s3, n, t)
    }}"""
    check_op(model, {"b": boxes, "s": scores})


def test_scatter_elements_into_a_size_known_at_run_time() -> None:
    """As the pooled regions of several levels are put together."""
    model = """<ir_version: 10, opset_import: ["" : 20]>
    g (float[6] s, float[6,2,2] x) => (float[K,2,2] y)
    <float half = {0.5}, int64[1] zero = {0}, int64[2] inner = {1, 2}, float[1] nothing = {0.0}> {
      above = Greater(s, half)
      places = NonZero(above)
      place = Squeeze(places, zero)
      count = Shape(place)
      size = Shape<start=1>(x)
      shape = Concat<axis=0>(count, size)
      data = Expand(nothing, shape)
      updates = Gather(x, place)
      turned = Mod(places, count)
      column = Squeeze(turned, zero)
      wide = Unsqueeze(column, inner)
      index = Expand(wide, shape)
      y = ScatterElements<axis=0>(data, index, updates)
    }"""
    scores = np.array([0.9, 0.1, 0.2, 0.8, 0.1, 0.3], np.float32)
    check_op(model, {"s": scores, "x": RNG.standard_normal((6, 2, 2)).astype(np.float32)})


@pytest.mark.parametrize(
    ("count", "hint"),
    [("24", "cut the model before it.*--shape can't fix it"), ("N", "try: fix it with --shape")],
)
def test_a_size_that_follows_from_values_is_no_matter_of_shape(count: str, hint: str) -> None:
    model = f"""<ir_version: 10, opset_import: ["" : 20]> g (float[{count}] s) => (float[1,A,2] y)
    <int64[2] ends = {{0, 2}}, float half = {{0.5}}, int64 one = {{1}}> {{
      above = Greater(s, half)
      few = Compress(s, above)
      signal = Unsqueeze(few, ends)
      y = DFT(signal, , one)
    }}"""
    with pytest.raises(NotExpressible, match=hint):
        lowered(model)
