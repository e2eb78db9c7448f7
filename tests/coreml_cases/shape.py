"""Views, cuts and joints."""

from __future__ import annotations

import numpy as np

from coreml_cases.case import Case, bools, floats, ints


def _i(*content: int) -> np.ndarray:
    return np.asarray(content, np.int32)


X = floats(4, 5, 6)
_MASKED = {
    "squeeze_mask": [True, False, False],
    "begin_mask": [False, True, False],
    "end_mask": [False, True, False],
}
CASES = [
    Case("reshape", [X, _i(2, -1, 6)], constant=[1]),
    Case("reshape", [X, _i(0, 3, 10)], constant=[1], expected=lambda x, s: x.reshape(4, 3, 10)),
    Case("reshape", [ints(4, 3), _i(6, 2)]),
    Case("transpose", [X], {"perm": [2, 0, 1]}),
    Case("transpose", [bools(2, 3)], {"perm": [1, 0]}),
    Case("expand_dims", [X], {"axes": [0, 2]}),
    Case("expand_dims", [np.asarray(2.5, np.float32)], {"axes": [0]}),
    Case("squeeze", [floats(1, 3, 1)], {"axes": [0, -1]}),
    Case("squeeze", [floats(1, 3, 1)]),
    Case("concat", [X, floats(4, 2, 6), floats(4, 1, 6)], {"axis": 1}),
    # coremltools' own formula ignores `interleave`; the documentation's is this
    *(
        Case(
            "concat",
            [X, floats(4, 5, 6)],
            {"axis": axis, "interleave": True},
            lambda a, b, axis=axis: np.stack([a, b], axis % 3 + 1).reshape(
                [size * (2 if index == axis % 3 else 1) for index, size in enumerate(a.shape)]
            ),
        )
        for axis in (-2, 0)
    ),
    Case("stack", [X, floats(4, 5, 6)], {"axis": 1}),
    Case("stack", [X, floats(4, 5, 6)], {"axis": -1}),
    Case("split", [X], {"num_splits": 3, "axis": 2}, outputs=3),
    Case("split", [X], {"split_sizes": [1, 3, 1], "axis": 1}, outputs=3),
    Case("slice_by_size", [X, _i(1, 0, 2), _i(2, -1, 3)]),
    Case("slice_by_index", [X, _i(1, 0, 2), _i(3, 5, 6)]),
    Case(
        "slice_by_index",
        [X, _i(-3, 4, -1), _i(-1, 0, 0)],
        {"stride": [1, -2, -1], "end_mask": [False, True, False]},
    ),
    Case(
        "slice_by_index",
        [X, _i(1, 2, 0), _i(0, 0, 0)],
        {"squeeze_mask": [True, True, False], "end_mask": [False, False, True]},
    ),
    Case("slice_by_index", [X, _i(-1, 2, 0), _i(0, 0, 4)], _MASKED),
    Case("slice_by_index", [X, _i(-1, 2, 0), _i(0, 0, 4)], _MASKED, constant=[1, 2]),
    Case("shape", [X]),
    Case("shape", [ints(3, 2)]),
    Case("fill", [_i(2, 3), np.asarray(1.5, np.float32)]),
    Case("fill", [_i(2, 3), np.asarray(7, np.int32)]),
    Case("tile", [floats(2, 3), _i(2, 3)]),
    Case("tile", [ints(2, 3), _i(1, 2)]),
    Case("pad", [X, _i(0, 0, 1, 2, 3, 0)], {"mode": "constant", "constant_val": 1.5}),
    Case("pad", [X, _i(1, 2)], {"mode": "constant", "constant_val": 0.0}),
    Case("pad", [X, _i(1, 2, 2, 1)], {"mode": "reflect"}),
    Case("pad", [X, _i(1, 2, 2, 1)], {"mode": "replicate"}),
]
