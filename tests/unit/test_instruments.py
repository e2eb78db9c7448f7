"""Instruments: what changed, dumps, times and the early end; and diffs that stay fast on large graphs."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import TensorProto, helper

from graphrewrite import ir
from graphrewrite.errors import UsageError
from graphrewrite.numeric.reference import create_session
from graphrewrite.pipeline import build, run_pipeline
from graphrewrite.pipeline.diff import Snapshot, diff
from graphrewrite.pipeline.instruments import DumpIR, PrintChanged, StopAfter, TimePasses
from graphrewrite.rewrite import Rewriter

TINY = """<ir_version: 9, opset_import: ["" : 17]>
g (float[2,3] x) => (float[2,3] y) { ["first"] a = Relu(x) ["second"] b = Tanh(a) ["third"] y = Sigmoid(b) }"""


def _tiny() -> ir.Model:
    return ir.load(onnx.parser.parse_model(TINY))


def test_print_changed_prints_the_graph_of_each_pass_that_changed_it() -> None:
    lines: list[str] = []
    run_pipeline(_tiny(), build("default", "tflite"), instruments=[PrintChanged(lines.append)])
    heads = [line for line in lines if line.startswith("*** ")]
    assert [line.split()[2].rstrip(":") for line in heads] == ["import-model", "lower-to-tflite"]
    assert "%y:float[2,3] = tflite.LOGISTIC(%b)" in lines
    assert lines.count("input %x:float[2,3]") == 2


def test_print_changed_diff_shows_only_what_changed() -> None:
    lines: list[str] = []
    run_pipeline(_tiny(), build("default", "tflite"), instruments=[PrintChanged(lines.append, diff=True)])
    assert "- %a:float[2,3] = Relu(%x)" in lines
    assert "+ %a:float[2,3] = tflite.RELU(%x)" in lines
    assert lines.index("- %a:float[2,3] = Relu(%x)") < lines.index("+ %a:float[2,3] = tflite.RELU(%x)")


def test_dumped_states_run(tmp_path: Path) -> None:
    run_pipeline(_tiny(), build("default", "tflite"), instruments=[DumpIR(tmp_path / "dump")])
    files = sorted(path.name for path in (tmp_path / "dump").iterdir())
    assert files[0] == "000_import-model.diff"
    assert files[1] == "000_import-model.onnx"
    assert files[-1].endswith("_lower-to-tflite.onnx")
    x = np.linspace(-2, 2, 6, dtype=np.float32).reshape(2, 3)
    states = [
        create_session(onnx.load(path)).run(None, {"x": x})[0]
        for path in sorted((tmp_path / "dump").glob("*.onnx"))
    ]
    for state in states[1:]:
        np.testing.assert_allclose(state, states[0], rtol=1e-6)


def test_time_passes_lists_each_pass() -> None:
    times = TimePasses()
    passes = build("default", "tflite")
    run_pipeline(_tiny(), passes, instruments=[times])
    lines = times.lines()
    assert f"{len(passes)} passes" in lines[0]
    assert any("lower-to-tflite" in line for line in lines)


def test_stop_after_ends_the_pipeline() -> None:
    model = _tiny()
    stop = StopAfter.checked("fold-constants", build("default", "tflite"))
    records = run_pipeline(model, build("default", "tflite"), instruments=[stop])
    assert records[-1].name == "fold-constants"
    assert [node.op_type for node in model.graph] == ["Relu", "Tanh", "Sigmoid"]
    with pytest.raises(UsageError, match="not in this pipeline"):
        StopAfter.checked("fold-constants", build("none", "tflite"))


def test_diff_by_value_name() -> None:
    model = _tiny()
    before = Snapshot.of(model)
    assert not diff(before, Snapshot.of(model, before))
    node = next(node for node in model.graph if node.name == "second")
    rewriter = Rewriter(model)
    with rewriter.rewrite("double", node):
        inner = rewriter.op("Mul", node.inputs[0], rewriter.constant(np.float32(2)))
        rewriter.replace(node, rewriter.op("Tanh", inner))
    found = diff(before, Snapshot.of(model, before))
    assert [entry.operator for entry in found.added] == ["Mul"]
    assert found.removed == ()
    assert [(old.key, new.key) for old, new in found.changed] == [("b", "b")]
    assert found.operators() == {"Mul": 1}
    assert found.summary()[-1] == "parameters: 0 -> 1 (0 -> 4 bytes)"
    assert found.added[0].origin == ("second",)


def test_removed_nodes_stand_where_they_stood() -> None:
    model = _tiny()
    before = Snapshot.of(model)
    node = next(node for node in model.graph if node.name == "second")
    rewriter = Rewriter(model)
    with rewriter.rewrite("drop", node):
        rewriter.replace(node, node.inputs[0])
    lines = [line.split(":")[0] for line in diff(before, Snapshot.of(model)).unified()]
    assert lines[1:5] == ["  %a", "- %b", "- %y", "+ %y"]


def test_large_graphs_are_compared_in_no_time() -> None:
    count = 20_000
    nodes = [helper.make_node("Relu", [f"v{i}"], [f"v{i + 1}"], name=f"n{i}") for i in range(count)]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("v0", TensorProto.FLOAT, [4])],
        [helper.make_tensor_value_info(f"v{count}", TensorProto.FLOAT, [4])],
    )
    model = ir.load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9))
    run_pipeline(model, build("none", "tflite")[:1])  # shapes are inferred
    before = Snapshot.of(model)
    rewriter = Rewriter(model)
    for node in list(model.graph)[::1000]:
        with rewriter.rewrite("negate", node):
            rewriter.replace(node, rewriter.op("Neg", node.inputs[0]))
    started = time.process_time()
    after = Snapshot.of(model, before)
    lines = list(diff(before, after).unified())
    assert time.process_time() - started < 2.0
    assert sum(line.startswith("+") for line in lines) == count // 1000
    assert len(lines) < 200
