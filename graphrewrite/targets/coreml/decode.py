"""Constants of a saved Core ML model: literals, the weight file, and compressed weights (`constexpr_*`) decoded.

Written from the format's own definition (MIL.proto and the layout of weight.bin), not from what writes our files.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from graphrewrite.errors import NotChecked
from graphrewrite.ir import Array

_TYPES: dict[int, Any] = {
    1: np.bool_,
    10: np.float16,
    11: np.float32,
    12: np.float64,
    21: np.int8,
    22: np.int16,
    23: np.int32,
    24: np.int64,
    31: np.uint8,
    32: np.uint16,
    33: np.uint32,
    34: np.uint64,
}
"""numpy's types by the numbers of MIL.proto's DataType."""
_STRING = 2
"""MIL.proto's number of text."""
_PACKED = {25: (4, True), 35: (4, False), 36: (2, False), 37: (1, False), 38: (6, False), 39: (3, False)}
"""Types of less than a byte: (bits, signed)."""
_SENTINEL = 0xDEADBEEF
_ENTRY = np.dtype(
    [("sentinel", "<u4"), ("type", "<u4"), ("size", "<u8"), ("offset", "<u8"), ("padding", "<u8")]
)
"""What stands at a blob's offset in the weight file and says where its bytes are."""


def numpy_type(number: int) -> Any:
    """numpy's type for a DataType of MIL.proto; integers of less than a byte are held in bytes.

    Raises:
        NotChecked: it is none that numpy has (float8, bfloat16).
    """
    if number in _PACKED:
        return np.int8 if _PACKED[number][1] else np.uint8
    if number not in _TYPES:
        raise NotChecked(
            f"the package holds tensors of MIL's data type {number}, which can't be evaluated here"
        )
    return _TYPES[number]


class Weights:
    """The weight files of a package, mapped, not read."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, Array] = {}

    def value(self, value: Any) -> Any:
        """The content of a MIL `Value`: an array (rank 0 for a scalar), a str, or a list of str."""
        tensor = value.type.tensorType
        shape = [dim.constant.size for dim in tensor.dimensions]
        if value.WhichOneof("value") == "blobFileValue":
            return self._blob(value.blobFileValue, tensor.dataType, shape)
        if value.type.WhichOneof("type") != "tensorType":
            raise NotChecked("the package holds lists or dictionaries, which can't be evaluated")
        return _literal(value.immediateValue.tensor, tensor.dataType, shape)

    def _blob(self, place: Any, number: int, shape: list[int]) -> Array:
        data = self._file(place.fileName)
        entry = data[place.offset : place.offset + _ENTRY.itemsize].view(_ENTRY)
        if len(entry) != 1 or int(entry["sentinel"][0]) != _SENTINEL:
            raise NotChecked(
                f"'{place.fileName}' has no weights at offset {place.offset}: the file is damaged"
            )
        start, size = int(entry["offset"][0]), int(entry["size"][0])
        if start + size > data.size:
            raise NotChecked(f"'{place.fileName}' ends before the weights at offset {place.offset} do")
        content = data[start : start + size]
        if number in _PACKED:
            return _unpacked(content, *_PACKED[number], math.prod(shape)).reshape(shape)
        found: Array = content.view(numpy_type(number)).reshape(shape)
        return found

    def _file(self, name: str) -> Array:
        if name not in self._files:
            path = self._folder / name.removeprefix("@model_path/")
            if not path.is_file():
                raise NotChecked(f"the package refers to '{name}', which is missing")
            self._files[name] = np.memmap(path, np.uint8, "r")
        return self._files[name]


def _literal(tensor: Any, number: int, shape: list[int]) -> Any:
    kind = tensor.WhichOneof("value")
    if number == _STRING:
        values = list(tensor.strings.values)
        return values if shape else values[0]
    if kind == "bytes":
        raw = np.frombuffer(tensor.bytes.values, np.uint8)
        if number in _PACKED:
            return _unpacked(raw, *_PACKED[number], math.prod(shape)).reshape(shape)
        return raw.view(numpy_type(number)).reshape(shape)
    content = getattr(tensor, kind).values if kind is not None else []
    return np.asarray(content, numpy_type(number)).reshape(shape)


def _unpacked(raw: Array, bits: int, signed: bool, count: int) -> Array:
    """`count` integers of `bits` bits each, the lowest bits of the first byte first."""
    flat = np.unpackbits(raw, bitorder="little")[: count * bits].reshape(count, bits)
    found = np.packbits(flat, axis=1, bitorder="little").reshape(-1)
    if signed:
        return (found.astype(np.int16) - (found >> (bits - 1)).astype(np.int16) * (1 << bits)).astype(np.int8)
    return found


# -- compressed weights ------------------------------------------------------------------------------------------------


def decompress(op_type: str, given: Mapping[str, Any]) -> list[Array]:
    """The results of a `constexpr_*` op on its operands.

    Raises:
        NotChecked: this kind of compression is not known.
    """
    if op_type not in _CONSTEXPR:
        raise NotChecked(f"weights compressed by {op_type} can't be decoded here")
    return _CONSTEXPR[op_type](given)


def _along(values: Array, axis: int, rank: int) -> Array:
    """A vector as a tensor of `rank` dimensions that varies along `axis`; scalars as they are."""
    flat = np.asarray(values)
    if flat.size == 1:
        return flat.reshape([1] * rank)
    return flat.reshape([-1 if index == axis % rank else 1 for index in range(rank)])


def _affine(given: Mapping[str, Any]) -> list[Array]:
    """scale * (quantized_data - zero_point)."""
    data, scale = given["quantized_data"], np.asarray(given["scale"])
    axis, rank = int(given.get("axis", 0)), data.ndim
    zero = _along(given["zero_point"], axis, rank).astype(np.float32)
    return [(_along(scale, axis, rank).astype(np.float32) * (data - zero)).astype(scale.dtype)]


def _cast(given: Mapping[str, Any]) -> list[Array]:
    return [given["source_val"].astype({"fp32": np.float32, "fp16": np.float16}[given["output_dtype"]])]


def _palette(given: Mapping[str, Any]) -> list[Array]:
    """lut[indices]: one palette for all (iOS16, indices packed), or one a block (iOS18)."""
    lut, indices = given["lut"], given["indices"]
    if "shape" in given:
        shape = [int(dim) for dim in given["shape"]]
        bits = max(int(lut.size).bit_length() - 1, 1)
        return [lut[_unpacked(indices, bits, False, math.prod(shape))].reshape(shape)]
    return [_looked_up(lut, indices, given.get("vector_axis"))]


def _looked_up(lut: Array, indices: Array, vector_axis: Any) -> Array:
    """lut [blocks..., palette, vector]: each index of a block picks a vector, laid out along `vector_axis`."""
    rank = indices.ndim
    blocks, (colors, length) = lut.shape[:-2], lut.shape[-2:]
    table = lut.reshape(-1, colors, length)
    number = np.zeros([1] * rank, np.int64)
    for axis in range(rank):
        own = np.arange(indices.shape[axis]) // (indices.shape[axis] // blocks[axis])
        number = number * blocks[axis] + own.reshape([-1 if index == axis else 1 for index in range(rank)])
    found = table[np.broadcast_to(number, indices.shape), indices]
    if length == 1:
        return found[..., 0]
    axis = int(vector_axis) % rank
    moved = np.moveaxis(found, -1, axis + 1)
    shape = [size * length if index == axis else size for index, size in enumerate(indices.shape)]
    return moved.reshape(shape)


def _sparse(given: Mapping[str, Any]) -> list[Array]:
    """Zeros, except where the mask has a 1 (iOS16: packed bits and a shape)."""
    mask, values = given["mask"], given["nonzero_data"]
    if "shape" in given:
        shape = [int(dim) for dim in given["shape"]]
        mask = _unpacked(mask, 1, False, math.prod(shape)).reshape(shape)
    return [_scattered(mask, values)]


def _scattered(mask: Array, values: Array) -> Array:
    dense = np.zeros(mask.shape, values.dtype)
    dense[mask.astype(bool)] = values
    return dense


def _blockwise(data: Array, scale: Array, offset: Any) -> Array:
    for axis, (size, blocks) in enumerate(zip(data.shape, scale.shape, strict=True)):
        repeats = size // blocks
        scale = np.repeat(scale, repeats, axis) if repeats > 1 else scale
        offset = np.repeat(offset, repeats, axis) if offset is not None and repeats > 1 else offset
    moved = data.astype(np.float32) - (0 if offset is None else offset.astype(np.float32))
    return np.asarray((scale.astype(np.float32) * moved).astype(scale.dtype))


def _shift_scale(given: Mapping[str, Any]) -> list[Array]:
    """scale * (data - offset), one scale and offset a block."""
    return [_blockwise(given["data"], given["scale"], given.get("offset"))]


def _sparse_shift_scale(given: Mapping[str, Any]) -> list[Array]:
    mask = given["data_mask"].astype(bool)
    dense = _blockwise(_scattered(mask, given["nonzero_data"]), given["scale"], given.get("offset"))
    return [given["data_mask"], dense[mask]]


def _palette_sparse(given: Mapping[str, Any]) -> list[Array]:
    mask = given["indices_mask"].astype(bool)
    indices = _scattered(mask, given["indices_nonzero_data"])
    dense = _looked_up(given["lut"], indices, given.get("vector_axis"))
    wide = mask
    for axis, (size, whole) in enumerate(zip(mask.shape, dense.shape, strict=True)):
        wide = np.repeat(wide, whole // size, axis)
    return [wide.astype(np.uint8), dense[wide]]


_CONSTEXPR: dict[str, Callable[[Mapping[str, Any]], list[Array]]] = {
    "constexpr_affine_dequantize": _affine,
    "constexpr_blockwise_shift_scale": _shift_scale,
    "constexpr_cast": _cast,
    "constexpr_lut_to_dense": _palette,
    "constexpr_lut_to_sparse": _palette_sparse,
    "constexpr_sparse_blockwise_shift_scale": _sparse_shift_scale,
    "constexpr_sparse_to_dense": _sparse,
}
