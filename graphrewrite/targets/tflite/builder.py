"""What the `tflite` column of the op rows builds with: operators by name, with types made legal on the way.

Where a kernel does not take an element type, the operator is computed in the next wider type that holds every value of it
exactly, and cast back. That is one mechanism for int8, uint8, int16, float16 and bool everywhere, and it is why no row has to
think about them.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import onnx_ir

from graphrewrite.ir import (
    Array,
    DataType,
    LazyTensor,
    Shape,
    Value,
    constant_array,
    is_constant,
    static_dims,
)
from graphrewrite.registry import computed_type, require_rank
from graphrewrite.rewrite import Rewriter
from graphrewrite.targets.tflite.dialect import DOMAIN, target_op
from graphrewrite.targets.tflite.kernels import accepted_types

_WIDER: dict[DataType, tuple[DataType, ...]] = {
    DataType.BOOL: (DataType.INT8, DataType.INT32, DataType.FLOAT),
    DataType.INT8: (DataType.INT32, DataType.INT64, DataType.FLOAT),
    DataType.UINT8: (DataType.INT32, DataType.INT64, DataType.FLOAT),
    DataType.INT16: (DataType.INT32, DataType.INT64, DataType.FLOAT),
    DataType.UINT16: (DataType.INT32, DataType.INT64, DataType.FLOAT),
    DataType.INT32: (DataType.INT64,),
    DataType.UINT32: (DataType.INT64,),
    DataType.FLOAT16: (DataType.FLOAT,),
}
"""Types that hold every value of the key exactly, best first. int32 and int64 fit in no float32."""

_LAZY_BYTES = 1 << 20
"""Folded constants above this size are made contiguous when the file is written, so that no second copy is kept."""


def tflite_type(dtype: DataType) -> str:
    """Name of an element type in the TFLite schema's spelling."""
    return {DataType.FLOAT: "FLOAT32", DataType.DOUBLE: "FLOAT64"}.get(dtype, dtype.name)


class TFLite:
    """Builds `tflite` nodes before the node that is being lowered."""

    def __init__(self, rewriter: Rewriter) -> None:
        self.rewriter = rewriter
        self._folded: dict[Hashable, tuple[Value, Sequence[Value | None]]] = {}

    # -- operators -----------------------------------------------------------------------------------------------------

    def op(self, name: str, *inputs: Value | None, **options: Any) -> Value:
        """An operator with one output."""
        return self.ops(name, *inputs, outputs=1, **options)[0]

    def ops(self, name: str, *inputs: Value | None, outputs: int, **options: Any) -> tuple[Value, ...]:
        """An operator with several outputs; inputs are widened and outputs narrowed where the kernel needs it.

        Raises:
            Refusal: no kernel takes the type, nor any wider one.
        """
        entry = target_op(name)
        operands = list(inputs)
        data = [i for i in (range(len(operands)) if entry.data is None else entry.data) if i < len(operands)]
        source = next((value.dtype for i in data if (value := operands[i]) is not None), None)
        wide = self._kernel_type(name, source)
        if wide is not None and wide != source:
            for i in data:
                if (value := operands[i]) is not None:
                    operands[i] = self.cast(value, wide)
        folded = self._fold(name, operands, options)
        results = (
            (folded,)
            if folded is not None
            else self.rewriter.ops(name, *operands, outputs=outputs, domain=DOMAIN, **options)
        )
        if wide is not None and wide != source and source is not None and entry.result == "T":
            results = tuple(self.cast(value, source) for value in results)
        return results

    def _kernel_type(self, name: str, source: DataType | None) -> DataType | None:
        accepted = accepted_types(name)
        if source is None or accepted is None:
            return source
        return computed_type(source, accepted, _WIDER, f"TFLite's {name} has no kernel for")

    def _fold(self, name: str, operands: Sequence[Value | None], options: dict[str, Any]) -> Value | None:
        fold = target_op(name).fold
        if fold is None or not operands or not all(is_constant(value) for value in operands):
            return None
        key = (name, *map(id, operands), repr(sorted(options.items())))
        known, _ = self._folded.get(key, (None, ()))
        if (
            known is not None and known.graph is not None
        ):  # tied weights stay tied; the last reader may have gone, though
            return known
        arrays = [array for value in operands if (array := constant_array(value)) is not None]
        result = fold(arrays, options)
        if result is None:
            return None
        made = self.rewriter.constant(_lazy(operands[0], result))
        self._folded[key] = made, operands  # which are kept, so that their identities are not given to others
        return made

    # -- constants -----------------------------------------------------------------------------------------------------

    def const(self, content: Any, dtype: DataType) -> Value:
        """A constant of `dtype`."""
        return self.rewriter.constant(np.asarray(content).astype(dtype.numpy()))

    def like(self, content: Any, value: Value) -> Value:
        """A constant of the element type of `value`."""
        return self.const(content, value.dtype or DataType.FLOAT)

    def i32(self, content: int | Sequence[int] | Sequence[Sequence[int]]) -> Value:
        """An int32 constant (axes, shapes, pads)."""
        return self.rewriter.shared_constant(np.asarray(content, dtype=np.int32))

    def i64(self, content: int | Sequence[int]) -> Value:
        """An int64 constant."""
        return self.rewriter.shared_constant(np.asarray(content, dtype=np.int64))

    # -- the everyday operators ----------------------------------------------------------------------------------------

    def cast(self, value: Value, dtype: DataType) -> Value:
        """`value` as `dtype` with C's conversion rules; itself where it is that already; constants are converted now.

        float16 constants become float32 by DEQUANTIZE or at conversion, never in a kernel that would misread them.
        """
        if value.dtype == dtype or value.dtype is None:
            return value
        array = constant_array(value)
        if array is not None:
            with np.errstate(all="ignore"):
                return self.rewriter.constant(array.astype(dtype.numpy()))
        return self.rewriter.op(
            "CAST",
            value,
            domain=DOMAIN,
            in_data_type=tflite_type(value.dtype),
            out_data_type=tflite_type(dtype),
        )

    def reshape(self, value: Value, shape: Sequence[int]) -> Value:
        """`value` with a shape that may hold one -1; itself where it has that shape already."""
        target = [int(dim) for dim in shape]
        if static_dims(value) == tuple(target):
            return value
        return self.op("RESHAPE", value, self.i32(target), new_shape=target)

    def transpose(self, value: Value, perm: Sequence[int]) -> Value:
        """`value` with output dimension i taken from input dimension perm[i]; itself for the identity."""
        order = [int(axis) for axis in perm]
        if order == list(range(len(order))):
            return value
        return self.op("TRANSPOSE", value, self.i32(order))

    def to_last(self, value: Value) -> Value:
        """[N, C, spatial...] to [N, spatial..., C], which every TFLite convolution, pool and resize wants."""
        size = require_rank(value)
        return self.transpose(value, [0, *range(2, size), 1])

    def to_first(self, value: Value) -> Value:
        """[N, spatial..., C] back to [N, C, spatial...]."""
        size = require_rank(value)
        return self.transpose(value, [0, size - 1, *range(1, size - 1)])

    def shape_of(self, value: Value) -> Value:
        """Dimensions of `value` as an int32 vector: a constant where they are known, else a SHAPE operator."""
        known = static_dims(value)
        return self.i32(list(known)) if known is not None else self.op("SHAPE", value, out_type="INT32")


def _lazy(source: Value | None, result: Array) -> Array | onnx_ir.TensorProtocol:
    """A big folded view stays one: the writer copies it slice by slice, and no second copy of the weights is ever made."""
    if source is None or result.nbytes < _LAZY_BYTES or result.flags.c_contiguous:
        return np.asarray(result, order="C")  # ascontiguousarray would make rank 0 rank 1
    dtype = DataType.from_numpy(result.dtype)
    return LazyTensor(lambda: onnx_ir.Tensor(result), dtype=dtype, shape=Shape(list(result.shape)))
