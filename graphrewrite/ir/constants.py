"""Constants: values that an initializer holds, and the arrays behind them."""

from __future__ import annotations

from typing import Any, TypeGuard

import numpy as np
import numpy.typing as npt
import onnx_ir
import onnx_ir.serde

Array = npt.NDArray[Any]

_HELD_BYTES = 1 << 20
"""Tensors of a proto beyond this size stay there: a copy of them would be a second one."""

_TENSORS = {onnx_ir.Tensor, onnx_ir.LazyTensor, onnx_ir.ExternalTensor, onnx_ir.serde.TensorProtoTensor}
_NO_TENSORS = (np.ndarray, np.generic, bool, int, float, str, list, tuple)


def is_tensor(content: Any) -> TypeGuard[onnx_ir.TensorProtocol]:
    """True for onnx_ir's tensors and whatever else follows their protocol, which is slow to ask for (20 us)."""
    if type(content) in _TENSORS:
        return True
    return not isinstance(content, _NO_TENSORS) and isinstance(content, onnx_ir.TensorProtocol)


def held(tensor: onnx_ir.TensorProtocol, content: memoryview | None = None) -> onnx_ir.TensorProtocol:
    """`tensor`, where it lies in a proto, as one that holds its array; `content` are its raw bytes, where they lie apart.

    A proto's tensor answers every question (even for its shape) from the proto anew, and copies its bytes each time.
    """
    if not isinstance(tensor, onnx_ir.serde.TensorProtoTensor):
        return tensor
    dtype, shape = tensor.dtype, tensor.shape
    if content is not None:
        array = np.frombuffer(content, dtype.numpy().newbyteorder("<")).reshape(shape.numpy())
    elif dtype.bitwidth >= 8 and tensor.nbytes <= _HELD_BYTES:
        array = tensor.numpy()
    else:
        return tensor
    return onnx_ir.Tensor(
        array,
        dtype,
        shape=shape,
        name=tensor.name,
        doc_string=tensor.doc_string,
        metadata_props=tensor.metadata_props,
    )


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
