"""The `tflite` dialect as the layout stage sees it: its views, its channels-last operators, its rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from graphrewrite.ir import Dims, Node, Value, constant_ints, dims, is_constant, rank
from graphrewrite.layout.perms import Perm
from graphrewrite.layout.regroup import Regroup, regroup
from graphrewrite.layout.rules import FlagRule, Rule
from graphrewrite.rewrite import Rewriter
from graphrewrite.targets.tflite.dialect import DOMAIN
from graphrewrite.targets.tflite.layout_rules import CHANNELS_LAST, ELEMENTWISE, RULES, rows_in_order

_RESHAPES = ("RESHAPE", "EXPAND_DIMS", "SQUEEZE")
_LAST_DIMENSION = ("SOFTMAX", "LOG_SOFTMAX", "FULLY_CONNECTED", "L2_NORMALIZATION", "TOPK_V2")


class TFLiteLayout:
    """Implements `graphrewrite.layout.rules.Dialect`."""

    domain = DOMAIN
    rules: Mapping[str, Rule | FlagRule] = RULES

    def __init__(self) -> None:
        self._perms: dict[Value, Perm | None] = {}
        self._orders: dict[Perm, Value] = {}

    def channels_last(self, node: Node) -> Sequence[Value]:
        """Operands and results that are [N, spatial..., C]."""
        operands = CHANNELS_LAST.get(node.op_type) if node.domain == DOMAIN else None
        if operands is None:
            return []
        found = [value for index in operands if (value := node.inputs[index]) is not None]
        return [*found, *node.outputs]

    def is_transpose(self, node: Node) -> bool:
        """True for TRANSPOSE."""
        return node.domain == DOMAIN and node.op_type == "TRANSPOSE"

    def transpose_perm(self, node: Node) -> Perm | None:
        """The constant order of a TRANSPOSE."""
        if node.op_type != "TRANSPOSE" or node.domain != DOMAIN:
            return None
        order = node.inputs[1]
        assert order is not None
        if order not in self._perms:
            axes = constant_ints(order)
            self._perms[order] = None if axes is None else tuple(axis % len(axes) for axis in axes)
        return self._perms[order]

    def is_reshape(self, node: Node) -> bool:
        """True for RESHAPE, EXPAND_DIMS and SQUEEZE."""
        return node.domain == DOMAIN and node.op_type in _RESHAPES

    def is_general_reshape(self, node: Node) -> bool:
        """True for RESHAPE."""
        return node.domain == DOMAIN and node.op_type == "RESHAPE"

    def regrouping(self, node: Node) -> Regroup | None:
        """What a reshape does to dimensions."""
        before, after = dims(node.inputs[0]), dims(node.outputs[0])
        if before is None or after is None:
            return None
        if node.op_type == "RESHAPE":
            return regroup(before, after)
        # The other two stay what they are, so dimensions of size 1 that they do not touch keep their place.
        touched = self._touched(node)
        if touched is None:
            return None
        longer, shorter = (after, before) if node.op_type == "EXPAND_DIMS" else (before, after)
        kept = iter(range(len(shorter)))
        long_atoms = tuple(() if axis in touched else (next(kept),) for axis in range(len(longer)))
        short_atoms = tuple((axis,) for axis in range(len(shorter)))
        if node.op_type == "EXPAND_DIMS":
            return Regroup(shorter, short_atoms, long_atoms)
        return Regroup(shorter, long_atoms, short_atoms)

    def _touched(self, node: Node) -> list[int] | None:
        """Axes that EXPAND_DIMS inserts or SQUEEZE drops, counted in the longer shape."""
        if node.op_type == "EXPAND_DIMS":
            axes, size = constant_ints(node.inputs[1]), rank(node.outputs[0])
        else:
            axes, size = list(node.attributes.get_ints("squeeze_dims", ())), rank(node.inputs[0])
        return None if not axes or size is None else [axis % size for axis in axes]

    def is_row_wise(self, node: Node) -> bool:
        """FULLY_CONNECTED and elementwise operators with constants that are the same for every row."""
        moving = [value for value in node.inputs if value is not None and not is_constant(value)]
        if node.domain != DOMAIN or len(node.outputs) != 1 or len(moving) != 1:
            return False
        if node.op_type == "FULLY_CONNECTED":
            return moving[0] is node.inputs[0] and node.attributes.get_int("keep_num_dims", 0) != 0
        if node.op_type not in ELEMENTWISE or rank(moving[0]) != rank(node.outputs[0]):
            return False
        fixed = [dims(value) or () for value in node.inputs if is_constant(value)]
        return all(dim == 1 for shape in fixed for dim in shape[:-1])

    def transpose(self, rewriter: Rewriter, value: Value, perm: Perm) -> Value:
        """A TRANSPOSE of `value`."""
        return rewriter.op("TRANSPOSE", value, self._order(rewriter, perm), domain=DOMAIN)

    def _order(self, rewriter: Rewriter, perm: Perm) -> Value:
        """The operand for `perm`: one for all transposes."""
        known = self._orders.get(perm)
        if known is None or known.graph is None or known.name not in rewriter.model.graph.initializers:
            known = self._orders[perm] = rewriter.constant(np.asarray(perm, np.int32), "order")
        return known

    def reshape(self, rewriter: Rewriter, value: Value, dims: Dims) -> Value:
        """A RESHAPE of `value`."""
        shape = [dim if isinstance(dim, int) else -1 for dim in dims]
        target = rewriter.constant(np.asarray(shape, np.int32))
        return rewriter.op("RESHAPE", value, target, domain=DOMAIN, new_shape=shape)

    def set_transpose(self, rewriter: Rewriter, node: Node, perm: Perm) -> None:
        """Give a TRANSPOSE another order; its operand and its result have the shapes for it already."""
        rewriter.rewire(node, {1: self._order(rewriter, perm)})

    def set_reshape(self, rewriter: Rewriter, node: Node, before: Perm, after: Perm) -> None:
        """Follow the order of the operand and the result."""
        touched = self._touched(node) if node.op_type != "RESHAPE" else None
        if node.op_type == "RESHAPE":
            target = node.inputs[1]
            assert target is not None
            moved = rows_in_order(rewriter, target, after)
            shape = constant_ints(moved) if is_constant(moved) else None
            rewriter.update(node, {1: moved}, {"new_shape": shape})
        elif node.op_type == "EXPAND_DIMS" and touched is not None:
            place = np.asarray(after.index(touched[0]), np.int32)
            old = constant_ints(node.inputs[1])
            assert old is not None
            assert node.inputs[1] is not None
            assert node.inputs[1].shape is not None
            place = place.reshape([1] * len(node.inputs[1].shape))
            rewriter.update(node, {1: rewriter.constant(place)}, {})
        elif touched is not None:
            rewriter.update(node, {}, {"squeeze_dims": sorted(before.index(axis) for axis in touched)})

    def why_held(self, node: Node) -> str | None:
        """What holds `node` to the order it has, for the report."""
        if node.op_type in CHANNELS_LAST:
            return f"{node.op_type} wants channels last"
        if node.op_type in _LAST_DIMENSION:
            return f"{node.op_type} works on the last dimension"
        if node.op_type == "BATCH_MATMUL":
            return "BATCH_MATMUL multiplies the last two dimensions"
        if node.op_type in RULES or self.is_reshape(node) or self.is_transpose(node):
            return None
        return f"{node.op_type} has no other order"
