"""How a model's inputs and outputs appear in a Core ML file, where names, types and shapes have to differ.

Feature names must be identifiers; Core ML's arrays are float32, int32 and, from iOS16 on, float16; and have at least one
dimension. What differs is recorded in the file's own metadata, so that whoever has the file alone can still tell.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from graphrewrite.errors import InternalError
from graphrewrite.ir import Array, DataType, Value, picture

METADATA = "graphrewrite.features"
"""Key of the record in the file's user-defined metadata."""

_ARRAYS = {DataType.FLOAT: DataType.FLOAT, DataType.INT32: DataType.INT32}


@dataclasses.dataclass(frozen=True)
class Port:
    """One input or output.

    Attributes:
        source: its name in the source model.
        dtype: its element type there.
        scalar: True where it has no dimensions there, and one of size 1 in the file.
        name: its name in the file.
        stored: its element type in the file.
        image: the order of its channels where it is an image in the file: `rgb`, `bgr` or `gray`.
        scores: True where it is a dictionary of scores by label in the file.
    """

    source: str
    dtype: DataType
    scalar: bool
    name: str
    stored: DataType
    image: str = ""
    scores: bool = False

    @property
    def differs(self) -> str:
        """What is different in the file, in words; empty where nothing is."""
        found = []
        if self.name != self.source:
            found.append(f"named '{self.name}'")
        if self.image:
            found.append(f"an image ({self.image}) instead of a {self.dtype.name.lower()} tensor")
        elif self.scores:
            found.append("a dictionary of scores by label")
        elif self.stored != self.dtype:
            found.append(f"{self.stored.name.lower()} instead of {self.dtype.name.lower()}")
        if self.scalar:
            found.append("of shape [1] instead of a scalar")
        return ", ".join(found)

    def to_file(self, array: Array) -> Array:
        """The source's array as the file takes it."""
        stored = np.asarray(array).astype(self.stored.numpy())
        return stored.reshape([1]) if self.scalar else stored

    def from_file(self, array: Array) -> Array:
        """The file's array as the source gives it."""
        found = np.asarray(array)
        found = found.reshape([]) if self.scalar else found
        return found != 0 if self.dtype == DataType.BOOL else found.astype(self.dtype.numpy())


def identifier(name: str) -> str:
    """`name` as MIL allows it: letters, digits and underscores, no digit first."""
    plain = re.sub(r"[^A-Za-z0-9_]", "_", name)
    return f"_{plain}" if not plain or plain[0].isdigit() else plain


class Names:
    """Identifiers that are unique in one program."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._counts: Counter[str] = Counter()
        self._kept: set[str] = set()

    def keep(self, names: Iterable[str]) -> None:
        """Give those of `names` that are identifiers already to no other name."""
        self._kept |= {name for name in names if identifier(name) == name}

    def unique(self, name: str) -> str:
        """`name` as an identifier that was not given before."""
        plain = identifier(name)
        found = plain
        while found in self._taken or (found != name and found in self._kept):
            self._counts[plain] += 1
            found = f"{plain}_{self._counts[plain]}"
        self._taken.add(found)
        return found


def port(value: Value, name: str, target: str) -> Port:
    """How the graph input or output `value` appears under `name` in a file for the deployment target."""
    dtype = value.dtype or DataType.FLOAT
    if dtype == DataType.FLOAT16:
        stored = DataType.FLOAT16 if target != "iOS15" else DataType.FLOAT
    else:
        stored = _ARRAYS.get(dtype, DataType.INT32)
    if value.shape is None:
        raise InternalError(f"'{value.name}' has no known rank")
    facet = picture(value)
    if facet is not None:
        return Port(value.name or "", dtype, False, name, DataType.FLOAT, image=facet.color)
    return Port(value.name or "", dtype, len(value.shape) == 0, name, stored)


def scores_port(item: Port) -> Port:
    """The same output as a dictionary of scores, which are made of float32."""
    return dataclasses.replace(item, stored=DataType.FLOAT, scores=True)


def to_metadata(inputs: Iterable[Port], outputs: Iterable[Port]) -> str:
    """The record of all ports, as it is kept in the file."""
    groups = {
        "inputs": [dataclasses.asdict(item) for item in inputs],
        "outputs": [dataclasses.asdict(item) for item in outputs],
    }
    for items in groups.values():
        for item in items:
            item["dtype"], item["stored"] = item["dtype"].name, item["stored"].name
    return json.dumps(groups, sort_keys=True)


def from_metadata(metadata: Mapping[str, str]) -> tuple[list[Port], list[Port]] | None:
    """(inputs, outputs) as recorded in a file's metadata, None where graphrewrite did not write it."""
    text = metadata.get(METADATA)
    if text is None:
        return None
    groups: dict[str, list[dict[str, Any]]] = json.loads(text)
    inputs, outputs = (
        [
            Port(**{**item, "dtype": DataType[item["dtype"]], "stored": DataType[item["stored"]]})
            for item in groups[key]
        ]
        for key in ("inputs", "outputs")
    )
    return inputs, outputs
