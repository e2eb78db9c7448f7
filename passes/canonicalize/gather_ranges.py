"""Gathering positions that are known and regular is slicing."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from graphrewrite.ir import Array, Node, Value, constant_array, dims
from graphrewrite.pipeline import RewritePass, Stage
from graphrewrite.rewrite import Match, MatchFailure, Rewriter

from .simplify_slices import Window

_LARGEST = 1 << 20
"""Indices beyond this number are not looked at."""


@dataclasses.dataclass
class _Found(Match):
    """The result is `window` of `x`, in the shape `target`."""

    window: Window = dataclasses.field(default_factory=dict)
    target: list[int] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class GatherRanges(RewritePass):
    """Read a block of a value by Slice and Reshape where its positions were listed.

        %y = GatherND(%mask:bool[1,12], [[[[0, 0], [0, 1], ... [0, 11]]]])   --->   %y = Reshape(%mask, [1, 1, 1, 12])

        %y = Gather(%x:float[1,8,4], [2, 4, 6]) {axis=1}                     --->   %y = Slice(%x, [2], [7], [1], [2])

    For constant indices that go through a block of the operand in its own order, forwards and in equal steps along each axis:
    what advanced indexing with `arange` exports to. A Gather of one position stays. Exact.
    """

    stage = Stage.CANONICALIZE
    after = ("fold-constants", "eliminate-no-ops")
    roots = ("Gather", "GatherND")

    def match(self, node: Node) -> Match:
        """The operand as `x`, and the block."""
        x, index = node.inputs[0], constant_array(node.inputs[1])
        known, out = dims(x), dims(node.outputs[0])
        if x is None or known is None or out is None:
            raise MatchFailure("a rank is not known", node)
        if index is None or not 1 < index.size <= _LARGEST:
            raise MatchFailure("the positions are not known, or only one", node)
        if node.op_type == "Gather":
            axes, index = [node.attributes.get_int("axis", 0) % len(known)], index[..., np.newaxis]
        elif node.attributes.get_int("batch_dims", 0) == 0:
            axes = list(range(index.shape[-1]))
        else:
            raise MatchFailure("each row of a batch has positions of its own", node)
        if sum(not isinstance(dim, int) for dim in out) > 1 or 0 in out:
            raise MatchFailure("two dimensions of the result are not known, or it is empty", node)
        found = {axis: _range(index[..., place], known[axis], node) for place, axis in enumerate(axes)}
        grid = np.meshgrid(*(np.arange(*found[axis]) for axis in axes), indexing="ij")
        if math.prod(grid[0].shape) != index[..., 0].size or any(
            (places.reshape(-1) != _forward(index[..., position], known[axes[position]]).reshape(-1)).any()
            for position, places in enumerate(grid)
        ):
            raise MatchFailure("the positions are no block in the operand's order", node)
        window = {axis: cut for axis, cut in found.items() if cut != (0, known[axis], 1)}
        return _Found(
            node, {"x": x}, {}, (node,), window, [dim if isinstance(dim, int) else -1 for dim in out]
        )

    def rewrite(self, match: Match, rewriter: Rewriter) -> Value:
        """The block in the shape of the result."""
        assert isinstance(match, _Found)
        y = match["x"]
        if match.window:
            starts, ends, steps = zip(*match.window.values(), strict=True)
            lists = (starts, ends, tuple(match.window), steps)
            y = rewriter.op("Slice", y, *(rewriter.constant(np.array(item, np.int64)) for item in lists))
        if dims(y) == dims(match.root.outputs[0]):
            return y
        return rewriter.op("Reshape", y, rewriter.constant(np.array(match.target, np.int64)))


def _forward(places: Array, size: object) -> Array:
    """Positions counted from the front."""
    return np.where(places < 0, places + size, places) if isinstance(size, int) else places


def _range(places: Array, size: object, node: Node) -> tuple[int, int, int]:
    """(start, end, step) of the positions along one axis."""
    values = np.unique(_forward(places, size))
    steps = np.diff(values)
    if values[0] < 0 or (isinstance(size, int) and values[-1] >= size) or (steps != steps[:1]).any():
        raise MatchFailure("the positions are not in equal steps", node)
    return int(values[0]), int(values[-1]) + 1, int(steps[0]) if steps.size else 1
