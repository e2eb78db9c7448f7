"""Attention: what OpenVINO's front end passes over in it."""

from __future__ import annotations

from collections.abc import Sequence

from graphrewrite.ir import Value
from graphrewrite.registry import Onnx, OpNode, lowering


@lowering("openvino", "Attention", note="windows by the specification's function body")
def attention(node: OpNode, b: Onnx) -> Sequence[Value]:
    """The front end ignores the windows, silently; refused here, they are expanded by the specification's body."""
    if any(node.attr(name, -1) != -1 for name in ("left_window_size", "right_window_size")):
        node.not_implemented("a window")
    return node.outputs
