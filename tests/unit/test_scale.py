"""Shapes of graphs that have made converters slow: one value with thousands of readers, one node with thousands of operands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.helper as h
import onnx.numpy_helper

import graphrewrite
from graphrewrite import ir
from graphrewrite.pipeline import build, run_pipeline


def fan(width: int) -> onnx.ModelProto:
    """s = Sigmoid(x); y = Concat(s * c0, s * c1, ...); z = Sum(the same)."""
    nodes = [h.make_node("Sigmoid", ["x"], ["s"])]
    nodes += [h.make_node("Mul", ["s", f"c{i}"], [f"m{i}"]) for i in range(width)]
    parts = [f"m{i}" for i in range(width)]
    nodes += [h.make_node("Concat", parts, ["y"], axis=1), h.make_node("Sum", parts, ["z"])]
    constants = [onnx.numpy_helper.from_array(np.float32(0.001 * i + 0.5), f"c{i}") for i in range(width)]

    def value(name: str, size: int) -> onnx.ValueInfoProto:
        return h.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, size])

    graph = h.make_graph(nodes, "fan", [value("x", 2)], [value("y", 2 * width), value("z", 2)], constants)
    return h.make_model(graph, opset_imports=[h.make_opsetid("", 20)], ir_version=10)


def test_wide_graphs_convert_and_are_right(tmp_path: Path) -> None:
    result = graphrewrite.run(fan(600), output=tmp_path / "fan.tflite")
    assert result.report["check"]["passed"] is True


def test_passes_leave_the_books_in_order() -> None:
    model = ir.load(fan(300))
    run_pipeline(model, build("default", "tflite"), debug=True)
    for node in ir.all_nodes(model.graph):
        for index, value in enumerate(node.inputs):
            assert value is None or (node, index) in {tuple(use) for use in value.uses()}


def test_work_grows_with_the_nodes_and_not_faster() -> None:
    """Counted, not timed: rewrites, and what inference was asked."""

    def work(width: int) -> tuple[int, int]:
        model = ir.load(fan(width))
        records = run_pipeline(model, build("default", "tflite"))
        tried = sum(rule.tried for record in records for rule in record.rules.values())
        return sum(record.rewrites for record in records), tried

    small, large = work(100), work(400)
    assert all(b <= 4.5 * a for a, b in zip(small, large, strict=True)), (small, large)
