"""Reductions over any axes: constant, given at run time, absent, or empty."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from graphrewrite.ir import DataType, Dims, Value, constant_array, dims, refine
from graphrewrite.registry import Onnx, OpNode, lowering

from .division import mil_truncated_quotient
from .precision import FLOATS

if TYPE_CHECKING:
    from graphrewrite.targets.coreml.builder import MIL
    from graphrewrite.targets.tflite.builder import TFLite

_KERNELS = {
    "ReduceSum": "SUM",
    "ReduceMean": "MEAN",
    "ReduceMax": "REDUCE_MAX",
    "ReduceMin": "REDUCE_MIN",
    "ReduceProd": "REDUCE_PROD",
}
_RANK = 6
"""MEAN, SUM, REDUCE_MAX and REDUCE_MIN take no higher rank."""
_FINITE = 3.4028234663852886e38
"""float32's largest number."""


class Axes:
    """The axes that a node reduces, resolved as far as they are known."""

    operand: Value
    """The axes as TFLite wants them."""

    def __init__(self, node: OpNode, t: TFLite | None = None) -> None:
        self.rank = node.rank()
        self.keep = bool(node.attr("keepdims"))
        given = node.ints(1)
        self.known: list[int] | None = None
        if given is None and node.has(1) and node.dims(1) != (0,):
            if node.attr("noop_with_empty_axes") and not isinstance(node.dims(1)[0], int):
                node.refuse("whether its axes are empty is known only at run time", "make them a constant")
            if t is not None:
                self.operand = t.cast(node.input(1), DataType.INT32)
            return
        if given:
            self.known = sorted({axis + self.rank if axis < 0 else axis for axis in given})
        else:
            self.known = [] if node.attr("noop_with_empty_axes") else list(range(self.rank))
        if t is not None:
            self.operand = t.i32(self.known)

    def result(self, shape: Dims) -> Dims | None:
        """Dimensions of the reduction of something of shape `shape`; None where the axes are not known."""
        if self.known is None:
            return None
        kept = [1 if axis in self.known else dim for axis, dim in enumerate(shape)]
        return tuple(dim for axis, dim in enumerate(kept) if self.keep or axis not in self.known)


@lowering("tflite", *_KERNELS)
def plain(node: OpNode, t: TFLite) -> Value:
    x, axes = node.input(0), Axes(node, t)
    if x.dtype == DataType.BOOL:
        return _reduce(t, axes, "REDUCE_ANY" if node.op_type == "ReduceMax" else "REDUCE_ALL", x)
    return _reduce(t, axes, _KERNELS[node.op_type], x)


@lowering("tflite", "ReduceL1", "ReduceSumSquare")
def sums(node: OpNode, t: TFLite) -> Value:
    x, axes = node.input(0), Axes(node, t)
    dtype = node.dtype()
    x = t.cast(x, DataType.FLOAT) if dtype in FLOATS else x
    if node.op_type == "ReduceSumSquare":
        x = t.op("MUL", x, x)
    elif dtype == DataType.INT64:
        x = t.op("MAXIMUM", x, t.op("NEG", x))
    elif dtype not in (DataType.UINT8, DataType.UINT16, DataType.UINT32):
        x = t.op("ABS", x)
    return t.cast(_reduce(t, axes, "SUM", x), dtype)


@lowering("tflite", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp")
def rooted(node: OpNode, t: TFLite) -> Value:
    """Sums of integers stay integers, the function of them is float32, and its fraction is cut off.

    The exponentials of LogSumExp are relative to the largest, kept finite where that is infinite.
    """
    dtype, axes = node.dtype(), Axes(node, t)
    if dtype not in FLOATS and dtype not in (DataType.INT32, DataType.INT64):
        node.refuse(
            f"TFLite has no {node.op_type} of {dtype.name.lower()}",
            "cast the input to float32 in the model, if its values fit",
        )
    exact = dtype not in FLOATS and node.op_type != "ReduceLogSumExp"
    x = node.input(0) if exact else t.cast(node.input(0), DataType.FLOAT)
    if node.op_type == "ReduceL2":
        total = _reduce(t, axes, "SUM", t.op("MUL", x, x))
        result = t.op("SQRT", t.cast(total, DataType.FLOAT))
    elif node.op_type == "ReduceLogSum":
        result = t.op("LOG", t.cast(_reduce(t, axes, "SUM", x), DataType.FLOAT))
    elif 0 in node.dims():
        result = _reduce(t, axes, "REDUCE_MAX", x)  # -inf, which ADD would make finite
    else:
        top = _finite(t, _reduce(t, axes, "REDUCE_MAX", x, keep=True))
        powers = t.op("EXP", t.op("SUB", x, top))
        result = t.op("LOG", _reduce(t, axes, "SUM", powers))
        if not axes.keep:
            top = _finite(t, _reduce(t, axes, "REDUCE_MAX", x))
        result = t.op("ADD", result, top)
    return t.cast(result, dtype)


def _finite(t: TFLite, x: Value) -> Value:
    return t.op("MINIMUM", t.op("MAXIMUM", x, t.like(-_FINITE, x)), t.like(_FINITE, x))


def _reduce(t: TFLite, axes: Axes, kernel: str, x: Value, keep: bool | None = None) -> Value:
    keep = axes.keep if keep is None else keep
    if axes.known == []:
        return x
    shape = dims(x) or ()
    if axes.known is None and 0 in shape:
        reduced = t.op(kernel, x, axes.operand, keep_dims=keep)
        return t.op("FILL", t.shape_of(reduced), t.like(_neutral(kernel, x), x))
    if axes.known is not None and all(isinstance(dim, int) for dim in shape):
        sizes = [dim for dim in shape if isinstance(dim, int)]
        if 0 in sizes:
            return _of_nothing(t, kernel, x, sizes, axes.known, keep)
        if len(sizes) > _RANK and kernel not in ("REDUCE_ANY", "REDUCE_ALL", "REDUCE_PROD"):
            return _merged(t, kernel, x, sizes, axes.known, keep)
    return t.op(kernel, x, axes.operand, keep_dims=keep)


def _kept(sizes: list[int], reduced: list[int], keep: bool) -> list[int]:
    return [1 if i in reduced else size for i, size in enumerate(sizes) if keep or i not in reduced]


def _of_nothing(t: TFLite, kernel: str, x: Value, sizes: list[int], reduced: list[int], keep: bool) -> Value:
    """The neutral element of the reduction, in the result's shape: the kernels disagree on it."""
    return t.like(np.full(_kept(sizes, reduced, keep), _neutral(kernel, x)), x)


def _neutral(kernel: str, x: Value) -> float:
    dtype = x.dtype or DataType.FLOAT
    if dtype.is_floating_point():
        lowest, highest, nothing = -math.inf, math.inf, math.nan
    else:
        limits = np.iinfo(np.int8 if dtype == DataType.BOOL else dtype.numpy())
        lowest, highest, nothing = limits.min, limits.max, 0
    known = {"SUM": 0, "MEAN": nothing, "REDUCE_PROD": 1, "REDUCE_MAX": lowest, "REDUCE_MIN": highest}
    return known[kernel] if kernel in known else float(kernel == "REDUCE_ALL")


def _merged(t: TFLite, kernel: str, x: Value, sizes: list[int], reduced: list[int], keep: bool) -> Value:
    """Neighbouring axes that are all reduced, or all kept, taken together."""
    groups: list[tuple[bool, int]] = []
    for axis, size in enumerate(sizes):
        if groups and groups[-1][0] == (axis in reduced):
            groups[-1] = (groups[-1][0], groups[-1][1] * size)
        else:
            groups.append((axis in reduced, size))
    flat = t.reshape(x, [size for _, size in groups])
    axes = t.i32([index for index, (is_reduced, _) in enumerate(groups) if is_reduced])
    return t.reshape(t.op(kernel, flat, axes, keep_dims=False), _kept(sizes, reduced, keep))


_MIL = {
    "ReduceSum": "reduce_sum",
    "ReduceMean": "reduce_mean",
    "ReduceMax": "reduce_max",
    "ReduceMin": "reduce_min",
    "ReduceProd": "reduce_prod",
}


@lowering("coreml", *_MIL, note="axes must be constants")
def mil_plain(node: OpNode, m: MIL) -> Value:
    """A mean of integers is their sum, divided towards zero."""
    x = node.input(0)
    if node.op_type != "ReduceMean" or node.dtype() in FLOATS:
        return _mil_reduce(node, m, _MIL[node.op_type], x)
    total = _mil_reduce(node, m, "reduce_sum", x)
    count = math.prod(size for axis, size in enumerate(node.static()) if axis in _mil_axes(node))
    return mil_truncated_quotient(m, total, m.like(count, total))


@lowering("coreml", "ReduceL1", "ReduceSumSquare", "ReduceL2", "ReduceLogSum", note="axes must be constants")
def mil_sums(node: OpNode, m: MIL) -> Value:
    """Roots and logarithms of integers are computed in float32, and their fraction is cut off."""
    x, dtype = node.input(0), node.dtype()
    if node.op_type in ("ReduceL2", "ReduceSumSquare"):
        x = m.op("mul", x, x)
    elif node.op_type == "ReduceL1":
        x = m.op("abs", x)
    total = _mil_reduce(node, m, "reduce_sum", x)
    if node.op_type in ("ReduceL1", "ReduceSumSquare"):
        return total
    wide = m.cast(total, DataType.FLOAT)
    return m.cast(m.op("sqrt", wide) if node.op_type == "ReduceL2" else m.op("log", wide, epsilon=0.0), dtype)


@lowering("coreml", "ReduceLogSumExp", note="axes must be constants")
def mil_log_sum_exp(node: OpNode, m: MIL) -> Value:
    """The exponentials are relative to the largest, kept finite where that is infinite."""
    x = m.cast(node.input(0), DataType.FLOAT)
    if 0 in node.dims():
        return m.cast(_mil_reduce(node, m, "reduce_max", x), node.dtype())
    top = m.op("clip", _mil_reduce(node, m, "reduce_max", x, keep=True), alpha=-_FINITE, beta=_FINITE)
    total = m.op("log", _mil_reduce(node, m, "reduce_sum", m.op("exp", m.op("sub", x, top))), epsilon=0.0)
    if not node.attr("keepdims"):
        top = m.op("squeeze", top, axes=_mil_axes(node)) if _mil_axes(node) else top
    return m.cast(m.op("add", total, top), node.dtype())


def _mil_axes(node: OpNode) -> list[int]:
    known = Axes(node).known
    if known is None:
        node.refuse("Core ML reduces over axes that are known at conversion only", "make the axes a constant")
    return known


def _mil_reduce(node: OpNode, m: MIL, kernel: str, x: Value, keep: bool | None = None) -> Value:
    axes = _mil_axes(node)
    keep = bool(node.attr("keepdims")) if keep is None else keep
    shape = node.dims()
    if not axes:
        return x
    if 0 in shape:
        sizes = node.static()
        neutral = _neutral(kernel.upper().replace("REDUCE_SUM", "SUM").replace("REDUCE_MEAN", "MEAN"), x)
        return m.like(np.full(_kept(list(sizes), axes, keep), neutral), x)
    return m.op(kernel, x, axes=axes, keep_dims=keep)


# -- for a target that reads ONNX ------------------------------------------------------------------------------------------

_NAMES = (*_KERNELS, "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare")


@lowering("openvino", *_NAMES)
def reduce_as_asked(node: OpNode, b: Onnx) -> Value | Sequence[Value]:
    """OpenVINO's own reduction but for three things.

    Run-time axes without keepdims leave its rank unknown, the maximum of nothing is 0 there, and the maximum of -inf alone is
    the lowest number, which matters where somebody asks whether it is -inf (fully masked rows in attention).
    """
    x, dtype, given = node.input(0), node.dtype(), node.ints(1)
    extreme = {"ReduceMax": -math.inf, "ReduceMin": math.inf}.get(node.op_type)
    run_time = node.has(1) and given is None and node.dims(1) != (0,)
    if run_time and not node.attr("keepdims") and not node.attr("noop_with_empty_axes"):
        kept = b.op(node.op_type, x, node.input(1), keepdims=1)
        refine(kept, None, (None,) * node.rank())
        return b.op("Squeeze", kept, node.input(1))
    attributes = dict(node.node.attributes.items())
    operands = node.inputs
    if extreme is not None and 0 in node.dims():
        shape = b.op("Shape", b.op(node.op_type, *operands, **attributes))
        return b.op("Expand", b.like(_neutral(_KERNELS[node.op_type], x), x), shape)
    if extreme is None or not dtype.is_floating_point() or not _is_asked_for_infinity(node.outputs[0]):
        return node.outputs
    finite = b.op("Cast", b.op("Not", b.op("Equal", x, b.like(extreme, x))), to=int(dtype))
    some = b.op("ReduceMax", finite, *operands[1:], **attributes)
    whole = b.op(node.op_type, *operands, **attributes)
    return b.op("Where", b.op("Cast", some, to=int(DataType.BOOL)), whole, b.like(extreme, x))


def _is_asked_for_infinity(y: Value) -> bool:
    """True where a reader compares it with an infinity."""
    for user, _ in y.uses():
        others = [value for value in user.inputs if value is not y]
        if user.op_type == "IsInf" or (user.op_type == "Equal" and any(map(_is_infinite, others))):
            return True
    return False


def _is_infinite(value: Value | None) -> bool:
    """True for a constant that holds an infinity, in whatever type."""
    producer = value.producer() if value is not None else None
    if producer is not None and producer.op_type in ("Cast", "CastLike"):
        value = producer.inputs[0]
    content = constant_array(value)
    return content is not None and bool(np.isinf(content).any())
