"""Adding to what is known of a value's type and shape."""

from __future__ import annotations

import onnx_ir

from graphrewrite.errors import InternalError
from graphrewrite.ir.shapes import Dim, Dims, dims


class ShapeConflict(InternalError):
    """Inference contradicts itself or what is declared: a wrong model, or a wrong rewrite."""


def refine(value: onnx_ir.Value, dtype: int | None, known: Dims | None) -> bool:
    """Merge newly inferred facts into `value`; True where something was learned.

    Raises:
        ShapeConflict: the new facts contradict the old.
    """
    changed = False
    if dtype:
        kind = value.type
        if kind is None:
            value.type, changed = onnx_ir.TensorType(onnx_ir.DataType(dtype)), True
        elif isinstance(kind, onnx_ir.TensorType) and kind.dtype != dtype:
            inferred = onnx_ir.DataType(dtype).name
            raise ShapeConflict(f"'{value.name}' is {kind.dtype.name} and is inferred as {inferred}")
    if known is None:
        return changed
    old = dims(value)
    if old == known:
        return changed
    if old is None:
        value.shape = onnx_ir.Shape(list(known))
        return True
    if len(old) != len(known):
        raise ShapeConflict(f"'{value.name}' has the shape {list(old)} and is inferred as {list(known)}")
    merged: list[Dim] = []
    for a, b in zip(old, known, strict=True):
        if isinstance(a, int) and isinstance(b, int) and a != b:
            raise ShapeConflict(f"'{value.name}' has the shape {list(old)} and is inferred as {list(known)}")
        merged.append(a if isinstance(a, int) or b is None or (a is not None and isinstance(b, str)) else b)
    if tuple(merged) != old:
        value.shape = onnx_ir.Shape(merged)
        changed = True
    return changed
