"""The `tflite` dialect; importing it registers every operator's meaning."""

from __future__ import annotations

from graphrewrite.targets.tflite.dialect import compute, control_flow, elementwise, shape, window
from graphrewrite.targets.tflite.dialect.op import DOMAIN, TargetOp, define, defined, target_op

__all__ = [
    "DOMAIN",
    "TargetOp",
    "compute",
    "control_flow",
    "define",
    "defined",
    "elementwise",
    "shape",
    "target_op",
    "window",
]
