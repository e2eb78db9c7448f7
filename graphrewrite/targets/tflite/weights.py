"""Streams the bytes of one constant to a file without a second copy of it in memory."""

from __future__ import annotations

import mmap
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import onnx_ir

SLICE_BYTES = 4 << 20
"""Arrays that are not contiguous (a transposed weight) are copied this many bytes at a time."""


def write_tensor(tensor: onnx_ir.TensorProtocol, file: BinaryIO) -> None:
    """Write the little-endian bytes of `tensor`; int4 packed two to a byte, low half first.

    Unchanged external tensors go from file to file in the kernel where the platform can. Lazy tensors
    are evaluated here, written and dropped. Pages that were read through a memory map are given back,
    so that the process never holds more than one tensor's worth of them.

    Args:
        tensor: any onnx_ir tensor.
        file: open for writing at the place where the bytes belong.
    """
    while isinstance(tensor, onnx_ir.LazyTensor):
        # The public way to the inner tensor would copy it into bytes first.
        tensor = tensor._evaluate()
    if isinstance(tensor, onnx_ir.ExternalTensor) and tensor.length in (None, tensor.nbytes):
        tensor.tofile(file)
    elif tensor.dtype.bitwidth < 8:
        file.write(tensor.tobytes())
    else:
        array = tensor.numpy()
        _write_array(array.astype(array.dtype.newbyteorder("<"), copy=False), file)
        _give_back_pages(array)


def _write_array(array: npt.NDArray[Any], file: BinaryIO) -> None:
    if array.flags.c_contiguous:
        file.write(array.reshape(-1).view(np.uint8).data)
    elif array.ndim == 1 or array.nbytes <= SLICE_BYTES:
        file.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    else:
        rows = max(1, SLICE_BYTES * len(array) // array.nbytes)
        for start in range(0, len(array), rows):
            _write_array(array[start : start + rows] if rows > 1 else array[start], file)


def _give_back_pages(array: npt.NDArray[Any]) -> None:
    """Tell the kernel that the pages of a read-only memory map under `array` are not needed now.

    They are read from the file again if they are, so this never changes what anyone sees.
    """
    base: Any = array
    while isinstance(base, np.ndarray) and base.base is not None:
        base = base.base
    if isinstance(base, memoryview):
        base = base.obj
    if not isinstance(base, mmap.mmap) or not hasattr(base, "madvise") or not memoryview(base).readonly:
        return
    begin = np.frombuffer(base, np.uint8).ctypes.data
    start = (array.ctypes.data - begin) // mmap.PAGESIZE * mmap.PAGESIZE
    if array.flags.c_contiguous:
        base.madvise(mmap.MADV_DONTNEED, start, array.ctypes.data + array.nbytes - begin - start)
    else:
        base.madvise(mmap.MADV_DONTNEED)
