"""Einsum in transposes, reshapes, products and sums: any equation of ONNX's grammar."""

from __future__ import annotations

import math
from collections.abc import Sequence

from graphrewrite.ir import Dim, Value, dims
from graphrewrite.registry import Onnx, OpNode, expansion


class _Term:
    """An operand and the label of each of its dimensions; a dimension that an ellipsis stands for has a label like `...0`."""

    def __init__(self, b: Onnx, value: Value, labels: Sequence[str]) -> None:
        self.b = b
        self.value = value
        self.labels = list(labels)

    def sizes(self) -> dict[str, Dim]:
        return dict(zip(self.labels, dims(self.value) or (), strict=True))

    def ordered(self, labels: Sequence[str]) -> _Term:
        """With its dimensions in the order of `labels`, which are all of its own."""
        perm = [self.labels.index(label) for label in labels]
        if perm == list(range(len(perm))):
            return self
        return _Term(self.b, self.b.op("Transpose", self.value, perm=perm), labels)

    def summed(self, labels: Sequence[str]) -> _Term:
        """Summed over `labels`."""
        if not labels:
            return self
        axes = self.b.i64([self.labels.index(label) for label in labels])
        rest = [label for label in self.labels if label not in labels]
        return _Term(self.b, self.b.op("ReduceSum", self.value, axes, keepdims=0), rest)

    def widened(self, labels: Sequence[str]) -> Value:
        """With dimensions of 1 where `labels`, a superset of its own in order, has one that it lacks."""
        missing = [index for index, label in enumerate(labels) if label not in self.labels]
        return self.b.op("Unsqueeze", self.value, self.b.i64(missing)) if missing else self.value


@expansion("Einsum")
def einsum(node: OpNode, b: Onnx) -> Value:
    operands = [node.input(index) for index in range(len(node))]
    inputs, output = _parse(node, operands)
    terms = [_diagonal(node, _Term(b, value, labels)) for value, labels in zip(operands, inputs, strict=True)]
    for index, term in enumerate(terms):
        others = {label for other in terms[:index] + terms[index + 1 :] for label in other.labels}
        terms[index] = term.summed(
            [label for label in term.labels if label not in others and label not in output]
        )
    result = terms[0]
    for index, term in enumerate(terms[1:], 1):
        later = {label for other in terms[index + 1 :] for label in other.labels} | set(output)
        result = _product(result, term, later)
    return result.ordered(output).value


def _parse(node: OpNode, operands: Sequence[Value]) -> tuple[list[list[str]], list[str]]:
    """The labels of each operand and of the result."""
    equation = node.attr("equation").replace(" ", "")
    left, arrow, right = equation.partition("->")
    parts = left.split(",")
    if len(parts) != len(operands):
        node.refuse(f"the equation '{equation}' is for {len(parts)} operands, and there are {len(operands)}")
    spans = [node.rank(index) - len(part.replace("...", "")) for index, part in enumerate(parts)]
    widest = max((span for span, part in zip(spans, parts, strict=True) if "..." in part), default=0)
    inputs = [_labels(part, widest, span) for part, span in zip(parts, spans, strict=True)]
    for index, labels in enumerate(inputs):
        if len(labels) != node.rank(index):
            node.refuse(
                f"the equation '{equation}' does not fit the rank {node.rank(index)} of operand {index}"
            )
    if arrow:
        return inputs, _labels(right, widest, widest)
    everything = [label for labels in inputs for label in labels]
    once = sorted(label for label in everything if len(label) == 1 and everything.count(label) == 1)
    return inputs, [*_labels("...", widest, widest), *once]


def _labels(term: str, widest: int, span: int) -> list[str]:
    """One label a dimension; an ellipsis of `span` dimensions is aligned to the right of the widest."""
    before, ellipsis, after = term.partition("...")
    middle = [f"...{index}" for index in range(widest - span, widest)] if ellipsis else []
    return [*before, *middle, *after]


def _diagonal(node: OpNode, term: _Term) -> _Term:
    """A label that stands twice in one operand picks its diagonal: every (n + 1)-th element of the n * n."""
    b = term.b
    for label in dict.fromkeys(term.labels):
        while term.labels.count(label) > 1:
            first = term.labels.index(label)
            second = term.labels.index(label, first + 1)
            rest = [index for index in range(len(term.labels)) if index not in (first, second)]
            size = term.sizes()[label]
            if not isinstance(size, int):
                node.refuse(
                    f"the size of the repeated index '{label}' is known only at run time",
                    "fix it with --shape",
                )
            turned = b.op("Transpose", term.value, perm=[*rest, first, second])
            flat = b.reshape(turned, [*([0] * len(rest)), size * size])
            picked = b.op("Slice", flat, b.i64([0]), b.i64([size * size]), b.i64([-1]), b.i64([size + 1]))
            term = _Term(b, picked, [*(term.labels[index] for index in rest), label])
    return term


def _product(left: _Term, right: _Term, later: set[str]) -> _Term:
    """Both operands multiplied, and summed over what they share and nothing later needs."""
    shared = [label for label in left.labels if label in right.labels]
    batch = [label for label in shared if label in later]
    inner = [label for label in shared if label not in later]
    rows = [label for label in left.labels if label not in shared]
    columns = [label for label in right.labels if label not in shared]
    sizes = {**right.sizes(), **{k: v for k, v in left.sizes().items() if v != 1 or k not in right.labels}}
    matrix = inner and not any(label.startswith("...") for label in inner)
    if not matrix or not all(_flattens(group, sizes) for group in (rows, inner, columns)):
        return _elementwise(left, right, [*batch, *rows, *columns, *inner]).summed(inner)
    a = _matrix(left.ordered([*batch, *rows, *inner]), len(batch), rows, inner, sizes)
    c = _matrix(right.ordered([*batch, *inner, *columns]), len(batch), inner, columns, sizes)
    return _unfold(left.b, left.b.op("MatMul", a, c), batch, rows, columns, sizes)


def _flattens(group: list[str], sizes: dict[str, Dim]) -> bool:
    """True where the group's dimensions can be made one and taken apart again."""
    return len(group) == 1 or all(isinstance(sizes[label], int) for label in group)


def _elementwise(left: _Term, right: _Term, labels: list[str]) -> _Term:
    values = [
        term.ordered([label for label in labels if label in term.labels]).widened(labels)
        for term in (left, right)
    ]
    return _Term(left.b, left.b.op("Mul", *values), labels)


def _matrix(term: _Term, batch: int, first: list[str], second: list[str], sizes: dict[str, Dim]) -> Value:
    """[batch..., first..., second...] as [batch..., prod(first), prod(second)]; single dimensions keep their place by a 0."""
    if len(first) == len(second) == 1:
        return term.value
    if len(first) == 1:
        return term.b.reshape(term.value, [*([0] * (batch + 1)), _size(second, sizes)])
    return term.b.reshape(term.value, [*([0] * batch), _size(first, sizes), _size(second, sizes)])


def _size(group: list[str], sizes: dict[str, Dim]) -> int:
    """How many elements the group has; -1 for a single dimension known only at run time."""
    known = [sizes[label] for label in group]
    whole = [size for size in known if isinstance(size, int)]
    return math.prod(whole) if len(whole) == len(known) else -1


def _unfold(
    b: Onnx, y: Value, batch: list[str], rows: list[str], columns: list[str], sizes: dict[str, Dim]
) -> _Term:
    labels = [*batch, *rows, *columns]
    if len(rows) == len(columns) == 1:
        return _Term(b, y, labels)
    tail = [
        -1 if not isinstance(sizes[label], int) else int(sizes[label] or 0) for label in (*rows, *columns)
    ]
    return _Term(b, b.reshape(y, [*([0] * len(batch)), *tail]), labels)
