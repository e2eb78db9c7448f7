"""One direction of a recurrent op over its sequence: unrolled where the length is known, a Loop otherwise."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from graphrewrite.ir import DataType, Graph, Shape, TensorType, Value, dims
from graphrewrite.registry import Onnx

from .recurrent_activations import Activation

Step = Callable[[Value, list[Value | None]], list[Value]]
"""(projected input of the step [B, gates * H], states [B, H]) -> new states, the output first."""


@dataclasses.dataclass
class Layer:
    """Operands of one direction. Sequences are [T, B, ...]; a state of None is zero."""

    b: Onnx
    x: Value
    hidden: int
    w: Value
    r: Value
    bias_w: Value | None
    bias_r: Value | None
    lengths: Value | None
    backwards: bool
    activations: Sequence[Activation]
    clip: float | None

    def run(self, bias: Value | None, states: list[Value | None], step: Step) -> tuple[Value, list[Value]]:
        """The outputs [T, 1, B, H] and the last states; entries whose sequence has ended keep their state and give zeros."""
        raise NotImplementedError

    def source(self) -> Value:
        """The sequence; turned around within its lengths where it runs backwards and they differ."""
        return self.turned(self.x) if self.lengths is not None else self.x

    def turned(self, sequence: Value) -> Value:
        """[T, B, ...] in the opposite order where the direction is backwards."""
        b = self.b
        if not self.backwards:
            return sequence
        if self.lengths is not None:
            return b.op("ReverseSequence", sequence, self.lengths, time_axis=0, batch_axis=1)
        ends = b.i64([np.iinfo(np.int64).min + 1])
        return b.op("Slice", sequence, b.i64([-1]), ends, b.i64([0]), b.i64([-1]))

    def within(
        self, mask: Value | None, new: list[Value], old: list[Value | None]
    ) -> tuple[Value, list[Value]]:
        """Output and states of a step where `mask` (bool [B, 1]) says which sequences still run."""
        if mask is None:
            return new[0], new
        b = self.b
        zero = b.like(0, new[0])
        kept = [
            b.op("Where", mask, value, zero if before is None else before)
            for value, before in zip(new, old, strict=True)
        ]
        return b.op("Where", mask, new[0], zero), kept

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


@dataclasses.dataclass
class Unrolled(Layer):
    """`steps` copies of the step, after one projection of all inputs at once."""

    steps: int
    batch: int | None

    def run(self, bias: Value | None, states: list[Value | None], step: Step) -> tuple[Value, list[Value]]:
        projected, masks, outputs = self._project(bias), self._masks(), []
        current = states
        for index, item in enumerate(projected):
            mask = None if masks is None else masks[index]
            output, new = self.within(mask, step(item, current), current)
            outputs.append(output)
            current = list(new)
        return self._stack(outputs), [value for value in current if value is not None]

    def _project(self, bias: Value | None) -> list[Value]:
        """x @ w^T + bias for every step, cut into steps of [B, gates * H], in the order they run."""
        x = self.source()
        inner = (dims(x) or (0, 0, 0))[2]
        if not isinstance(inner, int):
            inner = (dims(self.w) or (0, -1))[1]
        flat = self.b.op("Gemm", self.b.reshape(x, [-1, int(inner or -1)]), self.w, bias, transB=1)
        parts = self._cut(flat)
        return parts[::-1] if self.backwards and self.lengths is None else parts

    def _cut(self, flat: Value) -> list[Value]:
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

    def _stack(self, parts: Sequence[Value]) -> Value:
        """T values of [B, H], in the order they ran, as [T, 1, B, H] in the order of the sequence."""
        b = self.b
        in_order = list(parts)
        if self.backwards and self.lengths is None:
            in_order.reverse()
        if self.batch is not None:
            y = b.reshape(b.op("Concat", *in_order, axis=0), [self.steps, self.batch, self.hidden])
        else:
            y = b.op("Concat", *(b.op("Unsqueeze", part, b.i64([0])) for part in in_order), axis=0)
        return b.op("Unsqueeze", y if self.lengths is None else self.turned(y), b.i64([1]))

    def _masks(self) -> list[Value] | None:
        """For each step, which batch entries are still inside their sequence; None where all always are."""
        if self.lengths is None:
            return None
        b = self.b
        line = b.like(np.arange(self.steps)[:, None], self.lengths)
        inside = b.op("Less", line, b.op("Unsqueeze", self.lengths, b.i64([0])))
        return self._cut(b.reshape(inside, [-1, 1]))


class Looped(Layer):
    """A Loop over a sequence whose length is known only at run time; the projection still is one for all steps."""

    def run(self, bias: Value | None, states: list[Value | None], step: Step) -> tuple[Value, list[Value]]:
        b = self.b
        x = self.turned(self.x)
        projected = b.op("MatMul", x, b.op("Transpose", self.w, perm=[1, 0]))
        if bias is not None:
            projected = b.op("Add", projected, bias)
        sizes = b.op("Concat", b.op("Shape", x, start=1, end=2), b.i64([self.hidden]), axis=0)
        initial = [b.op("Expand", b.like(0, x), sizes) if value is None else value for value in states]
        rounds = b.op("Squeeze", b.op("Shape", x, start=0, end=1), b.i64([0]))
        body = self._body(projected, initial, step)
        *last, y = b.ops(
            "Loop", rounds, b.const(True, DataType.BOOL), *initial, outputs=len(initial) + 1, body=body
        )
        return b.op("Unsqueeze", self.turned(y), b.i64([1])), last

    def _body(self, projected: Value, initial: Sequence[Value], step: Step) -> Graph:
        """(round, go, states) -> (go, states, output of the round)."""
        b, name = self.b, self.b.rewriter.unique_name
        turn = Value(name=name("round"), type=TensorType(DataType.INT64), shape=Shape([]))
        go = Value(name=name("go"), type=TensorType(DataType.BOOL), shape=Shape([]))
        states = [Value(name=name("state"), type=value.type, shape=value.shape) for value in initial]
        graph = Graph([turn, go, *states], [], nodes=[], name=name("step"))
        with b.rewriter.inside(graph):
            mask = None
            if self.lengths is not None:
                mask = b.op("Unsqueeze", b.op("Less", turn, self.lengths), b.i64([-1]))
            item = b.op("Gather", projected, turn, axis=0)
            output, new = self.within(mask, step(item, list(states)), list(states))
            results = [b.op("Identity", value) for value in (go, *new, output)]
        graph.outputs.extend(results)
        return graph
