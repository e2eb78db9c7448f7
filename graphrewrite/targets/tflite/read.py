"""Reads a .tflite file back into plain records, without loading its weights."""

from __future__ import annotations

import math
import mmap
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from graphrewrite.targets.tflite.schema_tables import (
    OPERATOR_NAMES,
    OPTIONS_NAMES,
    TENSOR_TYPE_NAMES,
    option_fields,
)

_INT8, _UINT8, _UINT16 = struct.Struct("<b"), struct.Struct("<B"), struct.Struct("<H")
_INT32, _UINT32, _UINT64 = struct.Struct("<i"), struct.Struct("<I"), struct.Struct("<Q")

_BITS: Mapping[str, int] = {
    "FLOAT64": 64, "INT64": 64, "UINT64": 64, "COMPLEX64": 64, "COMPLEX128": 128,
    "FLOAT32": 32, "INT32": 32, "UINT32": 32,
    "FLOAT16": 16, "BFLOAT16": 16, "INT16": 16, "UINT16": 16,
    "INT8": 8, "UINT8": 8, "BOOL": 8, "FLOAT8_E4M3FN": 8, "FLOAT8_E5M2": 8,
    "INT4": 4, "UINT4": 4, "INT2": 2,
}  # fmt: skip


@dataclass(frozen=True)
class TensorRecord:
    """One tensor.

    Attributes:
        name: as in the file.
        dtype: the schema's name, "FLOAT32".
        shape: sizes, 1 where the dimension is dynamic.
        signature: sizes with -1 where dynamic; `shape` itself if none is.
        buffer: index of its buffer.
        quantized: it has quantisation parameters.
        variable: it is a state tensor.
        sparse: its content is compressed.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    signature: tuple[int, ...]
    buffer: int
    quantized: bool
    variable: bool
    sparse: bool

    @property
    def nbytes(self) -> int | None:
        """Bytes of its content, None for strings and types of no fixed size."""
        bits = _BITS.get(self.dtype)
        return None if bits is None else -(-math.prod(self.shape) * bits // 8)


@dataclass(frozen=True)
class OperatorRecord:
    """One operator; `inputs` and `outputs` are tensor indices, -1 where absent.

    Attributes:
        op: name of the operator, "CUSTOM" for a custom one.
        code: index of its operator code.
        table: name of its options table, "" if it has none.
        options: the table's fields in snake_case, enums as numbers.
    """

    op: str
    code: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    table: str
    options: Mapping[str, Any]


@dataclass(frozen=True)
class SubgraphRecord:
    """One subgraph."""

    name: str
    tensors: Sequence[TensorRecord]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    operators: Sequence[OperatorRecord]


@dataclass(frozen=True)
class BufferRecord:
    """Where a buffer's content lies in the file; `position` is None where it has none."""

    position: int | None
    size: int


@dataclass(frozen=True)
class CodeRecord:
    """One operator code; `deprecated` is the byte that old readers look at."""

    op: str
    code: int
    deprecated: int
    version: int
    custom: str


@dataclass(frozen=True)
class SignatureRecord:
    """One signature: tensor indices by name."""

    key: str
    subgraph: int
    inputs: Sequence[tuple[str, int]]
    outputs: Sequence[tuple[str, int]]


@dataclass(frozen=True)
class FileRecord:
    """A whole file."""

    size: int
    version: int
    codes: Sequence[CodeRecord]
    subgraphs: Sequence[SubgraphRecord]
    buffers: Sequence[BufferRecord]
    signatures: Sequence[SignatureRecord]


def read(path: str | os.PathLike[str]) -> FileRecord:
    """Read the structure of a .tflite file.

    Raises:
        ValueError: it is not a .tflite file, or its structure points outside of it.
        OSError: it can't be read.
    """
    with open(Path(path), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size < 8:
            raise ValueError("the file is too short to be a .tflite file")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if content[4:8] != b"TFL3":
                raise ValueError("the file is no .tflite file: it lacks the identifier TFL3")
            try:
                return _Reader(content, size).file()
            except (IndexError, TypeError, ValueError, OverflowError, struct.error) as error:
                raise ValueError(f"the file is damaged: {error}") from None


def outputs_place(content: bytes | bytearray) -> int:
    """Position in a .tflite file of the offset that leads to the main graph's vector of outputs.

    Raises:
        ValueError: it has none.
    """
    reader = _Reader(content, len(content))
    graphs = reader._tables(reader._follow(0), 2)
    place = reader._place(graphs[0], 2) if graphs else 0
    if not place:
        raise ValueError("the file has no outputs")
    return place


class _Reader:
    """Decodes tables by slot number, as in schema.fbs.

    The generated accessors look every vector up again for each element, which takes 2 s for 40,000
    tensors; this takes a fifth of it.
    """

    def __init__(self, content: mmap.mmap | bytes | bytearray, size: int) -> None:
        self.content = content
        self.size = size
        self.vtables: dict[int, tuple[int, ...]] = {}
        self.options: dict[tuple[int, str], Mapping[str, Any]] = {}

    def file(self) -> FileRecord:
        model = self._follow(0)
        codes = [self._code(table) for table in self._tables(model, 1)]
        return FileRecord(
            size=self.size,
            version=self._number(model, 0, _UINT32),
            codes=codes,
            subgraphs=[self._subgraph(table, codes) for table in self._tables(model, 2)],
            buffers=[self._buffer(table) for table in self._tables(model, 4)],
            signatures=[self._signature(table) for table in self._tables(model, 7)],
        )

    def _code(self, table: int) -> CodeRecord:
        deprecated = self._number(table, 0, _INT8)
        number = max(deprecated, self._number(table, 3, _INT32))
        return CodeRecord(
            op=OPERATOR_NAMES.get(number, f"operator {number}"),
            code=number,
            deprecated=deprecated,
            version=self._number(table, 2, _INT32, 1),
            custom=self._string(table, 1),
        )

    def _buffer(self, table: int) -> BufferRecord:
        offset, size = self._number(table, 1, _UINT64), self._number(table, 2, _UINT64)
        if offset > 1 and size > 1:
            return BufferRecord(offset, size)
        start, count = self._vector(table, 0)
        return BufferRecord(start or None, count)

    def _subgraph(self, table: int, codes: Sequence[CodeRecord]) -> SubgraphRecord:
        return SubgraphRecord(
            name=self._string(table, 4),
            tensors=[self._tensor(item) for item in self._tables(table, 0)],
            inputs=self._ints(table, 1),
            outputs=self._ints(table, 2),
            operators=[self._operator(item, codes) for item in self._tables(table, 3)],
        )

    def _tensor(self, table: int) -> TensorRecord:
        shape = self._ints(table, 0)
        dtype = self._number(table, 1, _INT8)
        quantization = self._table(table, 4)
        return TensorRecord(
            name=self._string(table, 3),
            dtype=TENSOR_TYPE_NAMES.get(dtype, f"type {dtype}"),
            shape=shape,
            signature=self._ints(table, 7) or shape,
            buffer=self._number(table, 2, _UINT32),
            quantized=quantization != 0 and self._vector(quantization, 2)[1] > 0,
            variable=bool(self._number(table, 5, _UINT8)),
            sparse=self._table(table, 6) != 0,
        )

    def _operator(self, table: int, codes: Sequence[CodeRecord]) -> OperatorRecord:
        code = self._number(table, 0, _UINT32)
        union, kind, options = 1, self._number(table, 3, _UINT8), self._table(table, 4)
        if kind == 0:
            union, kind, options = 2, self._number(table, 11, _UINT8), self._table(table, 12)
        name = OPTIONS_NAMES[union].get(kind, f"options {kind}") if kind else ""
        return OperatorRecord(
            op=codes[code].op if code < len(codes) else f"code {code}",
            code=code,
            inputs=self._ints(table, 1),
            outputs=self._ints(table, 2),
            table=name,
            options=self._fields(name, options) if options else {},
        )

    def _fields(self, name: str, options: int) -> Mapping[str, Any]:
        key = (options, name)  # our writer shares equal tables
        known = self.options.get(key)
        if known is None:
            known = self.options[key] = dict(self._read_fields(name, options))
        return known

    def _read_fields(self, name: str, options: int) -> Iterator[tuple[str, Any]]:
        if not hasattr(schema, name + "T"):
            return
        unpacked = getattr(schema, name + "T").InitFromBuf(self.content, options)
        for field, member in option_fields(name).items():
            value = getattr(unpacked, member)
            plain = value is None or isinstance(value, (bool, int, float, bytes))
            yield field, value if plain else list(value)

    def _signature(self, table: int) -> SignatureRecord:
        def pairs(slot: int) -> list[tuple[str, int]]:
            maps = self._tables(table, slot)
            return [(self._string(item, 0), self._number(item, 1, _UINT32)) for item in maps]

        return SignatureRecord(self._string(table, 2), self._number(table, 4, _UINT32), pairs(0), pairs(1))

    def _place(self, table: int, slot: int) -> int:
        """Position of a field of the table at position `table`, 0 if it is absent."""
        vtable = table - _INT32.unpack_from(self.content, table)[0]
        places = self.vtables.get(vtable)
        if places is None:
            (length,) = _UINT16.unpack_from(self.content, vtable)
            places = struct.unpack_from(f"<{length // 2 - 2}H", self.content, vtable + 4)
            self.vtables[vtable] = places
        return table + places[slot] if slot < len(places) and places[slot] else 0

    def _number(self, table: int, slot: int, kind: struct.Struct, default: int = 0) -> int:
        place = self._place(table, slot)
        return int(kind.unpack_from(self.content, place)[0]) if place else default

    def _follow(self, place: int) -> int:
        return int(place + _UINT32.unpack_from(self.content, place)[0])

    def _table(self, table: int, slot: int) -> int:
        place = self._place(table, slot)
        return self._follow(place) if place else 0

    def _vector(self, table: int, slot: int) -> tuple[int, int]:
        """Position of the first element and number of elements; (0, 0) if absent."""
        start = self._table(table, slot)
        if not start:
            return 0, 0
        (count,) = _UINT32.unpack_from(self.content, start)
        if start + 4 + count > self.size:
            raise ValueError("a vector reaches beyond the end of the file")
        return start + 4, count

    def _tables(self, table: int, slot: int) -> list[int]:
        start, count = self._vector(table, slot)
        places = struct.unpack_from(f"<{count}I", self.content, start)
        return [start + 4 * index + place for index, place in enumerate(places)]

    def _ints(self, table: int, slot: int) -> tuple[int, ...]:
        start, count = self._vector(table, slot)
        return struct.unpack_from(f"<{count}i", self.content, start)

    def _string(self, table: int, slot: int) -> str:
        start, count = self._vector(table, slot)
        return self.content[start : start + count].decode()
