"""A permutation of many axes as transposes of few blocks of axes."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence


@dataclasses.dataclass(frozen=True)
class BlockTranspose:
    """A transpose of neighbouring axes taken as one: `blocks` has the axes of each, `order` where output block i comes from."""

    blocks: tuple[tuple[int, ...], ...]
    order: tuple[int, ...]

    def result(self) -> tuple[int, ...]:
        """The axes after it."""
        return tuple(axis for at in self.order for axis in self.blocks[at])

    def turns(self) -> bool:
        """True where the innermost block changes: such transposes move single elements, the others whole runs."""
        return self.order[-1] != len(self.order) - 1


def split_transpose(perm: Sequence[int], limit: int) -> list[BlockTranspose]:
    """Transposes of at most `limit` blocks (3 or more) that make `perm` one after the other; axes are named by their old place.

    One where that will do, else two where two will do: those that move the innermost axes least, then those with fewest
    blocks. Otherwise the first is the one that leaves fewest blocks.
    """
    axes, wanted = tuple(range(len(perm))), tuple(perm)
    found = []
    while axes != wanted:
        last = _direct(axes, wanted)
        if len(last.blocks) > limit:
            last = min(_transposes(axes, limit), key=lambda move: _cost(move, wanted, limit))
        found.append(last)
        axes = last.result()
    return found


def _direct(axes: tuple[int, ...], wanted: tuple[int, ...]) -> BlockTranspose:
    """The one transpose from `axes` to `wanted`, in as few blocks as can be."""
    place = {axis: at for at, axis in enumerate(wanted)}
    blocks: list[list[int]] = []
    for axis in axes:
        if blocks and place[axis] == place[blocks[-1][-1]] + 1:
            blocks[-1].append(axis)
        else:
            blocks.append([axis])
    order = sorted(range(len(blocks)), key=lambda at: place[blocks[at][0]])
    return BlockTranspose(tuple(map(tuple, blocks)), tuple(order))


def _transposes(axes: tuple[int, ...], limit: int) -> Iterator[BlockTranspose]:
    """Every transpose of exactly `limit` blocks, those of fewer among them."""
    for cuts in itertools.combinations(range(1, len(axes)), limit - 1):
        edges = (0, *cuts, len(axes))
        blocks = tuple(axes[start:end] for start, end in itertools.pairwise(edges))
        for order in itertools.permutations(range(limit)):
            yield BlockTranspose(blocks, order)


def _cost(move: BlockTranspose, wanted: tuple[int, ...], limit: int) -> tuple[int, int, int]:
    first = _direct(tuple(itertools.chain(*move.blocks)), move.result())
    rest = _direct(move.result(), wanted)
    return (
        max(len(rest.blocks) - limit, 0),
        int(first.turns()) + int(rest.turns()),
        len(first.blocks) + len(rest.blocks),
    )
