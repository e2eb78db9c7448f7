"""DFT, STFT and windows against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest

from graphrewrite.errors import NotExpressible
from op_check import check_op, lowered, single

RNG = np.random.default_rng(5)


def i64(value: int) -> np.ndarray:
    return np.array(value, np.int64)


def floats(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(
    ("shape", "length", "axis", "attributes"),
    [
        ((2, 10, 1), None, None, {}),
        ((2, 10, 2), None, None, {}),
        ((2, 10, 1), None, None, {"onesided": 1}),
        ((2, 11, 1), None, 1, {"onesided": 1}),
        ((2, 10, 1), 16, 1, {}),
        ((2, 10, 2), 6, 1, {}),
        ((2, 10, 3, 2), None, 1, {}),
        ((3, 10, 4, 1), None, -3, {"onesided": 1}),
        ((2, 10, 2), None, None, {"inverse": 1}),
        ((2, 10, 1), None, None, {"inverse": 1}),
    ],
)
def test_dft(
    shape: tuple[int, ...], length: int | None, axis: int | None, attributes: dict[str, int]
) -> None:
    operands = {
        "x": floats(*shape),
        "length": None if length is None else i64(length),
        "axis": None if axis is None else i64(axis),
    }
    constants = {name: array for name, array in operands.items() if array is not None and name != "x"}
    while operands and next(reversed(operands.values())) is None:
        operands.popitem()
    check_op(single("DFT", operands, constants=constants, **attributes), {"x": operands["x"]})


@pytest.mark.parametrize("length", [8, 9])
def test_inverse_of_a_one_sided_spectrum(length: int) -> None:
    signal = floats(2, length)
    spectrum = np.fft.rfft(signal)
    x = np.stack([spectrum.real, spectrum.imag], axis=-1).astype(np.float32)
    constants = {"length": i64(length)}
    from graphrewrite import ir
    from graphrewrite.numeric.reference import create_session

    model = lowered(single("DFT", {"x": x, **constants}, constants=constants, inverse=1, onesided=1))
    (y,) = create_session(ir.to_runnable_proto(model)).run(None, {"x": x})
    np.testing.assert_allclose(y[..., 0], signal, atol=1e-5)


def test_dft_17_has_its_axis_as_attribute() -> None:
    x = floats(2, 10, 3, 1)
    check_op(single("DFT", {"x": x}, opset=17, axis=2), {"x": x})


@pytest.mark.parametrize("window", ["constant", "operand", None])
@pytest.mark.parametrize("onesided", [0, 1])
def test_stft(window: str | None, onesided: int) -> None:
    x = floats(2, 40, 1)
    shape = np.hanning(16).astype(np.float32)
    operands = {"x": x, "step": i64(4), "window": None if window is None else shape, "length": i64(16)}
    constants = {"step": i64(4), "length": i64(16), **({"window": shape} if window == "constant" else {})}
    feeds = {"x": x, **({"window": shape} if window == "operand" else {})}
    check_op(single("STFT", operands, constants=constants, onesided=onesided), feeds)


@pytest.mark.parametrize("op_type", ["HannWindow", "HammingWindow", "BlackmanWindow"])
def test_windows(op_type: str) -> None:
    x = floats(12)
    model = single("Mul", {"x": x, "w": x}, constants={"w": x})
    del model.graph.initializer[:]
    size = single(op_type, {"n": i64(12)}, constants={"n": i64(12)})
    size.graph.node[0].output[0] = "w"
    model.graph.initializer.extend(size.graph.initializer)
    model.graph.node.insert(0, size.graph.node[0])
    check_op(model, {"x": x})


def test_a_length_known_only_at_run_time_is_refused() -> None:
    with pytest.raises(NotExpressible, match="known only at run time"):
        lowered(single("DFT", {"x": floats(2, 10, 1), "length": i64(8)}))
