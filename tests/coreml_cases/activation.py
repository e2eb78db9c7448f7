"""Activations and softmax."""

from __future__ import annotations

import numpy as np

from coreml_cases.case import Case, floats

CASES = [
    *(
        Case(op, [floats(2, 3, 4, low=-8.0, high=8.0)])
        for op in ("relu", "relu6", "sigmoid", "softsign", "tanh")
    ),
    Case("softplus", [floats(2, 3, 4, low=-8.0, high=8.0)]),
    Case("silu", [floats(3, 4)], expected=lambda x: x / (1 + np.exp(-x))),
    Case("gelu", [floats(3, 4)]),
    *(Case("gelu", [floats(3, 4)], {"mode": f"{mode}_APPROXIMATION"}) for mode in ("TANH", "SIGMOID")),
    Case("gelu", [floats(3, 4)], {"mode": "EXACT"}),
    *(Case(op, [floats(3, 4)], {"alpha": 0.3}) for op in ("leaky_relu", "elu", "thresholded_relu")),
    Case("thresholded_relu", [np.asarray([0.2, 0.25, 0.3], np.float32)], {"alpha": 0.25}),
    *(
        Case(op, [floats(3, 4)], {"alpha": 0.3, "beta": 0.6})
        for op in ("clamped_relu", "linear_activation", "scaled_tanh", "sigmoid_hard")
    ),
    Case("prelu", [floats(2, 3, 4), np.full(3, 0.3, np.float32)], constant=[1]),
    Case("prelu", [floats(2, 3, 4, 2), floats(3)], constant=[1]),
    Case(
        "softplus_parametric",
        [floats(2, 3, 4), floats(3), floats(3)],
        constant=[1, 2],
    ),
    *(Case("softmax", [floats(2, 3, 4)], {"axis": axis}) for axis in (-1, 0, 1)),
]
