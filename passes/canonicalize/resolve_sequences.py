"""Sequences and optionals whose length is known disappear: what reads an element reads the tensor itself."""

from __future__ import annotations

import dataclasses

from graphrewrite.ir import (
    Array,
    DataType,
    Model,
    Node,
    TensorType,
    Value,
    constant_array,
    constant_ints,
    dims,
)
from graphrewrite.pipeline import Pass, Stage
from graphrewrite.registry import Onnx
from graphrewrite.rewrite import Rewriter, RuleStatistics, all_nodes


@dataclasses.dataclass(frozen=True)
class ResolveSequences(Pass):
    """Read through sequences of known length, and through optionals.

        %s = SequenceConstruct(%a, %b)
        %t = SequenceInsert(%s, %c)            --->   %y = Identity(%c)
        %y = SequenceAt(%t, 2)                        %z = Concat(%a, %b, %c) {axis=0}
        %z = ConcatFromSequence(%t) {axis=0}

    Followed are SequenceEmpty, SequenceConstruct, SequenceInsert, SequenceErase, SplitToSequence, Optional
    and Identity, with constant positions. No target holds sequences, so what remains is refused when the
    model is lowered. Exact.
    """

    stage = Stage.CANONICALIZE
    mandatory = True

    def run(self, model: Model, rewriter: Rewriter) -> dict[str, RuleStatistics]:
        """Replace every reader whose sequence is known."""
        known: dict[Value, list[Value] | None] = {}
        for node in list(all_nodes(model.graph)):
            if node.domain != "" or node.op_type not in _READERS or node.graph is None:
                continue
            with rewriter.rewrite(self.name, node):
                result = _READERS[node.op_type](node, Onnx(rewriter), known)
                if result is not None:
                    rewriter.replace(node, result)
        return {}


def _elements(value: Value | None, b: Onnx, known: dict[Value, list[Value] | None]) -> list[Value] | None:
    """The tensors of a sequence; None where they can't be told."""
    if value is None:
        return None
    if value not in known:
        known[value] = _read(value, b, known)
    return known[value]


def _read(value: Value, b: Onnx, known: dict[Value, list[Value] | None]) -> list[Value] | None:
    node = value.producer()
    if node is None or node.domain != "":
        return None
    inputs = list(node.inputs)
    if node.op_type == "SequenceEmpty":
        return []
    if node.op_type == "SequenceConstruct":
        return [item for item in inputs if item is not None]
    if node.op_type in ("Identity", "Optional") and inputs:
        return _elements(inputs[0], b, known)
    if node.op_type == "SplitToSequence":
        return _split(node, b)
    if node.op_type not in ("SequenceInsert", "SequenceErase"):
        return None
    items = _elements(inputs[0], b, known)
    if items is None:
        return None
    inserts = node.op_type == "SequenceInsert"
    place = inputs[-1] if len(inputs) == (3 if inserts else 2) else None
    position = [len(items) if inserts else len(items) - 1] if place is None else constant_ints(place)
    tensor = inputs[1] if inserts else None
    if not position:
        return None
    index = position[0] + len(items) if position[0] < 0 else position[0]
    if tensor is not None:
        return [*items[:index], tensor, *items[index:]]
    return items[:index] + items[index + 1 :]


def _split(node: Node, b: Onnx) -> list[Value] | None:
    """Built once, before the SplitToSequence."""
    x, axis = node.inputs[0], node.attributes.get_int("axis", 0)
    shape = dims(x)
    if x is None or shape is None or not isinstance(total := shape[axis], int):
        return None
    keep = True
    sizes: list[int] = [1] * total
    if len(node.inputs) > 1 and node.inputs[1] is not None:
        given: Array | None = constant_array(node.inputs[1])
        if given is None:
            return None
        if given.ndim:
            sizes = [int(item) for item in given]
        else:
            step = int(given)
            sizes = [min(step, total - start) for start in range(0, total, step)]
    else:
        keep = bool(node.attributes.get_int("keepdims", 1))
    with b.rewriter.rewrite("resolve-sequences", node):
        parts = b.ops("Split", x, b.i64(sizes), outputs=len(sizes), axis=axis)
        return list(parts) if keep else [b.op("Squeeze", part, b.i64([axis])) for part in parts]


def _at(node: Node, b: Onnx, known: dict[Value, list[Value] | None]) -> Value | None:
    items, position = _elements(node.inputs[0], b, known), constant_ints(node.inputs[1])
    if items is None or not position or not -len(items) <= position[0] < len(items):
        return None
    return items[position[0]]


def _length(node: Node, b: Onnx, known: dict[Value, list[Value] | None]) -> Value | None:
    items = _elements(node.inputs[0], b, known)
    return None if items is None else b.i64(len(items))


def _concat(node: Node, b: Onnx, known: dict[Value, list[Value] | None]) -> Value | None:
    items, axis = _elements(node.inputs[0], b, known), node.attributes["axis"].as_int()
    if not items:
        return None
    if node.attributes.get_int("new_axis", 0):
        items = [b.op("Unsqueeze", item, b.i64([axis])) for item in items]
    return b.op("Concat", *items, axis=axis)


def _is_tensor(value: Value) -> bool:
    return isinstance(value.type, TensorType)


def _has_element(node: Node, b: Onnx, known: dict[Value, list[Value] | None]) -> Value | None:
    value = node.inputs[0] if node.inputs else None
    producer = None if value is None else value.producer()
    if value is None or (producer is not None and producer.op_type == "Optional" and not producer.inputs):
        return b.const(False, DataType.BOOL)
    if _is_tensor(value) or (producer is not None and producer.op_type == "Optional"):
        return b.const(True, DataType.BOOL)
    return None


def _get_element(node: Node, b: Onnx, known: dict[Value, list[Value] | None]) -> Value | None:
    value = node.inputs[0]
    producer = None if value is None else value.producer()
    if producer is not None and producer.op_type == "Optional" and producer.inputs:
        value = producer.inputs[0]
    return value if value is not None and _is_tensor(value) else None


_READERS = {
    "SequenceAt": _at,
    "SequenceLength": _length,
    "ConcatFromSequence": _concat,
    "OptionalHasElement": _has_element,
    "OptionalGetElement": _get_element,
}
