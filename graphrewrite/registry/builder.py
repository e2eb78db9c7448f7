"""The builder that expansions and upgrades use: ONNX ops by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphrewrite.ir import DataType, Value
from graphrewrite.rewrite import Rewriter


class Onnx:
    """Builds ONNX nodes: `b.op("Mul", x, b.f32(2.0))`. Nodes of constants only are folded at once."""

    def __init__(self, rewriter: Rewriter) -> None:
        self.rewriter = rewriter

    def op(self, op_type: str, *inputs: Value | None, **attributes: Any) -> Value:
        """A node with one output."""
        return self.rewriter.op(op_type, *inputs, **attributes)

    def ops(self, op_type: str, *inputs: Value | None, outputs: int, **attributes: Any) -> tuple[Value, ...]:
        """A node with several outputs."""
        return self.rewriter.ops(op_type, *inputs, outputs=outputs, **attributes)

    def i64(self, content: int | Sequence[int]) -> Value:
        """An int64 constant: a scalar for a number, rank 1 for a sequence."""
        return self.rewriter.constant(np.asarray(content, dtype=np.int64))

    def const(self, content: Any, dtype: DataType) -> Value:
        """A constant of `dtype`."""
        return self.rewriter.constant(np.asarray(content).astype(dtype.numpy()))

    def like(self, content: Any, value: Value) -> Value:
        """A constant of the same element type as `value`."""
        return self.const(content, value.dtype or DataType.FLOAT)

    def reshape(self, value: Value, shape: Sequence[int] | Value) -> Value:
        """Reshape with ONNX's 0 and -1."""
        return self.op("Reshape", value, shape if isinstance(shape, Value) else self.i64(shape))

    def cast(self, value: Value, dtype: DataType) -> Value:
        """`value` as `dtype`; itself where it is that already."""
        return value if value.dtype == dtype else self.op("Cast", value, to=int(dtype))
