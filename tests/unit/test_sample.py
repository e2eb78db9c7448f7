"""The sample MobileStyleGAN: same bytes for the same seed, the published sizes, and an image of O(1)."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from graphrewrite.errors import UsageError
from graphrewrite.sources.sample import MOBILESTYLEGAN_CHANNELS, STYLE_WIDTH, build_mobilestylegan

SIZE = 64
BLOCKS = 3


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    return build_mobilestylegan(SIZE)


def run(model: onnx.ModelProto, seed: int) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    source = session.get_inputs()[0]
    value = np.random.default_rng(seed).standard_normal(source.shape, dtype=np.float32)
    return session.run(None, {source.name: value})[0]


def affine(channels: int) -> int:
    return (STYLE_WIDTH + 1) * channels


def separable(c_in: int, c_out: int) -> int:
    weights = 9 * c_in + c_in * c_out
    # style_inv, bias, noise strength
    return affine(c_in) + weights + c_in + c_out + 1


def expected_parameters(blocks: int) -> int:
    """Parameters of the synthesis network that the image depends on, from the description of the network."""
    first = MOBILESTYLEGAN_CHANNELS[0]
    total = 16 * first + affine(first) + 9 * first * first + 2 * first + 1
    for c_in, c_out in itertools.pairwise(MOBILESTYLEGAN_CHANNELS[: blocks + 1]):
        total += affine(c_in) + separable(c_in // 4, c_out) + separable(c_out, c_out)
    last = MOBILESTYLEGAN_CHANNELS[blocks]
    return total + affine(last) + 12 * last + 12


def parameters(model: onnx.ModelProto) -> int:
    fixed = (".noise", "_row", "_column")
    return sum(
        numpy_helper.to_array(tensor).size
        for tensor in model.graph.initializer
        if not tensor.name.startswith("val_") and not tensor.name.endswith(fixed)
    )


def test_same_seed_gives_the_same_bytes(model: onnx.ModelProto) -> None:
    assert build_mobilestylegan(SIZE).SerializeToString() == model.SerializeToString()


def test_other_seed_gives_other_weights(model: onnx.ModelProto) -> None:
    other = build_mobilestylegan(SIZE, seed=1)
    assert parameters(other) == parameters(model)
    assert other.SerializeToString() != model.SerializeToString()


def test_is_a_valid_model_with_every_shape_known(model: onnx.ModelProto) -> None:
    onnx.checker.check_model(model, full_check=True)
    known = {value.name for value in [*model.graph.value_info, *model.graph.output]}
    assert {name for node in model.graph.node for name in node.output} <= known


def test_parameter_count(model: onnx.ModelProto) -> None:
    assert parameters(model) == expected_parameters(BLOCKS)


def test_published_parameter_count() -> None:
    # The heads of the lower resolutions, which only training uses, complete the published 8.85 M.
    heads = sum(affine(c) + 12 * c + 12 for c in MOBILESTYLEGAN_CHANNELS[:-1])
    assert round((expected_parameters(7) + heads) / 1e6, 2) == 8.86


def test_spelling_of_the_exporter(model: onnx.ModelProto) -> None:
    ops = Counter(node.op_type for node in model.graph.node)
    demodulations = 2 * BLOCKS + 1
    assert ops["ConvTranspose"] == 6 * (BLOCKS + 1)
    assert ops["ReduceSum"] == ops["Reciprocal"] == ops["Unsqueeze"] == demodulations
    assert "Constant" not in ops


def test_runs_and_the_image_depends_on_the_style(model: onnx.ModelProto) -> None:
    first, second = run(model, 1), run(model, 2)
    assert first.shape == (1, 3, SIZE, SIZE)
    for image in (first, second):
        assert np.isfinite(image).all()
        assert 0.2 < image.std() < 5
        # Not one flat colour: neighbouring pixels differ.
        assert np.abs(np.diff(image, axis=-1)).mean() > 0.05
    assert np.abs(first - second).mean() > 0.05


def test_mapping_takes_a_latent() -> None:
    model = build_mobilestylegan(SIZE, mapping=True)
    assert [value.name for value in model.graph.input] == ["z"]
    image = run(model, 3)
    assert np.isfinite(image).all()
    assert 0.2 < image.std() < 5


@pytest.mark.parametrize("size", [0, 32, 100, 2048])
def test_refuses_other_sizes(size: int) -> None:
    with pytest.raises(UsageError, match=f"no size {size}; choose 64"):
        build_mobilestylegan(size)
