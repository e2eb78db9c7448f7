"""What a RESHAPE does to dimensions: which ones it splits, and which it merges.

Both shapes are cut into *atoms*, the coarsest common refinement: `[N, 64, H, W] -> [N, 8, 8, H*W]` has the atoms
N, 8, 8, H, W. Dimensions of size 1 have no atom: they can lie anywhere.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterable, Sequence

from graphrewrite.ir import Dim, Dims
from graphrewrite.layout.perms import Perm

Atoms = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Regroup:
    """Atoms (numbered in memory order) of each dimension before and after."""

    sizes: Dims
    before: tuple[Atoms, ...]
    after: tuple[Atoms, ...]


@functools.lru_cache(maxsize=4096)
def regroup(before: Dims, after: Dims) -> Regroup | None:
    """The atoms of a RESHAPE, None where the shapes have no common refinement or too little of them is known."""
    if 0 in before or 0 in after:
        return None
    left = [i for i, dim in enumerate(before) if dim != 1]
    right = [i for i, dim in enumerate(after) if dim != 1]
    head: list[tuple[int, int]] = []
    while left and right and _same(before[left[0]], after[right[0]]):
        head.append((left.pop(0), right.pop(0)))
    tail: list[tuple[int, int]] = []
    while left and right and _same(before[left[-1]], after[right[-1]]):
        tail.append((left.pop(), right.pop()))
    middle = _refine([before[i] for i in left], [after[i] for i in right])
    if middle is None:
        return None
    sizes, inner_before, inner_after = middle
    atoms_before: list[Atoms] = [()] * len(before)
    atoms_after: list[Atoms] = [()] * len(after)
    known: list[Dim] = []
    for i, j in head:
        atoms_before[i] = atoms_after[j] = (len(known),)
        known.append(before[i])
    start = len(known)
    for i, atoms in zip(left, inner_before, strict=True):
        atoms_before[i] = tuple(start + atom for atom in atoms)
    for j, atoms in zip(right, inner_after, strict=True):
        atoms_after[j] = tuple(start + atom for atom in atoms)
    known += sizes
    for i, j in reversed(tail):
        atoms_before[i] = atoms_after[j] = (len(known),)
        known.append(before[i])
    return Regroup(tuple(known), tuple(atoms_before), tuple(atoms_after))


def _same(a: Dim, b: Dim) -> bool:
    return a is not None and a == b


def _refine(before: list[Dim], after: list[Dim]) -> tuple[list[Dim], list[Atoms], list[Atoms]] | None:
    if not before and not after:
        return [], [], []
    if not before or not after:
        return None
    if all(isinstance(dim, int) for dim in (*before, *after)):
        return _refine_known(
            [d for d in before if isinstance(d, int)], [d for d in after if isinstance(d, int)]
        )
    if len(before) == 1:
        return after, [tuple(range(len(after)))], [(i,) for i in range(len(after))]
    if len(after) == 1:
        return before, [(i,) for i in range(len(before))], [tuple(range(len(before)))]
    return None


def _refine_known(before: list[int], after: list[int]) -> tuple[list[Dim], list[Atoms], list[Atoms]] | None:
    if math.prod(before) != math.prod(after):
        return None
    cuts = sorted({*_inner_sizes(before), *_inner_sizes(after)}, reverse=True)
    sizes: list[Dim] = []
    for outer, inner in itertools.pairwise(cuts):
        if outer % inner:
            return None
        sizes.append(outer // inner)
    return sizes, _spans(before, cuts), _spans(after, cuts)


def _inner_sizes(dims: list[int]) -> list[int]:
    """Products of the dimensions from each position on, 1 at the end."""
    return list(itertools.accumulate([1, *reversed(dims)], lambda a, b: a * b))


def _spans(dims: list[int], cuts: list[int]) -> list[Atoms]:
    inner = _inner_sizes(dims)[::-1]
    place = {cut: index for index, cut in enumerate(cuts)}
    return [tuple(range(place[a], place[b])) for a, b in itertools.pairwise(inner)]


def in_memory(groups: Sequence[Atoms], perm: Perm | None = None) -> Atoms:
    """The atoms of a tensor in the order of memory, where its dimensions are stored in the order `perm`."""
    stored: Iterable[Atoms] = groups if perm is None else (groups[axis] for axis in perm)
    return tuple(itertools.chain.from_iterable(stored))
