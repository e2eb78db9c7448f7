"""Weights that are read where they lie: what is cut out, and what is left to protobuf."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import pytest

from graphrewrite.errors import InvalidModel
from graphrewrite.ir import constant_array, load
from graphrewrite.ir.wire import split_weights

BIG = np.arange(40_000, dtype=np.float32).reshape(200, 200)


def _model(*tensors: onnx.TensorProto) -> onnx.ModelProto:
    nodes = [onnx.helper.make_node("Add", ["x", tensors[0].name], ["y"])]
    graph = onnx.helper.make_graph(
        nodes,
        "g",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [200, 200])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [200, 200])],
        list(tensors),
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)


def _tensor(array: np.ndarray, name: str) -> onnx.TensorProto:
    return onnx.numpy_helper.from_array(array, name)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int8, np.int64, np.float64])
def test_cut_out_and_put_back(dtype: type) -> None:
    model = _model(_tensor(BIG.astype(dtype), "big"), _tensor(np.float32([1, 2]), "small"))
    data = model.SerializeToString()
    lean, weights = split_weights(memoryview(data))
    assert list(weights) == ["big"]
    assert len(lean) < 1000
    parsed = onnx.ModelProto.FromString(lean)
    parsed.graph.initializer[0].raw_data = bytes(weights["big"])
    assert parsed == model


def test_loaded_from_a_file_without_a_copy(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(_model(_tensor(BIG, "big"), _tensor(np.float32([1, 2]), "small")).SerializeToString())
    found = constant_array(load(path).graph.initializers["big"])
    assert found is not None
    assert not found.flags.owndata
    assert not found.flags.writeable
    np.testing.assert_array_equal(found, BIG)


def test_equal_to_what_protobuf_reads(tmp_path: Path) -> None:
    model = _model(
        _tensor(BIG, "big"), _tensor(BIG.astype(np.int16), "more"), _tensor(np.int64([3]), "small")
    )
    mapped, parsed = load(model.SerializeToString()), load(model)
    assert mapped.graph.initializers.keys() == parsed.graph.initializers.keys()
    for name, value in parsed.graph.initializers.items():
        other = mapped.graph.initializers[name]
        assert other.dtype == value.dtype
        assert other.shape == value.shape
        np.testing.assert_array_equal(constant_array(other), constant_array(value))


def test_typed_fields_external_data_and_packed_types_stay() -> None:
    typed = onnx.helper.make_tensor("typed", onnx.TensorProto.FLOAT, BIG.shape, BIG.reshape(-1))
    packed = onnx.TensorProto(
        name="packed", data_type=onnx.TensorProto.INT4, dims=[400, 200], raw_data=bytes(40_000)
    )
    nameless = onnx.TensorProto(data_type=onnx.TensorProto.INT8, dims=[40_000], raw_data=bytes(40_000))
    data = _model(typed, packed, nameless).SerializeToString()
    assert split_weights(memoryview(data)) == (data, {})


def test_equal_names_are_left_to_protobuf() -> None:
    model = _model(_tensor(BIG, "twice"), _tensor(np.float32(BIG + 1), "twice"))
    data = model.SerializeToString()
    assert split_weights(memoryview(data)) == (data, {})
    model = _model(_tensor(BIG, "twice"), _tensor(np.float32([1]), "twice"))
    value = load(model.SerializeToString()).graph.initializers["twice"]
    np.testing.assert_array_equal(constant_array(value), np.float32([1]))


def test_cut_off_files_are_refused() -> None:
    data = _model(_tensor(BIG, "big")).SerializeToString()
    for size in (1, 3, 10, 100, 20_000, len(data) - 1):
        part = memoryview(data)[:size]
        assert split_weights(part) == (bytes(part), {})
        with pytest.raises(InvalidModel):
            load(bytes(part))


def test_a_wrong_size_is_named() -> None:
    tensor = _tensor(BIG, "big")
    tensor.dims[0] = 201
    with pytest.raises(
        InvalidModel, match=r"'big' has the shape .* and needs 160800 bytes, but holds 160000"
    ):
        load(_model(tensor).SerializeToString())
