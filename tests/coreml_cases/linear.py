"""Products of matrices."""

from __future__ import annotations

from coreml_cases.case import Case, floats, ints

CASES = [
    Case("matmul", [floats(2, 3, 4), floats(4, 5)]),
    Case("matmul", [floats(2, 4, 3), floats(2, 5, 4)], {"transpose_x": True, "transpose_y": True}),
    Case("matmul", [ints(3, 4), ints(4, 2)]),
    Case("linear", [floats(2, 3, 4), floats(5, 4), floats(5)], constant=[1, 2]),
    Case("linear", [floats(3, 4), floats(5, 4)], constant=[1]),
]
