"""Writing elements by index."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from coreml_cases.case import Array, Case, floats, ints

_UFUNCS: dict[str, Any] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "max": np.maximum,
    "min": np.minimum,
}


def _write(out: Array, places: Any, updates: Array, mode: str) -> Array:
    if mode == "update":
        out[places] = updates
    else:
        _UFUNCS[mode].at(out, places, updates)
    return out


def _slices(axis: int, mode: str) -> Callable[..., Array]:
    def expected(data: Array, indices: Array, updates: Array) -> Array:
        moved = np.moveaxis(data.copy(), axis, 0)
        _write(moved, indices, np.moveaxis(updates, axis, 0), mode)
        return np.moveaxis(moved, 0, axis)

    return expected


def _along(axis: int, mode: str) -> Callable[..., Array]:
    def expected(data: Array, indices: Array, updates: Array) -> Array:
        places = list(np.indices(indices.shape))
        places[axis] = indices
        return _write(data.copy(), tuple(places), updates, mode)

    return expected


def _nd(mode: str) -> Callable[..., Array]:
    return lambda data, indices, updates: _write(
        data.copy(), tuple(np.moveaxis(indices, -1, 0)), updates, mode
    )


def _i(content: Any) -> Array:
    return np.asarray(content, np.int32)


_ALONG = _i([[0, 2, 4], [3, 3, 1], [1, 0, 2], [4, 1, 0]])
CASES = [
    Case("scatter", [floats(4, 5), _i([3, 0]), floats(2, 5)], {"mode": "update"}, _slices(0, "update")),
    Case("scatter", [floats(4, 5), _i([1, 1, 4]), floats(4, 3)], {"axis": 1}, _slices(1, "add")),
    Case(
        "scatter",
        [ints(4, 5), _i([1, 1, 4]), ints(4, 3)],
        {"axis": -1, "mode": "max"},
        _slices(1, "max"),
    ),
    Case("scatter_along_axis", [floats(4, 5), _ALONG, floats(4, 3)], {"axis": 1}, _along(1, "add")),
    *(
        Case(
            "scatter_along_axis",
            [ints(4, 5), _ALONG, ints(4, 3)],
            {"axis": -1, "mode": mode},
            _along(1, mode),
        )
        for mode in ("sub", "mul", "max", "min")
    ),
    Case(
        "scatter_along_axis",
        [floats(3, 4), _i([[2, 0, 1, 1]]), floats(1, 4)],
        {"axis": 0, "mode": "update"},
    ),
    Case("scatter_nd", [floats(4, 5), _i([[1], [1], [3]]), floats(3, 5)], {}, _nd("add")),
    *(
        Case("scatter_nd", [floats(4, 5), _i([[1, 2], [0, 4]]), floats(2)], {"mode": mode}, _nd(mode))
        for mode in ("update", "mul", "max", "min", "sub")
    ),
]
