"""Matrix products of every rank, type and spelling against ONNX Runtime and LiteRT."""

from __future__ import annotations

import numpy as np
import pytest

from graphrewrite.errors import NotExpressible
from op_check import check_op, lowered, single

RNG = np.random.default_rng(17)


def floats(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((4,), (4,)),
        ((4,), (4, 3)),
        ((3, 4), (4,)),
        ((3, 4), (4, 5)),
        ((2, 3, 4), (4, 5)),
        ((2, 3, 4), (4,)),
        ((4,), (2, 4, 5)),
        ((3, 4), (2, 4, 5)),
        ((2, 3, 4), (2, 4, 5)),
        ((2, 3, 4), (1, 4, 5)),
        ((2, 1, 3, 4), (5, 4, 6)),
        ((2, 3, 3, 4), (2, 3, 4, 5)),
        ((2, 2, 2, 3, 4), (2, 2, 2, 4, 5)),
        ((1, 2, 1, 2, 3, 4), (3, 1, 2, 1, 4, 5)),
    ],
)
@pytest.mark.parametrize("fixed", ["none", "b", "a"])
def test_mat_mul(a: tuple[int, ...], b: tuple[int, ...], fixed: str) -> None:
    arrays = {"a": floats(*a), "b": floats(*b)}
    constants = {name: array for name, array in arrays.items() if name == fixed}
    feeds = {name: array for name, array in arrays.items() if name not in constants}
    check_op(single("MatMul", arrays, constants=constants), feeds)


def test_constant_right_operand_is_fully_connected() -> None:
    arrays = {"a": floats(2, 3, 4), "b": floats(4, 5)}
    model = check_op(single("MatMul", arrays, constants={"b": arrays["b"]}), {"a": arrays["a"]})
    assert [node.op_type for node in model.graph] == ["FULLY_CONNECTED"]


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_integers_multiply_exactly(dtype: type) -> None:
    a = RNG.integers(-(1 << 20), 1 << 20, (2, 3, 4)).astype(dtype)
    b = RNG.integers(-500, 500, (4, 5)).astype(dtype)
    check_op(single("MatMul", {"a": a, "b": b}), {"a": a, "b": b}, rtol=0, atol=0)


def test_big_integer_products_are_refused() -> None:
    a = np.zeros((512, 512), np.int32)
    with pytest.raises(NotExpressible, match="element by element"):
        lowered(single("MatMul", {"a": a, "b": a}))


@pytest.mark.parametrize("transA", [0, 1])
@pytest.mark.parametrize("transB", [0, 1])
@pytest.mark.parametrize("c", [None, (), (5,), (1, 5), (3, 1), (3, 5)])
@pytest.mark.parametrize("constant", [False, True])
def test_gemm(transA: int, transB: int, c: tuple[int, ...] | None, constant: bool) -> None:
    arrays: dict[str, np.ndarray] = {
        "a": floats(4, 3) if transA else floats(3, 4),
        "b": floats(5, 4) if transB else floats(4, 5),
    }
    if c is not None:
        arrays["c"] = np.asarray(floats(*c))
    constants = {name: array for name, array in arrays.items() if constant and name != "a"}
    feeds = {name: array for name, array in arrays.items() if name not in constants}
    for factors in ({}, {"alpha": 0.5, "beta": 0.25}):
        check_op(single("Gemm", arrays, constants=constants, transA=transA, transB=transB, **factors), feeds)


def test_dynamic_batch() -> None:
    text = """<ir_version: 10, opset_import: ["": 21]>
    dynamic (float[n, t, 4] x, float[n, 4, 3] y, float[4] v) => (float[a, b, c] z, float[d, e] w) {
      z = MatMul (x, y)
      w = MatMul (x, v)
    }"""
    check_op(text, {"x": floats(2, 5, 4), "y": floats(2, 4, 3), "v": floats(4)})


def test_tied_weights_are_written_once() -> None:
    """Both products want the weight transposed: one transposed copy serves both."""
    model = """<ir_version: 10, opset_import: ["" : 20]> g (float[2,3] x) => (float[2,3] z)
        <float[3,3] w = {1, 2, 3, 4, 5, 6, 7, 8, 9}> { y = MatMul(x, w) z = MatMul(y, w) }"""
    graph = check_op(model, {"x": np.ones((2, 3), np.float32)})
    assert [node.op_type for node in graph.graph] == ["FULLY_CONNECTED"] * 2
    assert len({node.inputs[1] for node in graph.graph}) == 1
