"""Permuting and scaling the channels of a value for nothing, by permuting the constants that it is made from."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from graphrewrite.ir import Array, Node, Value, constant_array, dims, is_constant, static_dims, use_count
from graphrewrite.rewrite import MatchFailure, Rewriter

Action = Callable[[Rewriter], None]
_ELEMENTWISE = frozenset(
    {"LeakyRelu", "Relu", "Sigmoid", "Tanh", "Clip", "Softplus", "HardSwish", "Gelu", "Elu"}
)
_DEPTH = 32
"""Nodes of a chain: recursion must have an end."""


@dataclasses.dataclass(frozen=True)
class Order:
    """New channel j is `scale[j]` times old channel `perm[j]` (axis 1)."""

    perm: npt.NDArray[np.int64]
    scale: npt.NDArray[np.float64]

    @property
    def plain(self) -> Order:
        """The permutation alone."""
        return Order(self.perm, np.ones_like(self.scale))

    @property
    def scales(self) -> bool:
        """True where something is multiplied."""
        return bool((self.scale != 1).any())

    def apply(self, content: Array, axis: int) -> Array:
        """`content` with its channels, which lie on `axis`, in the new order."""
        shape = [1] * content.ndim
        shape[axis] = -1
        picked = np.take(content, self.perm, axis) * self.scale.reshape(shape)
        return picked.astype(content.dtype)


def plan(value: Value, order: Order) -> list[Action]:
    """What must change so that `value`, whose every reader takes part, has its channels in the new order.

    Raises:
        MatchFailure: something that it is made from is used elsewhere, or can't take the order.
    """
    return _plan(value, order, 0)


def _operand(node: Node, index: int, order: Order, depth: int) -> list[Action]:
    """The same for one operand of a node, which must be its only reader."""
    value = node.inputs[index]
    if value is None or depth > _DEPTH:
        raise MatchFailure("the chain is too long", node)
    if is_constant(value):
        return [_constant(node, index, value, order)]
    if use_count(value) != 1 or value.is_graph_output():
        raise MatchFailure(f"'{value.name}' is also used elsewhere", value)
    return _plan(value, order, depth)


def _plan(value: Value, order: Order, depth: int) -> list[Action]:
    return [lambda rewriter: rewriter.altered(value), *_made(value, order, depth)]


def _made(value: Value, order: Order, depth: int) -> list[Action]:
    producer = value.producer()
    if producer is None or producer.domain != "":
        raise MatchFailure(f"'{value.name}' is an input", value)
    kind = producer.op_type
    if kind in _ELEMENTWISE and not order.scales:
        return _operand(producer, 0, order, depth + 1)
    if kind == "Add":
        return _each(producer, [order, order], depth)
    if kind == "Mul":
        return _product(producer, order, depth)
    if kind == "Conv":
        return _convolution(producer, order, depth)
    if kind == "Reshape":
        return _linear_behind_reshape(producer, value, order)
    raise MatchFailure(f"{kind} can't take another order of channels", producer)


def _channels(value: Value | None, rank: int) -> int | str | None:
    """Size of the channel axis of an operand that broadcasts to `rank` dimensions."""
    known = dims(value)
    if known is None:
        return None
    axis = len(known) - rank + 1
    return known[axis] if axis >= 0 else 1


def _each(node: Node, orders: list[Order], depth: int) -> list[Action]:
    rank = len(dims(node.outputs[0]) or ())
    actions: list[Action] = []
    for index, order in enumerate(orders):
        size = _channels(node.inputs[index], rank)
        if size == 1 and not order.scales:
            continue
        if size != len(order.perm):
            raise MatchFailure("an operand is broadcast over the channels", node)
        actions += _operand(node, index, order, depth + 1)
    return actions


def _product(node: Node, order: Order, depth: int) -> list[Action]:
    if not order.scales:
        return _each(node, [order, order], depth)
    failure = MatchFailure("no operand can be scaled", node)
    for first in (0, 1):
        orders = [order.plain, order.plain]
        orders[first] = order
        try:
            return _each(node, orders, depth)
        except MatchFailure as error:
            failure = error.untraced()
    raise failure.untraced()


def _constant(node: Node, index: int, value: Value, order: Order) -> Action:
    array = constant_array(value)
    rank = len(dims(node.outputs[0]) or ())
    axis = -1 if array is None else array.ndim - rank + 1
    if array is None or axis < 0 or array.shape[axis] != len(order.perm):
        raise MatchFailure("a constant is broadcast over the channels", value)

    def act(rewriter: Rewriter) -> None:
        rewriter.set_input(node, index, rewriter.constant(order.apply(array, axis), value.name))

    return act


def _own(value: Value | None) -> Array:
    array = constant_array(value)
    if array is None or value is None or use_count(value) != 1:
        raise MatchFailure("a weight is shared, or not a constant", value)
    return array


def _set(node: Node, index: int, content: Array) -> Action:
    def act(rewriter: Rewriter) -> None:
        old = node.inputs[index]
        rewriter.set_input(node, index, rewriter.constant(content, old.name if old is not None else None))

    return act


def _bias(node: Node, order: Order) -> list[Action]:
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if bias is None:
        return []
    array = constant_array(bias)
    if array is None or array.shape[-1:] != (len(order.perm),):
        raise MatchFailure("the bias is no constant vector", bias)
    return [_set(node, 2, order.apply(array, array.ndim - 1))]


def _convolution(node: Node, order: Order, depth: int) -> list[Action]:
    weight = _own(node.inputs[1])
    group = node.attributes.get_int("group", 1)
    actions = [_set(node, 1, order.apply(weight, 0)), *_bias(node, order)]
    if group == 1:
        return actions
    if weight.shape[:2] != (group, 1):
        raise MatchFailure("the convolution is grouped", node)
    return actions + _operand(node, 0, order.plain, depth + 1)


def _linear_behind_reshape(node: Node, value: Value, order: Order) -> list[Action]:
    """Reshape(Gemm) from [N, C] to [N, C, 1, 1]."""
    operand = node.inputs[0]
    gemm = operand.producer() if operand is not None else None
    shape = dims(value)
    if (
        operand is None
        or gemm is None
        or shape is None
        or use_count(operand) != 1
        or operand.is_graph_output()
    ):
        raise MatchFailure("the operand of the Reshape is used elsewhere", node)
    if gemm.op_type not in ("Gemm", "MatMul") or gemm.domain != "":
        raise MatchFailure("the Reshape follows no matrix product", node)
    size = len(order.perm)
    if len(dims(operand) or ()) != 2 or shape[1] != size or any(dim != 1 for dim in shape[2:]):
        raise MatchFailure("the Reshape mixes channels with other dimensions", node)
    if (static_dims(operand) or (None, size))[1] != size:
        raise MatchFailure("the Reshape splits channels", node)
    weight = _own(gemm.inputs[1])
    axis = 0 if gemm.attributes.get_int("transB", 0) else 1
    if weight.ndim != 2 or weight.shape[axis] != size:
        raise MatchFailure("the weight is no matrix", gemm)
    bias = _bias(gemm, order) if gemm.op_type == "Gemm" else []
    return [lambda rewriter: rewriter.altered(operand), _set(gemm, 1, order.apply(weight, axis)), *bias]
