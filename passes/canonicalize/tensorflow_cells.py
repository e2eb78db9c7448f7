"""TensorFlow's fused recurrent cells in ONNX ops.

Columns of the weights are the gates input, cell, forget, output (BlockLSTM, LSTMBlockCell), input, forget, cell, output
(BlockLSTMV2), and reset, update (GRUBlockCell); rows are the input's features, then the hidden state's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from graphrewrite.ir import Node, Value, constant_ints, static_dims
from graphrewrite.rewrite import MatchFailure, Rewriter

Build = Callable[[Rewriter], Sequence["Value | None"]]

UNROLLED = 128
"""Longest sequence of a BlockLSTM that is written out step by step."""


@dataclasses.dataclass(frozen=True)
class _Cell:
    """Weights and options that the steps of an LSTM share."""

    weight: Value
    peepholes: tuple[Value, Value, Value] | None
    bias: Value
    forget_bias: float
    clip: float
    order: str
    """Gates in the order of the columns."""

    def step(self, b: Rewriter, x: Value, cell: Value, hidden: Value) -> list[Value]:
        """i, cs, f, o, ci, co, h of one step on `[B, I]`."""
        both = b.op("Concat", x, hidden, axis=1)
        gates = b.op("Add", b.op("MatMul", both, self.weight), self.bias)
        parts = dict(zip(self.order, b.ops("Split", gates, outputs=4, axis=1, num_outputs=4), strict=True))
        forget = parts["f"]
        if self.forget_bias:
            forget = b.op("Add", forget, b.constant(np.float32(self.forget_bias)))
        i = b.op("Sigmoid", self._peep(b, parts["i"], cell, 0))
        f = b.op("Sigmoid", self._peep(b, forget, cell, 1))
        ci = b.op("Tanh", parts["c"])
        cs = b.op("Add", b.op("Mul", ci, i), b.op("Mul", cell, f))
        if self.clip > 0:
            cs = b.op("Clip", cs, b.constant(np.float32(-self.clip)), b.constant(np.float32(self.clip)))
        o = b.op("Sigmoid", self._peep(b, parts["o"], cs, 2))
        co = b.op("Tanh", cs)
        return [i, cs, f, o, ci, co, b.op("Mul", co, o)]

    def _peep(self, b: Rewriter, gate: Value, cell: Value, index: int) -> Value:
        if self.peepholes is None:
            return gate
        return b.op("Add", gate, b.op("Mul", cell, self.peepholes[index]))


def _operands(node: Node, count: int) -> list[Value]:
    found = [item for item in node.inputs if item is not None]
    if len(found) != count or len(node.inputs) != count:
        raise MatchFailure(f"it has {count} operands", node)
    return found


def _cell(node: Node, operands: Sequence[Value], order: str, forget_bias: float, clip: float) -> _Cell:
    weight, wci, wcf, wco, bias = operands
    used = node.attributes.get_int("use_peephole", 0) != 0
    return _Cell(
        weight,
        (wci, wcf, wco) if used else None,
        bias,
        node.attributes.get_float("forget_bias", forget_bias),
        node.attributes.get_float("cell_clip", clip),
        order,
    )


def lstm_block_cell(node: Node) -> Build:
    """One step: (x, cs_prev, h_prev, w, wci, wcf, wco, b) to (i, cs, f, o, ci, co, h)."""
    x, cell, hidden, *rest = _operands(node, 8)
    shared = _cell(node, rest, "icfo", 1.0, 3.0)
    return lambda b: shared.step(b, x, cell, hidden)


def block_lstm(node: Node) -> Build:
    """A sequence [T, B, I] step by step; results [T, B, H]."""
    length, x, cell, hidden, *rest = _operands(node, 9)
    first = node.op_type == "BlockLSTM"
    shared = _cell(node, rest, "icfo" if first else "ifco", 1.0 if first else 0.0, 3.0 if first else 0.0)
    shape = static_dims(x)
    limit = constant_ints(length)
    if shape is None or len(shape) != 3 or not 0 < shape[0] <= UNROLLED:
        raise MatchFailure(f"the sequence is longer than {UNROLLED} steps, or of unknown length", x)
    if limit is None or len(limit) != 1 or limit[0] < shape[0]:
        raise MatchFailure(
            "the length in use (seq_len_max) is shorter than the sequence, or not known", length
        )
    wanted = [bool(out.uses()) or out.is_graph_output() for out in node.outputs]

    def build(b: Rewriter) -> list[Value | None]:
        steps: list[list[Value]] = []
        state, output = cell, hidden
        axis = b.constant(np.array([0], np.int64))
        for index in range(shape[0]):
            entry = b.op("Gather", x, b.constant(np.array(index, np.int64)), axis=0)
            steps.append(shared.step(b, entry, state, output))
            state, output = steps[-1][1], steps[-1][6]
        return [
            b.op("Concat", *(b.op("Unsqueeze", step[index], axis) for step in steps), axis=0)
            if needed
            else None
            for index, needed in enumerate(wanted)
        ]

    return build


def gru_block_cell(node: Node) -> Build:
    """One step: (x, h_prev, w_ru, w_c, b_ru, b_c) to (r, u, c, h)."""
    x, hidden, w_gates, w_cell, b_gates, b_cell = _operands(node, 6)

    def build(b: Rewriter) -> list[Value]:
        both = b.op("Concat", x, hidden, axis=1)
        gates = b.op("Sigmoid", b.op("Add", b.op("MatMul", both, w_gates), b_gates))
        r, u = b.ops("Split", gates, outputs=2, axis=1, num_outputs=2)
        reset = b.op("Concat", x, b.op("Mul", hidden, r), axis=1)
        c = b.op("Tanh", b.op("Add", b.op("MatMul", reset, w_cell), b_cell))
        # (1 - u) * c + u * h
        h = b.op("Add", c, b.op("Mul", u, b.op("Sub", hidden, c)))
        return [r, u, c, h]

    return build
