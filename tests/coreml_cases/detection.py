"""Suppression of overlapping boxes."""

from __future__ import annotations

import numpy as np

from coreml_cases.case import Array, Case

_BOXES = np.asarray([[[1, 1, 2, 2], [5, 5, 2, 2], [1.1, 1, 2, 2], [5, 8, 2, 2]]], np.float32)
_SCORES = np.asarray([[[0.5], [0.75], [0.875], [0.25]]], np.float32)


def _kept(places: list[int], most: int, last: bool) -> list[Array]:
    padded = np.asarray([[*places, *[-1] * (most - len(places))]], np.int32)
    boxes, scores = np.zeros((1, most, 4), np.float32), np.zeros((1, most, 1), np.float32)
    boxes[0, : len(places)], scores[0, : len(places)] = _BOXES[0, places], _SCORES[0, places]
    if last:
        return [boxes.transpose(0, 2, 1), scores.transpose(0, 2, 1), padded]
    return [boxes, scores, padded, np.asarray([len(places)], np.int32)]


CASES = [
    Case(
        "non_maximum_suppression",
        [_BOXES, _SCORES],
        {"iou_threshold": 0.5, "score_threshold": 0.5, "max_boxes": 3},
        lambda boxes, scores: _kept([2, 1], 3, False),
        outputs=4,
    ),
    Case(
        "non_maximum_suppression",
        [_BOXES, _SCORES],
        {"iou_threshold": 0.95, "score_threshold": 0.5, "max_boxes": 4},
        lambda boxes, scores: _kept([2, 1, 0], 4, False),
        outputs=4,
    ),
    Case(
        "non_maximum_suppression",
        [_BOXES.transpose(0, 2, 1).copy(), _SCORES.transpose(0, 2, 1).copy()],
        {"iou_threshold": 0.5, "max_boxes": 4},
        lambda boxes, scores: _kept([2, 1, 3], 4, True),
        outputs=3,
        target="iOS17",
    ),
]
