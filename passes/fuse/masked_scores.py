"""What may leave a row of attention scores without any finite one."""

from __future__ import annotations

import dataclasses

import numpy as np

from graphrewrite.ir import Array, DataType, Node, Value, constant_array, dims, is_constant, rank
from graphrewrite.rewrite import MatchFailure

_FINITE = frozenset(
    {"MatMul", "Gemm", "Conv", "Einsum", "Tanh", "Sigmoid", "Clip", "Relu", "Softmax", "LayerNormalization"}
)
"""Ops whose finite operands give finite scores, where the search may end."""
_RESHAPES = frozenset({"Reshape", "Identity", "Squeeze", "Unsqueeze"})
_MOVES = frozenset(
    {"Transpose", "Expand", "Tile", "Slice", "Gather", "GatherND", "GatherElements", "Concat", "Neg", "Pad"}
)
"""Ops whose result is finite where their operands are."""
_DEPTH = 16
_HUGE = 1e37
"""Two masks below minus this may add up to minus infinity in float32."""


@dataclasses.dataclass(frozen=True)
class Mask:
    """A Where that adds or chooses minus infinity (`covers`), or a huge negative number, in some places of the scores.

    Attributes:
        covers: whether whole rows may become minus infinity; only a mask chosen at run time between constants may do so.
        condition: the boolean of that Where, None of a constant mask.
        keeps: whether the condition is true where a score is kept.
        branches: what it chooses where a score is kept, and where not.
        path: nodes and operand indices from the scores to that Where.
    """

    covers: bool = False
    condition: Value | None = None
    keeps: bool = True
    branches: tuple[Value | None, ...] = ()
    path: tuple[tuple[Node, int], ...] = ()


def masks_of(scores: Value) -> list[Mask]:
    """The masks in `scores`, at most one.

    Raises:
        MatchFailure: rows may be minus infinity for another reason.
    """
    masks = _masks(scores, 0)
    if len(masks) > 1:
        raise MatchFailure("two masks may cover a whole row together", scores)
    return masks


def _masks(value: Value | None, depth: int) -> list[Mask]:
    content = constant_array(value)
    if content is not None:
        return _constant_mask(content, value)
    node = value.producer() if value is not None else None
    if value is None or node is None or node.domain != "" or depth > _DEPTH:
        raise MatchFailure("scores that come from outside may be masked", value)
    if node.op_type in _FINITE or (node.op_type == "Cast" and _whole(node.inputs[0])):
        return []
    if node.op_type == "Where":
        return _chosen(node, depth)
    if node.op_type in ("Add", "Sub", "Mul", "Div"):
        return _arithmetic(node, depth)
    if node.op_type in _RESHAPES:
        before, after = dims(node.inputs[0]), dims(value)
        found = _masks(node.inputs[0], depth + 1)
        if found and (not before or not after or before[-1] != after[-1] or not isinstance(before[-1], int)):
            raise MatchFailure("the rows are split or merged", node)
        return _unmoved(found, node)
    if node.op_type not in _MOVES:
        raise MatchFailure(f"{node.op_type} may mask whole rows", node)
    for operand in node.inputs:
        if operand is not None and operand.dtype == value.dtype and _masks(operand, depth + 1):
            raise MatchFailure(f"{node.op_type} moves masked scores", node)
    return []


def _whole(value: Value | None) -> bool:
    dtype = value.dtype if value is not None else None
    return dtype is not None and (dtype.is_integer() or dtype == DataType.BOOL)


def _unmoved(found: list[Mask], node: Node) -> list[Mask]:
    if any(mask.covers for mask in found):
        raise MatchFailure("the mask has other rows than the scores", node)
    return found


def _constant_mask(content: Array, value: Value | None) -> list[Mask]:
    if content.dtype.kind != "f" or np.isnan(content).any() or (content == np.inf).any():
        raise MatchFailure("the constant is not finite", value)
    if not (content < -_HUGE).any():
        return []
    rows = content if content.ndim else content.reshape(1)
    if not np.isfinite(rows).any(axis=-1).all():
        raise MatchFailure("the constant mask covers a whole row", value)
    return [Mask()]


def _arithmetic(node: Node, depth: int) -> list[Mask]:
    found: list[Mask] = []
    for index, operand in enumerate(node.inputs):
        masks = _masks(operand, depth + 1)
        if masks and (
            (node.op_type in ("Sub", "Div") and index == 1)
            or (node.op_type in ("Mul", "Div") and not _positive(node.inputs[1 - index]))
        ):
            raise MatchFailure("a mask is negated or scaled at run time", node)
        found += [
            dataclasses.replace(mask, path=((node, index), *mask.path)) if mask.covers else mask
            for mask in masks
        ]
    if node.op_type == "Div" and not is_constant(node.inputs[1]):
        raise MatchFailure("a divisor that is computed at run time may be 0", node)
    return found


def _positive(value: Value | None) -> bool:
    content = constant_array(value)
    return content is not None and bool((content > 0).all())


def _chosen(node: Node, depth: int) -> list[Mask]:
    condition, *branches = node.inputs
    filled = [constant_array(item) for item in branches]
    for index, fill in enumerate(filled):
        if fill is None or fill.dtype.kind != "f" or not fill.size or not (fill < -_HUGE).all():
            continue
        found = _masks(branches[1 - index], depth + 1)
        covers = bool(np.isneginf(fill).any())
        if found and (covers or any(mask.covers for mask in found)):
            raise MatchFailure("two masks may cover a whole row together", node)
        if covers and not rank(condition):
            raise MatchFailure("one condition for all rows", node)
        kept = (branches[1 - index], branches[index])
        return [*found, Mask(True, condition, index == 1, kept) if covers else Mask()]
    found = [mask for branch in branches for mask in _masks(branch, depth + 1)]
    return _unmoved(found, node)
