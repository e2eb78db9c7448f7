"""DEPTH_TO_SPACE of many parts becomes concatenations of whole rows."""

from __future__ import annotations

import dataclasses

import numpy as np

from graphrewrite.ir import Node, Value, static_dims
from graphrewrite.pipeline import RewritePass, Stage
from graphrewrite.rewrite import Match, MatchFailure, Rewriter

_OPERANDS = 5
"""XNNPACK concatenates up to five."""


@dataclasses.dataclass
class _Rows(Match):
    """The parts of each row of a block."""

    rows: tuple[tuple[Value, ...], ...] = ()


@dataclasses.dataclass(frozen=True)
class DepthToSpaceByRows(RewritePass):
    """Put the parts of a DEPTH_TO_SPACE together row by row, where one CONCATENATION of them has too many operands.

        %z = CONCATENATION(%a, %m, %b, %n, %c, %o, %d, %p) {axis=3}      [1, H, W, 4C]
        %y = DEPTH_TO_SPACE(%z) {block_size=2}                           [1, 2H, 2W, C]
        --->
        %r = RESHAPE(CONCATENATION(%a, %m, %b, %n) {axis=3})             [1, H, 1, 2W * C]
        %s = RESHAPE(CONCATENATION(%c, %o, %d, %p) {axis=3})             [1, H, 1, 2W * C]
        %y = RESHAPE(CONCATENATION(%r, %s) {axis=2})                     [1, 2H, 2W, C]

    Pixels side by side lie side by side in memory, so the rows are all that is left to interleave. Each element is
    moved as often as before, in operators that XNNPACK takes; it makes the views for nothing. Exact.
    """

    stage = Stage.FINISH
    after = ("share-constants",)
    targets = frozenset({"tflite"})
    roots = ("tflite.DEPTH_TO_SPACE",)

    def match(self, node: Node) -> Match:
        """The parts, by the row of the block that they belong to."""
        value = node.inputs[0]
        parts = value.producer() if value is not None else None
        known = static_dims(value)
        if value is None or parts is None or parts.domain != "tflite" or parts.op_type != "CONCATENATION":
            raise MatchFailure("it is not read from a CONCATENATION", value)
        if known is None or value.is_graph_output() or len(value.uses()) != 1:
            raise MatchFailure("the CONCATENATION is read elsewhere, or of unknown size", value)
        axis = parts.attributes.get_int("axis", 0) % len(known)
        if axis != 3 or parts.attributes.get_string("fused_activation_function", "NONE") != "NONE":
            raise MatchFailure("the parts are not put together along the channels alone", parts)
        if len(parts.inputs) <= _OPERANDS:
            raise MatchFailure(f"{len(parts.inputs)} parts are taken as they are", parts)
        rows = _by_row(parts, known[3], node.attributes.get_int("block_size", 1))
        return _Rows(node, {}, {}, (parts, node), rows=rows)

    def rewrite(self, match: Match, rewriter: Rewriter) -> Value:
        """Concatenate within the rows, then the rows."""
        assert isinstance(match, _Rows)
        known, wanted = static_dims(match.root.inputs[0]), static_dims(match.root.outputs[0])
        assert known is not None
        assert wanted is not None
        lines = [
            _reshape(
                _concatenated(row, 3, rewriter), (known[0], known[1], 1, wanted[2] * wanted[3]), rewriter
            )
            for row in match.rows
        ]
        return _reshape(_concatenated(lines, 2, rewriter), wanted, rewriter)


def _by_row(parts: Node, channels: int, block: int) -> tuple[tuple[Value, ...], ...]:
    rows: list[list[Value]] = [[] for _ in range(block)]
    position = 0
    for value in parts.inputs:
        known = static_dims(value)
        row, offset = divmod(position, channels // block)
        if value is None or known is None or offset + known[3] > channels // block:
            raise MatchFailure("a part belongs to several rows", value)
        rows[row].append(value)
        position += known[3]
    if max(block, *map(len, rows)) > _OPERANDS:
        raise MatchFailure("a row has too many parts as well", parts)
    return tuple(map(tuple, rows))


def _concatenated(values: tuple[Value, ...] | list[Value], axis: int, rewriter: Rewriter) -> Value:
    if len(values) == 1:
        return values[0]
    return rewriter.op("CONCATENATION", *values, domain="tflite", axis=axis, fused_activation_function="NONE")


def _reshape(value: Value, shape: tuple[int, ...], rewriter: Rewriter) -> Value:
    sizes = rewriter.shared_constant(np.array(shape, np.int32))
    return rewriter.op("RESHAPE", value, sizes, domain="tflite", new_shape=list(shape))
