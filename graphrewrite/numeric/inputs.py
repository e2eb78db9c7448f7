"""Sample inputs that suit a model: normal for floats, in range for indices, zeros and ones for masks."""

from __future__ import annotations

import math
import os
import re
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from graphrewrite.errors import UsageError
from graphrewrite.ir import (
    Array,
    DataType,
    Dim,
    DimensionRange,
    Graph,
    Value,
    constant_array,
    dimension_ranges,
    dims,
    static_dims,
)

Sample = dict[str, Array]

SAMPLES = 3
_FORWARDING = frozenset(
    {"Cast", "Identity", "Reshape", "Unsqueeze", "Squeeze", "Flatten", "Transpose", "Slice", "Expand"}
)
_DEPTH = 16
_BATCH: tuple[int, ...] = (1, 2, 3)
_SPATIAL: tuple[int, ...] = (64, 96, 128)
_OTHER: tuple[int, ...] = (8, 12, 16)


def make_samples(graph: Graph, count: int = SAMPLES, seed: int = 0, growth: int = 1) -> list[Sample]:
    """`count` seeded samples for the inputs of `graph`; symbolic dimensions take different sizes in each.

    Sizes that nothing bounds are multiplied by `growth`, except those of batches.

    Bounded dimensions are drawn at their lower end, in the middle and at their upper end. Of enumerated ones every size is drawn:
    there are as many samples as the longest enumeration is long, if that is more. Indices run through all that there are, in
    random order and from one sample to the next, before any comes again: so the samples use as many rows of a table as they can.

    Raises:
        UsageError: an input's type is no tensor that numpy holds, or its rank is unknown.
    """
    samples = []
    ranges = {name: item for value in graph.inputs for name, item in dimension_ranges(value).items()}
    decks = {
        value.name: _Deck(limit, np.random.default_rng([seed, *(value.name or "").encode()]))
        for value in graph.inputs
        if (limit := _index_limit(value)) is not None
    }
    for index in range(max([count, *(len(item.choices) for item in ranges.values())])):
        rng = np.random.default_rng([seed, index])
        sizes: dict[str, int] = {}
        sample = {}
        for value in graph.inputs:
            known = dims(value)
            if known is None or value.dtype is None or value.name is None:
                raise UsageError(
                    f"the type or rank of input '{value.name}' is unknown: fix its shape with --shape, or give samples "
                    "with --samples"
                )
            shape = [
                _size(dim, axis, len(known), index, sizes, ranges, growth) for axis, dim in enumerate(known)
            ]
            sample[value.name] = _draw(value, shape, rng, decks.get(value.name))
        samples.append(sample)
    return samples


def _size(
    dim: Dim,
    axis: int,
    rank: int,
    index: int,
    sizes: dict[str, int],
    ranges: Mapping[str, DimensionRange],
    growth: int,
) -> int:
    if isinstance(dim, int):
        return dim
    choices = _BATCH if axis == 0 else _SPATIAL if rank >= 4 and axis >= 2 else _OTHER
    known = ranges.get(dim) if dim is not None else None
    if known is not None:
        choices = known.choices or _ends(known)
    elif axis != 0:
        choices = tuple(size * growth for size in choices)
    size = choices[index % len(choices)]
    return size if dim is None else sizes.setdefault(dim, size)


def _ends(known: DimensionRange) -> tuple[int, ...]:
    """Three sizes that cover a range; one without an upper bound is taken to twice and three times its lower one."""
    if known.upper is None:
        return known.lower, 2 * known.lower, 3 * known.lower
    return known.lower, (known.lower + known.upper) // 2, known.upper


class _Deck:
    """Whole numbers below `limit`: each comes once, in random order, before one comes again."""

    def __init__(self, limit: int, rng: np.random.Generator) -> None:
        self._limit = limit
        self._rng = rng
        self._left = np.empty(0, np.int64)

    def draw(self, shape: Sequence[int]) -> Array:
        """The next ones, as an array."""
        count = math.prod(shape)
        rounds = -(-max(count - self._left.size, 0) // self._limit)
        ordered = np.broadcast_to(np.arange(self._limit), (rounds, self._limit))
        found = np.concatenate([self._left, self._rng.permuted(ordered, axis=1).ravel()])
        self._left = found[count:]
        return found[:count].reshape(shape)


def _draw(value: Value, shape: Sequence[int], rng: np.random.Generator, deck: _Deck | None) -> Array:
    dtype = value.dtype or DataType.FLOAT
    kind = dtype.numpy().kind
    if kind == "f":
        return np.asarray(
            rng.standard_normal(shape), dtype.numpy()
        )  # of rank 0, too, where numpy draws a number
    if kind == "b":
        return np.asarray(rng.random(shape) < 0.5)
    if kind not in "iu":
        raise UsageError(f"input '{value.name}' is {dtype.name.lower()}: give samples with --samples")
    if deck is not None:
        return np.asarray(deck.draw(shape), dtype.numpy())
    low, high = _range(value)
    return np.asarray(rng.integers(low, high, shape), dtype.numpy())


def _index_limit(value: Value) -> int | None:
    """How many indices what reads the integer input `value` can take; None where it is no index."""
    if value.dtype is None or not value.dtype.is_integer():
        return None
    return min((limit for limit in _index_limits(value, 0) if limit > 0), default=None)


def _range(value: Value) -> tuple[int, int]:
    """Half-open range of small numbers for an integer input."""
    if "mask" in (value.name or "").lower() or _is_flag(value, 0):
        return 0, 2
    if value.dtype in (DataType.INT8, DataType.UINT8):
        return (-128, 128) if value.dtype == DataType.INT8 else (0, 256)
    return 0, 10


def _is_flag(value: Value, depth: int) -> bool:
    """Whether `value` is read as true or false, or counted up: larger numbers would count beyond the tables of positions."""
    return any(
        (node.op_type == "Cast" and node.outputs[0].dtype == DataType.BOOL)
        or (node.op_type == "CumSum" and index == 0)
        or (
            node.op_type in _FORWARDING
            and index == 0
            and depth < _DEPTH
            and _is_flag(node.outputs[0], depth + 1)
        )
        for node, index in value.uses()
    )


def _index_limits(value: Value, depth: int) -> list[int]:
    """Sizes of the dimensions that `value` indexes, found by following it through ops that only move elements."""
    found: list[int] = []
    for node, index in value.uses():
        if (
            node.op_type in ("Gather", "GatherElements", "GatherND")
            and index == 1
            and node.inputs[0] is not None
        ):
            size = static_dims(node.inputs[0])
            if size:
                axis = node.attributes.get_int("axis", 0)
                found.append(min(size) if node.op_type == "GatherND" else size[axis])
        elif node.op_type == "OneHot" and index == 0:
            depth_array = constant_array(node.inputs[1])
            if depth_array is not None:
                found.append(int(depth_array.reshape(-1)[0]))
        elif node.op_type in _FORWARDING and index == 0 and depth < _DEPTH:
            found += _index_limits(node.outputs[0], depth + 1)
    return found


_NUMBERED = re.compile(r"sample(\d+)\.input\.")


def load_samples(path: str | os.PathLike[str], inputs: Mapping[str, Value]) -> list[Sample]:
    """Samples of a user's .npz: keys are input names, or `sample0.input.NAME` for several samples.

    Raises:
        UsageError: the file can't be read, or an input is missing from it.
    """
    content = read_arrays(path)
    numbered = sorted({int(found[1]) for key in content if (found := _NUMBERED.match(key))})
    prefixes = [f"sample{index}.input." for index in numbered] or [""]
    return [
        checked_sample(
            {key.removeprefix(prefix): array for key, array in content.items() if key.startswith(prefix)},
            inputs,
            f"'{path}'",
        )
        for prefix in prefixes
    ]


def read_arrays(path: str | os.PathLike[str]) -> dict[str, Array]:
    """Every array of a user's .npz by its name.

    Raises:
        UsageError: the file can't be read.
    """
    try:
        archive = np.load(Path(path))
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError("it holds one array without a name; save it with numpy.savez(path, NAME=array)")
        return {key: archive[key] for key in archive}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UsageError(f"the samples '{path}' can't be read: {error}") from None


def checked_sample(
    sample: Mapping[str, Array], inputs: Mapping[str, Value], where: str = "a sample"
) -> Sample:
    """The arrays of `sample` that are inputs, in the inputs' types.

    Raises:
        UsageError: an input is missing, has another rank or size, or values that its type can't hold.
    """
    found: Sample = {}
    for name, value in inputs.items():
        if name not in sample:
            held = ", ".join(list(sample)[:8]) or "nothing"
            raise UsageError(f"{where} has no array for the input '{name}'; it holds {held}")
        try:
            array = np.asarray(sample[name], dtype=value.dtype.numpy() if value.dtype is not None else None)
        except (TypeError, ValueError, OverflowError) as error:
            raise UsageError(
                f"{where} holds for the input '{name}' what is no {value.dtype}: {error}"
            ) from None
        wanted = dims(value)
        if wanted is not None and (
            len(wanted) != array.ndim
            or any(
                isinstance(dim, int) and dim != size for dim, size in zip(wanted, array.shape, strict=True)
            )
        ):
            raise UsageError(
                f"{where} holds an array of shape {list(array.shape)} for the input '{name}', which is {list(wanted)}"
            )
        for axis, (dim, size) in enumerate(zip(wanted or (), array.shape, strict=False)):
            bounds = dimension_ranges(value).get(dim) if isinstance(dim, str) else None
            if bounds is not None and size not in bounds:
                raise UsageError(
                    f"{where} holds an array of shape {list(array.shape)} for the input '{name}', whose dimension {axis} is "
                    f"{bounds} by --shape"
                )
        found[name] = array
    return found
