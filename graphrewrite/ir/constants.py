"""Constants: values that an initializer holds, and the arrays behind them."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt
import onnx_ir

Array = npt.NDArray[Any]


def is_constant(value: onnx_ir.Value | None) -> bool:
    """True where `value` is an initializer, whose content is known at conversion time.

    Graph inputs with a default are made plain initializers at load time, so there is no third state.
    """
    return value is not None and value.const_value is not None and value.producer() is None


def constant_array(value: onnx_ir.Value | None) -> Array | None:
    """The content of a constant as an array (a view of mapped memory where the weights are external), else None."""
    if value is None or value.const_value is None or value.producer() is not None:
        return None
    return value.const_value.numpy()


def constant_ints(value: onnx_ir.Value | None) -> list[int] | None:
    """The content of an integer constant, flattened, else None."""
    array = constant_array(value)
    if array is None or array.dtype.kind not in "iub":
        return None
    return [int(item) for item in array.reshape(-1)]


def constant_scalar(value: onnx_ir.Value | None) -> float | None:
    """The single element of a constant of any rank and size 1, else None."""
    if value is None or value.const_value is None or value.const_value.size != 1:
        return None
    array = constant_array(value)
    if array is None or array.dtype.kind not in "iubf":
        return None
    return float(array.reshape(-1)[0])
