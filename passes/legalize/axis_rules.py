"""What each ONNX op does with the axes of its operands, as far as merging them is concerned."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from graphrewrite.ir import Dims
from graphrewrite.registry import OpNode

from .axis_groups import Axes, Frame, Grouping, Settings

_UNARY = [
    "Abs",
    "Acos",
    "Acosh",
    "Asin",
    "Asinh",
    "Atan",
    "Atanh",
    "BitCast",
    "BitwiseNot",
    "Cast",
    "CastLike",
    "Ceil",
    "Celu",
    "Clip",
    "Cos",
    "Cosh",
    "Elu",
    "Erf",
    "Exp",
    "Floor",
    "Gelu",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "IsInf",
    "IsNaN",
    "LeakyRelu",
    "Log",
    "Mish",
    "Neg",
    "Not",
    "Reciprocal",
    "Relu",
    "Round",
    "Selu",
    "Shrink",
    "Sigmoid",
    "Sign",
    "Sin",
    "Sinh",
    "Softplus",
    "Softsign",
    "Sqrt",
    "Swish",
    "Tan",
    "Tanh",
    "ThresholdedRelu",
]
_BROADCASTING = [
    "Add",
    "And",
    "BitShift",
    "BitwiseAnd",
    "BitwiseOr",
    "BitwiseXor",
    "Div",
    "Equal",
    "Greater",
    "GreaterOrEqual",
    "Less",
    "LessOrEqual",
    "Max",
    "Mean",
    "Min",
    "Mod",
    "Mul",
    "Or",
    "PRelu",
    "Pow",
    "Sub",
    "Sum",
    "Where",
    "Xor",
]
_REDUCTIONS = ["L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare"]


def axes_of(node: OpNode) -> Axes:
    """What `node` does with axes.

    Raises:
        Refusal: something that it depends on is known only at run time.
        KeyError: its op has no rule.
    """
    return _RULES[node.op_type](node)


def _frame(sizes: Dims, labels: Sequence[int] | None = None) -> Frame:
    return Frame(tuple(range(len(sizes)) if labels is None else labels), sizes)


def _result(node: OpNode, index: int = 0) -> Dims:
    found = node.output_dims(index)
    if found is None:
        node.refuse("the rank of the result is unknown", "fix the input shapes with --shape")
    return found


def _constant(node: OpNode, index: int, what: str) -> list[int]:
    found = node.ints(index)
    if found is None:
        node.refuse(f"the {what} are known only at run time", "make them constants")
    return found


def _axes(node: OpNode, index: int, default: Sequence[int]) -> list[int]:
    """Operand `index` as non-negative axes of operand 0."""
    if not node.has(index):
        return list(default)
    return [axis % node.rank() for axis in _constant(node, index, "axes")]


def _unary(node: OpNode) -> Axes:
    return Axes({0: _frame(node.dims())}, [_frame(node.dims())])


def _aligned(node: OpNode, shapes: Sequence[Dims], size: int) -> list[Dims]:
    """`shapes` with 1s in front up to `size` dimensions, when it is known which of them are broadcast: along each axis one alone
    is not 1, or all that are not are equal."""
    full: list[Dims] = [(1,) * (size - len(shape)) + tuple(shape) for shape in shapes]
    for column in zip(*full, strict=True):
        wide = [own for own in column if own != 1]
        if len(wide) > 1 and (None in wide or len(set(wide)) > 1):
            node.refuse("whether a dimension is broadcast is known only at run time", "fix it with --shape")
    return full


def _broadcasting(node: OpNode) -> Axes:
    result = _result(node)
    shapes = _aligned(node, [node.dims(at) for at in range(len(node))], len(result))
    return Axes({at: _frame(sizes) for at, sizes in enumerate(shapes)}, [_frame(result)], aligns=True)


def _expand(node: OpNode) -> Axes:
    x, wanted = _aligned(node, [node.dims(), tuple(_constant(node, 1, "sizes"))], len(_result(node)))
    frame = _frame(x)
    result = _frame(tuple(own if new == 1 else new for own, new in zip(x, wanted, strict=True)))

    def settle(made: Grouping) -> Settings:
        """1 leaves a dimension as it is."""
        repeated = [all(x[label] == 1 for label in group) for group in made.groups(frame)]
        return {}, {
            1: [size if copies else 1 for copies, size in zip(repeated, made.shape(result), strict=True)]
        }

    return Axes({0: frame}, [result], settle=settle, aligns=True)


def _transpose(node: OpNode) -> Axes:
    x = _frame(node.dims())
    perm = node.attr("perm") or list(reversed(x.labels))
    y = _frame(tuple(x.sizes[axis] for axis in perm), perm)
    return Axes({0: x}, [y], settle=lambda made: ({"perm": order(made, x, y)}, {}))


def order(made: Grouping, x: Frame, y: Frame) -> list[int]:
    """Where each group of `y` stands in `x`."""
    return [made.place(x, group[0]) for group in made.groups(y)]


def _reduction(node: OpNode) -> Axes:
    x = _frame(node.dims())
    everything = [] if node.attr("noop_with_empty_axes", 0) else x.labels
    axes = _axes(node, 1, everything) or list(everything)
    y = _without(x, axes)
    pinned = frozenset(axes[:1] if all(x.sizes[axis] == 1 for axis in axes) else ())

    def settle(made: Grouping) -> Settings:
        return {"keepdims": 0}, {1: made.places(x, axes)}

    return Axes({0: x}, [y], pinned, settle)


def _without(x: Frame, axes: Sequence[int]) -> Frame:
    left = [label for label in x.labels if label not in axes]
    return _frame(tuple(x.sizes[label] for label in left), left)


def _index_of_extreme(node: OpNode) -> Axes:
    x, axis = _frame(node.dims()), node.axis()
    settle = _axis_attribute(x, axis, keepdims=0)
    return Axes({0: x}, [_without(x, [axis])], frozenset({axis}), settle)


def _axis_attribute(x: Frame, axis: int, **others: int) -> Callable[[Grouping], Settings]:
    return lambda made: ({"axis": made.place(x, axis), **others}, {})


def _along_attribute(node: OpNode) -> Axes:
    """Something along the axis that an attribute names: Softmax, Split, Concat, TopK, ..."""
    x, axis = _frame(node.dims()), node.axis()
    count = len(node) if node.op_type == "Concat" else 1
    results = [_frame(_result(node, at)) for at in range(len(node.outputs))]
    operands = {at: _frame(node.dims(at)) for at in range(count)}
    return Axes(operands, results, frozenset({axis}), _axis_attribute(x, axis))


def _along_operand(node: OpNode) -> Axes:
    """CumSum: operand 1 is the axis, a scalar."""
    x = _frame(node.dims())
    axis = _constant(node, 1, "axes")[0] % len(x.labels)
    return Axes({0: x}, [x], frozenset({axis}), lambda made: ({}, {1: made.place(x, axis)}))


def _slice(node: OpNode) -> Axes:
    x = _frame(node.dims())
    axes = _axes(node, 3, range(len(_constant(node, 1, "starts"))))
    return Axes(
        {0: x},
        [_frame(_result(node))],
        frozenset(axes),
        lambda made: ({}, {3: [made.place(x, axis) for axis in axes]}),
    )


def _pad(node: OpNode) -> Axes:
    x = _frame(node.dims())
    axes, pads = _axes(node, 3, x.labels), _constant(node, 1, "pads")
    amounts = dict(zip(axes, zip(pads[: len(axes)], pads[len(axes) :], strict=True), strict=True))
    cut = [axis for axis in axes if any(amounts[axis])]

    def settle(made: Grouping) -> Settings:
        places = {made.place(x, axis): amounts[axis] for axis in cut}
        count = len(made.groups(x))
        written = [places.get(at, (0, 0))[side] for side in (0, 1) for at in range(count)]
        return {}, {1: written, 3: None}

    return Axes({0: x}, [_frame(_result(node))], frozenset(cut), settle)


def _tile(node: OpNode) -> Axes:
    x, repeats = _frame(node.dims()), _constant(node, 1, "repeats")
    repeated = {axis: count for axis, count in enumerate(repeats) if count != 1}

    def settle(made: Grouping) -> Settings:
        return {}, {1: [repeated.get(group[0], 1) for group in made.groups(x)]}

    return Axes({0: x}, [_frame(_result(node))], frozenset(repeated), settle)


def _gather(node: OpNode) -> Axes:
    x, axis = _frame(node.dims()), node.axis(default=0)
    picked = node.dims(1)
    indices = _frame(picked, range(len(x.labels), len(x.labels) + len(picked)))
    labels = (*x.labels[:axis], *indices.labels, *x.labels[axis + 1 :])
    y = _frame((*x.sizes[:axis], *picked, *x.sizes[axis + 1 :]), labels)
    return Axes({0: x, 1: indices}, [y], frozenset({axis}), _axis_attribute(x, axis))


def _gather_elements(node: OpNode) -> Axes:
    x, indices = _frame(node.dims()), _frame(node.dims(1))
    axis = node.axis(default=0)
    differ = {at for at in x.labels if x.sizes[at] is None or x.sizes[at] != indices.sizes[at]}
    pinned = frozenset({axis} | differ)
    return Axes({0: x, 1: indices}, [indices], pinned, _axis_attribute(x, axis))


def _matmul(node: OpNode) -> Axes:
    result = _result(node)
    if node.rank(0) < 2 or node.rank(1) < 2:
        node.refuse("a vector has no batch dimensions")
    batch = len(result) - 2
    rows, inner, columns = batch, batch + 1, batch + 2

    fronts = _aligned(node, [node.dims(0)[:-2], node.dims(1)[:-2]], batch)
    a = _frame((*fronts[0], *node.dims(0)[-2:]), (*range(batch), rows, inner))
    b = _frame((*fronts[1], *node.dims(1)[-2:]), (*range(batch), inner, columns))
    y = _frame(result, (*range(batch), rows, columns))
    return Axes({0: a, 1: b}, [y], frozenset({rows, inner, columns}))


def _triangle(node: OpNode) -> Axes:
    x = _frame(node.dims())
    return Axes({0: x}, [x], frozenset(x.labels[-2:]))


_RULES: dict[str, Callable[[OpNode], Axes]] = {
    **dict.fromkeys(_UNARY, _unary),
    **dict.fromkeys(_BROADCASTING, _broadcasting),
    **{f"Reduce{name}": _reduction for name in _REDUCTIONS},
    **dict.fromkeys(("ArgMax", "ArgMin"), _index_of_extreme),
    **dict.fromkeys(("Softmax", "LogSoftmax", "Hardmax", "Split", "Concat", "TopK"), _along_attribute),
    "CumSum": _along_operand,
    "Expand": _expand,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "MatMul": _matmul,
    "Pad": _pad,
    "Slice": _slice,
    "Tile": _tile,
    "Transpose": _transpose,
    "Trilu": _triangle,
}
RULED: tuple[str, ...] = tuple(_RULES)
"""The ops that have a rule."""
