"""Making nodes and constants: named, inferred, and folded where all that they need is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir

from graphrewrite.ir import (
    Array,
    Node,
    Tensor,
    Value,
    constant_array,
    evaluate,
    infer_node,
    is_constant,
    is_pure,
    set_origin,
)
from graphrewrite.ir.constants import held, is_tensor
from graphrewrite.ir.edges import release_operands
from graphrewrite.rewrite.attributes import attribute
from graphrewrite.rewrite.names import GENERATED
from graphrewrite.rewrite.scope import Scope

FOLD_LIMIT = 64 << 20
"""Constant results above this many bytes are not computed while building: folding must not inflate the file."""


class Maker(Scope):
    """Makes nodes and constants in a scope."""

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
        present = [attribute(name, item) for name, item in attributes.items() if item is not None]
        node = Node(domain, op_type, operands, present, num_outputs=outputs)
        folded = self.fold(node)
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
            else:
                self._names.take(value.name)
        graph = self._anchor_graph if self._anchor_graph is not None else self.model.graph
        if self._anchor is not None and self._anchor.graph is graph:
            graph.insert_before(self._anchor, node)
        else:
            graph.append(node)
        self._changes += 1
        infer_node(node)
        self.listeners.node_added(node)

    def fold(self, node: Node) -> tuple[Value, ...] | None:
        """Constants equal to the outputs of `node`; None where an input is not constant or the result would be too big."""
        operands = node.inputs
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
