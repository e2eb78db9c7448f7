"""What the `coreml` column of the op rows builds with: MIL ops by name, with types made legal on the way.

MIL computes in float32, float16, int32 and bool. An ONNX type that it lacks is *carried* in one that holds all its values:
int64 in int32 (as every Core ML converter does; the check says whether that was enough), the small integers in int32 with
their wrap-around written out. `mil.carry` marks such values, so that the graph keeps ONNX's types and runs as it is; an op
reads through the mark, and none of them is ever written. A legal type that one op does not take is cast to the next wider one
and back. That is one mechanism everywhere, and why no row has to think about types.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphrewrite.errors import Code
from graphrewrite.ir import (
    DataType,
    Value,
    constant_array,
    dims,
    is_constant,
    quant,
    rank,
    refine,
    set_quant,
    static_dims,
)
from graphrewrite.registry import OpNode, Refusal, computed_type, require_rank
from graphrewrite.rewrite import Rewriter
from graphrewrite.targets.coreml.availability import accepted_types, available_from, is_compile_time, op_class
from graphrewrite.targets.coreml.dialect import CARRY, DOMAIN, TargetOp, target_op
from graphrewrite.targets.coreml.options import deployment_target

SMALL = frozenset({DataType.INT8, DataType.UINT8, DataType.INT16, DataType.UINT16})
CARRIERS = {DataType.INT64: DataType.INT32, **dict.fromkeys(SMALL, DataType.INT32)}
"""The MIL type that holds an ONNX type which MIL does not compute with."""
MIL_NAMES = {
    DataType.BOOL: "bool",
    DataType.FLOAT16: "fp16",
    DataType.FLOAT: "fp32",
    DataType.INT32: "int32",
}
_WIDER = {
    DataType.BOOL: (DataType.INT32, DataType.FLOAT),
    DataType.FLOAT16: (DataType.FLOAT,),
}
_INT32 = np.iinfo(np.int32)
MAX_RANK = 5


class MIL:
    """Builds `mil` nodes before the node that is being lowered."""

    def __init__(self, rewriter: Rewriter, minimum_deployment_target: str = "iOS15") -> None:
        self.rewriter = rewriter
        self.target = deployment_target(minimum_deployment_target)

    # -- ops -----------------------------------------------------------------------------------------------------------

    def has(self, name: str) -> bool:
        """True where the deployment target has the op."""
        return op_class(name, self.target) is not None

    def takes(self, name: str, parameter: str) -> bool:
        """True where the op has the parameter on the deployment target."""
        found = op_class(name, self.target)
        return found is not None and parameter in found.input_spec.input_types

    def op(self, name: str, *inputs: Value | None, **parameters: Any) -> Value:
        """An op with one output."""
        return self.ops(name, *inputs, outputs=1, **parameters)[0]

    def ops(self, name: str, *inputs: Value | None, outputs: int, **parameters: Any) -> tuple[Value, ...]:
        """An op with several outputs. Where the entry's result is T, they have the type of the first data operand.

        Raises:
            Refusal: the deployment target has no such op, it takes no type that could hold the operands, an operand that
                must be a constant is none, or a result has more than five dimensions.
        """
        entry = target_op(name)
        self._check_available(name)
        data = entry.data_of(len(inputs))
        logical = next((value.dtype for i in data if (value := inputs[i]) is not None), None)
        operands = [None if value is None else self.carried(value) for value in inputs]
        carrier = next((value.dtype for i in data if (value := operands[i]) is not None), None)
        wide = self._computed_type(entry, data, carrier)
        if wide is not None and wide != carrier:
            for i in data:
                if (value := operands[i]) is not None:
                    operands[i] = self._cast(value, wide)
        self._check_constants(entry, operands)
        folded = self._fold(entry, operands, parameters)
        results = (
            (folded,)
            if folded is not None
            else self.rewriter.ops(name, *operands, outputs=outputs, domain=DOMAIN, **parameters)
        )
        self._check_shapes(name, [*operands, *results])
        if carrier is None or logical is None:
            return results
        return tuple(
            self._narrowed(value, carrier, logical, wrap=not entry.moves) if entry.computes(index) else value
            for index, value in enumerate(results)
        )

    def _narrowed(self, value: Value, carrier: DataType, logical: DataType, *, wrap: bool) -> Value:
        """A result of T in the type of the operands, which may have been computed in a wider one."""
        value = self._cast(value, carrier)
        if logical == carrier:
            return value
        return self._carry(self._wrapped(value, logical) if wrap and logical in SMALL else value, logical)

    def _check_available(self, name: str) -> None:
        if not self.has(name):
            oldest = available_from(name)
            raise Refusal(
                Code.NOT_EXPRESSIBLE,
                f"Core ML has the op {name} from {oldest} on, and the file is to run on {self.target}",
                f"raise it with --minimum-deployment-target {oldest}",
            )

    def _computed_type(
        self, entry: TargetOp, data: Sequence[int], carrier: DataType | None
    ) -> DataType | None:
        if carrier is None or not data:
            return carrier
        accepted = accepted_types(entry.name, entry.slot(data[0]), self.target)
        if accepted is None:
            return carrier
        return computed_type(carrier, accepted, _WIDER, f"Core ML's {entry.name} takes no")

    def _check_constants(self, entry: TargetOp, operands: Sequence[Value | None]) -> None:
        for index, value in enumerate(operands):
            slot = entry.slot(index)
            if value is None or is_constant(value) or not is_compile_time(entry.name, slot, self.target):
                continue
            newer = next(
                (t for t in ("iOS16", "iOS17", "iOS18") if not is_compile_time(entry.name, slot, t)), None
            )
            raise Refusal(
                Code.NOT_EXPRESSIBLE,
                f"the {slot} of Core ML's {entry.name} must be a constant"
                + (f" before {newer}" if newer else "")
                + ", and it is computed at run time",
                f"--minimum-deployment-target {newer}" if newer else "make it a constant",
            )

    def _check_shapes(self, name: str, values: Sequence[Value | None]) -> None:
        for value in values:
            size = None if value is None else rank(value)
            if size is not None and size > MAX_RANK:
                raise Refusal(
                    Code.NOT_EXPRESSIBLE,
                    f"Core ML's tensors have at most {MAX_RANK} dimensions, and {name} would need {size} here",
                    "merge dimensions in the model, or split the operation over one of them",
                )
            if size is not None and 0 in (dims(value) or () if value is not None else ()):
                raise Refusal(
                    Code.NOT_EXPRESSIBLE,
                    f"{name} would read or write an empty tensor here, and Core ML has none",
                    "leave the empty tensor out of the model",
                )

    def _fold(
        self, entry: TargetOp, operands: Sequence[Value | None], parameters: dict[str, Any]
    ) -> Value | None:
        if entry.fold is None or not operands or operands[0] is None:
            return None
        if not all(is_constant(value) for value in operands):
            return None
        arrays = [array for value in operands if (array := constant_array(value)) is not None]
        result = entry.fold(arrays, parameters)
        if result is None:
            return None
        made, facet = self.rewriter.constant(result), quant(operands[0])
        if facet is not None and entry.name == "transpose":
            set_quant(made, dataclasses.replace(facet, axis=list(parameters["perm"]).index(facet.axis)))
        return made

    # -- types ---------------------------------------------------------------------------------------------------------

    def carried(self, value: Value) -> Value:
        """`value` in the type that MIL computes with.

        Raises:
            Refusal: MIL has none that holds it, or a constant's content is out of range.
        """
        dtype = value.dtype
        if dtype is None or dtype in MIL_NAMES:
            return value
        carrier = CARRIERS.get(dtype)
        if carrier is None:
            raise Refusal(
                Code.NOT_EXPRESSIBLE,
                f"'{value.name}' is {dtype.name.lower()}, which Core ML has no type for",
                "cast it to float32 or int32 in the model, if its values fit",
            )
        array = constant_array(value)
        if array is not None:
            if array.size and (array.max() > _INT32.max or array.min() < _INT32.min):
                raise Refusal(
                    Code.NOT_EXPRESSIBLE,
                    f"the constant '{value.name}' holds values beyond int32, Core ML's only wide integer",
                    "scale the values down, or compute with float32",
                )
            return self.rewriter.constant(array.astype(np.int32))
        producer = value.producer()
        if producer is not None and producer.domain == DOMAIN and producer.op_type == CARRY:
            found = producer.inputs[0]
            assert found is not None
            refine(found, None, dims(value))  # what a row learnt about the value holds for its carrier
            return found
        return self.rewriter.op("cast", value, domain=DOMAIN, dtype=MIL_NAMES[carrier])

    def _carry(self, value: Value, dtype: DataType) -> Value:
        array = constant_array(value)
        if array is not None:
            return self.rewriter.constant(array.astype(dtype.numpy()))
        return self.rewriter.op(CARRY, value, domain=DOMAIN, to=int(dtype))

    def _wrapped(self, value: Value, dtype: DataType) -> Value:
        """int32 reduced to the range of a small integer as a conversion in C does."""
        limits = np.iinfo(dtype.numpy())
        low, span = int(limits.min), int(limits.max) - int(limits.min) + 1
        if low:
            value = self.op("sub", value, self.i32(low))
        value = self.op("mod", value, self.i32(span))
        return self.op("add", value, self.i32(low)) if low else value

    def _cast(self, value: Value, dtype: DataType) -> Value:
        """Between types of MIL."""
        if value.dtype == dtype:
            return value
        array = constant_array(value)
        if array is not None:
            with np.errstate(all="ignore"):
                return self.rewriter.constant(array.astype(dtype.numpy()))
        if dtype == DataType.BOOL:  # any number but 0 is true, 0.5 too
            return self.op("not_equal", value, self.like(0, value))
        return self.rewriter.op("cast", value, domain=DOMAIN, dtype=MIL_NAMES[dtype])

    def cast(self, value: Value, dtype: DataType) -> Value:
        """`value` as `dtype` (any ONNX type that Core ML can hold) with C's conversion rules; constants are converted now."""
        if value.dtype == dtype or value.dtype is None:
            return value
        array = constant_array(value)
        if array is not None:
            with np.errstate(all="ignore"):
                return self.rewriter.constant(array.astype(dtype.numpy()))
        carrier = CARRIERS.get(dtype, dtype)
        if carrier not in MIL_NAMES:
            raise Refusal(
                Code.NOT_EXPRESSIBLE,
                f"Core ML has no type for {dtype.name.lower()}",
                "cast to float32 or int32 instead, if the values fit",
            )
        source, result = value.dtype, self._cast(self.carried(value), carrier)
        if carrier == dtype:
            return result
        fits = dtype == DataType.INT64 or source == DataType.BOOL
        if not fits and source in SMALL:
            own, wanted = np.iinfo(source.numpy()), np.iinfo(dtype.numpy())
            fits = wanted.min <= own.min and own.max <= wanted.max
        return self._carry(result if fits else self._wrapped(result, dtype), dtype)

    def within(self, value: Value, dtype: DataType) -> Value:
        """int32 whose elements are all in the range of `dtype`, as that type: nothing is computed."""
        return self._carry(value, dtype) if CARRIERS.get(dtype) == value.dtype else self.cast(value, dtype)

    # -- constants -----------------------------------------------------------------------------------------------------

    def const(self, content: Any, dtype: DataType) -> Value:
        """A constant of `dtype`."""
        return self.rewriter.constant(np.asarray(content).astype(dtype.numpy()))

    def like(self, content: Any, value: Value) -> Value:
        """A constant of the element type of `value`."""
        return self.const(content, value.dtype or DataType.FLOAT)

    def nothing(self, node: OpNode, index: int = 0) -> Value:
        """The empty tensor that output `index` is: a constant, since Core ML has none; who reads it may do without.

        Raises:
            Refusal: one of its dimensions is known only at run time.
        """
        known = node.output_dims(index)
        if known is None or not all(isinstance(dim, int) for dim in known):
            node.refuse("its result is empty, and Core ML has no empty tensors", "leave it out of the model")
        sizes = [dim for dim in known if isinstance(dim, int)]
        return self.const(np.zeros(sizes), node.outputs[index].dtype or DataType.FLOAT)

    def i32(self, content: int | Sequence[int]) -> Value:
        """An int32 constant (shapes, bounds)."""
        return self.rewriter.shared_constant(np.asarray(content, dtype=np.int32))

    # -- the everyday ops ----------------------------------------------------------------------------------------------

    def reshape(self, value: Value, shape: Sequence[int]) -> Value:
        """`value` with a shape that may hold one -1; itself where it has that shape already."""
        target = [int(dim) for dim in shape]
        if static_dims(value) == tuple(target):
            return value
        array = constant_array(value)
        if array is not None:
            return self.rewriter.constant(array.reshape(target))
        if not target:
            return self.op("squeeze", value)
        if rank(value) == 0:
            return self.op("expand_dims", value, axes=list(range(len(target))))
        return self.op("reshape", value, self.i32(target))

    def transpose(self, value: Value, perm: Sequence[int]) -> Value:
        """`value` with output dimension i taken from input dimension perm[i]; itself for the identity."""
        order = [int(axis) for axis in perm]
        return value if order == list(range(len(order))) else self.op("transpose", value, perm=order)

    def shape_of(self, value: Value) -> Value:
        """Dimensions of `value` as an int32 vector: a constant where they are known."""
        known = static_dims(value)
        return self.i32(list(known)) if known is not None else self.op("shape", value)

    def dim(self, value: Value, axis: int) -> Value:
        """Size of dimension `axis` as an int32 vector of one element: a constant where it is known."""
        size = (dims(value) or ())[axis]
        if isinstance(size, int):
            return self.i32([size])
        return self.op("slice_by_size", self.shape_of(value), self.i32([axis]), self.i32([1]))

    def line(self, value: Value, axis: int) -> Value:
        """0, 1, ... for each place along dimension `axis` of `value`, int32."""
        size = (dims(value) or ())[axis]
        if isinstance(size, int):
            return self.i32(list(range(size)))
        return self.op("range_1d", self.reshape(self.dim(value, axis), []), self.i32(0), self.i32(1))

    def crop(self, value: Value, amounts: dict[int, tuple[int, int]]) -> Value:
        """`value` without the first and last elements of some axes: {axis: (in front, behind)}."""
        cuts = {axis: amount for axis, amount in amounts.items() if any(amount)}
        if not cuts:
            return value
        size = self.rank(value)
        begin = [cuts.get(axis, (0, 0))[0] for axis in range(size)]
        end = [-cuts.get(axis, (0, 0))[1] for axis in range(size)]
        return self.op(
            "slice_by_index",
            value,
            self.i32(begin),
            self.i32(end),
            begin_mask=[int(first == 0) for first in begin],
            end_mask=[int(last == 0) for last in end],
        )

    def pad(self, value: Value, amounts: dict[int, tuple[int, int]], fill: float = 0.0) -> Value:
        """`value` with `fill` in front of and behind some axes: {axis: (in front, behind)}."""
        if not any(any(amount) for amount in amounts.values()):
            return value
        pads = [amount for axis in range(self.rank(value)) for amount in amounts.get(axis, (0, 0))]
        return self.op("pad", value, self.i32(pads), mode="constant", constant_val=float(fill))

    def rank(self, value: Value) -> int:
        """Rank of `value`.

        Raises:
            Refusal: it is unknown.
        """
        return require_rank(value)
