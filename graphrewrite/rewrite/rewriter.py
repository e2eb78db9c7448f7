"""The only way to change a graph: names, types, origins and listeners are kept right in one place."""

from __future__ import annotations

import contextlib
import dataclasses
from collections import deque
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir

from graphrewrite.errors import InternalError
from graphrewrite.ir import (
    Array,
    Attr,
    DataType,
    Dim,
    Graph,
    Layout,
    Model,
    Node,
    Tensor,
    Value,
    all_graphs,
    bodies,
    constant_array,
    evaluate,
    infer_node,
    is_constant,
    is_pure,
    is_used,
    layout,
    node_line,
    origin,
    quant,
    set_layout,
    set_origin,
    shape_data,
    source_name,
)
from graphrewrite.ir.constants import held, is_tensor
from graphrewrite.ir.edges import release_operands, replace_uses, set_operand
from graphrewrite.ir.facets import QUANT, recorded
from graphrewrite.ir.infer import ShapeConflict, refine
from graphrewrite.ir.shapes import computes_shapes, dims
from graphrewrite.rewrite.census import Census
from graphrewrite.rewrite.events import Listener, RewriteRecord

GENERATED = "graphrewrite.generated_name"
COLLECT = "collect-garbage"
"""Rule name of removing what nothing needs."""
_REACH = 16
"""Nodes between the two ends of a rewrite, views mostly."""
FOLD_LIMIT = 64 << 20
"""Constant results above this many bytes are not computed while building: folding must not inflate the file."""


class LimitReached(Exception):
    """One more rewrite would start than the limit allows. The graph is whole; whoever set the limit catches it."""


class Rewriter:
    """Adds, replaces and removes nodes of one model.

    Changes happen inside `with rewriter.rewrite(rule, root, matched):`; new nodes are inserted before `root` and inherit the
    origins of all matched nodes. `limit` bounds the number of rewrites (for bisection): the first one beyond it raises
    LimitReached before it changes anything, and `allowed()` says beforehand whether one more may start.
    """

    def __init__(
        self,
        model: Model,
        *,
        limit: int | None = None,
        listeners: Iterable[Listener] = (),
        census: Census | None = None,
    ) -> None:
        self.model = model
        self.limit = limit
        self.count = 0
        self.propagates = True
        """False while a model is imported: nodes not reached yet may be of an older opset, and all are inferred in turn."""
        self.notes: list[str] = []
        self.listeners: list[Listener] = list(listeners)
        self._names: set[str] | None = None
        self._suffix: dict[str, int] = {}
        self._shared: dict[Hashable, Value] = {}
        self._anchor: Node | None = None
        self._anchor_graph: Graph | None = None
        self._origins: tuple[str, ...] = ()
        self._prefix = "value"
        self._changes = 0
        """Nodes added and removed."""
        self._inside = 0
        """Rewrites and `together` blocks that are open."""
        self._group = 0
        """Number of the first rewrite of those that are done together now."""
        self._census = census
        self._census_taken = 0, 0

    # -- scope ---------------------------------------------------------------------------------------------------------

    def allowed(self) -> bool:
        """False once `limit` rewrites have been applied."""
        return self.limit is None or self.count < self.limit

    def rewrite(
        self, rule: str, root: Node, matched: Iterable[Node] = ()
    ) -> contextlib.AbstractContextManager[None]:
        """One rewrite: nodes made inside stand before `root` and come from `matched` (and `root`)."""
        return _Rewrite(self, rule, root, matched)

    def started(self, rule: str, root: str, count: int = 1) -> None:
        """Note that a rewrite (or `count` of them in one) begins at the node of source name `root`.

        Raises:
            LimitReached: there have been as many as the limit allows, and no other is under way.
        """
        if self._inside == 0:
            if not self.allowed():
                raise LimitReached
            self._group = self.count
        record = RewriteRecord(self.count, rule, root, self._group)
        self.count += count
        for listener in self.listeners:
            listener.rewrite_started(record)

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Rewrites that leave a whole graph only when all are done: the limit does not stop between them.

        Raises:
            LimitReached: there have been as many as the limit allows before the first of them.
        """
        if self._inside == 0:
            if not self.allowed():
                raise LimitReached
            self._group = self.count
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1

    @contextlib.contextmanager
    def inside(self, graph: Graph, before: Node | None = None) -> Iterator[None]:
        """New nodes go into `graph` (a subgraph), before `before` or at its end."""
        saved = self._anchor, self._anchor_graph
        self._anchor, self._anchor_graph = before, graph
        try:
            yield
        finally:
            self._anchor, self._anchor_graph = saved

    def census(self) -> Census:
        """The nodes by operator; taken anew where something has changed."""
        state = self.count, self._changes
        if self._census is None or self._census_taken != state:
            self._census, self._census_taken = Census(self.model.graph), state
        return self._census

    def note(self, text: str) -> None:
        """Something the user should read in the report."""
        if text not in self.notes:
            self.notes.append(text)

    def unique_name(self, hint: str) -> str:
        """`hint`, or `hint` with the next free number."""
        if self._names is None:  # only now: most passes change nothing
            self._names = _names(self.model.graph)
        name = hint
        while name in self._names:
            self._suffix[hint] = self._suffix.get(hint, 0) + 1
            name = f"{hint}_{self._suffix[hint]}"
        self._names.add(name)
        return name

    # -- making --------------------------------------------------------------------------------------------------------

    def constant(self, content: Array | onnx_ir.TensorProtocol | Any, hint: str | None = None) -> Value:
        """A new constant. Arrays keep their dtype; LazyTensors are read when the file is written.

        Constants live in the main graph, where every subgraph sees them.
        """
        tensor = held(content) if is_tensor(content) else Tensor(np.asarray(content))
        name = self.unique_name(hint or f"{self._prefix}/const")
        value = Value(
            name=name,
            type=onnx_ir.TensorType(tensor.dtype),
            shape=onnx_ir.Shape(tensor.shape.numpy()),
            const_value=tensor,
        )
        value.meta[GENERATED] = True
        self.model.graph.register_initializer(value)
        return value

    def shared_constant(self, content: Array) -> Value:
        """A constant that other nodes of this pass may read too: for axes, permutations and shapes."""
        key = (content.dtype, content.shape, content.tobytes())
        known = self._shared.get(key)
        if known is None or known.graph is None:  # the last node that read it may have gone
            known = self._shared[key] = self.constant(content)
        return known

    def op(self, op_type: str, *inputs: Value | None, domain: str = "", **attributes: Any) -> Value:
        """A new node with one output, inferred; folded at once where all inputs are constants."""
        return self.ops(op_type, *inputs, outputs=1, domain=domain, **attributes)[0]

    def ops(
        self, op_type: str, *inputs: Value | None, outputs: int, domain: str = "", **attributes: Any
    ) -> tuple[Value, ...]:
        """A new node with several outputs. Attributes of None are left out; trailing absent inputs are dropped."""
        operands = list(inputs)
        while operands and operands[-1] is None:
            operands.pop()
        present = [_attribute(name, item) for name, item in attributes.items() if item is not None]
        node = Node(domain, op_type, operands, present, num_outputs=outputs)
        folded = self._fold(node, operands)
        if folded is not None:
            release_operands(node)
            return folded
        self.insert(node)
        return tuple(node.outputs)

    def insert(self, node: Node) -> None:
        """Put a ready-made node before the root of the current rewrite; names, origin and types are filled in."""
        node.name = self.unique_name(node.name or f"{self._prefix}/{node.op_type}")
        set_origin(node, self._origins or (node.name,))
        for value in node.outputs:
            if not value.name:
                value.name = self.unique_name(f"{self._prefix}/{node.op_type}")
                value.meta[GENERATED] = True
            elif self._names is not None:
                self._names.add(value.name)
        graph = self._anchor_graph if self._anchor_graph is not None else self.model.graph
        if self._anchor is not None and self._anchor.graph is graph:
            graph.insert_before(self._anchor, node)
        else:
            graph.append(node)
        self._changes += 1
        infer_node(node)
        for listener in self.listeners:
            listener.node_added(node)

    def fold(self, node: Node) -> tuple[Value, ...] | None:
        """Constants equal to the outputs of `node`; None where an input is not constant or the result would be too big."""
        return self._fold(node, list(node.inputs))

    def _fold(self, node: Node, operands: Sequence[Value | None]) -> tuple[Value, ...] | None:
        if (
            not operands
            or not is_pure(node)
            or not all(item is None or is_constant(item) for item in operands)
        ):
            return None
        arrays = [constant_array(item) for item in operands]
        if sum(array.nbytes for array in arrays if array is not None) > FOLD_LIMIT:
            return None
        result = evaluate(node, arrays)
        if result is None or sum(array.nbytes for array in result) > FOLD_LIMIT:
            return None
        return tuple(self.constant(array) for array in result)

    # -- changing ------------------------------------------------------------------------------------------------------

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
        for listener in self.listeners:
            listener.value_replaced(old, new, users)
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
            for listener in self.listeners:
                for node in named:
                    listener.node_changed(node)

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
            for listener in self.listeners:
                listener.node_added(identity)
            new = identity.outputs[0]
        self._take_name(old, new)
        return new

    def merge_constants(self, duplicate: Value, kept: Value) -> None:
        """Every use of the constant `duplicate` reads the equal constant `kept`; `duplicate` is removed."""
        users = [use.node for use in duplicate.uses()]
        self.started("merge-constants", source_name(users[0]) if users else duplicate.name or "")
        replace_uses(duplicate, kept)
        for listener in self.listeners:
            listener.value_replaced(duplicate, kept, users)
        self._collect([duplicate])

    def set_input(self, node: Node, index: int, value: Value | None) -> None:
        """Make `node` read `value` as its input `index`; what only the old input needed is removed."""
        old = node.inputs[index] if index < len(node.inputs) else None
        if index >= len(node.inputs):
            node.resize_inputs(index + 1)
        set_operand(node, index, value)
        for listener in self.listeners:
            listener.node_changed(node)
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
                node.attributes[name] = _attribute(name, content)
        if attributes:
            for listener in self.listeners:
                listener.node_changed(node)
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
        for listener in self.listeners:
            listener.node_changed(node)
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
        for listener in self.listeners:
            if producer is not None:
                listener.node_changed(producer)

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
                for listener in self.listeners:
                    listener.node_changed(producer)

    def set_attribute(self, node: Node, name: str, content: Any) -> None:
        """Set an attribute, or remove it with None."""
        if content is None:
            node.attributes.pop(name, None)
        else:
            node.attributes[name] = _attribute(name, content)
        for listener in self.listeners:
            listener.node_changed(node)

    def erase(self, node: Node) -> None:
        """Remove a node whose outputs nothing uses, and everything that was only there for it."""
        for listener in self.listeners:
            listener.node_removed(node)
        for value in node.outputs:
            if is_used(value):
                raise InternalError(f"'{value.name}' is still used: {node_line(node)}")
        captured = _detach_subgraphs(node)
        graph = node.graph
        if graph is None:
            raise InternalError(f"{node.op_type} '{node.name}' has been removed already")
        inputs = release_operands(node)
        graph.remove(node)
        self._changes += 1
        self._collect([*inputs, *captured])

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
            for listener in self.listeners:
                listener.node_removed(node)
            captured = _detach_subgraphs(node)
            inputs = release_operands(node)
            node.graph.remove(node)
            self._changes += 1
            stack += inputs
            stack += captured

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
                for listener in self.listeners:
                    listener.node_changed(node)
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


class _Rewrite(contextlib.AbstractContextManager[None]):
    """What `Rewriter.rewrite` returns."""

    def __init__(self, rewriter: Rewriter, rule: str, root: Node, matched: Iterable[Node]) -> None:
        self._rewriter = rewriter
        self._rule = rule
        self._root = root
        self._origins = origin(root)
        others = [name for node in matched if node is not root for name in origin(node)]
        if others:
            self._origins = tuple(dict.fromkeys((*others, *self._origins)))

    def __enter__(self) -> None:
        to, root = self._rewriter, self._root
        to.started(self._rule, source_name(root))
        to._inside += 1
        self._saved = to._anchor, to._anchor_graph, to._origins, to._prefix
        first = next((value.name for value in root.outputs if value.name), None)
        to._anchor, to._anchor_graph, to._origins = root, root.graph, self._origins
        to._prefix = first or root.name or root.op_type

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        to = self._rewriter
        to._inside -= 1
        to._anchor, to._anchor_graph, to._origins, to._prefix = self._saved
        if isinstance(error, ShapeConflict):
            name = source_name(self._root)
            raise InternalError(f"{self._rule} at '{name}' built a wrong node: {error}") from error


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


def _names(graph: Graph) -> set[str]:
    """Names of all values and nodes, subgraphs included."""
    found: set[str] = set()
    for inner in all_graphs(graph):
        found.update(value.name or "" for value in (*inner.inputs, *inner.initializers.values()))
        for node in inner:
            found.add(node.name or "")
            found.update([value.name or "" for value in node.outputs])
    return found


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


def _attribute(name: str, content: Any) -> Attr:
    if type(content) is int:  # most are; asking for a Graph takes the longest
        return onnx_ir.AttrInt64(name, content)
    if isinstance(content, str):
        return onnx_ir.AttrString(name, content)
    if isinstance(content, Attr):
        return content
    if isinstance(content, list | tuple) and content and type(content[0]) is int:
        return onnx_ir.AttrInt64s(name, content)
    if isinstance(content, Graph):
        return onnx_ir.AttrGraph(name, content)
    if isinstance(content, bool | np.bool_):
        return onnx_ir.AttrInt64(name, int(content))
    if isinstance(content, int | np.integer):
        return onnx_ir.AttrInt64(name, int(content))
    if isinstance(content, float | np.floating):
        return onnx_ir.AttrFloat32(name, float(content))
    if isinstance(content, np.ndarray):
        return onnx_ir.AttrTensor(name, Tensor(content))
    if is_tensor(content):
        return onnx_ir.AttrTensor(name, content)
    items = list(content)
    if items and isinstance(items[0], str):
        return onnx_ir.AttrStrings(name, items)
    if items and isinstance(items[0], float):
        return onnx_ir.AttrFloat32s(name, [float(item) for item in items])
    return onnx_ir.AttrInt64s(name, [int(item) for item in items])
