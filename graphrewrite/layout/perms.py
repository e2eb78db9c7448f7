"""Orders of dimensions, as tuples: dimension i of the result is dimension `perm[i]` of the source."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TypeVar

from graphrewrite.ir import Dim

Perm = tuple[int, ...]
T = TypeVar("T")


def identity(size: int) -> Perm:
    """The order that changes nothing."""
    return tuple(range(size))


@functools.cache
def is_identity(perm: Perm) -> bool:
    """True where `perm` changes nothing."""
    return perm == tuple(range(len(perm)))


@functools.cache
def inverse(perm: Perm) -> Perm:
    """The order that undoes `perm`."""
    out = [0] * len(perm)
    for position, axis in enumerate(perm):
        out[axis] = position
    return tuple(out)


def permute(items: Sequence[T], perm: Perm) -> tuple[T, ...]:
    """`items` in the order of `perm`. `permute(first, then)` is the composition of two orders, `first` first."""
    return tuple([items[axis] for axis in perm])


def moves_only_ones(dims: Sequence[Dim] | None, perm: Perm) -> bool:
    """True where permuting a tensor of shape `dims` leaves its memory as it is, and a RESHAPE can say so.

    A RESHAPE can leave one dimension to be found at run time, so at most one may be unknown.
    """
    if is_identity(perm):
        return True
    if dims is None or sum(not isinstance(dim, int) for dim in dims) > 1:
        return False
    moving = [axis for axis in perm if dims[axis] != 1]
    return moving == sorted(moving)


def swaps_last_two(perm: Perm) -> bool:
    """True where `perm` swaps the last two dimensions and nothing else."""
    size = len(perm)
    return size >= 2 and perm == (*range(size - 2), size - 1, size - 2)
