"""Sparse tensors are read as dense ones, in initializers, constants and bodies; maps leave a value of unknown type."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.helper as h
import onnx.numpy_helper as nh
import pytest

import graphrewrite
from graphrewrite import ir
from graphrewrite.errors import InvalidModel, NotExpressible

DENSE = np.array([[0, 2, 0], [-1, 0, 0.5]], np.float32)
LINEAR, ROWS = np.array([1, 3, 5]), np.array([[0, 1], [1, 0], [1, 2]])


def sparse(name: str, indices: np.ndarray, dims: tuple[int, ...] = (2, 3)) -> onnx.SparseTensorProto:
    values = nh.from_array(DENSE[DENSE != 0], name)
    return h.make_sparse_tensor(values, nh.from_array(indices, f"{name}_indices"), dims)


def float_info(name: str, *shape: int) -> onnx.ValueInfoProto:
    return h.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)


def wrapped(graph: onnx.GraphProto) -> onnx.ModelProto:
    return h.make_model(graph, opset_imports=[h.make_opsetid("", 20)], ir_version=10)


def product(form: str, indices: np.ndarray) -> onnx.ModelProto:
    """y = x @ w, with a sparse w."""
    nodes = [h.make_node("MatMul", ["x", "w"], ["y"])]
    initializers = [sparse("w", indices)]
    if form == "constant":
        nodes.insert(0, h.make_node("Constant", [], ["w"], sparse_value=initializers.pop()))
    ends = [float_info("x", 4, 2)], [float_info("y", 4, 3)]
    return wrapped(h.make_graph(nodes, "g", *ends, sparse_initializer=initializers))


@pytest.mark.parametrize("indices", [LINEAR, ROWS])
@pytest.mark.parametrize("form", ["initializer", "constant"])
def test_sparse_weights(form: str, indices: np.ndarray, tmp_path: Path) -> None:
    model = product(form, indices)
    before = model.SerializeToString()
    graphrewrite.run(model, output=tmp_path / "m.tflite")
    assert model.SerializeToString() == before
    if form == "initializer":
        weights = ir.load(model).graph.initializers["w"].const_value
        assert weights is not None
        np.testing.assert_array_equal(weights.numpy(), DENSE)


def test_sparse_weights_of_a_body(tmp_path: Path) -> None:
    """One branch holds a sparse initializer, the other a sparse constant."""
    then = h.make_graph(
        [h.make_node("Add", ["x", "w"], ["a"])],
        "then",
        [],
        [float_info("a", 2, 3)],
        sparse_initializer=[sparse("w", LINEAR)],
    )
    other = h.make_graph(
        [
            h.make_node("Constant", [], ["c"], sparse_value=sparse("", ROWS)),
            h.make_node("Sub", ["x", "c"], ["b"]),
        ],
        "else",
        [],
        [float_info("b", 2, 3)],
    )
    node = h.make_node("If", ["which"], ["y"], then_branch=then, else_branch=other)
    which = h.make_tensor_value_info("which", onnx.TensorProto.BOOL, [])
    model = wrapped(h.make_graph([node], "g", [float_info("x", 2, 3), which], [float_info("y", 2, 3)]))
    x = np.ones((2, 3), np.float32)
    samples = [{"x": x, "which": np.array(way)} for way in (True, False)]
    graphrewrite.run(model, output=tmp_path / "m.tflite", samples=samples)


@pytest.mark.parametrize(
    ("indices", "why"),
    [
        (np.array([1, 3, 6]), "contradicts itself"),
        (np.array([-1, 3, 5]), "negative"),
        (np.array([1, 3]), "contradicts itself"),
        (np.array([[0, 1], [1, 0], [2, 2]]), "contradicts itself"),
    ],
)
def test_indices_that_do_not_fit(indices: np.ndarray, why: str) -> None:
    with pytest.raises(InvalidModel, match=f"the sparse tensor 'w'.*{why}"):
        ir.load(product("initializer", indices))


def test_sparse_values_in_another_file() -> None:
    model = product("initializer", LINEAR)
    model.graph.sparse_initializer[0].values.data_location = onnx.TensorProto.EXTERNAL
    with pytest.raises(InvalidModel, match="in another file"):
        ir.load(model)


def test_maps_are_refused_with_the_op_that_makes_them() -> None:
    """What skl2onnx writes of a classifier."""
    pair = onnx.TypeProto()
    pair.sequence_type.elem_type.map_type.key_type = onnx.TensorProto.INT64
    pair.sequence_type.elem_type.map_type.value_type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    graph = h.make_graph(
        [
            h.make_node("Softmax", ["x"], ["p"]),
            h.make_node("ZipMap", ["p"], ["z"], domain="ai.onnx.ml", classlabels_int64s=[0, 1]),
        ],
        "g",
        [float_info("x", 3, 2)],
        [float_info("p", 3, 2), onnx.ValueInfoProto(name="z", type=pair)],
    )
    model = wrapped(graph)
    model.opset_import.append(h.make_opsetid("ai.onnx.ml", 3))
    with pytest.raises(NotExpressible) as found:
        graphrewrite.run(model, output="never.tflite")
    (blocker,) = found.value.blockers
    assert blocker.op == "ai.onnx.ml.ZipMap"
    assert "zipmap" in blocker.hint
