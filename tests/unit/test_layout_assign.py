"""Whole small networks: equal before and after, no transposes left that need not be, the same labels in any node order."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from layout_models import FLOAT, Sketch, count, lay_out, run

from graphrewrite.errors import InternalError, UsageError
from graphrewrite.ir import DataType, Value, layout, verify
from graphrewrite.layout.assign import assign
from graphrewrite.layout.materialise import materialise
from graphrewrite.layout.rules import Signatures
from graphrewrite.layout.tags import channels_last_forms
from graphrewrite.layout.verify import expectations, verify_layout
from graphrewrite.pipeline.discovery import known_passes
from graphrewrite.rewrite import Rewriter
from graphrewrite.targets.base import target
from graphrewrite.targets.tflite.layout_dialect import TFLiteLayout


def same(sketch: Sketch, *, transposes: int, **options: str) -> None:
    """Run the pass; outputs must be equal and `transposes` be left."""
    feeds = sketch.feeds()
    names = [value.name for value in sketch.model.graph.outputs]
    expected = run(sketch.model, feeds)
    lay_out(sketch.model, **options)
    verify(sketch.model)
    assert [value.name for value in sketch.model.graph.outputs] == names
    for mine, theirs in zip(run(sketch.model, feeds), expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5)
    assert count(sketch.model, "TRANSPOSE") == transposes


def residual(s: Sketch, x: Value, channels: int) -> Value:
    y = s.op("RELU", s.conv(x, channels))
    y = s.op("MUL", s.conv(y, channels, depthwise=True), s.weight(channels, 1, 1))
    return s.op("ADD", y, s.conv(x, channels, kernel=1))


@pytest.mark.parametrize("batch", [1, 2, "n"])
def test_classifier(batch: int | str) -> None:
    s = Sketch()
    x = residual(s, s.input("x", [batch, 3, 8, 8]), 4)
    x = s.op("CONCATENATION", residual(s, x, 4), x, axis=1)
    gate = s.op("MEAN", x, s.t.i32([2, 3]), keep_dims=1)
    x = s.op("MUL", x, s.op("LOGISTIC", s.conv(gate, 8, kernel=1)))
    x = s.op("PAD", x, s.t.i32([[0, 0], [0, 0], [1, 1], [0, 2]]))
    x = s.op("MEAN", residual(s, x, 4), s.t.i32([2, 3]), keep_dims=0)
    s.output(s.op("SOFTMAX", x, beta=1.0))
    same(s, transposes=1)


def test_inputs_and_outputs_may_be_channels_last() -> None:
    for option, shape in (("last", [1, 8, 8, 3]), ("free", [1, 8, 8, 3]), ("keep", [1, 3, 8, 8])):
        s = Sketch()
        x = s.input("x", [1, 3, 8, 8])
        s.output(residual(s, x, 4))
        feeds = s.feeds()
        expected = run(s.model, feeds)[0]
        lay_out(s.model, io_layout=option)
        assert list(x.shape or ()) == shape
        last = option != "keep"
        assert count(s.model, "TRANSPOSE") == (0 if last else 2)
        if last:
            feeds["x"] = np.ascontiguousarray(feeds["x"].transpose(0, 2, 3, 1))
            expected = expected.transpose(0, 2, 3, 1)
        np.testing.assert_allclose(run(s.model, feeds)[0], expected, rtol=1e-4, atol=1e-5)


def test_an_unknown_io_layout_is_refused() -> None:
    with pytest.raises(UsageError, match="keep, last or free"):
        known_passes()["assign-layout"](io_layout="first")  # type: ignore[call-arg]


def test_tokens_come_out_of_a_convolution_for_free() -> None:
    """[N, C, H, W] -> [N, C, HW] -> [N, HW, C] is a RESHAPE of what the convolution writes."""
    s = Sketch()
    x = s.t.reshape(s.conv(s.input("x", [1, 3, 8, 8]), 6), [1, 6, 64])
    x = s.op("SOFTMAX", s.t.transpose(x, [0, 2, 1]), beta=1.0)
    s.output(x)
    same(s, transposes=1)


def test_channel_shuffle_stays_one_transpose() -> None:
    s = Sketch()
    x = s.op("RELU", s.conv(s.input("x", [1, 3, 8, 8]), 6))
    x = s.t.transpose(s.t.reshape(x, [1, 2, 3, 8, 8]), [0, 2, 1, 3, 4])
    s.output(s.op("MEAN", s.conv(s.t.reshape(x, [1, 6, 8, 8]), 4), s.t.i32([2, 3]), keep_dims=0))
    same(s, transposes=2)


def test_attention_over_pixels_needs_no_transpose() -> None:
    """Swapped operands and results of BATCH_MATMUL are flags."""
    s = Sketch()
    x = s.conv(s.input("x", [1, 3, 6, 6]), 4)
    q, k, v = (s.t.reshape(s.conv(x, 4, kernel=1), [1, 4, 36]) for _ in range(3))
    scores = s.op("SOFTMAX", s.op("BATCH_MATMUL", s.t.transpose(q, [0, 2, 1]), k, adj_x=0, adj_y=0), beta=1.0)
    y = s.op("BATCH_MATMUL", v, s.t.transpose(scores, [0, 2, 1]), adj_x=0, adj_y=0)
    y = s.op("ADD", s.t.reshape(y, [1, 4, 6, 6]), x)
    s.output(s.op("MEAN", s.conv(y, 2), s.t.i32([2, 3]), keep_dims=0))
    same(s, transposes=1)


def test_transposes_meet_across_elementwise_operators() -> None:
    s = Sketch()
    x = s.t.transpose(s.input("x", [2, 3, 4, 5]), [0, 2, 1, 3])
    x = s.op("ADD", s.op("EXP", x), s.weight(4, 1, 5))
    s.output(s.t.transpose(x, [0, 2, 1, 3]))
    same(s, transposes=0)


def test_a_transpose_sinks_to_where_there_is_less_to_move() -> None:
    s = Sketch()
    x = s.t.transpose(s.input("x", [8, 16, 16, 16]), [1, 0, 2, 3])
    s.output(s.op("SUM", s.op("EXP", x), s.t.i32([2, 3]), keep_dims=1))
    same(s, transposes=1)
    left = target("tflite").transposes_left(s.model)
    assert left[0].bytes == 8 * 16 * 4


def test_run_time_slices_pads_and_shapes() -> None:
    s = Sketch()
    begin = s.input("begin", [4], DataType.INT32)
    pads = s.input("pads", [4, 2], DataType.INT32)
    s.fixed = {
        "begin": np.asarray([0, 1, 2, 3], np.int32),
        "pads": np.asarray([[0, 0], [1, 0], [0, 2], [1, 1]], np.int32),
    }
    x = s.op("RELU", s.conv(s.input("x", ["n", 3, 8, 8]), 4))
    y = s.op("SLICE", x, begin, s.t.i32([1, 2, 3, 4]))
    y = s.op("PAD", y, pads)
    s.output(s.op("SUM", s.conv(x, 4), s.t.i32([2, 3]), keep_dims=0), s.op("SHAPE", x, out_type="INT32"))
    s.output(s.op("REDUCE_MAX", y, s.t.i32([1, 2, 3]), keep_dims=0))
    same(s, transposes=1)


def test_operands_of_lower_rank() -> None:
    s = Sketch()
    x = s.conv(s.input("x", [2, 3, 8, 6]), 4)
    plane, row, scalar = s.input("plane", [8, 6]), s.input("row", [6]), s.input("scalar", [])
    per_channel = s.input("channels", [4, 1, 1])
    for other in (plane, row, scalar, per_channel, s.weight(8, 1), s.weight()):
        x = s.op("ADD", s.op("MUL", x, other), other)
    s.output(s.op("SUM", s.conv(x, 4), s.t.i32([2, 3]), keep_dims=0))
    same(s, transposes=1)


def test_volumes() -> None:
    s = Sketch()
    options = {
        "padding": "SAME",
        "stride_d": 1,
        "stride_h": 1,
        "stride_w": 1,
        "fused_activation_function": "NONE",
    }
    options |= {"dilation_d_factor": 1, "dilation_h_factor": 1, "dilation_w_factor": 1}
    x = s.t.to_last(s.input("x", [1, 2, 4, 4, 4]))
    x = s.t.to_first(s.op("CONV_3D", x, s.weight(3, 3, 3, 2, 4), s.weight(4), **options))
    x = s.op("ADD", s.op("RELU", x), s.weight(4, 1, 1, 1))
    x = s.t.to_first(s.op("CONV_3D", s.t.to_last(x), s.weight(1, 1, 1, 4, 2), s.weight(2), **options))
    s.output(s.op("MEAN", x, s.t.i32([2, 3, 4]), keep_dims=0))
    same(s, transposes=1)


def test_an_output_in_the_middle_keeps_its_name_and_order() -> None:
    s = Sketch()
    x = s.op("RELU", s.conv(s.input("x", [1, 3, 8, 8]), 4))
    s.output(x, s.op("MEAN", s.conv(x, 4), s.t.i32([2, 3]), keep_dims=0))
    same(s, transposes=2)
    assert layout(s.model.graph.outputs[0]) is None


def random_network(seed: int) -> Sketch:
    """A random graph of everything the stage knows; every value [1, 4, 6, 6]."""
    s, r = Sketch(seed), random.Random(seed)
    pool = [s.input("x", [1, 4, 6, 6]), s.input("y", [1, 4, 6, 6])]
    for _ in range(r.randint(4, 16)):
        a, b = r.choice(pool[-4:]), r.choice(pool)
        match r.randrange(10):
            case 0 | 1 | 2:
                z = s.conv(a, 4)
            case 3:
                z = s.op("RELU", a)
            case 4 | 5:
                z = s.op(r.choice(["ADD", "MUL"]), a, b)
            case 6:
                z = s.op(
                    "SLICE", s.op("CONCATENATION", a, b, axis=1), s.t.i32([0, 2, 0, 0]), s.t.i32([1, 4, 6, 6])
                )
            case 7:
                z = s.op("SOFTMAX", a, beta=1.0)
            case 8:
                z = s.op("MUL", a, s.op("SUM", b, s.t.i32([r.choice([1, 2, 3])]), keep_dims=1))
            case _:
                half = s.t.transpose(s.t.reshape(a, [1, 2, 2, 6, 6]), [0, 2, 1, 3, 4])
                z = s.t.reshape(half, [1, 4, 6, 6])
        pool.append(z)
    s.output(s.op("RELU", pool[-1]), s.op("EXP", pool[-2]))
    return s


@pytest.mark.parametrize("seed", range(25))
def test_random_networks(seed: int) -> None:
    s = random_network(seed)
    feeds = s.feeds()
    before = count(s.model, "TRANSPOSE")
    expected = run(s.model, feeds)
    lay_out(s.model)
    verify(s.model)
    for mine, theirs in zip(run(s.model, feeds), expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=2e-3, atol=1e-4)
    assert count(s.model, "TRANSPOSE") <= before


@pytest.mark.parametrize("block", range(4))
def test_the_choice_is_the_best_of_all(block: int) -> None:
    """The cut over real graphs costs what the best of all labellings costs."""
    tried = 0
    for seed in range(100 * block, 100 * (block + 1)):
        s = random_network(seed)
        signatures = Signatures(TFLiteLayout())
        plan = assign(s.model.graph, signatures, channels_last_forms(s.model.graph, signatures))
        if plan is None or plan.problem.variables > 12:
            continue
        tried += 1
        every = itertools.product((0, 1), repeat=plan.problem.variables)
        assert plan.problem.cost(plan.labels) == min(plan.problem.cost(labels) for labels in every), seed
    assert tried > 10


def shuffled(s: Sketch, seed: int) -> None:
    """Put the nodes of a graph into another topological order."""
    r, graph = random.Random(seed), s.model.graph
    left, done = list(graph), set(graph.inputs)
    for node in left:
        graph.remove(node)
    while left:
        ready = [n for n in left if all(v is None or v.producer() is None or v in done for v in n.inputs)]
        node = r.choice(ready)
        left.remove(node)
        graph.append(node)
        done.update(node.outputs)


@pytest.mark.parametrize("seed", range(10))
def test_labels_do_not_depend_on_the_order_of_nodes(seed: int) -> None:
    found = []
    for order in range(4):
        s = random_network(seed)
        if order:
            shuffled(s, order)
        signatures = Signatures(TFLiteLayout())
        plan = assign(s.model.graph, signatures, channels_last_forms(s.model.graph, signatures))
        found.append({} if plan is None else {v.name: plan.written(v) for v in plan.forms})
    assert found.count(found[0]) == 4


def test_the_report_says_why() -> None:
    s = Sketch()
    x = s.conv(s.input("x", [1, 3, 8, 8]), 4)
    s.output(s.op("SOFTMAX", x, beta=1.0))
    lay_out(s.model)
    left = target("tflite").transposes_left(s.model)
    assert [item.bytes for item in left] == [4 * 64 * 4, 3 * 64 * 4]
    assert "CONV_2D wants channels last" in left[0].reason
    assert "SOFTMAX works on the last dimension" in left[0].reason
    assert "the model's input 'x'" in left[1].reason


def test_weights_are_not_copied() -> None:
    s = Sketch()
    big = s.t.const(np.ones((4, 200, 200)), FLOAT)
    x = s.op("MUL", s.conv(s.input("x", [1, 3, 200, 200]), 4), big)
    s.output(s.op("MEAN", s.conv(x, 4), s.t.i32([2, 3]), keep_dims=0))
    lay_out(s.model)
    tensors = [value.const_value for value in s.model.graph.initializers.values()]
    kinds = [type(t).__name__ for t in tensors if t is not None and t.size == 160000]
    assert kinds == ["LazyTensor"]


def test_a_value_in_the_wrong_order_is_an_internal_error() -> None:
    """A rewrite that forgets a value must not go unnoticed."""
    s = Sketch()
    x = s.op("RELU", s.conv(s.input("x", [1, 3, 8, 8]), 4))
    s.output(s.op("MEAN", s.conv(x, 4), s.t.i32([2, 3]), keep_dims=0))
    graph = s.model.graph
    signatures = Signatures(TFLiteLayout())
    plan = assign(graph, signatures, channels_last_forms(graph, signatures))
    assert plan is not None
    asked = expectations(graph, plan)
    with pytest.raises(InternalError, match="is stored as"):
        verify_layout(asked, plan)
    materialise(graph, plan, TFLiteLayout(), Rewriter(s.model))
    verify_layout(asked, plan)


def windows(s: Sketch, *, heads: int) -> Value:
    """The output side of windowed attention: heads back into rows, a product, windows back into an image."""
    x = s.op("RELU", s.input("x", [16, heads, 9, 5]))
    x = s.t.reshape(s.t.transpose(x, [0, 2, 1, 3]), [16, 9, 5 * heads])
    options = {"keep_num_dims": 1, "fused_activation_function": "NONE", "weights_format": "DEFAULT"}
    x = s.op("FULLY_CONNECTED", x, s.weight(7, 5 * heads), None, **options)
    x = s.op("GELU", s.op("ADD", s.weight(7), x), approximate=0)
    return s.t.reshape(s.t.transpose(s.t.reshape(x, [1, 4, 4, 3, 3, 7]), [0, 1, 3, 2, 4, 5]), [1, 12, 12, 7])


def test_transposes_on_both_sides_of_rows_become_one() -> None:
    s = Sketch()
    s.output(s.op("RELU", windows(s, heads=2)))
    feeds = s.feeds()
    expected = run(s.model, feeds)[0]
    known_passes()["merge-transposes-across-rows"]().run(s.model, Rewriter(s.model))
    verify(s.model)
    assert count(s.model, "TRANSPOSE") == 1
    np.testing.assert_allclose(run(s.model, feeds)[0], expected, rtol=1e-5, atol=1e-5)


def test_rows_that_are_taken_apart_stay() -> None:
    """The views behind split the row itself, which no order of rows can say."""
    s = Sketch()
    x = s.t.reshape(s.t.transpose(s.input("x", [4, 2, 3, 6]), [0, 2, 1, 3]), [4, 3, 12])
    x = s.t.reshape(s.op("EXP", s.op("SOFTMAX", x, beta=1.0)), [4, 3, 3, 4])
    s.output(s.op("EXP", s.t.transpose(x, [2, 0, 1, 3])))
    before = [node.op_type for node in s.model.graph]
    known_passes()["merge-transposes-across-rows"]().run(s.model, Rewriter(s.model))
    assert [node.op_type for node in s.model.graph] == before


def test_a_transpose_of_ones_becomes_a_reshape() -> None:
    s = Sketch()
    x = s.op("EXP", s.input("x", ["n", 5, 1, 1]))
    s.output(s.op("EXP", s.t.transpose(x, [0, 2, 3, 1])), s.op("EXP", s.t.transpose(x, [1, 0, 2, 3])))
    feeds = s.feeds()
    expected = run(s.model, feeds)
    known_passes()["transpose-to-reshape"]().run(s.model, Rewriter(s.model))
    assert (count(s.model, "TRANSPOSE"), count(s.model, "RESHAPE")) == (1, 1)
    for mine, theirs in zip(run(s.model, feeds), expected, strict=True):
        np.testing.assert_array_equal(mine, theirs)
