"""LSTM, GRU and RNN, unrolled over the sequence: one projection of all inputs at once, then a few ops a step."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from graphrewrite.ir import DataType, Value, constant_array, constant_ints, dims
from graphrewrite.registry import Onnx, OpNode, expansion

from .recurrent_activations import Activation, activations_of


@dataclasses.dataclass
class _Layer:
    """One direction of a recurrent op. Sequences are [T, B, ...]; a state of None is zero."""

    b: Onnx
    x: Value
    steps: int
    batch: int | None
    hidden: int
    w: Value
    r: Value
    bias_w: Value | None
    bias_r: Value | None
    lengths: Value | None
    backwards: bool
    activations: Sequence[Activation]
    clip: float | None

    def project(self, bias: Value | None) -> list[Value]:
        """x @ w^T + bias for every step at once, then cut into steps of [B, gates * hidden], in the order they run."""
        b = self.b
        x = self.x
        if self.backwards and self.lengths is not None:
            x = b.op("ReverseSequence", x, self.lengths, time_axis=0, batch_axis=1)
        inner = (dims(x) or (0, 0, 0))[2]
        if not isinstance(inner, int):
            inner = (dims(self.w) or (0, -1))[1]
        flat = b.op("Gemm", b.reshape(x, [-1, int(inner or -1)]), self.w, bias, transB=1)
        parts = self.cut(flat)
        return parts[::-1] if self.backwards and self.lengths is None else parts

    def cut(self, flat: Value) -> list[Value]:
        """[T * B, N] as T values of [B, N]."""
        b = self.b
        if self.steps == 1:
            return [flat]
        if self.batch is not None:
            return list(b.ops("Split", flat, outputs=self.steps, axis=0, num_outputs=self.steps))
        width = (dims(flat) or (0, 0))[1]
        parts = b.ops(
            "Split",
            b.reshape(flat, [self.steps, -1, int(width or 0)]),
            outputs=self.steps,
            axis=0,
            num_outputs=self.steps,
        )
        return [b.op("Squeeze", part, b.i64([0])) for part in parts]

    def stack(self, parts: Sequence[Value]) -> Value:
        """T values of [B, H], in the order they ran, as [T, 1, B, H] in the order of the sequence."""
        b = self.b
        in_order = list(parts)
        if self.backwards and self.lengths is None:
            in_order.reverse()
        if self.batch is not None:
            joined = b.op("Concat", *in_order, axis=0)
            y = b.reshape(joined, [self.steps, self.batch, self.hidden])
        else:
            y = b.op("Concat", *(b.op("Unsqueeze", part, b.i64([0])) for part in in_order), axis=0)
        if self.backwards and self.lengths is not None:
            y = b.op("ReverseSequence", y, self.lengths, time_axis=0, batch_axis=1)
        return b.op("Unsqueeze", y, b.i64([1]))

    def masks(self) -> list[Value] | None:
        """For each step, which batch entries are still inside their sequence, bool [B, 1]; None where all always are."""
        if self.lengths is None:
            return None
        b = self.b
        line = b.like(np.arange(self.steps)[:, None], self.lengths)
        inside = b.op("Less", line, b.op("Unsqueeze", self.lengths, b.i64([0])))
        return self.cut(b.reshape(inside, [-1, 1]))

    def recur(self, state: Value, weights: Value, bias: Value | None = None) -> Value:
        """state @ weights^T + bias."""
        return self.b.op("Gemm", state, weights, bias, transB=1)

    def clipped(self, gates: Value) -> Value:
        """Gate inputs within the op's `clip`."""
        if self.clip is None:
            return gates
        return self.b.op("Clip", gates, self.b.like(-self.clip, gates), self.b.like(self.clip, gates))

    def add(self, left: Value | None, right: Value | None) -> Value | None:
        """A sum whose absent terms are zero."""
        if left is None or right is None:
            return left if right is None else right
        return self.b.op("Add", left, right)

    def part(self, value: Value | None, first: int, last: int, axis: int = 0) -> Value | None:
        """Gates `first` to `last` (exclusive) of `value`."""
        if value is None:
            return None
        b, size = self.b, self.hidden
        return b.op("Slice", value, b.i64([first * size]), b.i64([last * size]), b.i64([axis]))


def _layers(node: OpNode, b: Onnx, gates: int, default: list[str]) -> list[_Layer]:
    """The directions of `node` with their operands cut out."""
    x = node.input(0)
    if node.attr("layout"):
        x = b.op("Transpose", x, perm=[1, 0, 2])
    known = dims(x)
    if known is None or not isinstance(known[0], int):
        node.refuse(
            "the length of its sequence is known only at run time, and it is unrolled",
            "fix the sequence length with --shape, and run the model over longer sequences piece by piece",
        )
    steps, batch = known[0], known[1] if isinstance(known[1], int) else None
    direction = node.attr("direction")
    backwards = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}[direction]
    activations = activations_of(node, b, default, len(backwards))
    hidden = node.attr("hidden_size") or (node.dims(2)[2])
    if not isinstance(hidden, int):
        node.refuse("its hidden size is unknown", "fix the input shapes with --shape")
    lengths = node.optional(4)
    if (
        lengths is not None
        and (content := constant_ints(lengths)) is not None
        and all(n >= steps for n in content)
    ):
        lengths = None
    if lengths is not None:
        lengths = b.cast(lengths, DataType.INT64)
    layers = []
    for index, flag in enumerate(backwards):
        bias = None if not node.has(3) else b.op("Gather", node.input(3), b.i64(index), axis=0)
        half = gates * hidden
        layers.append(
            _Layer(
                b=b,
                x=x,
                steps=steps,
                batch=batch,
                hidden=hidden,
                w=b.op("Gather", node.input(1), b.i64(index), axis=0),
                r=b.op("Gather", node.input(2), b.i64(index), axis=0),
                bias_w=None if bias is None else b.op("Slice", bias, b.i64([0]), b.i64([half])),
                bias_r=None if bias is None else b.op("Slice", bias, b.i64([half]), b.i64([2 * half])),
                lengths=lengths,
                backwards=flag,
                activations=activations[index * len(default) : (index + 1) * len(default)],
                clip=node.attr("clip"),
            )
        )
    return layers


def _initial(node: OpNode, b: Onnx, operand: int, direction: int) -> Value | None:
    """A starting state [B, H] of one direction; None where it is absent or zero."""
    if not node.has(operand):
        return None
    content = constant_array(node.input(operand))
    if content is not None and not content.any():
        return None
    return b.op("Gather", node.input(operand), b.i64(direction), axis=1 if node.attr("layout") else 0)


def _finish(
    node: OpNode, b: Onnx, runs: Sequence[tuple[_Layer, list[Value], list[Value]]], states: int
) -> list[Value | None]:
    """Y and the last states; `runs` holds for each direction the layer, its outputs by step and its last states."""
    batch_first = bool(node.attr("layout"))
    results: list[Value | None] = [None]
    if node.wants(0):
        stacked = [layer.stack(outputs) for layer, outputs, _ in runs]
        y = stacked[0] if len(stacked) == 1 else b.op("Concat", *stacked, axis=1)
        results[0] = b.op("Transpose", y, perm=[2, 0, 1, 3]) if batch_first else y
    for state in range(states):
        if not node.wants(1 + state):
            results.append(None)
            continue
        axis = b.i64([1 if batch_first else 0])
        last = [b.op("Unsqueeze", finals[state], axis) for _, _, finals in runs]
        results.append(last[0] if len(last) == 1 else b.op("Concat", *last, axis=1 if batch_first else 0))
    return results[: len(node.outputs)]


Step = Callable[[Value, list[Value | None]], list[Value]]
"""(projected input of the step, states) -> new states, the output first."""


def _run(
    layer: _Layer, projected: Sequence[Value], states: list[Value | None], step: Step
) -> tuple[list[Value], list[Value]]:
    """Outputs by step and the last states; entries whose sequence has ended keep their state and give zeros."""
    b, masks, outputs = layer.b, layer.masks(), []
    current = states
    for index, item in enumerate(projected):
        new = step(item, current)
        output = new[0]
        if masks is not None:
            zero = b.like(0, output)
            output = b.op("Where", masks[index], output, zero)
            new = [
                b.op("Where", masks[index], value, zero if old is None else old)
                for value, old in zip(new, current, strict=True)
            ]
        outputs.append(output)
        current = list(new)
    return outputs, [value for value in current if value is not None]


@expansion("RNN")
def rnn(node: OpNode, b: Onnx) -> list[Value | None]:
    """h' = f(x W^T + h R^T + bias)."""
    runs = []
    for index, layer in enumerate(_layers(node, b, 1, ["Tanh"])):
        (f,) = layer.activations

        def step(
            item: Value, states: list[Value | None], layer: _Layer = layer, f: Activation = f
        ) -> list[Value]:
            (h,) = states
            if h is not None:
                item = b.op("Add", item, layer.recur(h, layer.r))
            return [f(layer.clipped(item))]

        projected = layer.project(layer.add(layer.bias_w, layer.bias_r))
        runs.append((layer, *_run(layer, projected, [_initial(node, b, 5, index)], step)))
    return _finish(node, b, runs, 1)


@expansion("GRU")
def gru(node: OpNode, b: Onnx) -> list[Value | None]:
    """Gates z, r, h: h' = (1 - z) * h~ + z * h, written as h~ + z * (h - h~)."""
    runs = []
    linear = bool(node.attr("linear_before_reset"))
    for index, layer in enumerate(_layers(node, b, 3, ["Sigmoid", "Tanh"])):
        bias = layer.add(layer.bias_w, layer.bias_r)
        if linear and layer.bias_w is not None:  # the recurrent bias of h~ is reset with it
            zr = layer.add(layer.part(layer.bias_w, 0, 2), layer.part(layer.bias_r, 0, 2))
            bias = b.op("Concat", zr, layer.part(layer.bias_w, 2, 3), axis=0)
        step = _linear_gru_step(layer) if linear else _gru_step(layer)
        runs.append((layer, *_run(layer, layer.project(bias), [_initial(node, b, 5, index)], step)))
    return _finish(node, b, runs, 1)


def _gates(layer: _Layer, value: Value, sizes: Sequence[int]) -> tuple[Value, ...]:
    """`value` [B, gates * H] cut into parts of so many gates each."""
    b = layer.b
    split = b.i64([size * layer.hidden for size in sizes])
    return b.ops("Split", value, split, outputs=len(sizes), axis=1)


def _mixed(b: Onnx, candidate: Value, z: Value, h: Value | None) -> Value:
    if h is None:
        return b.op("Sub", candidate, b.op("Mul", z, candidate))
    return b.op("Add", candidate, b.op("Mul", z, b.op("Sub", h, candidate)))


def _gru_step(layer: _Layer) -> Step:
    b = layer.b
    f, g = layer.activations
    r_zr, r_h = layer.part(layer.r, 0, 2), layer.part(layer.r, 2, 3)
    assert r_zr is not None
    assert r_h is not None

    def step(item: Value, states: list[Value | None]) -> list[Value]:
        (h,) = states
        zr, x_h = _gates(layer, item, [2, 1])
        if h is not None:
            zr = b.op("Add", zr, layer.recur(h, r_zr))
        z, r = _gates(layer, f(layer.clipped(zr)), [1, 1])
        if h is not None:
            x_h = b.op("Add", x_h, layer.recur(b.op("Mul", r, h), r_h))
        return [_mixed(b, g(layer.clipped(x_h)), z, h)]

    return step


def _linear_gru_step(layer: _Layer) -> Step:
    b = layer.b
    f, g = layer.activations
    bias_h = layer.part(layer.bias_r, 2, 3)
    zeros = b.like(np.zeros(2 * layer.hidden), layer.r)
    bias = None if bias_h is None else b.op("Concat", zeros, bias_h, axis=0)

    def step(item: Value, states: list[Value | None]) -> list[Value]:
        (h,) = states
        zr, x_h = _gates(layer, item, [2, 1])
        if h is None:
            z, r = _gates(layer, f(layer.clipped(zr)), [1, 1])
            x_h = x_h if bias_h is None else b.op("Add", x_h, b.op("Mul", r, bias_h))
            return [_mixed(b, g(layer.clipped(x_h)), z, None)]
        h_zr, h_h = _gates(layer, layer.recur(h, layer.r, bias), [2, 1])
        z, r = _gates(layer, f(layer.clipped(b.op("Add", zr, h_zr))), [1, 1])
        x_h = b.op("Add", x_h, b.op("Mul", r, h_h))
        return [_mixed(b, g(layer.clipped(x_h)), z, h)]

    return step


@expansion("LSTM")
def lstm(node: OpNode, b: Onnx) -> list[Value | None]:
    """Gates i, o, f, c: c' = f * c + i * c~, h' = o * tanh(c'), with peepholes from c on i and f, from c' on o."""
    runs = []
    for index, layer in enumerate(_layers(node, b, 4, ["Sigmoid", "Tanh", "Tanh"])):
        peepholes = None if not node.has(7) else b.op("Gather", node.input(7), b.i64(index), axis=0)
        if peepholes is not None and (content := constant_array(peepholes)) is not None and not content.any():
            peepholes = None
        coupled = bool(node.attr("input_forget"))
        step = _lstm_step(layer, coupled) if peepholes is None else _peephole_step(layer, coupled, peepholes)
        states = [_initial(node, b, 5, index), _initial(node, b, 6, index)]
        projected = layer.project(layer.add(layer.bias_w, layer.bias_r))
        runs.append((layer, *_run(layer, projected, states, step)))
    return _finish(node, b, runs, 2)


def _cell(b: Onnx, c: Value | None, i: Value, f: Value, candidate: Value) -> Value:
    new = b.op("Mul", i, candidate)
    return new if c is None else b.op("Add", b.op("Mul", f, c), new)


def _lstm_step(layer: _Layer, coupled: bool) -> Step:
    b = layer.b
    f_act, g_act, h_act = layer.activations

    def step(item: Value, states: list[Value | None]) -> list[Value]:
        h, c = states
        if h is not None:
            item = b.op("Add", item, layer.recur(h, layer.r))
        gates, candidate = _gates(layer, layer.clipped(item), [3, 1])
        i, o, f = _gates(layer, f_act(gates), [1, 1, 1])
        if coupled:
            f = b.op("Sub", b.like(1, i), i)
        c = _cell(b, c, i, f, g_act(candidate))
        return [b.op("Mul", o, h_act(c)), c]

    return step


def _peephole_step(layer: _Layer, coupled: bool, peepholes: Value) -> Step:
    b = layer.b
    f_act, g_act, h_act = layer.activations
    p_i, p_o, p_f = (layer.part(peepholes, k, k + 1) for k in range(3))

    def gate(value: Value, peephole: Value | None, cell: Value | None) -> Value:
        if cell is not None:
            value = b.op("Add", value, b.op("Mul", peephole, cell))
        return f_act(layer.clipped(value))

    def step(item: Value, states: list[Value | None]) -> list[Value]:
        h, c = states
        if h is not None:
            item = b.op("Add", item, layer.recur(h, layer.r))
        i, o, f, candidate = _gates(layer, item, [1, 1, 1, 1])
        i = gate(i, p_i, c)
        f = b.op("Sub", b.like(1, i), i) if coupled else gate(f, p_f, c)
        c = _cell(b, c, i, f, g_act(layer.clipped(candidate)))
        return [b.op("Mul", gate(o, p_o, c), h_act(c)), c]

    return step
