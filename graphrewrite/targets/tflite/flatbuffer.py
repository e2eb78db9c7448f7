"""Writes FlatBuffers front to back, so that the large vectors come last and can be streamed.

The `flatbuffers` package builds back to front: children first, the root last, everything in one
buffer in memory. Weights of 500 MB are then copied at least once, and 40,000 tensors take several
seconds (each field is a chain of Python calls). Offsets in a FlatBuffer point forward, so writing
front to back suits the format better: a table is one `struct.pack`, offsets are filled in at the end
with one numpy scatter, and what lies behind the metadata only needs a known size, not known bytes.

Equal strings, shape vectors and option tables are stored once and shared, as the format allows.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

import numpy as np

UINT32 = struct.Struct("<I")
_SIZES = {"I": 4, "i": 4, "Q": 8, "q": 8, "B": 1, "b": 1, "?": 1}


class TableShape:
    """Which fields a kind of table holds, and where in the table each lies.

    A field that is absent from the shape has the schema's default. Fields are ordered by falling
    size, so that there is no padding between them.

    Args:
        fields: (slot number in the schema, `struct` code) pairs; "I" also stands for an offset.
    """

    def __init__(self, *fields: tuple[int, str]) -> None:
        ordered = sorted(fields, key=lambda field: -_SIZES[field[1]])
        self.wide = any(_SIZES[code] == 8 for _, code in fields)
        position = 4
        places: dict[int, int] = {}
        for slot, code in ordered:
            places[slot] = position
            position += _SIZES[code]
        size = -(-position // 4) * 4
        self.struct = struct.Struct("<i" + "".join(code for _, code in ordered) + "x" * (size - position))
        self.slots = tuple(slot for slot, _ in ordered)
        self.places = places
        count = max(places, default=-1) + 1
        entries = [places.get(slot, 0) for slot in range(count)]
        self.vtable = struct.pack(f"<HH{count}H", 4 + 2 * count, size, *entries)


class ForwardWriter:
    """Builds the metadata part of a FlatBuffer, front to back.

    Positions are byte offsets from the start of the file. `point` and `share` note where offsets
    belong; `finish` lays out the shared blobs and fills all offsets in.
    """

    def __init__(self, identifier: bytes) -> None:
        self.data = bytearray(struct.pack("<I4s", 0, identifier))
        self._vtables: dict[TableShape, int] = {}
        self._fields: list[int] = []
        self._targets: list[int] = []
        self._blobs: dict[bytes, int] = {}
        self._blob_layout: list[tuple[int, int]] = []
        self._blob_fields: list[int] = []
        self._blob_targets: list[int] = []

    def table(self, shape: TableShape, values: Sequence[int]) -> int:
        """Append a table.

        Args:
            shape: its fields.
            values: the fields' values in the order of `shape.slots`; 0 for offsets, which `point`
                or `share` fill in later.

        Returns:
            The position of the table; its field `slot` lies at `position + shape.places[slot]`.
        """
        data = self.data
        vtable = self._vtables.get(shape)
        if vtable is None:
            self._pad(4)
            vtable = self._vtables[shape] = len(data)
            data += shape.vtable
        if shape.wide:
            self._pad(8, 4)
        else:
            self._pad(4)
        position = len(data)
        data += shape.struct.pack(position - vtable, *values)
        return position

    def offsets(self, count: int) -> range:
        """Append a vector of `count` offsets and return the positions of its elements."""
        self._pad(4)
        position = len(self.data)
        self.data += UINT32.pack(count) + bytes(4 * count)
        return range(position + 4, position + 4 + 4 * count, 4)

    def vector_of(self, field: int, count: int) -> range:
        """`offsets`, with the offset field at position `field` pointed at the new vector."""
        elements = self.offsets(count)
        self.point(field, elements.start - 4)
        return elements

    def point(self, field: int, target: int) -> None:
        """Let the offset at position `field` refer to position `target`, which must lie behind it."""
        self._fields.append(field)
        self._targets.append(target)

    def share(self, field: int, content: bytes, *, alignment: int = 4, entry: int = 0) -> None:
        """Let the offset at position `field` refer to `content`; equal contents are stored once.

        Args:
            field: position of the offset.
            content: the bytes of the blob, self-contained.
            alignment: of the first byte, a power of 2.
            entry: the byte of `content` that the offset refers to.
        """
        known = self._blobs.get(content)
        if known is None:
            known = self._blobs[content] = len(self._blob_layout)
            self._blob_layout.append((alignment, entry))
        self._blob_fields.append(field)
        self._blob_targets.append(known)

    def share_string(self, field: int, text: str) -> None:
        """Let the offset at position `field` refer to a string."""
        encoded = text.encode()
        self.share(field, UINT32.pack(len(encoded)) + encoded + b"\0")

    def share_int32s(self, field: int, numbers: Sequence[int]) -> None:
        """Let the offset at position `field` refer to a vector of int32."""
        self.share(field, struct.pack(f"<I{len(numbers)}i", len(numbers), *numbers))

    def share_int64s(self, field: int, numbers: Sequence[int]) -> None:
        """Let the offset at position `field` refer to a vector of int64."""
        content = struct.pack(f"<4xI{len(numbers)}q", len(numbers), *numbers)
        self.share(field, content, alignment=8, entry=4)

    def share_float32s(self, field: int, numbers: Iterable[float]) -> None:
        """Let the offset at position `field` refer to a vector of float32."""
        array = np.asarray(list(numbers), "<f4")
        self.share(field, UINT32.pack(array.size) + array.tobytes())

    def place_shared(self) -> int:
        """Append all shared blobs; only `point` may follow. Returns the size of the metadata."""
        data = self.data
        positions = []
        for content, (alignment, entry) in zip(self._blobs, self._blob_layout, strict=True):
            data += bytes(-len(data) % alignment)
            positions.append(len(data) + entry)
            data += content
        self._fields += self._blob_fields
        self._targets += [positions[blob] for blob in self._blob_targets]
        self._pad(16)
        return len(data)

    def finish(self, root: int) -> bytearray:
        """Fill in all offsets and return the metadata.

        Args:
            root: position of the root table.
        """
        self.point(0, root)
        words = np.frombuffer(self.data, "<u4")
        fields = np.asarray(self._fields, np.int64)
        distances = np.asarray(self._targets, np.int64) - fields
        if fields.size and (distances.min() <= 0 or distances.max() >= 2**32 or (fields % 4).any()):
            raise ValueError("a FlatBuffer offset must point forward and fit in 32 bits")
        words[fields // 4] = distances
        return self.data

    def _pad(self, alignment: int, remainder: int = 0) -> None:
        padding = (remainder - len(self.data)) % alignment
        if padding:
            self.data += bytes(padding)
