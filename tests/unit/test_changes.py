"""The text, JSON and Model Explorer files of `graphrewrite diff`, and the errors along a pipeline."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest

from graphrewrite import ir
from graphrewrite.cli.main import main
from graphrewrite.numeric.original import Original
from graphrewrite.numeric.trace import NumericTrace
from graphrewrite.pipeline import BaseInstrument, Pass, build, run_pipeline
from graphrewrite.pipeline.instruments import CollectDiffs
from graphrewrite.report.changes import Painter
from graphrewrite.report.weights import WeightTable, statistics
from graphrewrite.rewrite import Rewriter
from graphrewrite.targets.base import Target

MODELS = Path(__file__).parents[1] / "golden" / "models"
MODEL = """<ir_version: 9, opset_import: ["" : 17]>
g (float[1,2,4,4] x) => (float[1,2,4,4] y, float[1,2,4,4] z)
<float[2,2,1,1] w = {1, 2, 3, 4}, float[2] b = {0.5, -0.5}, float slope = {0.2}> {
    ["conv"] c = Conv (x, w, b)
    ["scaled"] s = Mul (c, slope)
    ["leaky"] y = Max (c, s)
    ["negated"] z = Neg (y)
}"""


@dataclasses.dataclass(frozen=True)
class Wrong(Pass):
    """Negates what `negated` reads: a fault to be found."""

    def run(self, model: ir.Model, rewriter: Rewriter) -> dict[str, Any]:
        node = next(node for node in model.graph if node.op_type == "Neg")
        with rewriter.rewrite("wrong", node):
            rewriter.replace(node, rewriter.op("Neg", rewriter.op("Neg", node.inputs[0])))
        return {}


@pytest.fixture
def model(tmp_path: Path) -> str:
    path = tmp_path / "model.onnx"
    onnx.save(onnx.parser.parse_model(MODEL), path)
    return str(path)


def test_numeric_finds_the_pass_that_added_the_error(model: str) -> None:
    trace = NumericTrace(Original(model))
    passes = build("default", "tflite")
    at = next(index for index, item in enumerate(passes) if item.name == "lower-to-tflite")
    collected = CollectDiffs([trace.changed])
    run_pipeline(ir.load(model), [*passes[:at], Wrong(), *passes[at:]], instruments=[collected])
    names = {record.index: record.name for record, _ in collected.diffs}
    assert trace.stages.keys() == names.keys()
    for index, stages in trace.stages.items():
        by_output = {item.output: item for item in stages}
        assert by_output["y"].added is not None
        assert by_output["y"].added.passed
        added = by_output["z"].added
        assert added is not None
        assert added.passed == (names[index] != "wrong")
        assert by_output["z"].total.passed == (index < at)


def test_values_in_between_are_compared_by_name(model: str) -> None:
    trace = NumericTrace(Original(model))
    graph = ir.load(model)
    run_pipeline(graph, build("default", "tflite"), instruments=[CollectDiffs([trace.changed])])
    found = trace.values(graph)
    assert {"c", "y", "z"} <= found.keys()
    assert all(item.passed for item in found.values())


def test_a_random_model_is_fed_the_same_noise() -> None:
    name = next(path for path in sorted(MODELS.glob("*.onnx")) if _is_random(path))
    trace = NumericTrace(Original(str(name)))
    collected = CollectDiffs([trace.changed])
    run_pipeline(ir.load(name), build("default", "tflite"), instruments=[collected])
    assert trace.stages
    assert all(item.total.passed for stages in trace.stages.values() for item in stages)


def _is_random(path: Path) -> bool:
    proto = onnx.load(path)
    return any(node.op_type.startswith("Random") for node in proto.graph.node)


def test_json_is_whole(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", model, "--numeric", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == 1
    step = next(item for item in document["passes"] if item["name"] == "fuse-leaky-relu")
    assert step["operators"] == {"LeakyRelu": 1, "Max": -1, "Mul": -1}
    assert step["nodes"] == [4, 3]
    assert [item["value"] for item in step["removed"]] == ["s"]
    (changed,) = step["changed"]
    assert changed["before"]["operator"] == "Max"
    assert changed["after"]["from"] == ["scaled", "leaky"]
    assert {item["output"] for item in step["numeric"]} == {"y", "z"}
    assert all(item["added"]["max_abs"] == 0 for item in step["numeric"])
    assert step["not_run"] == ""
    assert document["transposes"]
    assert all(item["reason"] for item in document["transposes"])


def test_colours_only_where_asked_for(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    collected = CollectDiffs()
    run_pipeline(ir.load(model), build("default", "tflite"), instruments=[collected])
    record, found = next(item for item in collected.diffs if item[0].name == "fuse-leaky-relu")
    plain = list(Painter(False).pass_lines(record, found, None, nodes=True))
    painted = list(Painter(True).pass_lines(record, found, None, nodes=True))
    assert not any("\033" in line for line in plain)
    assert any(line.startswith("  - %s:float[1,2,4,4] = Mul(%c") for line in plain)
    assert any(line.startswith("  \033[31m- %s") for line in painted)
    assert any("\033[32m  -> %y" in line for line in painted)
    assert main(["diff", model]) == 0
    assert "\033" not in capsys.readouterr().out


def test_model_explorer_files_hold_together(model: str, tmp_path: Path) -> None:
    folder = tmp_path / "explorer"
    assert main(["diff", model, "--numeric", "--summary", "--model-explorer", str(folder)]) == 0
    pairs = [path for path in sorted(folder.glob("*.json")) if path.name.count(".") == 1]
    assert any(path.stem.endswith("fuse-leaky-relu") for path in pairs)
    for path in pairs:
        collection = json.loads(path.read_text())
        assert collection["label"] == path.stem
        graphs = {item["id"]: item["nodes"] for item in collection["graphs"]}
        assert list(graphs) == ["before", "after"]
        overlay = json.loads(path.with_suffix(".changes.json").read_text())
        error = json.loads(path.with_suffix(".error.json").read_text())
        assert error["after"]["results"].keys() == {"output y", "output z"}
        for side, nodes in graphs.items():
            keys = {node["id"] for node in nodes}
            assert len(keys) == len(nodes)
            edges = [edge for node in nodes for edge in node["incomingEdges"]]
            assert edges
            assert all(edge["sourceNodeId"] in keys for edge in edges)
            assert overlay[side]["results"].keys() <= keys


def test_every_stage_is_dumped_as_onnx(model: str, tmp_path: Path) -> None:
    folder = tmp_path / "states"
    assert main(["diff", model, "--summary", "--dump-ir", str(folder)]) == 0
    names = [path.stem for path in sorted(folder.glob("*.onnx"))]
    assert any(name.endswith("fuse-leaky-relu") for name in names)
    assert [path.stem for path in sorted(folder.glob("*.diff"))] == names


def test_two_files_do_not_go_with_a_pipelines_flags(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", model, model, "--numeric"]) == 2
    assert "graphrewrite verify" in capsys.readouterr().err


def test_weights_are_counted_without_what_is_not_finite() -> None:
    array = np.array([[0.0, 1.0, -3.0], [np.nan, np.inf, 2.0]], np.float32)
    found = statistics(ir.Tensor(array))
    assert found is not None
    assert (found.low, found.high, found.zeros, found.not_finite) == (-3.0, 2.0, 1, 2)
    assert found.mean == 0.0
    assert sum(found.histogram) == 4
    half = statistics(ir.Tensor(np.full((4,), 6e4, np.float16)))
    assert half is not None
    assert (half.mean, half.deviation) == (pytest.approx(6e4, rel=1e-3), 0.0)
    flags = statistics(ir.Tensor(np.array([True, False])))
    assert flags is not None
    assert (flags.low, flags.high) == (0.0, 1.0)


def test_a_weight_is_looked_at_once_and_let_go() -> None:
    table = WeightTable()
    tensor = ir.Tensor(np.arange(20, dtype=np.float32))
    assert table.number(tensor) == table.number(tensor) == 0
    assert table.number(None) is None
    assert len(table.rows) == 1
    assert not [item for item in vars(table).values() if isinstance(item, dict | list) and tensor in item]


def test_the_pass_record_does_not_keep_dead_weights() -> None:
    import gc
    import weakref

    model = ir.load(MODELS / "mobilestylegan_synthesis.ts17.onnx")
    first = [weakref.ref(item.const_value) for item in model.graph.initializers.values() if item.const_value]
    collected = CollectDiffs()
    run_pipeline(model, build("default", "tflite"), instruments=[collected, BaseInstrument()])
    left = {id(value.const_value) for value in model.graph.initializers.values()}
    gc.collect()
    kept = [item() for item in first if item() is not None]
    assert len([item for item in kept if id(item) not in left]) < len(first) / 4


def test_transposes_of_a_target_in_the_sources_order(tmp_path: Path) -> None:
    text = """<ir_version: 9, opset_import: ["" : 17]>
    g (float[2,3,4] x) => (float[4,2,3] y) { a = Relu (x) ["turn"] y = Transpose <perm = [2, 0, 1]> (a) }"""
    path = tmp_path / "turn.onnx"
    onnx.save(onnx.parser.parse_model(text), path)
    (left,) = Target().transposes_left(ir.load(path))
    assert (left.source, left.bytes) == ("turn", 2 * 3 * 4 * 4)
