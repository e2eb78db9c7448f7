"""Making the graph what an assignment says: values permuted, operators rewritten, one TRANSPOSE a disagreeing value."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import onnx_ir

from graphrewrite.ir import (
    Array,
    Dims,
    Graph,
    Layout,
    LazyTensor,
    Node,
    Shape,
    Value,
    constant_array,
    dims,
    is_constant,
    layout,
    set_layout,
)
from graphrewrite.layout.assign import (
    Assignment,
    Flagged,
    Follower,
    View,
    needs_leading_ones,
    stored_transpose,
)
from graphrewrite.layout.perms import Perm, inverse, is_identity, moves_only_ones, permute
from graphrewrite.layout.rules import Classes, Dialect, Edit, Order, Signature, form
from graphrewrite.rewrite import Rewriter

RULE = "assign-layout"
_LAZY_BYTES = 1 << 16
"""Constants above this size are permuted when the file is written, so that no second copy of weights is kept."""


def materialise(graph: Graph, plan: Assignment, dialect: Dialect, rewriter: Rewriter) -> None:
    """Carry out `plan` on `graph`: all of it or, where the limit of rewrites has been reached, nothing."""
    with rewriter.together():
        logical = {value: value.shape for value in plan.forms}
        for value, perm in plan.forms.items():
            if plan.written(value):
                rewriter.store_permuted(value, perm)
        work = _Work(graph, plan, dialect, rewriter, {v: _dims(shape) for v, shape in logical.items()})
        for node in list(graph):
            work.node(node)
        work.outputs()


def _dims(shape: Shape | None) -> Dims:
    return () if shape is None else tuple(dim if isinstance(dim, int) else dim.value for dim in shape.dims)


@dataclasses.dataclass
class _Work:
    graph: Graph
    plan: Assignment
    dialect: Dialect
    rewriter: Rewriter
    logical: dict[Value, Dims]
    converted: dict[Value, Value] = dataclasses.field(default_factory=dict)
    """Values in the label that they are not produced in."""
    brought: dict[tuple[Value, Perm, Order | None], Value] = dataclasses.field(default_factory=dict)
    """Operands in an order that only some operators want."""

    def node(self, node: Node) -> None:
        """Give `node` its operands in the right order and rewrite it."""
        plan = self.plan
        changed: dict[int, Value | None] = {}
        originals = list(node.inputs)
        for index, value in enumerate(originals):
            if value is not None and value in plan.forms:
                label = plan.read(node, index)
                if label != plan.written(value):
                    changed[index] = self.convert(value, label, node)
        entry = plan.nodes.get(node)
        if changed:
            self.rewriter.rewire(node, changed)
        if isinstance(entry, Follower) and plan.label(entry.variable):
            self.follower(node, originals, entry)
        elif isinstance(entry, View):
            self.view(node, originals[0], entry)
        elif isinstance(entry, Flagged):
            permuted = frozenset(port for port, variable in entry.ports.items() if plan.label(variable))
            if permuted:
                with self.rewriter.rewrite(RULE, node):
                    entry.rule.rewrite(node, self.rewriter, permuted)

    def convert(self, value: Value, label: int, reader: Node | None) -> Value:
        """`value` as `label` wants it: made once, before its first reader."""
        if value not in self.converted:
            perm = self.plan.forms[value] if label else inverse(self.plan.forms[value])
            made = self.beside(reader, value, lambda: self.move(value, perm))
            _note_order(made, value, perm)
            self.converted[value] = made
        return self.converted[value]

    def beside(self, reader: Node | None, value: Value, make: Callable[[], Value]) -> Value:
        """What `make` builds, standing before `reader` (at the end where it is None) and coming from both ends."""
        producer = value.producer()
        around = [producer] if producer is not None else []
        if reader is not None:
            with self.rewriter.rewrite(RULE, reader, around):
                return make()
        root = producer or self.graph[-1]
        with self.rewriter.rewrite(RULE, root), self.rewriter.inside(self.graph):
            return make()

    def move(self, value: Value, perm: Perm) -> Value:
        known = dims(value)
        if known is not None and moves_only_ones(known, perm):
            return self.dialect.reshape(self.rewriter, value, permute(known, perm))
        return self.dialect.transpose(self.rewriter, value, perm)

    # -- operators ----------------------------------------------------------------------------------------------------

    def follower(self, node: Node, originals: list[Value | None], entry: Follower) -> None:
        edit = Edit(node, self.rewriter, entry.order, entry.signature)
        with self.rewriter.rewrite(RULE, node):
            for index, classes in entry.signature.inputs.items():
                value = node.inputs[index]
                if value is None:
                    continue
                original = originals[index]
                label = self.plan.read(node, index)
                stored = self.plan.forms[original] if label and original is not None else None
                ready = self.bring(value, stored, classes, entry)
                if ready is not value:
                    edit.operand(index, ready)
            entry.rule.rewrite(node, edit)
            if edit.inputs or edit.attributes:
                self.rewriter.update(node, edit.inputs, edit.attributes)

    def bring(self, value: Value, stored: Perm | None, classes: Classes, entry: Follower) -> Value:
        """`value`, stored as `stored`, in the order that the operator's classes have."""
        wanted = form(classes, entry.order)
        perm = wanted if stored is None else permute(inverse(stored), wanted)
        leading = needs_leading_ones(entry.signature, classes, entry.order)
        if is_identity(perm) and not leading:
            return value
        key = (value, perm, entry.order if leading else None)
        if key not in self.brought:
            self.brought[key] = self._bring(value, perm, classes, entry if leading else None)
        return self.brought[key]

    def _bring(self, value: Value, perm: Perm, classes: Classes, spread: Follower | None) -> Value:
        known = dims(value)
        assert known is not None
        if all(dim == 1 for dim in known):
            return value
        target = permute(known, perm)
        if spread is not None:
            target = _spread(target, classes, spread.signature, spread.order)
        if is_constant(value):
            return permuted_constant(self.rewriter, value, perm, target)
        if moves_only_ones(known, perm):
            moved = self.dialect.reshape(self.rewriter, value, target)
        else:
            moved = self.dialect.transpose(self.rewriter, value, perm)
            if spread is not None:
                return self.dialect.reshape(self.rewriter, moved, target)
        if spread is None:
            _note_order(moved, value, perm)
        return moved

    # -- views --------------------------------------------------------------------------------------------------------

    def view(self, node: Node, source: Value | None, entry: View) -> None:
        result = node.outputs[0]
        assert source is not None
        before = self.plan.perm(source, self.plan.label(entry.before))
        after = self.plan.perm(result, self.plan.label(entry.after))
        if is_identity(before) and is_identity(after):
            return
        perm = self.dialect.transpose_perm(node)
        with self.rewriter.rewrite(RULE, node):
            if perm is not None:
                self.dialect.set_transpose(self.rewriter, node, stored_transpose(perm, before, after))
            else:
                self.dialect.set_reshape(self.rewriter, node, before, after)

    def outputs(self) -> None:
        """Give every graph output in the order in which the caller reads it."""
        for value in list(self.graph.outputs):
            if value not in self.plan.forms:
                continue
            label = self.plan.label(self.plan.results.get(value, -1))
            if label != self.plan.written(value):
                self.rewriter.give_output(value, self.convert(value, label, None))


def _note_order(moved: Value, value: Value, perm: Perm) -> None:
    """Say of `moved` that it is `value` in the order `perm`."""
    known = layout(value)
    order = perm if known is None else permute(known.perm, perm)
    set_layout(moved, None if is_identity(order) else Layout(order))


def _spread(stored: Dims, classes: Classes, signature: Signature, order: Order) -> Dims:
    """A shape with a 1 for every class that the operand lacks."""
    sizes = iter(stored)
    present = set(classes)
    assert len(order) == signature.size
    return tuple(next(sizes) if item in present else 1 for item in order)


def permuted_constant(rewriter: Rewriter, value: Value, perm: Perm, target: Dims) -> Value:
    """A constant permuted and reshaped; itself where it has one element a dimension and any rank will do."""
    shape = [dim for dim in target if isinstance(dim, int)]
    tensor = value.const_value
    assert tensor is not None
    assert len(shape) == len(target)
    if tensor.nbytes < _LAZY_BYTES:
        array = constant_array(value)
        assert array is not None
        return rewriter.constant(_permuted(array, perm, shape), f"{value.name}/permuted")
    source = tensor

    def read() -> onnx_ir.TensorProtocol:
        return onnx_ir.Tensor(_permuted(source.numpy(), perm, shape), dtype=source.dtype)

    lazy = LazyTensor(read, dtype=tensor.dtype, shape=Shape(shape))
    return rewriter.constant(lazy, f"{value.name}/permuted")


def _permuted(array: Array, perm: Perm, shape: list[int]) -> Array:
    return np.ascontiguousarray(array.transpose(perm)).reshape(shape)
