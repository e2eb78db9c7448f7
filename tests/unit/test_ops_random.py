"""Random ops draw from the right distribution; Dropout is the identity in inference."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnx.helper
import onnx.parser
import pytest

import graphrewrite
from graphrewrite.targets.tflite.emit import write
from graphrewrite.targets.tflite.runtime import runner
from op_check import check_op, lowered, single

X = np.zeros((100, 200), np.float32)


def drawn(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        write(lowered(model), path)
        return list(runner.run(path, feeds).outputs.values())


@pytest.mark.parametrize(
    ("op_type", "attributes", "mean", "deviation"),
    [
        ("RandomNormalLike", {}, 0.0, 1.0),
        ("RandomNormalLike", {"mean": 3.0, "scale": 2.0, "seed": 7.0}, 3.0, 2.0),
        ("RandomUniformLike", {}, 0.5, 12**-0.5),
        ("RandomUniformLike", {"low": -1.0, "high": 3.0}, 1.0, 4 * 12**-0.5),
    ],
)
def test_like(op_type: str, attributes: dict[str, float], mean: float, deviation: float) -> None:
    (found,) = drawn(single(op_type, {"x": X}, **attributes), {"x": X})
    assert found.shape == X.shape
    assert found.dtype == np.float32
    assert abs(found.mean() - mean) < 0.1
    assert abs(found.std() - deviation) < 0.1


def test_bernoulli() -> None:
    x = np.full((100, 200), 0.3, np.float32)
    (found,) = drawn(single("Bernoulli", {"x": x}, dtype=onnx.TensorProto.BOOL), {"x": x})
    assert found.dtype == np.bool_
    assert abs(found.mean() - 0.3) < 0.02


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_multinomial(dtype: type) -> None:
    x = np.log(np.array([[0.1, 0.2, 0.7], [0.5, 0.4, 0.1]], np.float32))
    target = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    (found,) = drawn(single("Multinomial", {"x": x}, sample_size=2000, dtype=target), {"x": x})
    assert found.dtype == dtype
    assert found.shape == (2, 2000)
    shares = np.stack([np.bincount(row, minlength=3) / 2000 for row in found])
    np.testing.assert_allclose(shares, np.exp(x), atol=0.06)


def test_dropout_in_inference() -> None:
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    model = single("Dropout", {"x": x}, outputs=2)
    found, mask = drawn(model, {"x": x})
    np.testing.assert_array_equal(found, x)
    assert mask.all()


def test_dropout_in_training() -> None:
    x = np.ones((100, 200), np.float32)
    inputs = {"x": x, "ratio": np.array(0.25, np.float32), "training": np.array(True)}
    found, mask = drawn(single("Dropout", inputs, outputs=2), inputs)
    assert abs(mask.mean() - 0.75) < 0.02
    np.testing.assert_allclose(found, mask / 0.75, rtol=1e-6)
    inputs["training"] = np.array(False)
    found, mask = drawn(single("Dropout", inputs, outputs=2), inputs)
    np.testing.assert_array_equal(found, x)


def test_dropout_without_ratio_drops_nothing() -> None:
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    inputs = {"x": x, "ratio": np.array(0, np.float32), "training": np.array(True)}
    (found,) = drawn(single("Dropout", inputs), inputs)
    np.testing.assert_array_equal(found, x)
    constants = {name: array for name, array in inputs.items() if name != "x"}
    check_op(single("Dropout", inputs, constants=constants), {"x": x})


@pytest.mark.parametrize("seed", [2147483648.0, -1e30])
@pytest.mark.parametrize("target", ["tflite", "coreml"])
def test_seeds_beyond_int32(seed: float, target: str, tmp_path: Path) -> None:
    """tf2onnx writes 2^31 where TensorFlow has no seed."""
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 21]> g (float[2,3] x) => (float[2,3] y)'
        f"{{ r = RandomNormal<shape = [2, 3], seed = {seed:f}>()  y = Add(x, r) }}"
    )
    graphrewrite.run(model, target, output=tmp_path / "m{suffix}")
