"""Sorting, extreme positions and running sums."""

from __future__ import annotations

import numpy as np

from coreml_cases.case import Array, Case, floats, ints

X = floats(4, 5, 6)


def _number(content: float, dtype: type = np.int32) -> Array:
    return np.asarray(content, dtype)


def _running(axis: int, exclusive: bool, reverse: bool) -> Case:
    def expected(x: Array) -> Array:
        turned = np.flip(x, axis) if reverse else x
        total = np.cumsum(turned, axis=axis, dtype=x.dtype)
        total = total - turned if exclusive else total
        return np.flip(total, axis) if reverse else total

    return Case(
        "cumsum", [ints(3, 4, 2)], {"axis": axis, "exclusive": exclusive, "reverse": reverse}, expected
    )


def _turned(lengths: list[int], axis: int, batch: int) -> Case:
    def expected(x: Array, given: Array) -> Array:
        moved = np.moveaxis(x.copy(), (batch, axis), (0, 1))
        for row, length in zip(moved, given, strict=True):
            row[:length] = row[:length][::-1]
        return np.moveaxis(moved, (0, 1), (batch, axis))

    operands = [X, np.asarray(lengths, np.int32)]
    return Case("reverse_sequence", operands, {"seq_axis": axis, "batch_axis": batch}, expected)


CASES = [
    Case("reduce_argmax", [X], {"axis": 1}),
    Case("reduce_argmax", [ints(3, 4)], {"keep_dims": True}),
    Case("reduce_argmin", [X], {"axis": -2, "keep_dims": True}),
    Case("reduce_argmin", [X]),
    Case("topk", [X], {"k": 3, "axis": 1}, outputs=2),
    Case("topk", [X], {"k": 2, "ascending": True}, outputs=2),
    Case("topk", [X], outputs=2),
    Case(
        "topk",
        [X],
        {"k": -1},
        lambda x: (-np.sort(-x, axis=-1), np.argsort(-x, axis=-1).astype(np.int32)),
        outputs=2,
        target="iOS17",
    ),
    Case("argsort", [X], {"axis": 0}),
    Case("argsort", [X], {"axis": -1, "ascending": True}),
    Case("cumsum", [X], {"axis": 1}),
    Case("cumsum", [ints(3, 4)]),
    _running(0, True, False),
    _running(1, True, True),
    _running(2, False, True),
    Case("reverse", [X]),
    Case("reverse", [X], {"axes": [0, -1]}),
    _turned([0, 1, 3, 5], 1, 0),
    _turned([4, 1, 2, 4, 3, 0], 0, 2),
    Case("range_1d", [_number(11), _number(1), _number(3)]),
    Case("range_1d", [_number(-3), _number(4), _number(-2)]),
    Case(
        "range_1d",
        [_number(1.0, np.float32), _number(-0.5, np.float32), _number(0.25, np.float32)],
    ),
]
