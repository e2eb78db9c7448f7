"""LSTM, GRU and RNN in every variant against ONNX Runtime and LiteRT."""

from __future__ import annotations

import numpy as np
import pytest

from op_check import check_op, lowered, single

RNG = np.random.default_rng(19)
STEPS, BATCH, SIZE, HIDDEN = 4, 3, 5, 2
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
OUTPUTS = {"RNN": 2, "GRU": 2, "LSTM": 3}


def floats(*shape: int) -> np.ndarray:
    return (RNG.standard_normal(shape) * 0.7).astype(np.float32)


def operands(
    op_type: str, *, directions: int = 1, extras: bool = True, peepholes: bool = False
) -> dict[str, np.ndarray | None]:
    gates = GATES[op_type]
    found: dict[str, np.ndarray | None] = {
        "x": floats(STEPS, BATCH, SIZE),
        "w": floats(directions, gates * HIDDEN, SIZE),
        "r": floats(directions, gates * HIDDEN, HIDDEN),
    }
    if extras:
        found["b"] = floats(directions, 2 * gates * HIDDEN)
        found["lengths"] = None
        found["h"] = floats(directions, BATCH, HIDDEN)
        if op_type == "LSTM":
            found["c"] = floats(directions, BATCH, HIDDEN)
            if peepholes:
                found["p"] = floats(directions, 3 * HIDDEN)
    return found


def check(op_type: str, arrays: dict[str, np.ndarray | None], **attributes: object) -> None:
    feeds = {name: array for name, array in arrays.items() if array is not None}
    fixed = {name: array for name, array in feeds.items() if name != "x"}
    outputs = OUTPUTS[op_type]
    check_op(single(op_type, arrays, outputs=outputs, hidden_size=HIDDEN, **attributes), feeds)
    model = single(op_type, arrays, constants=fixed, outputs=outputs, hidden_size=HIDDEN, **attributes)
    check_op(model, {"x": feeds["x"]})


@pytest.mark.parametrize("op_type", GATES)
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("extras", [False, True])
def test_directions(op_type: str, direction: str, extras: bool) -> None:
    directions = 2 if direction == "bidirectional" else 1
    check(op_type, operands(op_type, directions=directions, extras=extras), direction=direction)


@pytest.mark.parametrize("op_type", GATES)
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_sequence_lengths(op_type: str, direction: str) -> None:
    arrays = operands(op_type, directions=2 if direction == "bidirectional" else 1)
    arrays["lengths"] = np.array([4, 2, 1], np.int32)
    check(op_type, arrays, direction=direction)


@pytest.mark.parametrize("linear", [0, 1])
@pytest.mark.parametrize("extras", [False, True])
def test_gru_reset(linear: int, extras: bool) -> None:
    check("GRU", operands("GRU", extras=extras), linear_before_reset=linear)


@pytest.mark.parametrize("coupled", [0, 1])
@pytest.mark.parametrize("clip", [None, 0.3])
def test_lstm_peepholes(coupled: int, clip: float | None) -> None:
    attributes = {} if clip is None else {"clip": clip}
    check("LSTM", operands("LSTM", peepholes=True), input_forget=coupled, **attributes)


def test_lstm_clip_without_peepholes() -> None:
    check("LSTM", operands("LSTM"), clip=0.3)


def test_activations_with_parameters() -> None:
    names = ["HardSigmoid", "LeakyRelu", "Affine"]
    check(
        "LSTM",
        operands("LSTM"),
        activations=names,
        activation_alpha=[0.3, 0.05, 0.9],
        activation_beta=[0.4, 0.1],
    )
    check("RNN", operands("RNN"), activations=["Relu"])
    check("GRU", operands("GRU"), activations=["Sigmoid", "Softsign"])


@pytest.mark.parametrize("op_type", GATES)
def test_batch_first_equals_time_first(op_type: str) -> None:
    """ONNX Runtime has no batch-first kernels: the same network time first is the reference."""
    from graphrewrite import ir
    from graphrewrite.numeric.reference import create_session

    arrays = operands(op_type)
    feeds = {name: array for name, array in arrays.items() if array is not None}
    outputs = OUTPUTS[op_type]
    wanted = create_session(single(op_type, arrays, outputs=outputs, hidden_size=HIDDEN)).run(None, feeds)
    turned = {
        name: np.ascontiguousarray(np.swapaxes(array, 0, 1)) if name in "xhc" else array
        for name, array in feeds.items()
    }
    shaped = {name: None if array is None else turned[name] for name, array in arrays.items()}
    model = lowered(single(op_type, shaped, outputs=outputs, hidden_size=HIDDEN, layout=1))
    found = create_session(ir.to_runnable_proto(model)).run(None, turned)
    np.testing.assert_allclose(found[0], np.transpose(wanted[0], (2, 0, 1, 3)), atol=1e-5)
    for state, reference in zip(found[1:], wanted[1:], strict=True):
        np.testing.assert_allclose(state, np.swapaxes(reference, 0, 1), atol=1e-5)


def test_dynamic_batch() -> None:
    text = """<ir_version: 10, opset_import: ["": 21]>
    dynamic (float[4, n, 5] x, float[1, 8, 5] w, float[1, 8, 2] r) => (float[a, b, c, d] y, float[e, f, g] h) {
      y, h = LSTM <hidden_size = 2> (x, w, r)
    }"""
    arrays = operands("LSTM", extras=False)
    check_op(text, {name: array for name, array in arrays.items() if array is not None})


@pytest.mark.parametrize("op_type", GATES)
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("lengths", [False, True])
def test_dynamic_sequence_is_a_loop(op_type: str, direction: str, lengths: bool) -> None:
    directions = 2 if direction == "bidirectional" else 1
    arrays = operands(op_type, directions=directions)
    names = "x, w, r, b, " + ("lengths" if lengths else "")
    given = f", int32[{BATCH}] lengths" if lengths else ""
    gates = GATES[op_type] * HIDDEN
    text = f"""<ir_version: 10, opset_import: ["": 21]>
    dynamic (float[t, {BATCH}, {SIZE}] x, float[{directions}, {gates}, {SIZE}] w, float[{directions}, {gates}, {HIDDEN}] r,
      float[{directions}, {2 * gates}] b{given}) => (float[k, l, m, n] y, float[f, g, h] last) {{
      y, last = {op_type} <hidden_size = {HIDDEN}, direction = "{direction}"> ({names})
    }}"""
    feeds = {
        name: array for name, array in arrays.items() if name in ("x", "w", "r", "b") and array is not None
    }
    if lengths:
        feeds["lengths"] = np.array([4, 2, 1], np.int32)
    model = check_op(text, feeds)
    assert sum(node.op_type == "WHILE" for node in model.graph) == directions
