"""Nodes that return an operand unchanged are removed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from graphrewrite.ir import Node, Value, constant_array, constant_ints, dims, is_constant, rank, static_dims
from graphrewrite.pipeline import RewritePass, Stage
from graphrewrite.rewrite import Match, MatchFailure, Rewriter

Check = Callable[[Node], "Value | None"]


@dataclasses.dataclass(frozen=True)
class EliminateNoOps(RewritePass):
    """Remove nodes that do nothing.

        %a = Pad(%x, [0, 0, 0, 0, 0, 0, 0, 0])
        %b = Slice(%a, [0], [9223372036854775807], [2])   --->   %y = Relu(%x)
        %c = LeakyRelu(%b) {alpha=1.0}
        %y = Relu(%c)

    Identity, Dropout in inference, Cast to the same type, Reshape, Expand, Tile, Pad, Slice, Transpose,
    Resize and pooling that keep every element where it is, arithmetic and logic with a neutral constant, activations of
    slope 1, depthwise 1x1 convolutions of weight 1, reductions over axes of size 1, Where on a constant
    condition, and repeated idempotent or undone ops. Exact to the bit: `x + 0.0` stays, since it turns -0
    into +0 (`x - 0.0` and `x + -0.0` do not).
    """

    stage = Stage.CANONICALIZE
    after = ("fold-constants",)

    @property
    def roots(self) -> tuple[str, ...]:
        """Every op type that has a check."""
        return tuple(_CHECKS)

    def match(self, node: Node) -> Match:
        """The operand that the node returns unchanged, captured as `x`."""
        x = _CHECKS[node.op_type](node)
        if x is None:
            raise MatchFailure(f"this {node.op_type} changes its operand", node)
        out = node.outputs[0]
        if x.dtype != out.dtype or (rank(x) is not None and rank(out) is not None and rank(x) != rank(out)):
            raise MatchFailure("operand and result differ in type or rank", x)
        if any(value.uses() or value.is_graph_output() for value in node.outputs[1:]):
            raise MatchFailure("another output of the node is used", node)
        if node.op_type == "Identity" and out.is_graph_output():
            producer = x.producer()
            if producer is None or producer.graph is not node.graph or x.is_graph_output():
                raise MatchFailure("this Identity gives an output its name", out)
        return Match(node, {"x": x}, {}, (node,))

    def rewrite(self, match: Match, rewriter: Rewriter) -> Value:
        """The operand itself."""
        return match["x"]


def _operand(node: Node, index: int = 0) -> Value | None:
    return node.inputs[index] if index < len(node.inputs) else None


def _ints(node: Node, index: int) -> list[int] | None:
    return constant_ints(_operand(node, index))


def same_dims(a: Value | None, b: Value | None) -> bool:
    """True where both have the same known dimensions (numbers, or symbols of the same name)."""
    x, y = dims(a), dims(b)
    return x is not None and x == y and None not in x


def _first(node: Node) -> Value | None:
    return _operand(node)


def _same_shape(node: Node) -> Value | None:
    """For ops that keep all elements in order: a no-op where the shape stays."""
    x, y = dims(_operand(node)), dims(node.outputs[0])
    if x is None or y is None or len(x) != len(y) or 0 in x or 0 in y:
        return None
    differing = [index for index, (a, b) in enumerate(zip(x, y, strict=True)) if a != b or a is None]
    # One unknown dimension follows from the others, because the number of elements stays.
    return _operand(node) if len(differing) <= 1 and all(_open(x[i], y[i]) for i in differing) else None


def _open(a: object, b: object) -> bool:
    return a is None or b is None or isinstance(a, str) or isinstance(b, str)


def _same_known_shape(node: Node) -> Value | None:
    return _operand(node) if same_dims(_operand(node), node.outputs[0]) else None


def _tile(node: Node) -> Value | None:
    repeats = _ints(node, 1)
    return _operand(node) if repeats is not None and all(item == 1 for item in repeats) else None


def _expand(node: Node) -> Value | None:
    target = _ints(node, 1)
    size = rank(_operand(node))
    if target is not None and size is not None and len(target) <= size and all(item == 1 for item in target):
        return _operand(node)
    return _same_known_shape(node)


def _pad(node: Node) -> Value | None:
    pads = _ints(node, 1)
    return _operand(node) if pads is not None and not any(pads) else None


def _slice(node: Node) -> Value | None:
    x = _operand(node)
    known = dims(x)
    starts, ends, axes, steps = (_ints(node, index) for index in range(1, 5))
    if known is None or starts is None or ends is None:
        return None
    if any(
        index < len(node.inputs) and node.inputs[index] is not None and _ints(node, index) is None
        for index in (3, 4)
    ):
        return None
    for position, (start, end) in enumerate(zip(starts, ends, strict=True)):
        axis = (axes[position] if axes is not None else position) % len(known)
        size = known[axis]
        if steps is not None and steps[position] != 1:
            return None
        from_front = start == 0 or (isinstance(size, int) and start <= -size)
        to_back = end >= size if isinstance(size, int) else end >= 1 << 31
        if not (from_front and to_back):
            return None
    return x


def _transpose(node: Node) -> Value | None:
    size = rank(_operand(node))
    perm = node.attributes.get_ints("perm", None)
    if perm is None:
        return _operand(node) if size is not None and size <= 1 else None
    return _operand(node) if list(perm) == sorted(perm) else None


def _cast(node: Node) -> Value | None:
    x = _operand(node)
    return x if x is not None and x.dtype is not None and x.dtype == node.outputs[0].dtype else None


def _neutral(number: float, *, left: bool, negative_zero: bool = False) -> Check:
    """Binary op with the neutral constant on the right (or, with `left`, on either side)."""

    def check(node: Node) -> Value | None:
        for index in (1, 0) if left else (1,):
            constant, x = _operand(node, index), _operand(node, 1 - index)
            if _is_filled(constant, number, negative_zero) and same_or_scalar(constant, x, node.outputs[0]):
                return x
        return None

    return check


def same_or_scalar(constant: Value | None, x: Value | None, out: Value) -> bool:
    """True where broadcasting `constant` against `x` leaves the shape of `x`."""
    shape = static_dims(constant)
    size = rank(x)
    if shape is not None and size is not None and len(shape) <= size and all(dim == 1 for dim in shape):
        return True
    return same_dims(x, out)


def _is_filled(value: Value | None, number: float, negative_zero: bool) -> bool:
    if (
        not is_constant(value)
        or value is None
        or value.const_value is None
        or value.const_value.size > 1 << 20
    ):
        return False
    array = constant_array(value)
    if array is None or array.size == 0 or array.dtype.kind not in "iufb":
        return False
    if not bool(np.all(array == number)):
        return False
    return not negative_zero or array.dtype.kind != "f" or bool(np.all(np.signbit(array)))


def _leaky_relu(node: Node) -> Value | None:
    return _operand(node) if node.attributes.get_float("alpha", 0.01) == 1.0 else None


def _prelu(node: Node) -> Value | None:
    return _operand(node) if _is_filled(_operand(node, 1), 1.0, False) else None


def _clip(node: Node) -> Value | None:
    for index, infinity in ((1, -np.inf), (2, np.inf)):
        bound = _operand(node, index)
        if bound is not None:
            array = constant_array(bound)
            if array is None or array.dtype.kind != "f" or array.reshape(-1)[0] != infinity:
                return None
    return _operand(node)


def _single_operand(node: Node) -> Value | None:
    return _operand(node) if len(node.inputs) == 1 else None


def _split(node: Node) -> Value | None:
    return _operand(node) if len(node.outputs) == 1 else None


def _where(node: Node) -> Value | None:
    condition = constant_array(_operand(node))
    if condition is None or condition.size == 0 or condition.size > 1 << 20:
        return None
    index = 1 if condition.all() else 2 if not condition.any() else None
    if index is None:
        return None
    x = _operand(node, index)
    return x if same_dims(x, node.outputs[0]) else None


def _unpadded(node: Node) -> bool:
    pads = node.attributes.get_ints("pads", None) or []
    return not any(pads) and node.attributes.get_string("auto_pad", "NOTSET") in (
        "NOTSET",
        "VALID",
        "SAME_UPPER",
        "SAME_LOWER",
    )


def _ones(node: Node, name: str) -> bool:
    return all(item == 1 for item in node.attributes.get_ints(name, None) or [1])


def _conv(node: Node) -> Value | None:
    if node.attributes.get_int("group", 1) == 1 or not _unpadded(node) or not _ones(node, "strides"):
        return None
    shape = static_dims(_operand(node, 1))
    if shape is None or any(dim != 1 for dim in shape[1:]) or not same_dims(_operand(node), node.outputs[0]):
        return None
    if _operand(node, 2) is not None and not _is_filled(_operand(node, 2), 0.0, False):
        return None
    return _operand(node) if _is_filled(_operand(node, 1), 1.0, False) else None


def _pool(node: Node) -> Value | None:
    return (
        _operand(node) if _ones(node, "kernel_shape") and _ones(node, "strides") and _unpadded(node) else None
    )


def _resize(node: Node) -> Value | None:
    if node.attributes.get_string("mode", "nearest") not in ("nearest", "linear"):
        return None
    if node.attributes.get_string("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize":
        return None
    scales = constant_array(_operand(node, 2))
    if scales is not None and scales.size:
        return _operand(node) if bool(np.all(scales == 1)) else None
    return _same_known_shape(node) if _operand(node, 3) is not None else None


def _reduce(node: Node) -> Value | None:
    known, axes = dims(_operand(node)), _ints(node, 1)
    if known is None or not axes or not node.attributes.get_int("keepdims", 1):
        return None
    return _operand(node) if all(known[axis] == 1 for axis in axes) else None


def _repeated(node: Node) -> Value | None:
    x = _operand(node)
    producer = x.producer() if x is not None else None
    return x if producer is not None and producer.op_type == node.op_type and producer.domain == "" else None


def _undone(node: Node) -> Value | None:
    inner = _repeated(node)
    producer = inner.producer() if inner is not None else None
    return producer.inputs[0] if producer is not None else None


_CHECKS: dict[str, Check] = {
    "Identity": _first,
    "Dropout": lambda node: _first(node) if len(node.inputs) < 3 or _ints(node, 2) == [0] else None,
    "Reshape": _same_shape,
    "Flatten": _same_shape,
    "Squeeze": _same_known_shape,
    "Unsqueeze": _same_known_shape,
    "Expand": _expand,
    "Tile": _tile,
    "Pad": _pad,
    "Slice": _slice,
    "Transpose": _transpose,
    "Cast": _cast,
    "CastLike": _cast,
    "Resize": _resize,
    "Mul": _neutral(1, left=True),
    "Div": _neutral(1, left=False),
    "Pow": _neutral(1, left=False),
    "Sub": _neutral(0, left=False),
    "Add": _neutral(0, left=True, negative_zero=True),
    "And": _neutral(True, left=True),
    "Or": _neutral(False, left=True),
    "Xor": _neutral(False, left=True),
    "LeakyRelu": _leaky_relu,
    "PRelu": _prelu,
    "Clip": _clip,
    "Sum": _single_operand,
    "Max": _single_operand,
    "Min": _single_operand,
    "Mean": _single_operand,
    "Concat": _single_operand,
    "Split": _split,
    "Where": _where,
    "Conv": _conv,
    "MaxPool": _pool,
    "AveragePool": _pool,
    "ReduceSum": _reduce,
    "ReduceMean": _reduce,
    "ReduceMax": _reduce,
    "ReduceMin": _reduce,
    "ReduceProd": _reduce,
    **dict.fromkeys(("Relu", "Abs", "Floor", "Ceil", "Round", "Sign"), _repeated),
    **dict.fromkeys(("Not", "Neg"), _undone),
}
