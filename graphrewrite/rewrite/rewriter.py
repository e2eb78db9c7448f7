"""The only way to change a graph: names, types, origins and listeners are kept right in one place."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import onnx_ir

from graphrewrite.errors import InternalError
from graphrewrite.ir import (
    DataType,
    Dim,
    Layout,
    Node,
    Value,
    all_graphs,
    bodies,
    infer_node,
    is_constant,
    is_used,
    layout,
    node_line,
    quant,
    set_layout,
    set_origin,
    shape_data,
    source_name,
)
from graphrewrite.ir.edges import release_operands, replace_uses, set_operand
from graphrewrite.ir.facets import QUANT, recorded
from graphrewrite.ir.refine import ShapeConflict, refine
from graphrewrite.ir.shapes import computes_shapes, dims
from graphrewrite.rewrite.attributes import attribute
from graphrewrite.rewrite.maker import Maker
from graphrewrite.rewrite.names import GENERATED

COLLECT = "collect-garbage"
"""Rule name of removing what nothing needs."""
_REACH = 16
"""Nodes between the two ends of a rewrite, views mostly."""


class Rewriter(Maker):
    """Adds, replaces and removes nodes of one model.

    Changes happen inside `with rewriter.rewrite(rule, root, matched):`; new nodes are inserted before `root` and inherit the
    origins of all matched nodes. `limit` bounds the number of rewrites (for bisection): the first one beyond it raises
    LimitReached before it changes anything, and `allowed()` says beforehand whether one more may start.
    """

    def replace(self, node: Node, values: Value | Sequence[Value | None] | None) -> None:
        """Every use of the outputs of `node` reads `values` from now on; `node` and what only it needed are removed.

        None stands for an output that nothing uses. Source names move to the new values.
        """
        new = [values] if values is None or isinstance(values, Value) else list(values)
        outputs = list(node.outputs)
        if len(new) < len(outputs):
            new += [None] * (len(outputs) - len(new))
        for old, value in zip(outputs, new, strict=True):
            if value is None:
                if is_used(old):
                    raise InternalError(
                        f"'{old.name}' is still used but was given no replacement: {node_line(node)}"
                    )
            elif value is not old:
                self._replace_value(old, value)
        self.erase(node)

    def _replace_value(self, old: Value, new: Value) -> None:
        learned = self._merge_types(old, new)
        if old.is_graph_output():
            new = self._fit_output(old, new)
        elif recorded(new, GENERATED) and not recorded(old, GENERATED) and not is_constant(new):
            self._take_name(old, new)
        users = [use.node for use in old.uses()]
        became_constant = is_constant(new)
        learned |= _shape_content(old) != _shape_content(new)
        replace_uses(old, new)
        self.listeners.value_replaced(old, new, users)
        if learned or became_constant:
            self.propagate(dict.fromkeys(users), carry=learned)

    def _merge_types(self, old: Value, new: Value) -> bool:
        """Give both values the sum of what is known; True where the users of `old` can learn something."""
        if new.type is None:
            new.type = old.type
        known_old, known_new = dims(old), dims(new)
        if known_old == known_new and old.dtype == new.dtype:
            return False
        try:
            refine(new, int(old.dtype) if old.dtype is not None else None, known_old)
        except ShapeConflict as error:
            raise InternalError(f"a rewrite changes what '{old.name}' is: {error}") from error
        return known_old != known_new and known_new is not None

    def _take_name(self, old: Value, new: Value) -> None:
        name = old.name or ""
        old.name = self.unique_name(f"{name}/replaced")
        new.name = name
        if recorded(new, GENERATED):
            del new.meta[GENERATED]
        set_layout(new, layout(old))  # it is told against the source's value of that name

    def altered(self, value: Value, since: Node | None = None) -> None:
        """Say that `value` does not hold any more what the source calls by its name, nor does what lies between `since` and it.

        For rewrites that change a value and make up for it elsewhere. It goes by a name of ours until it takes another value's
        place. Without this, comparing inner values with the source's would blame the rewrite.
        """
        for item in [value] if since is None else _between(since, value):
            producer = item.producer()
            if item.meta.get(GENERATED) or item.is_graph_output() or producer is None:
                continue
            item.name = self.unique_name(f"{item.name}/altered")
            item.meta[GENERATED] = True
            named = dict.fromkeys([producer, *(use.node for use in item.uses())])
            for node in named:
                self.listeners.node_changed(node)

    def _fit_output(self, old: Value, new: Value) -> Value:
        """A value that can stand as the graph output `old`: named like it, made by a node, in its graph."""
        graph = old.graph
        producer = new.producer()
        if producer is None or producer.graph is not graph or new.is_graph_output():
            identity = Node("", "Identity", [new], num_outputs=1)
            identity.name = self.unique_name(f"{old.name}/Identity")
            set_origin(identity, self._origins or (identity.name,))
            identity.outputs[0].type, identity.outputs[0].shape = new.type, new.shape
            assert graph is not None
            old_producer = old.producer()
            if old_producer is not None and old_producer.graph is graph:
                graph.insert_before(old_producer, identity)
            else:
                graph.append(identity)
            self._changes += 1
            self.listeners.node_added(identity)
            new = identity.outputs[0]
        self._take_name(old, new)
        return new

    def merge_constants(self, duplicate: Value, kept: Value) -> None:
        """Every use of the constant `duplicate` reads the equal constant `kept`; `duplicate` is removed."""
        users = [use.node for use in duplicate.uses()]
        self.started("merge-constants", source_name(users[0]) if users else duplicate.name or "")
        replace_uses(duplicate, kept)
        self.listeners.value_replaced(duplicate, kept, users)
        self._collect([duplicate])

    def set_input(self, node: Node, index: int, value: Value | None) -> None:
        """Make `node` read `value` as its input `index`; what only the old input needed is removed."""
        old = node.inputs[index] if index < len(node.inputs) else None
        if index >= len(node.inputs):
            node.resize_inputs(index + 1)
        set_operand(node, index, value)
        self.listeners.node_changed(node)
        self.propagate([node])
        self._collect([old])

    def update(self, node: Node, inputs: Mapping[int, Value | None], attributes: Mapping[str, Any]) -> None:
        """Change several operands and attributes of `node` at once, and infer it only then.

        For changes that are right together but not one by one. An attribute of None is removed.
        """
        lost = self.rewire(node, inputs)
        for name, content in attributes.items():
            if content is None:
                node.attributes.pop(name, None)
            else:
                node.attributes[name] = attribute(name, content)
        if attributes:
            self.listeners.node_changed(node)
        self.propagate([node])
        self._collect(lost)

    def rewire(self, node: Node, inputs: Mapping[int, Value | None]) -> list[Value | None]:
        """Change operands of `node` without inferring it: for values of equal shape, or before an `update`.

        Returns the old operands, which stay in the graph.
        """
        lost: list[Value | None] = []
        for index, value in inputs.items():
            if index >= len(node.inputs):
                node.resize_inputs(index + 1)
            lost.append(node.inputs[index])
            set_operand(node, index, value)
        self.listeners.node_changed(node)
        return lost

    def store_permuted(self, value: Value, perm: tuple[int, ...]) -> None:
        """Say that `value` is stored with dimension i taken from its dimension `perm[i]` from now on.

        Its shape and facets follow; that its producer and its readers do is for the caller to see to, before anything is
        inferred again.
        """
        if value.shape is not None:
            value.shape = onnx_ir.Shape([value.shape[axis] for axis in perm])
        known = layout(value)
        order = known.perm if known is not None else tuple(range(len(perm)))
        set_layout(value, Layout(tuple(order[axis] for axis in perm)))
        facet = quant(value)
        if facet is not None and facet.scale.size > 1:
            value.meta[QUANT] = dataclasses.replace(facet, axis=perm.index(facet.axis))
        producer = value.producer()
        if producer is not None:
            self.listeners.node_changed(producer)

    def give_output(self, old: Value, new: Value) -> None:
        """Make `new` the graph output that `old` is; it takes the name, and other readers of `old` stay as they are."""
        graph = old.graph
        if graph is None:
            raise InternalError(f"'{old.name}' is the output of no graph")
        facet = layout(new)
        self._take_name(old, new)
        set_layout(new, facet)
        for index, value in enumerate(graph.outputs):
            if value is old:
                graph.outputs[index] = new
        for producer in (old.producer(), new.producer()):
            if producer is not None:
                self.listeners.node_changed(producer)

    def set_attribute(self, node: Node, name: str, content: Any) -> None:
        """Set an attribute, or remove it with None."""
        if content is None:
            node.attributes.pop(name, None)
        else:
            node.attributes[name] = attribute(name, content)
        self.listeners.node_changed(node)

    def erase(self, node: Node) -> None:
        """Remove a node whose outputs nothing uses, and everything that was only there for it."""
        for value in node.outputs:
            if is_used(value):
                raise InternalError(f"'{value.name}' is still used: {node_line(node)}")
        if node.graph is None:
            raise InternalError(f"{node.op_type} '{node.name}' has been removed already")
        self._collect(self._take_out(node))

    def _take_out(self, node: Node) -> list[Value]:
        """Remove `node` by itself; what it and its subgraphs read."""
        assert node.graph is not None
        self.listeners.node_removed(node)
        captured = _detach_subgraphs(node)
        inputs = release_operands(node)
        node.graph.remove(node)
        self._changes += 1
        return [*inputs, *captured]

    def _collect(self, candidates: Iterable[Value | None]) -> None:
        """Remove nodes and constants that lost their last use."""
        stack = [value for value in candidates if value is not None]
        while stack:
            value = stack.pop()
            if is_used(value):
                continue
            node = value.producer()
            if node is None:
                graph = value.graph
                if (
                    is_constant(value)
                    and graph is not None
                    and value.name
                    and value.name in graph.initializers
                ):
                    del graph.initializers[value.name]
                continue
            if node is self._anchor or node.graph is None:
                continue
            if any(is_used(output) for output in node.outputs):
                continue
            stack += self._take_out(node)

    def propagate(self, nodes: Iterable[Node], *, carry: bool = True) -> None:
        """Infer `nodes` again, and whatever depends on them as far as something new is learned.

        With `carry`, nodes that compute with shapes pass the news on even where their own types stay.
        """
        queue = deque((node, carry) for node in dict.fromkeys(nodes if self.propagates else ()))
        waiting = {node for node, _ in queue}
        while queue:
            node, carried = queue.popleft()
            waiting.discard(node)
            if node.graph is None:
                continue
            learned = self._infer(node)
            if learned:
                self.listeners.node_changed(node)
            elif not (carried and computes_shapes(node)):
                continue
            for value in node.outputs:
                for user in dict.fromkeys(use.node for use in value.uses()):
                    if user not in waiting:
                        waiting.add(user)
                        queue.append((user, True))

    def _infer(self, node: Node) -> bool:
        try:
            return infer_node(node)
        except ShapeConflict:
            if node.graph is self.model.graph:
                raise
            return False  # a branch that is never taken may contradict what is known by now

    def collect_garbage(self) -> None:
        """Remove every node and constant that no output needs; counts as one rewrite where there was anything."""
        found = False
        for graph in reversed(list(all_graphs(self.model.graph))):
            for node in reversed(graph):
                if node.graph is not None and not any(is_used(value) for value in node.outputs):
                    if not found:
                        self.started(COLLECT, source_name(node))
                    self.erase(node)
                    found = True
            for name, value in list(graph.initializers.items()):
                if not is_used(value):
                    if not found:
                        self.started(COLLECT, name)
                    del graph.initializers[name]
                    found = True


def _between(node: Node, value: Value) -> list[Value]:
    """The values through which `value` depends on `node`, as far as `_REACH` nodes back."""
    known: dict[Value, bool] = {}

    def depends(item: Value, left: int) -> bool:
        if item not in known:
            producer = item.producer()
            known[item] = producer is node
            if producer is not None and producer is not node and left:
                for operand in producer.inputs:
                    if operand is not None and depends(operand, left - 1):
                        known[item] = True
        return known[item]

    depends(value, _REACH)
    return [item for item, found in known.items() if found]


def _shape_content(value: Value) -> list[Dim] | None:
    return shape_data(value) if value.dtype in (DataType.INT64, DataType.INT32) else None


def _detach_subgraphs(node: Node) -> list[Value]:
    """Make the nodes inside `node`'s subgraphs release what they read from outside; returns those values."""
    released: list[Value] = []
    for body in bodies(node):
        for inner in body:
            released += _detach_subgraphs(inner)
            released += release_operands(inner)
    return released
