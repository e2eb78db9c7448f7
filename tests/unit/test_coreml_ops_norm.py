"""Normalisations for Core ML: what the conformance suite leaves out."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

pytest.importorskip("coremltools")

from coreml_check import check_coreml

from graphrewrite.ir import Model

rng = np.random.default_rng(5)


def _floats(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def _model(
    op: str,
    x: np.ndarray,
    factors: list[np.ndarray],
    outputs: int = 1,
    constant: bool = True,
    **attributes: object,
) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """`op` of `x` and `factors`, which are constants or inputs; and the inputs."""
    names = [f"f{index}" for index in range(len(factors))]
    arrays = dict(zip(names, factors))
    infos = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, array.shape)
        for name, array in {"x": x, **({} if constant else arrays)}.items()
    ]
    results = [
        onnx.helper.make_tensor_value_info(f"y{index}", onnx.TensorProto.FLOAT, None)
        for index in range(outputs)
    ]
    node = onnx.helper.make_node(op, ["x", *names], [item.name for item in results], **attributes)
    constants = (
        [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()] if constant else []
    )
    graph = onnx.helper.make_graph([node], "g", infos, results, constants)
    opset = 23 if op == "RMSNormalization" else 21
    proto = onnx.helper.make_model(graph, ir_version=10, opset_imports=[onnx.helper.make_opsetid("", opset)])
    return proto, {"x": x, **({} if constant else arrays)}


def _ops(model: Model) -> list[str]:
    return [node.op_type for node in model.graph]


@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize("shape", [(4, 3), (2, 3, 5), (2, 3, 4, 5), (2, 3, 2, 3, 4)])
def test_batch_normalization(shape: tuple[int, ...], constant: bool) -> None:
    factors = [_floats(3), _floats(3), _floats(3), np.abs(_floats(3)) + 0.1]
    graph = check_coreml(
        *_model("BatchNormalization", _floats(*shape), factors, constant=constant, epsilon=1e-3)
    )
    if constant and len(shape) > 2:
        assert _ops(graph) == ["batch_norm"]


def test_batch_normalization_in_training() -> None:
    factors = [_floats(3), _floats(3), _floats(3), np.abs(_floats(3)) + 0.1]
    check_coreml(
        *_model("BatchNormalization", _floats(2, 3, 4, 5), factors, 3, training_mode=1, momentum=0.7),
        atol=1e-4,
    )


@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize("shape", [(2, 3, 5), (2, 3, 4, 5), (2, 3, 2, 3, 4)])
def test_instance_normalization(shape: tuple[int, ...], constant: bool) -> None:
    factors = [_floats(3), _floats(3)]
    graph = check_coreml(*_model("InstanceNormalization", _floats(*shape), factors, constant=constant))
    if constant and len(shape) < 5:
        assert _ops(graph) == ["instance_norm"]


@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize(
    ("axis", "scale", "bias"),
    [
        (-1, (5,), (5,)),
        (1, (3, 4, 5), None),
        (-2, (1, 5), (4, 1)),
        (2, (1, 1, 4, 5), (5,)),
        (2, (3, 1, 1), (1,)),
    ],
)
def test_layer_normalization(
    axis: int, scale: tuple[int, ...], bias: tuple[int, ...] | None, constant: bool
) -> None:
    """Constant factors of any shape that broadcasts over the normalised axes are part of the op."""
    factors = [_floats(*scale)] + ([_floats(*bias)] if bias else [])
    graph = check_coreml(
        *_model("LayerNormalization", _floats(2, 3, 4, 5), factors, constant=constant, axis=axis)
    )
    if constant and scale != (3, 1, 1):
        assert _ops(graph) == ["layer_norm"]


def test_layer_normalization_with_statistics() -> None:
    check_coreml(*_model("LayerNormalization", _floats(2, 3, 4), [_floats(4), _floats(4)], 3))


def test_equal_elements_in_half_precision_are_no_nan() -> None:
    """An epsilon below float16's range must not become 0."""
    proto, feeds = _model(
        "LayerNormalization", np.ones((2, 8), np.float32), [_floats(8), _floats(8)], epsilon=1e-12
    )
    check_coreml(proto, feeds, precision="fp16", rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("axis", [-1, 1])
def test_root_mean_square(axis: int) -> None:
    shape = (2, 3, 4)
    check_coreml(*_model("RMSNormalization", _floats(*shape), [_floats(*shape[axis:])], axis=axis))


@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize("shape", [(3, 6), (2, 6, 5), (2, 6, 4, 5), (2, 6, 2, 3, 4)])
def test_group_normalization(shape: tuple[int, ...], constant: bool) -> None:
    factors = [_floats(6), _floats(6)]
    check_coreml(
        *_model("GroupNormalization", _floats(*shape), factors, constant=constant, num_groups=3), atol=1e-4
    )


def test_local_response() -> None:
    """ONNX Runtime has it for images only."""
    attributes = {"size": 5, "alpha": 0.3, "beta": 0.6, "bias": 1.5}
    graph = check_coreml(*_model("LRN", _floats(2, 7, 3, 4), [], **attributes))
    assert _ops(graph) == ["local_response_norm"]
