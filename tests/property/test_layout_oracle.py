"""Every layout rule, against ONNX Runtime: run(rewrite(node), permute(x)) == permute(run(node, x)).

All cases of an operator are nodes of one model. Every port of every node is given another order, the layout stage is told
that inputs and outputs of the model have it too, and must then get by without a single TRANSPOSE.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
from layout_models import FLOAT, Arrays, Sketch, count, run

from graphrewrite.ir import DataType, Value, dims, is_constant, layout, rank, verify
from graphrewrite.layout.assign import Boundary, assign
from graphrewrite.layout.materialise import materialise
from graphrewrite.layout.perms import Perm, is_identity
from graphrewrite.layout.rules import FlagRule, Rule, Signatures, form
from graphrewrite.layout.tags import Forms
from graphrewrite.layout.verify import expectations, verify_layout
from graphrewrite.rewrite import Rewriter
from graphrewrite.targets.tflite.dialect import defined
from graphrewrite.targets.tflite.layout_dialect import TFLiteLayout
from graphrewrite.targets.tflite.layout_rules import RULES

CASES = 12


class Case:
    """Makes the operands of one random node."""

    def __init__(self, sketch: Sketch, r: random.Random, index: int) -> None:
        self.s, self.r, self.index, self.inputs = sketch, r, index, 0
        self.rank = r.randint(3, 5)
        self.shape = [r.randint(1, 4) for _ in range(self.rank)]

    def x(self, shape: list[int] | None = None, dtype: DataType = FLOAT) -> Value:
        """A run-time operand."""
        self.inputs += 1
        return self.s.input(
            f"x{self.index}_{self.inputs}", list(self.shape if shape is None else shape), dtype
        )

    def i32(self, content: object, *, at_run_time: bool = False) -> Value:
        """Integers: a constant, or computed at run time (from a constant, so that they are known here)."""
        array = np.asarray(content, np.int32)
        if not at_run_time:
            return self.s.t.rewriter.constant(array)
        self.inputs += 1
        name = f"i{self.index}_{self.inputs}"
        self.s.fixed[name] = array
        return self.s.input(name, list(array.shape), DataType.INT32)

    def axis(self) -> int:
        return self.r.randrange(-self.rank, self.rank)

    def axes(self) -> list[int]:
        axes = self.r.sample(range(self.rank), self.r.randint(1, self.rank - 1))
        return [axis - self.rank * self.r.randint(0, 1) for axis in axes]

    def operand(self) -> Value:
        """An operand that broadcasts against self.shape: of lower rank, with ones, or constant."""
        size = self.r.choice([self.rank, self.rank, self.r.randint(0, self.rank)])
        shape = [dim if self.r.random() < 0.6 else 1 for dim in self.shape[self.rank - size :]]
        return self.s.weight(*shape) if self.r.random() < 0.5 else self.x(shape)


Make = Callable[[Case], object]
"""Adds a node to the case's sketch; returns its outputs."""


def unary(name: str, **options: object) -> Make:
    return lambda c: c.s.op(name, c.x(), **options)


def binary(name: str, dtype: DataType = FLOAT) -> Make:
    def make(c: Case) -> Value:
        if dtype != FLOAT:
            return c.s.op(name, c.x(dtype=dtype), c.x(dtype=dtype))
        operands = [c.x(), c.operand()]
        c.r.shuffle(operands)
        return c.s.op(name, *operands)

    return make


def reduction(name: str) -> Make:
    dtype = DataType.BOOL if name in ("REDUCE_ANY", "REDUCE_ALL") else FLOAT
    return lambda c: c.s.op(name, c.x(dtype=dtype), c.i32(c.axes()), keep_dims=c.r.randint(0, 1))


def concatenation(c: Case) -> Value:
    axis = c.axis()
    parts = []
    for _ in range(c.r.randint(2, 3)):
        shape = list(c.shape)
        shape[axis] = c.r.randint(1, 3)
        parts.append(c.x(shape) if c.r.random() < 0.7 else c.s.weight(*shape))
    return c.s.op("CONCATENATION", *parts, c.x(), axis=axis)


def pack(c: Case) -> Value:
    return c.s.op("PACK", c.x(), c.x(), axis=c.r.randint(0, c.rank), values_count=2)


def unpack(c: Case) -> object:
    axis = c.axis()
    return c.s.t.ops("UNPACK", c.x(), outputs=c.shape[axis], axis=axis, num=c.shape[axis])


def split(c: Case) -> object:
    axis = c.axis()
    c.shape[axis] = 4
    return c.s.t.ops("SPLIT", c.i32(axis), c.x(), outputs=2, num_splits=2)


def split_v(c: Case) -> object:
    axis = c.axis()
    c.shape[axis] = 5
    return c.s.t.ops("SPLIT_V", c.x(), c.i32([2, 3]), c.i32(axis), outputs=2, num_splits=2)


def slice_(c: Case) -> Value:
    begin = [c.r.randrange(dim) for dim in c.shape]
    size = [c.r.choice([-1, c.r.randint(1, dim - b)]) for dim, b in zip(c.shape, begin)]
    if c.r.random() < 0.3:
        size = [dim - b for dim, b in zip(c.shape, begin)]
        return c.s.op("SLICE", c.x(), c.i32(begin, at_run_time=True), c.i32(size))
    return c.s.op("SLICE", c.x(), c.i32(begin), c.i32(size))


def strided_slice(c: Case) -> Value:
    begin = [c.r.randrange(dim) for dim in c.shape]
    shrink = sum(1 << axis for axis in range(c.rank) if c.r.random() < 0.2)
    strides = [1 if shrink >> a & 1 else c.r.choice([1, 2, -1]) for a in range(c.rank)]
    end = [b + 1 if step > 0 else b - 1 for b, step in zip(begin, strides)]
    open_end = sum(
        1 << a for a in range(c.rank) if not shrink >> a & 1 and (strides[a] < 0 or c.r.random() < 0.5)
    )
    open_begin = sum(1 << a for a in range(c.rank) if not shrink >> a & 1 and c.r.random() < 0.3)
    at_run_time = not shrink and c.r.random() < 0.3
    return c.s.op(
        "STRIDED_SLICE",
        c.x(),
        c.i32(begin, at_run_time=at_run_time),
        c.i32(end),
        c.i32(strides),
        begin_mask=open_begin,
        end_mask=open_end,
        shrink_axis_mask=shrink,
        ellipsis_mask=0,
        new_axis_mask=0,
    )


def pad(name: str, **options: object) -> Make:
    def make(c: Case) -> Value:
        limit = [dim - 1 if name == "MIRROR_PAD" else 3 for dim in c.shape]
        rows = [[c.r.randint(0, min(2, top)), c.r.randint(0, min(2, top))] for top in limit]
        fill = [c.s.t.const(1.5, FLOAT)] if name == "PADV2" else []
        return c.s.op(name, c.x(), c.i32(rows, at_run_time=c.r.random() < 0.3), *fill, **options)

    return make


def tile(c: Case) -> Value:
    times = [c.r.randint(1, 3) for _ in c.shape]
    return c.s.op("TILE", c.x(), c.i32(times, at_run_time=c.r.random() < 0.3))


def broadcast_to(c: Case) -> Value:
    size = c.r.choice([c.rank, c.r.randint(1, c.rank)])
    source = [dim if c.r.random() < 0.5 else 1 for dim in c.shape[c.rank - size :]]
    return c.s.op("BROADCAST_TO", c.x(source), c.i32(c.shape))


def gather(c: Case) -> Value:
    axis = c.axis()
    shape = [c.r.randint(1, 3) for _ in range(c.r.choice([0, 1, 1, 2]))]
    index = np.asarray([c.r.randrange(c.shape[axis]) for _ in range(int(np.prod(shape)))]).reshape(shape)
    return c.s.op("GATHER", c.x(), c.i32(index), axis=axis, batch_dims=0)


def cumsum(c: Case) -> Value:
    return c.s.op("CUMSUM", c.x(), c.i32(c.axis()), exclusive=c.r.randint(0, 1), reverse=c.r.randint(0, 1))


def reverse_sequence(c: Case) -> Value:
    batch, time = c.r.sample(range(c.rank), 2)
    lengths = [c.r.randint(1, c.shape[time]) for _ in range(c.shape[batch])]
    # ONNX Runtime reverses along the first two dimensions only, so the node is laid out for them at the end
    return c.s.op("REVERSE_SEQUENCE", c.x(), c.i32(lengths), batch_dim=batch, seq_dim=time)


def fully_connected(c: Case) -> Value:
    return c.s.op(
        "FULLY_CONNECTED",
        c.x(),
        c.s.weight(3, c.shape[-1]),
        c.s.weight(3),
        keep_num_dims=1,
        fused_activation_function="NONE",
        weights_format="DEFAULT",
    )


def batch_matmul(c: Case) -> Value:
    rows, inner, columns = (c.r.randint(1, 4) for _ in range(3))
    lead = c.shape[:-2]
    adj_x, adj_y = c.r.randint(0, 1), c.r.randint(0, 1)
    x = [*lead, *((inner, rows) if adj_x else (rows, inner))]
    y = [*lead, *((columns, inner) if adj_y else (inner, columns))]
    return c.s.op("BATCH_MATMUL", c.x(x), c.x(y), adj_x=adj_x, adj_y=adj_y)


def select(c: Case) -> Value:
    return c.s.op("SELECT_V2", c.x(dtype=DataType.BOOL), c.x(), c.operand())


def fill(c: Case) -> Value:
    return c.s.op("FILL", c.i32(c.shape), c.x([]))


def shape(c: Case) -> Value:
    return c.s.op("SHAPE", c.x(), out_type=c.r.choice(["INT32", "INT64"]))


def one_hot(c: Case) -> Value:
    on, off = c.s.t.const(1.0, FLOAT), c.s.t.const(0.0, FLOAT)
    index = c.x(dtype=DataType.INT32)
    return c.s.op("ONE_HOT", index, c.i32(3), on, off, axis=c.r.choice([-1, *range(c.rank + 1)]))


FLOAT_UNARY = [
    "ABS",
    "CEIL",
    "COS",
    "ELU",
    "EXP",
    "FLOOR",
    "HARD_SWISH",
    "LOG",
    "LOGISTIC",
    "NEG",
    "RELU",
    "RELU6",
    "RELU_0_TO_1",
    "RELU_N1_TO_1",
    "ROUND",
    "RSQRT",
    "SIGN",
    "SIN",
    "SQRT",
    "SQUARE",
    "TANH",
    "ZEROS_LIKE",
]
FLOAT_BINARY = [
    "ADD",
    "ATAN2",
    "DIV",
    "EQUAL",
    "FLOOR_DIV",
    "FLOOR_MOD",
    "GREATER",
    "GREATER_EQUAL",
    "LESS",
    "LESS_EQUAL",
    "MAXIMUM",
    "MINIMUM",
    "MUL",
    "NOT_EQUAL",
    "POW",
    "PRELU",
    "SQUARED_DIFFERENCE",
    "STABLEHLO_ADD",
    "STABLEHLO_MAXIMUM",
    "STABLEHLO_MINIMUM",
    "STABLEHLO_MULTIPLY",
    "SUB",
]
MAKERS: dict[str, Make] = {
    **{name: unary(name) for name in FLOAT_UNARY},
    **{name: binary(name) for name in FLOAT_BINARY},
    **{name: binary(name, DataType.BOOL) for name in ("LOGICAL_AND", "LOGICAL_OR")},
    **{name: reduction(name) for name in ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD")},
    **{name: reduction(name) for name in ("REDUCE_ANY", "REDUCE_ALL")},
    "LOGICAL_NOT": lambda c: c.s.op("LOGICAL_NOT", c.x(dtype=DataType.BOOL)),
    "BITWISE_XOR": binary("BITWISE_XOR", DataType.INT32),
    "GELU": unary("GELU", approximate=0),
    "LEAKY_RELU": unary("LEAKY_RELU", alpha=0.1),
    "CAST": unary("CAST", in_data_type="FLOAT32", out_data_type="INT32"),
    "SOFTMAX": unary("SOFTMAX", beta=1.0),
    "LOG_SOFTMAX": unary("LOG_SOFTMAX"),
    "L2_NORMALIZATION": unary("L2_NORMALIZATION", fused_activation_function="NONE"),
    "TOPK_V2": lambda c: c.s.t.ops("TOPK_V2", c.x(), c.i32(1), outputs=2),
    "SELECT_V2": select,
    "CONCATENATION": concatenation,
    "PACK": pack,
    "UNPACK": unpack,
    "SPLIT": split,
    "SPLIT_V": split_v,
    "SLICE": slice_,
    "STRIDED_SLICE": strided_slice,
    "PAD": pad("PAD"),
    "PADV2": pad("PADV2"),
    "MIRROR_PAD": pad("MIRROR_PAD", mode="REFLECT"),
    "TILE": tile,
    "BROADCAST_TO": broadcast_to,
    "FILL": fill,
    "GATHER": gather,
    "REVERSE_V2": lambda c: c.s.op("REVERSE_V2", c.x(), c.i32([c.axis()])),
    "CUMSUM": cumsum,
    "ARG_MAX": lambda c: c.s.op("ARG_MAX", c.x(), c.i32(c.axis()), output_type="INT32"),
    "ARG_MIN": lambda c: c.s.op("ARG_MIN", c.x(), c.i32(c.axis()), output_type="INT32"),
    "ONE_HOT": one_hot,
    "SHAPE": shape,
    "FULLY_CONNECTED": fully_connected,
    "BATCH_MATMUL": batch_matmul,
}
UNTRIED = {
    "ADD_N": "like ADD without broadcasting",
    "DEQUANTIZE": "elementwise; its meaning needs float16 or the quantisation facet",
    "QUANTIZE": "elementwise; it has no meaning in ONNX without the quantisation facet",
    "DYNAMIC_UPDATE_SLICE": "not in the dialect",
    "REVERSE_SEQUENCE": "ONNX Runtime takes its axes only as the first two dimensions",
    "RIGHT_SHIFT": "elementwise; ONNX's BitShift is for unsigned integers only",
    "STABLEHLO_AND": "elementwise, like BITWISE_XOR",
    "STABLEHLO_SHIFT_LEFT": "elementwise, like BITWISE_XOR",
}


def test_every_rule_is_tried() -> None:
    assert set(RULES) == set(MAKERS) | set(UNTRIED)
    assert set(MAKERS) <= set(defined())


def random_forms(node_outputs: list[Value], r: random.Random) -> Forms:
    """An order for every port of one node that its rule says it can follow."""
    node = node_outputs[0].producer()
    assert node is not None
    rule = RULES[node.op_type]
    signature = rule.signature(node)
    assert signature is not None, node.op_type
    ports = [
        (value, classes, is_output, index)
        for is_output, index, classes in signature.ports()
        if (value := node.outputs[index] if is_output else node.inputs[index]) is not None
        and not is_constant(value)
    ]
    if isinstance(rule, FlagRule):
        forms: Forms = {}
        for value, _, is_output, index in ports:
            size = rank(value) or 0
            swapped: Perm = (*range(size - 2), size - 1, size - 2)
            if r.random() < 0.6 and rule.accepts(node, is_output, index, swapped):
                forms[value] = swapped
        return forms
    order = None
    while order is None:
        free = [item for item in range(signature.size) if item not in signature.last]
        order = signature.order(tuple(range(signature.size)), (*r.sample(free, len(free)), *signature.last))
    found = {value: form(classes, order) for value, classes, _, _ in ports}
    return {value: perm for value, perm in found.items() if not is_identity(perm)}


def permuted(feeds: Arrays, forms: dict[str, Perm]) -> Arrays:
    return {
        name: np.ascontiguousarray(array.transpose(forms[name])) if name in forms else array
        for name, array in feeds.items()
    }


@pytest.mark.parametrize("name", sorted(MAKERS))
def test_rule(name: str) -> None:
    assert isinstance(RULES[name], Rule | FlagRule)
    r = random.Random(name)
    sketch = Sketch(len(name))
    forms: Forms = {}
    for index in range(CASES):
        made = MAKERS[name](Case(sketch, r, index))
        outputs = [made] if isinstance(made, Value) else list(made)  # type: ignore[call-overload]
        forms |= random_forms(outputs, r)
        sketch.output(*outputs)
    feeds = sketch.feeds()
    model = sketch.model
    expected = run(model, feeds)
    logical = {value: dims(value) for value in forms}
    by_name = {value.name or "": perm for value, perm in forms.items()}
    plan = assign(model.graph, Signatures(TFLiteLayout()), forms, Boundary.LAST)
    assert plan is not None
    before = {value.name: plan.forms.get(value) for value in model.graph.outputs}
    asked = expectations(model.graph, plan)
    materialise(model.graph, plan, TFLiteLayout(), Rewriter(model))
    verify_layout(asked, plan)
    verify(model)
    broadcasts = name in ("BROADCAST_TO",) or (name in FLOAT_BINARY) or name == "SELECT_V2"
    assert broadcasts or count(model, "TRANSPOSE") == 0
    inputs = {value.name for value in model.graph.inputs if layout(value) is not None}
    found = run(model, permuted(feeds, {k: p for k, p in by_name.items() if k in inputs}))
    assert logical
    for value, mine, theirs in zip(model.graph.outputs, found, expected, strict=True):
        perm = before[value.name]
        np.testing.assert_allclose(
            mine,
            theirs if perm is None else theirs.transpose(perm),
            rtol=1e-5,
            atol=1e-5,
            err_msg=f"{name} {value.name}",
        )
