"""Python values as attributes of nodes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir

from graphrewrite.ir import Attr, Graph, Tensor
from graphrewrite.ir.constants import is_tensor


def attribute(name: str, content: Any) -> Attr:
    """The attribute that holds `content`; an empty sequence is one of integers."""
    if type(content) is int:  # most are; asking for a Graph takes the longest
        return onnx_ir.AttrInt64(name, content)
    if isinstance(content, str):
        return onnx_ir.AttrString(name, content)
    if isinstance(content, Attr):
        return content
    if isinstance(content, list | tuple) and content and type(content[0]) is int:
        return onnx_ir.AttrInt64s(name, content)
    if isinstance(content, Graph):
        return onnx_ir.AttrGraph(name, content)
    if isinstance(content, bool | np.bool_):
        return onnx_ir.AttrInt64(name, int(content))
    if isinstance(content, int | np.integer):
        return onnx_ir.AttrInt64(name, int(content))
    if isinstance(content, float | np.floating):
        return onnx_ir.AttrFloat32(name, float(content))
    if isinstance(content, np.ndarray):
        return onnx_ir.AttrTensor(name, Tensor(content))
    if is_tensor(content):
        return onnx_ir.AttrTensor(name, content)
    items = list(content)
    if items and isinstance(items[0], str):
        return onnx_ir.AttrStrings(name, items)
    if items and isinstance(items[0], float):
        return onnx_ir.AttrFloat32s(name, [float(item) for item in items])
    return onnx_ir.AttrInt64s(name, [int(item) for item in items])
