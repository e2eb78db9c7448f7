"""Shape, joining, slicing and sequence rows: every spelling, at run time and with constants, against ONNX Runtime and LiteRT."""

from __future__ import annotations

import numpy as np
import pytest

from graphrewrite.errors import NotExpressible
from op_check import check_op, lowered, single

RNG = np.random.default_rng(11)
X = RNG.standard_normal((2, 3, 4, 5)).astype(np.float32)
INT_MAX, INT_MIN = np.iinfo(np.int64).max, np.iinfo(np.int64).min


def i64(*items: int) -> np.ndarray:
    return np.array(items, np.int64)


def both_ways(
    op_type: str, operands: dict[str, np.ndarray | None], outputs: int = 1, **attributes: object
) -> None:
    """With all operands at run time, and with all but the first constant."""
    first = next(iter(operands))
    rest = {name: array for name, array in operands.items() if name != first and array is not None}
    feeds = {name: array for name, array in operands.items() if array is not None}
    check_op(single(op_type, operands, outputs=outputs, **attributes), feeds)
    if rest:
        model = single(op_type, operands, constants=rest, outputs=outputs, **attributes)
        check_op(model, {first: feeds[first]})


@pytest.mark.parametrize(
    ("starts", "ends", "axes", "steps"),
    [
        ([1, 1], [2, 3], None, None),
        ([1], [3], [2], None),
        ([-3], [-1], [-1], None),
        ([0], [1000], [3], [2]),
        ([1000], [-1000], [2], [-1]),
        ([-1], [INT_MIN + 1], [1], [-1]),
        ([3], [INT_MIN], [3], [-2]),
        ([0], [INT_MAX], [1], None),
        ([1, 4], [3, 0], [1, 3], [1, -2]),
        ([2], [1], [2], None),
        ([-100, 0], [100, 2], [1, 2], [2, 1]),
    ],
)
def test_slice(starts: list[int], ends: list[int], axes: list[int] | None, steps: list[int] | None) -> None:
    bounds = {"starts": i64(*starts), "ends": i64(*ends)}
    if axes is not None:
        bounds["axes"] = i64(*axes)
    if steps is not None:
        bounds["steps"] = i64(*steps)
    both_ways("Slice", {"x": X, **bounds})


@pytest.mark.parametrize(
    ("shape", "allowzero"),
    [([6, 20], 0), ([0, -1], 0), ([0, 0, 20], 0), ([-1], 0), ([2, 3, 0, 5], 0), ([120], 1)],
)
def test_reshape(shape: list[int], allowzero: int) -> None:
    both_ways("Reshape", {"x": X, "shape": i64(*shape)}, allowzero=allowzero)


@pytest.mark.parametrize("axes", [[0], [1, -1], [4, 0], [2, 1, 0]])
def test_unsqueeze_and_squeeze(axes: list[int]) -> None:
    x = X[0]
    both_ways("Unsqueeze", {"x": x, "axes": i64(*axes)})
    both_ways("Squeeze", {"x": np.expand_dims(x, axes), "axes": i64(*axes)})


@pytest.mark.parametrize("axis", [0, 1, 2, 4, -1])
def test_flatten(axis: int) -> None:
    both_ways("Flatten", {"x": X}, axis=axis)


def test_squeeze_without_axes() -> None:
    both_ways("Squeeze", {"x": X.reshape(2, 1, 12, 1, 5)})


@pytest.mark.parametrize("perm", [None, [0, 2, 3, 1], [3, 0, 2, 1]])
def test_transpose(perm: list[int] | None) -> None:
    both_ways("Transpose", {"x": X}, **({} if perm is None else {"perm": perm}))


@pytest.mark.parametrize("perm", [[0, 1, 4, 5, 2, 3, 6], [6, 5, 4, 3, 2, 1, 0], [0, 2, 1, 3, 4, 6, 5]])
def test_transpose_of_high_rank(perm: list[int]) -> None:
    both_ways("Transpose", {"x": RNG.standard_normal((2, 1, 2, 3, 2, 3, 2)).astype(np.float32)}, perm=perm)


@pytest.mark.parametrize(
    "dtype", [np.float32, np.float16, np.int8, np.uint8, np.int16, np.uint16, np.int32, np.int64, np.bool_]
)
def test_moving_elements_of_every_type(dtype: type) -> None:
    x = (np.arange(24).reshape(2, 3, 4) % 5).astype(dtype)
    both_ways("Transpose", {"x": x}, perm=[2, 0, 1])
    both_ways("Slice", {"x": x, "starts": i64(1), "ends": i64(3), "axes": i64(2)})
    both_ways("Gather", {"x": x, "index": i64(2, 0, -1)}, axis=1)
    check_op(single("Concat", {"a": x, "b": x}, axis=1), {"a": x, "b": x})
    check_op(single("Split", {"x": x}, outputs=2, axis=2, num_outputs=2), {"x": x})
    both_ways("Expand", {"x": x, "shape": i64(2, 2, 3, 4)})
    both_ways("Tile", {"x": x, "repeats": i64(1, 2, 3)})


@pytest.mark.parametrize("target", [[2, 3, 4, 5], [1], [7, 1, 3, 1, 1], [3, 1, 5]])
def test_expand(target: list[int]) -> None:
    both_ways("Expand", {"x": X[:, :, :1], "shape": i64(*target)})


def test_split_in_every_way() -> None:
    both_ways("Split", {"x": X, "split": i64(1, 0, 2)}, outputs=3, axis=1)
    both_ways("Split", {"x": X}, outputs=3, axis=-1, num_outputs=3)
    both_ways("Split", {"x": X}, outputs=1, axis=0, num_outputs=1)


def test_concat_of_high_rank_and_of_nothing() -> None:
    x = RNG.standard_normal((1, 2, 1, 2, 3, 1, 2)).astype(np.float32)
    check_op(single("Concat", {"a": x, "b": x}, axis=4), {"a": x, "b": x})
    empty = np.zeros((2, 0, 3), np.float32)
    full = RNG.standard_normal((2, 4, 3)).astype(np.float32)
    check_op(single("Concat", {"a": full, "b": empty}, constants={"b": empty}, axis=1), {"a": full})


@pytest.mark.parametrize("attributes", [{}, {"start": 1}, {"start": -2, "end": -1}, {"start": 3, "end": 1}])
def test_shape(attributes: dict[str, int]) -> None:
    both_ways("Shape", {"x": X}, **attributes)


@pytest.mark.parametrize("k", [0, 1, -2, 9, -9])
@pytest.mark.parametrize("upper", [0, 1])
def test_trilu(k: int, upper: int) -> None:
    x = X.copy()
    x[0, 0, 0] = [np.inf, -np.inf, np.nan, 0, 1]
    both_ways("Trilu", {"x": x, "k": np.array(k, np.int64)}, upper=upper)


def test_constants_of_run_time_shapes() -> None:
    both_ways("ConstantOfShape", {"shape": i64(2, 3)})
    start, limit, step = (np.array(item, np.int64) for item in (3, -4, -2))
    both_ways("Range", {"start": start, "limit": limit, "delta": step})
    check_op(single("EyeLike", {"x": X[0, 0]}, k=1, dtype=7), {"x": X[0, 0]})
    check_op(single("Size", {"x": X}), {"x": X})


DYNAMIC = """<ir_version: 10, opset_import: ["": 21]>
dynamic (float[batch, channels, 4] x) => (float[a, b] flat, int64[3] shape, float[c, d, e] picked, int64[] size,
  float[f, g, h] upper, float[i, j] rows, float[k, l, m] wide, float[n, o] merged)
<int64[1] one = {1}, int64[1] last = {9223372036854775807}, int64[1] axis = {1}, int64[3] three = {2, 1, 1},
 int64[2] tail = {-1, 4}, int64[1] neg = {-1}>
{
  flat = Flatten <axis = 2> (x)
  shape = Shape (x)
  picked = Slice (x, one, last, axis)
  size = Size (x)
  upper = Trilu (x)
  chosen = Gather <axis = 1> (x, neg)
  rows = Squeeze (chosen, axis)
  wide = Tile (x, three)
  merged = Reshape (x, tail)
}"""


@pytest.mark.parametrize(("batch", "channels"), [(1, 2), (3, 5)])
def test_dynamic_dimensions(batch: int, channels: int) -> None:
    check_op(DYNAMIC, {"x": RNG.standard_normal((batch, channels, 4)).astype(np.float32)})


def test_dynamic_broadcast_and_split() -> None:
    text = """<ir_version: 10, opset_import: ["": 21]>
    dynamic (float[n, 1] x, float[m] y) => (float[n, m] wide, float[a, m] top, float[b, m] bottom) {
      rows = Shape <start = 0, end = 1> (x)
      columns = Shape (y)
      shape = Concat <axis = 0> (rows, columns)
      wide = Expand (x, shape)
      top, bottom = Split <axis = 0, num_outputs = 2> (wide)
    }"""
    check_op(text, {"x": X[0, 0, :3, :1].copy(), "y": X[0, 0, 0]})


def test_output_that_is_an_input() -> None:
    check_op(single("Identity", {"x": X}), {"x": X})
    check_op(
        single("Reshape", {"x": X, "shape": i64(0, 0, 0, 0)}, constants={"shape": i64(0, 0, 0, 0)}), {"x": X}
    )


def test_sequences_are_read_through() -> None:
    text = """<ir_version: 10, opset_import: ["": 21]>
    sequence (float[2, 3] a, float[2, 3] b) => (float[2, 3] last, float[4, 3] joined, float[2, 2, 3] stacked, int64[] n)
    <int64 position = {-1}, int64 first = {0}>
    {
      both = SequenceConstruct (a, b)
      three = SequenceInsert (both, a, first)
      last = SequenceAt (three, position)
      two = SequenceErase (three, first)
      joined = ConcatFromSequence <axis = 0> (two)
      stacked = ConcatFromSequence <axis = 1, new_axis = 1> (two)
      n = SequenceLength (three)
    }"""
    check_op(text, {"a": X[0, 0, :2, :3].copy(), "b": X[1, 0, :2, :3].copy()})


def test_a_rank_known_only_at_run_time_is_refused() -> None:
    text = """<ir_version: 10, opset_import: ["": 21]>
    unknown (float[2, 3] x, int64[n] shape) => (float y) { y = Reshape (x, shape) }"""
    with pytest.raises(NotExpressible, match="rank"):
        lowered(text)
