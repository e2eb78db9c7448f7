"""LSTM, GRU and RNN: one projection of all inputs at once, then a few ops a step, unrolled where the length is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphrewrite.ir import DataType, Dim, Value, constant_array, constant_ints
from graphrewrite.registry import Onnx, OpNode, expansion, lowering

from .recurrent_activations import Activation, activations_of
from .recurrent_layer import Layer, Looped, Step, Unrolled

_UNROLLED_STEPS = 1024
"""Longer sequences are loops: unrolled they would make files of ten thousands of operators."""


def _layers(node: OpNode, b: Onnx, gates: int, default: list[str]) -> list[Layer]:
    """The directions of `node` with their operands cut out."""
    x, (steps, batch, _) = node.input(0), node.dims()
    if node.attr("layout"):
        x, steps, batch = b.op("Transpose", x, perm=[1, 0, 2]), batch, steps
    backwards = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}[
        node.attr("direction")
    ]
    activations = activations_of(node, b, default, len(backwards))
    hidden = node.attr("hidden_size") or node.dims(2)[2]
    if not isinstance(hidden, int):
        node.refuse("its hidden size is unknown", "fix the input shapes with --shape")
    half = gates * hidden
    layers: list[Layer] = []
    for index, flag in enumerate(backwards):
        bias = None if not node.has(3) else b.op("Gather", node.input(3), b.i64(index), axis=0)
        layer = Layer(
            b=b,
            x=x,
            hidden=hidden,
            w=b.op("Gather", node.input(1), b.i64(index), axis=0),
            r=b.op("Gather", node.input(2), b.i64(index), axis=0),
            bias_w=None if bias is None else b.op("Slice", bias, b.i64([0]), b.i64([half])),
            bias_r=None if bias is None else b.op("Slice", bias, b.i64([half]), b.i64([2 * half])),
            lengths=_lengths(node, b, steps),
            backwards=flag,
            activations=activations[index * len(default) : (index + 1) * len(default)],
            clip=node.attr("clip"),
        )
        if isinstance(steps, int) and steps <= _UNROLLED_STEPS:
            size = batch if isinstance(batch, int) else None
            layers.append(Unrolled(**vars(layer), steps=steps, batch=size))
        else:
            layers.append(Looped(**vars(layer)))
    return layers


def _lengths(node: OpNode, b: Onnx, steps: Dim) -> Value | None:
    """sequence_lens as int64; None where every sequence is known to be whole."""
    lengths = node.optional(4)
    content = constant_ints(lengths)
    if lengths is None or (content is not None and isinstance(steps, int) and min(content) >= steps):
        return None
    return b.cast(lengths, DataType.INT64)


def _initial(node: OpNode, b: Onnx, operand: int, direction: int) -> Value | None:
    """A starting state [B, H] of one direction; None where it is absent or zero."""
    if not node.has(operand):
        return None
    content = constant_array(node.input(operand))
    if content is not None and not content.any():
        return None
    return b.op("Gather", node.input(operand), b.i64(direction), axis=1 if node.attr("layout") else 0)


def _finish(
    node: OpNode, b: Onnx, runs: Sequence[tuple[Value, list[Value]]], states: int
) -> list[Value | None]:
    """Y and the last states; `runs` holds for each direction the outputs [T, 1, B, H] and its last states."""
    batch_first = bool(node.attr("layout"))
    results: list[Value | None] = [None]
    if node.wants(0):
        stacked = [outputs for outputs, _ in runs]
        y = stacked[0] if len(stacked) == 1 else b.op("Concat", *stacked, axis=1)
        results[0] = b.op("Transpose", y, perm=[2, 0, 1, 3]) if batch_first else y
    for state in range(states):
        if not node.wants(1 + state):
            results.append(None)
            continue
        axis = b.i64([1 if batch_first else 0])
        last = [b.op("Unsqueeze", finals[state], axis) for _, finals in runs]
        results.append(last[0] if len(last) == 1 else b.op("Concat", *last, axis=1 if batch_first else 0))
    return results[: len(node.outputs)]


@expansion("RNN")
def rnn(node: OpNode, b: Onnx) -> list[Value | None]:
    """h' = f(x W^T + h R^T + bias)."""
    runs = []
    for index, layer in enumerate(_layers(node, b, 1, ["Tanh"])):
        (f,) = layer.activations

        def step(
            item: Value, states: list[Value | None], layer: Layer = layer, f: Activation = f
        ) -> list[Value]:
            (h,) = states
            if h is not None:
                item = b.op("Add", item, layer.recur(h, layer.r))
            return [f(layer.clipped(item))]

        bias = layer.add(layer.bias_w, layer.bias_r)
        runs.append(layer.run(bias, [_initial(node, b, 5, index)], step))
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
        runs.append(layer.run(bias, [_initial(node, b, 5, index)], step))
    return _finish(node, b, runs, 1)


def _gates(layer: Layer, value: Value, sizes: Sequence[int]) -> tuple[Value, ...]:
    """`value` [B, gates * H] cut into parts of so many gates each."""
    b = layer.b
    split = b.i64([size * layer.hidden for size in sizes])
    return b.ops("Split", value, split, outputs=len(sizes), axis=1)


def _mixed(b: Onnx, candidate: Value, z: Value, h: Value | None) -> Value:
    if h is None:
        return b.op("Sub", candidate, b.op("Mul", z, candidate))
    return b.op("Add", candidate, b.op("Mul", z, b.op("Sub", h, candidate)))


def _gru_step(layer: Layer) -> Step:
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


def _linear_gru_step(layer: Layer) -> Step:
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
        runs.append(layer.run(layer.add(layer.bias_w, layer.bias_r), states, step))
    return _finish(node, b, runs, 2)


def _cell(b: Onnx, c: Value | None, i: Value, f: Value, candidate: Value) -> Value:
    new = b.op("Mul", i, candidate)
    return new if c is None else b.op("Add", b.op("Mul", f, c), new)


def _lstm_step(layer: Layer, coupled: bool) -> Step:
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


def _peephole_step(layer: Layer, coupled: bool, peepholes: Value) -> Step:
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


_CELLS = frozenset({"Sigmoid", "Tanh", "Relu"})
"""Activations that OpenVINO's cells compute."""


@lowering("openvino", "LSTM", "GRU", "RNN")
def recurrent(node: OpNode, b: Onnx) -> Sequence[Value]:
    """OpenVINO's own, but for what its front end passes over silently, and what its cells lack: refused, it is expanded."""
    if node.op_type == "LSTM" and (node.has(7) or node.attr("input_forget")):
        node.not_implemented("peepholes or coupled gates")
    if node.attr("layout"):
        node.not_implemented("the batch as first dimension")
    if set(node.attr("activations") or ()) - _CELLS:
        node.not_implemented("other activations than Sigmoid, Tanh and Relu")
    return node.outputs
