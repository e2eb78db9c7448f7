"""Core ML rows that pick, write and order by index: source, lowered graph and saved package agree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("coremltools")

from coreml_check import check_coreml

Array = npt.NDArray[np.generic]
rng = np.random.default_rng(0)


def _f(*shape: int) -> Array:
    return np.asarray(rng.normal(size=shape), np.float32)


def _i(content: Any) -> Array:
    return np.asarray(content, np.int64)


def _model(signature: str, body: str) -> str:
    return f'<ir_version: 8, opset_import: ["": 20]> m {signature} {{ {body} }}'


CASES: Mapping[str, tuple[str, str, Mapping[str, Array]]] = {
    "GatherElements of a smaller part": (
        "(float[4,5] x, int64[2,3] i) => (float[2,3] y)",
        "y = GatherElements<axis=1>(x, i)",
        {"x": _f(4, 5), "i": _i([[0, -1, 4], [2, 2, -5]])},
    ),
    "GatherElements of unknown sizes": (
        "(float[A,B] x, int64[C,B] i) => (float[C,B] y)",
        "y = GatherElements<axis=0>(x, i)",
        {"x": _f(4, 3), "i": _i([[0, -1, 3], [2, 2, -4]])},
    ),
    "GatherElements of bools, constant negative indices": (
        "(bool[2,3] x) => (bool[2,2] y)",
        "i = Constant<value = int64[2,2] {-1, 0, 1, -3}> () y = GatherElements<axis=-1>(x, i)",
        {"x": np.asarray([[True, False, True], [False, False, True]])},
    ),
    "GatherND in batches": (
        "(float[2,3,4] x, int64[2,2,1] i) => (float[2,2,4] y)",
        "y = GatherND<batch_dims=1>(x, i)",
        {"x": _f(2, 3, 4), "i": _i([[[0], [-1]], [[1], [2]]])},
    ),
    "GatherND of one element": (
        "(float[3,4] x, int64[2] i) => (float y)",
        "y = GatherND(x, i)",
        {"x": _f(3, 4), "i": _i([-1, 2])},
    ),
    "GatherND of unknown sizes": (
        "(float[A,B] x, int64[N,2] i) => (float[N] y)",
        "y = GatherND(x, i)",
        {"x": _f(3, 4), "i": _i([[-1, 2], [0, -4], [2, 3]])},
    ),
    "ScatterElements into a part": (
        "(float[4,5] x, int64[2,3] i, float[2,3] u) => (float[4,5] y)",
        'y = ScatterElements<axis=1, reduction="add">(x, i, u)',
        {"x": _f(4, 5), "i": _i([[0, -1, 0], [2, 2, -5]]), "u": _f(2, 3)},
    ),
    "ScatterElements, wrapping": (
        "(uint8[2,3] x, int64[2,2] i, uint8[2,2] u) => (uint8[2,3] y)",
        'y = ScatterElements<axis=1, reduction="add">(x, i, u)',
        {
            "x": np.full((2, 3), 200, np.uint8),
            "i": _i([[0, -1], [1, 1]]),
            "u": np.full((2, 2), 90, np.uint8),
        },
    ),
    "ScatterND of one row": (
        "(float[3,4] x, int64[1] i, float[4] u) => (float[3,4] y)",
        "y = ScatterND(x, i, u)",
        {"x": _f(3, 4), "i": _i([-2]), "u": _f(4)},
    ),
    "ScatterND of unknown sizes": (
        "(float[A,B] x, int64[N,1] i, float[N,B] u) => (float[A,B] y)",
        'y = ScatterND<reduction="max">(x, i, u)',
        {"x": _f(3, 4), "i": _i([[-1], [0]]), "u": _f(2, 4)},
    ),
    "OneHot, values known": (
        "(int64[4] i) => (float[4,3] y)",
        "d = Constant<value = int64 {3}> () v = Constant<value = float[2] {0.5, 3.25}> () y = OneHot(i, d, v)",
        {"i": _i([0, -1, 5, -4])},
    ),
    "OneHot, all known at run time only": (
        "(int64[2,2] i, int64 d, float[2] v) => (float[2,N,2] y)",
        "y = OneHot<axis=1>(i, d, v)",
        {"i": _i([[0, -1], [5, -4]]), "d": _i(3), "v": np.asarray([-np.inf, 2], np.float32)},
    ),
    "TopK, how many known at run time only": (
        "(float[3,5] x, int64[1] k) => (float[3,K] y, int64[3,K] i)",
        "y, i = TopK<largest=0>(x, k)",
        {"x": _f(3, 5), "k": _i([2])},
    ),
    "TopK of bytes": (
        "(uint8[6] x) => (uint8[4] y, int64[4] i)",
        "k = Constant<value = int64[1] {4}> () y, i = TopK<axis=0>(x, k)",
        {"x": np.asarray([3, 250, 7, 128, 0, 127], np.uint8)},
    ),
    "ArgMax of equal integers": (
        "(int32[2,5] x) => (int64[2,1] y)",
        "y = ArgMax<axis=1>(x)",
        {"x": np.asarray([[1, 7, 7, 0, 7], [2, 2, 2, 2, 2]], np.int32)},
    ),
    "ArgMin, the last, of an unknown size": (
        "(float[N,M] x) => (int64[M] y)",
        "y = ArgMin<axis=0, keepdims=0, select_last_index=1>(x)",
        {"x": np.asarray([[1, 2], [1, 5], [3, 2]], np.float32)},
    ),
    "CumSum along an axis known at run time only": (
        "(float[2,3,4] x, int64 a) => (float[2,3,4] y)",
        "y = CumSum<exclusive=1, reverse=1>(x, a)",
        {"x": _f(2, 3, 4), "a": _i(-2)},
    ),
    "Trilu of infinities": (
        "(float[2,3,4] x) => (float[2,3,4] y)",
        "k = Constant<value = int64 {1}> () y = Trilu<upper=1>(x, k)",
        {"x": np.full((2, 3, 4), -np.inf, np.float32)},
    ),
    "Trilu of an unknown size": (
        "(int32[N,N] x, int64 k) => (int32[N,N] y)",
        "y = Trilu<upper=0>(x, k)",
        {"x": np.arange(1, 17, dtype=np.int32).reshape(4, 4), "k": _i(-1)},
    ),
    "EyeLike of an unknown size": (
        "(float[N,M] x) => (int32[N,M] y)",
        "y = EyeLike<k=1, dtype=6>(x)",
        {"x": _f(3, 4)},
    ),
    "ConstantOfShape, Range": (
        "(int64[2] s, float a, float b) => (float[N,M] y, float[K] z)",
        "one = Constant<value = float {0.5}> () y = ConstantOfShape<value = float[1] {2.5}>(s) z = Range(a, b, one)",
        {"s": _i([2, 3]), "a": np.asarray(1, np.float32), "b": np.asarray(2.75, np.float32)},
    ),
    "Squeeze and Unsqueeze, axes known at run time only": (
        "(float[1,2,1,3] x, int64[1] a, int64[2] b) => (float[A,B,C] y, float[D,E,F,G] z)",
        "y = Squeeze(x, a) w = Squeeze(x, b) z = Unsqueeze(w, b)",
        {"x": _f(1, 2, 1, 3), "a": _i([-2]), "b": _i([2, -4])},
    ),
    "Reductions, axes known at run time only": (
        "(float[2,3,4] x, int64[2] a) => (float[A,B,C] y, float[D] z, float[E,F,G] w)",
        "y = ReduceMax(x, a) z = ReduceSum<keepdims=0>(x, a) w = ReduceL2(x, a)",
        {"x": _f(2, 3, 4), "a": _i([-1, 0])},
    ),
    "Unique elements, in order of appearance": (
        "(int64[2,4] x) => (int64[N] y, int64[N] i, int64[8] j, int64[N] c)",
        "y, i, j, c = Unique<sorted=0>(x)",
        {"x": _i([[3, -1, 3, 7], [7, 7, 0, -1]])},
    ),
    "Unique columns": (
        "(float[2,5] x) => (float[2,N] y, int64[N] i, int64[5] j, int64[N] c)",
        "y, i, j, c = Unique<axis=1>(x)",
        {"x": np.asarray([[1, 0, 1, 0, 1], [2, 5, 2, 4, 0]], np.float32)},
    ),
    "Compress, NonZero": (
        "(float[3,4] x, bool[3] c) => (float[N] y, float[M,4] z, int64[2,K] w)",
        "y = Compress(x, c) z = Compress<axis=-2>(x, c) w = NonZero(x)",
        {"x": np.asarray(rng.integers(0, 2, (3, 4)), np.float32), "c": np.asarray([True, False, True])},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_row(name: str) -> None:
    signature, body, feeds = CASES[name]
    check_coreml(_model(signature, body), feeds)


def test_arg_and_order_in_half_precision() -> None:
    """Indices stay whole numbers where the program computes in float16."""
    body = "k = Constant<value = int64[1] {3}> () v, i = TopK(x, k) a = ArgMax<axis=1>(x) c = CumSum(x, z)"
    signature = "(float[2,3000] x) => (float[2,3] v, int64[2,3] i, int64[2,1] a, float[2,3000] c)"
    x = np.zeros((2, 3000), np.float32)
    x[0, [2999, 2049, 5]] = [3, 2, 1]
    x[1, [2501, 7, 2503]] = [9, 8, 7]
    model = _model(signature, "z = Constant<value = int64 {0}> () " + body)
    check_coreml(model, {"x": x}, precision="fp16", deployment="iOS17")


def test_bounds_shared_by_slices_of_several_sizes() -> None:
    """coremltools rewrites negative bounds in place: slices of several sizes must not read one constant."""
    body = (
        "i = Constant<value = int64[1] {0}> () a = Gather(x, i) b = Gather(y, i) "
        "o = Constant<value = int64[3] {0, 1, 2}> () c = Gather(y, o) s = Add(a, b) z = Concat<axis=0>(s, c)"
    )
    feeds = {"x": _f(2), "y": _f(4)}
    check_coreml(_model("(float[2] x, float[4] y) => (float[4] z)", body), feeds)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32", "int64"])
def test_bits(dtype: str) -> None:
    signature = (
        f"({dtype}[2,4] x, {dtype}[4] y) => ({dtype}[2,4] a, {dtype}[2,4] o, {dtype}[2,4] e, {dtype}[4] n)"
    )
    body = "a = BitwiseAnd(x, y) o = BitwiseOr(x, y) e = BitwiseXor(x, y) n = BitwiseNot(y)"
    limits = np.iinfo("int32" if dtype == "int64" else dtype)
    x = rng.integers(limits.min, limits.max, (2, 4), endpoint=True).astype(dtype)
    y = np.asarray([limits.min, limits.max, 0, limits.max - 5]).astype(dtype)
    check_coreml(_model(signature, body), {"x": x, "y": y}, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_shifts(dtype: str) -> None:
    signature = f"({dtype}[4] x, {dtype}[4] n) => ({dtype}[4] l, {dtype}[4] r)"
    body = 'l = BitShift<direction="LEFT">(x, n) r = BitShift<direction="RIGHT">(x, n)'
    x = np.full(4, np.iinfo(dtype).max - 9, dtype)
    check_coreml(_model(signature, body), {"x": x, "n": np.asarray([0, 1, 5, 7], dtype)}, rtol=0, atol=0)


@pytest.mark.parametrize("deployment", ["iOS15", "iOS17"])
@pytest.mark.parametrize("known", [True, False])
def test_non_max_suppression(deployment: str, known: bool) -> None:
    """A score equal to the threshold is not above it; corners may be given in any order; two batch entries, two classes."""
    boxes = np.asarray(rng.uniform(0, 1, (2, 12, 4)), np.float32)
    scores = np.asarray(rng.permutation(48).reshape(2, 2, 12) / 64, np.float32)
    signature = "(float[2,12,4] b, float[2,2,12] s{}) => (int64[N,3] y)"
    body = "t = Constant<value = float {0.3}> () y = NonMaxSuppression(b, s, n, t, h)"
    feeds = {"b": boxes, "s": scores}
    if known:
        constants = "n = Constant<value = int64 {3}> () h = Constant<value = float {0.25}> () "
        check_coreml(_model(signature.format(""), constants + body), feeds, deployment=deployment)
    else:
        feeds |= {"n": _i(3), "h": np.asarray(0.25, np.float32)}
        check_coreml(_model(signature.format(", int64 n, float h"), body), feeds, deployment=deployment)
