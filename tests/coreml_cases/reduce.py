"""Reductions."""

from __future__ import annotations

from coreml_cases.case import Case, floats, ints

_ALL = (
    *(
        "reduce_l1_norm",
        "reduce_l2_norm",
        "reduce_log_sum",
        "reduce_log_sum_exp",
        "reduce_max",
        "reduce_mean",
    ),
    *("reduce_min", "reduce_prod", "reduce_sum", "reduce_sum_square"),
)

CASES = [
    *(Case(op, [floats(2, 3, 4, low=0.2)], {"axes": [0, 2], "keep_dims": True}) for op in _ALL),
    *(Case(op, [floats(2, 3, 4, low=0.2)], {"axes": [-1], "keep_dims": False}) for op in _ALL),
    *(
        Case(op, [ints(3, 4)], {"axes": [1]})
        for op in ("reduce_max", "reduce_min", "reduce_sum", "reduce_prod")
    ),
    Case("reduce_sum", [floats(2, 3)]),
]
