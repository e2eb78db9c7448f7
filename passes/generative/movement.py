"""Where each element of a value comes from, followed back through ops that only move elements.

Exporters spell the same movement in dozens of ways (reshape towers, pads, permutes, slices). Rather than match the spellings,
flat element indices are pulled back through the chain and the resulting map is compared with the one that is meant.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from graphrewrite.ir import Node, Value, constant_array, constant_ints, dims, is_constant
from graphrewrite.ir.shapes import resolve_reshape

Indices = npt.NDArray[np.int64]
"""Flat element indices; -1 stands for a zero that padding put there."""
Sizes = tuple[int, ...]
UNKNOWN = "?"
"""Stands for a dimension of which not even a symbol is known."""

RESHAPES = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout"})
MOVES = RESHAPES | {"Transpose", "Slice", "Split", "Pad", "Expand", "Tile", "Gather"}


def is_move(node: Node | None) -> bool:
    """True where the node only moves elements of its first operand (or pads with zeros), in a way known now."""
    if node is None or node.domain != "" or node.op_type not in MOVES:
        return False
    if node.op_type == "Pad":
        fill = node.inputs[2] if len(node.inputs) > 2 else None
        number = constant_array(fill) if fill is not None else np.zeros(1)
        if (
            number is None
            or number.reshape(-1)[0] != 0
            or node.attributes.get_string("mode", "constant") != "constant"
        ):
            return False
    first = 1 if node.op_type not in ("Pad", "Dropout") else 1 if node.op_type == "Pad" else len(node.inputs)
    return all(value is None or is_constant(value) for value in node.inputs[first:])


def concrete(value: Value | None, symbols: Mapping[str, int] | None = None) -> Sizes | None:
    """Dimensions as numbers, symbols (and UNKNOWN, for dimensions without one) being replaced by those given."""
    known = dims(value)
    if known is None:
        return None
    numbers = [dim if isinstance(dim, int) else (symbols or {}).get(dim or UNKNOWN) for dim in known]
    return tuple(dim for dim in numbers if dim is not None) if None not in numbers else None


def axis_list(node: Node, index: int, rank: int, default: Sequence[int]) -> list[int]:
    """The axes operand of a node, non-negative."""
    found = constant_ints(node.inputs[index]) if index < len(node.inputs) else None
    return [axis % rank for axis in (found if found is not None else default)]


def _slice_bounds(node: Node, before: Sizes) -> list[tuple[int, int, int]]:
    """(start, step, count) an axis."""
    out = [(0, 1, size) for size in before]
    starts, ends = constant_ints(node.inputs[1]) or [], constant_ints(node.inputs[2]) or []
    steps = constant_ints(node.inputs[4]) if len(node.inputs) > 4 else None
    for position, axis in enumerate(axis_list(node, 3, len(before), range(len(starts)))):
        step = steps[position] if steps is not None else 1
        end = ends[position]
        if step < 0 and end < -before[axis]:
            bounds = range(before[axis])[starts[position] :: step]
        else:
            bounds = range(before[axis])[starts[position] : end : step]
        out[axis] = (bounds.start, bounds.step, len(bounds))
    return out


def _split_range(node: Node, before: Sizes, output: int) -> tuple[int, int, int]:
    """(axis, start, size) of one output of a Split."""
    axis = node.attributes.get_int("axis", 0) % len(before)
    sizes = constant_ints(node.inputs[1]) if len(node.inputs) > 1 else None
    if sizes is None:
        part = -(-before[axis] // len(node.outputs))
        sizes = [min(part, before[axis] - part * index) for index in range(len(node.outputs))]
    return axis, sum(sizes[:output]), sizes[output]


def pad_amounts(node: Node, rank: int) -> tuple[list[int], list[int]]:
    """Padding before and after, one number an axis."""
    pads = constant_ints(node.inputs[1]) or []
    axes = axis_list(node, 3, rank, range(rank))
    before, after = [0] * rank, [0] * rank
    for position, axis in enumerate(axes):
        before[axis], after[axis] = pads[position], pads[len(axes) + position]
    return before, after


def moved_sizes(node: Node, output: int, before: Sizes) -> Sizes | None:
    """Dimensions that a moving node makes of `before`, None where it does not fit."""
    rank = len(before)
    kind = node.op_type
    if kind in ("Identity", "Dropout"):
        return before
    if kind == "Reshape":
        target = constant_ints(node.inputs[1]) or []
        zero = node.attributes.get_int("allowzero", 0) != 0
        out = resolve_reshape(before, target, allowzero=zero)
        numbers = tuple(dim for dim in out if isinstance(dim, int))
        return numbers if len(numbers) == len(out) and math.prod(numbers) == math.prod(before) else None
    if kind == "Flatten":
        axis = node.attributes.get_int("axis", 1)
        axis = axis + rank if axis < 0 else axis
        return math.prod(before[:axis]), math.prod(before[axis:])
    if kind == "Squeeze":
        axes = axis_list(node, 1, rank, [axis for axis, dim in enumerate(before) if dim == 1])
        return tuple(dim for axis, dim in enumerate(before) if axis not in axes)
    if kind == "Unsqueeze":
        count = len(constant_ints(node.inputs[1]) or [])
        axes = axis_list(node, 1, rank + count, [])
        rest = iter(before)
        return tuple(1 if axis in axes else next(rest) for axis in range(rank + count))
    if kind == "Transpose":
        perm = node.attributes.get_ints("perm", None) or range(rank)[::-1]
        return tuple(before[axis] for axis in perm)
    if kind == "Slice":
        return tuple(count for _, _, count in _slice_bounds(node, before))
    if kind == "Split":
        axis, _, size = _split_range(node, before, output)
        return (*before[:axis], size, *before[axis + 1 :])
    if kind == "Pad":
        front, back = pad_amounts(node, rank)
        sizes = tuple(a + dim + b for a, dim, b in zip(front, before, back, strict=True))
        return sizes if min(sizes) > 0 else None
    if kind == "Expand":
        return tuple(np.broadcast_shapes(before, tuple(constant_ints(node.inputs[1]) or [])))
    if kind == "Tile":
        return tuple(
            dim * times for dim, times in zip(before, constant_ints(node.inputs[1]) or [], strict=True)
        )
    if kind == "Gather":
        axis = node.attributes.get_int("axis", 0) % rank
        index = constant_array(node.inputs[1])
        return None if index is None else (*before[:axis], *index.shape, *before[axis + 1 :])
    return None


def pull(node: Node, output: int, before: Sizes, after: Sizes, flat: Indices) -> Indices:
    """The elements of operand 0 (of dimensions `before`) that elements `flat` of the output (`after`) are."""
    kind = node.op_type
    if kind in RESHAPES:
        return flat
    if kind in ("Expand", "Tile"):
        return _wrapped(before, after, flat)
    known = flat >= 0
    coordinates = list(np.unravel_index(np.where(known, flat, 0), after))
    if kind == "Transpose":
        perm = node.attributes.get_ints("perm", None) or range(len(before))[::-1]
        coordinates = [coordinates[list(perm).index(axis)] for axis in range(len(before))]
    elif kind == "Slice":
        bounds = _slice_bounds(node, before)
        coordinates = [start + step * c for c, (start, step, _) in zip(coordinates, bounds, strict=True)]
    elif kind == "Split":
        axis, start, _ = _split_range(node, before, output)
        coordinates[axis] = coordinates[axis] + start
    elif kind == "Gather":
        axis = node.attributes.get_int("axis", 0) % len(before)
        index = constant_array(node.inputs[1])
        assert index is not None
        picked = index[tuple(coordinates[axis : axis + index.ndim])] % before[axis]
        coordinates = [*coordinates[:axis], picked, *coordinates[axis + index.ndim :]]
    else:
        front, _ = pad_amounts(node, len(before))
        coordinates = [c - shift for c, shift in zip(coordinates, front, strict=True)]
        for c, size in zip(coordinates, before, strict=True):
            known = known & (c >= 0) & (c < size)
        coordinates = [np.clip(c, 0, size - 1) for c, size in zip(coordinates, before, strict=True)]
    return np.where(known, np.ravel_multi_index(tuple(coordinates), before), -1).astype(np.int64)


def _wrapped(before: Sizes, after: Sizes, flat: Indices) -> Indices:
    """Broadcasting and tiling: coordinates modulo the operand's dimensions."""
    if before == after:
        return flat
    coordinates = np.unravel_index(np.maximum(flat, 0), after)[len(after) - len(before) :]
    wrapped = tuple(c % size for c, size in zip(coordinates, before, strict=True))
    found = np.ravel_multi_index(wrapped, before) if before else np.zeros_like(flat)
    return np.where(flat >= 0, found, -1).astype(np.int64)


def broadcast_pull(before: Sizes, after: Sizes, flat: Indices) -> Indices:
    """The elements of an operand of a broadcasting op that elements `flat` of its result are computed from."""
    return _wrapped(before, after, flat)


@dataclasses.dataclass(frozen=True)
class Chain:
    """Moving nodes from `base` to `value`, in graph order, each with the output that is followed."""

    base: Value
    value: Value
    steps: tuple[tuple[Node, int], ...]

    def sizes(self, symbols: Mapping[str, int] | None = None) -> list[Sizes] | None:
        """Dimensions of the base and after each step."""
        first = concrete(self.base, symbols)
        if first is None or 0 in first:
            return None
        out = [first]
        for node, output in self.steps:
            after = moved_sizes(node, output, out[-1])
            if after is None or 0 in after:
                return None
            out.append(after)
        return out

    def source(self, sizes: Sequence[Sizes], flat: Indices) -> Indices:
        """The elements of the base that elements `flat` of the value are."""
        for position in range(len(self.steps) - 1, -1, -1):
            node, output = self.steps[position]
            flat = pull(node, output, sizes[position], sizes[position + 1], flat)
        return flat


def chains(value: Value, *, longest: int = 32) -> Iterator[Chain]:
    """Every chain of moving nodes that ends in `value`, shortest (none) first."""
    steps: tuple[tuple[Node, int], ...] = ()
    base = value
    yield Chain(base, value, steps)
    while len(steps) < longest:
        node = base.producer()
        if node is None or not is_move(node) or node.inputs[0] is None:
            return
        steps = ((node, list(node.outputs).index(base)), *steps)
        base = node.inputs[0]
        yield Chain(base, value, steps)
