"""Leaving the weights where they are: what protobuf has to parse of a serialized model, and the bytes it need not touch.

Protobuf copies everything it parses, and its Python API copies a tensor's bytes again at each look. Both are avoided by
walking the outer three levels of the encoding (ModelProto, GraphProto, TensorProto): the `raw_data` of big initializers is
cut out before parsing, and read in place from then on. See https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from graphrewrite.ir.malformed import FIELDS

_BIG = 1 << 14
"""Initializers of fewer bytes are parsed as they are."""

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5

_GRAPH = onnx.ModelProto.GRAPH_FIELD_NUMBER
_INITIALIZER = onnx.GraphProto.INITIALIZER_FIELD_NUMBER
_DATA_TYPE = onnx.TensorProto.DATA_TYPE_FIELD_NUMBER
_NAME = onnx.TensorProto.NAME_FIELD_NUMBER
_RAW_DATA = onnx.TensorProto.RAW_DATA_FIELD_NUMBER
_DATA_LOCATION = onnx.TensorProto.DATA_LOCATION_FIELD_NUMBER

_TYPES = FIELDS.keys() - {onnx.TensorProto.STRING}

Weights = dict[str, memoryview]
"""Raw bytes by the name of the initializer."""

_Field = tuple[int, int, int, int]
"""Field number, where its tag begins, where its content begins, where it ends."""


class _Unexpected(Exception):
    """The encoding is damaged, or not as every exporter writes it."""


def split_weights(data: memoryview) -> tuple[bytes, Weights]:
    """A ModelProto without the raw data of its big initializers, and that data.

    What can't be split (damaged files among them) comes back whole, for protobuf to judge.
    """
    weights: Weights = {}
    try:
        pieces = [
            part
            for number, tag, start, end in _fields(data, 0, len(data))
            for part in (
                _message(_GRAPH, _graph(data, start, end, weights)) if number == _GRAPH else (data[tag:end],)
            )
        ]
    except (_Unexpected, IndexError, UnicodeDecodeError):
        return bytes(data), {}
    return b"".join(pieces) if weights else bytes(data), weights


def _graph(data: memoryview, start: int, end: int, weights: Weights) -> list[memoryview | bytes]:
    pieces: list[memoryview | bytes] = []
    copied = start
    for number, tag, inner, after in _fields(data, start, end):
        if number == _INITIALIZER and after - inner >= _BIG:
            tensor = _tensor(data, inner, after, weights)
            if tensor is not None:
                pieces += (data[copied:tag], *_message(_INITIALIZER, tensor))
                copied = after
    pieces.append(data[copied:end])
    return pieces


def _tensor(data: memoryview, start: int, end: int, weights: Weights) -> list[memoryview | bytes] | None:
    """A TensorProto without its raw data, which is added to `weights`; None where it has none that can be told."""
    name, data_type, raw = "", 0, None
    for number, tag, inner, after in _fields(data, start, end):
        if number == _NAME:
            name = str(data[inner:after], "utf-8")
        elif number == _DATA_TYPE:
            data_type = _varint(data, inner)[0]
        elif number == _RAW_DATA:
            if raw is not None:
                raise _Unexpected
            raw = tag, inner, after
        elif number == _DATA_LOCATION:
            return None
    if raw is None or not name or data_type not in _TYPES:
        return None
    if name in weights:
        raise _Unexpected
    tag, inner, after = raw
    weights[name] = data[inner:after]
    return [data[start:tag], data[after:end]]


def _fields(data: memoryview, start: int, end: int) -> Iterator[_Field]:
    at = start
    while at < end:
        tag = at
        key, at = _varint(data, at)
        inner = at
        kind = key & 7
        if kind == _LENGTH:
            size, inner = _varint(data, at)
            at = inner + size
        elif kind == _VARINT:
            at = _varint(data, at)[1]
        elif kind in (_FIXED64, _FIXED32):
            at += 8 if kind == _FIXED64 else 4
        else:
            raise _Unexpected
        if at > end:
            raise _Unexpected
        yield key >> 3, tag, inner, at


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """A number, and the position behind it."""
    byte = data[at]
    if byte < 0x80:
        return byte, at + 1
    found, shift = byte & 0x7F, 7
    while True:
        at += 1
        byte = data[at]
        found |= (byte & 0x7F) << shift
        if byte < 0x80:
            return found, at + 1
        shift += 7
        if shift > 63:
            raise _Unexpected


def _message(number: int, pieces: list[memoryview | bytes]) -> list[memoryview | bytes]:
    """The field `number` with `pieces` as its content."""
    head = bytearray([number << 3 | _LENGTH])
    size = sum(map(len, pieces))
    while size >= 0x80:
        head.append(size & 0x7F | 0x80)
        size >>= 7
    head.append(size)
    return [bytes(head), *pieces]
