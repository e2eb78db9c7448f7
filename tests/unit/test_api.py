"""`graphrewrite.run`: what it leaves on disk when it succeeds, when outputs differ, and when nothing could be checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest

import graphrewrite
from graphrewrite import conversion
from graphrewrite.errors import InvalidModel, NotChecked, NotExpressible, OutputsDiffer, UsageError
from graphrewrite.numeric import original
from graphrewrite.pipeline.instruments import StopAfter

TEXT = """
<ir_version: 10, opset_import: ["" : 20]>
g (float[2,3] x) => (float[2,3] y) <float[3] w = {1.0, 2.0, 3.0}>
{ [scale] a = Mul (x, w)  [act] b = Relu (a)  y = Add (b, x) }
"""

WRONG = """
from graphrewrite.pipeline import Stage, as_pass

@as_pass(stage=Stage.CANONICALIZE)
def relu_to_abs(model, rewriter):
    "Wrong on purpose."
    for node in list(model.graph):
        if node.op_type == "Relu":
            with rewriter.rewrite("relu-to-abs", node):
                rewriter.replace(node, rewriter.op("Abs", node.inputs[0]))

@as_pass(stage=Stage.CANONICALIZE, after=("relu-to-abs",))
def swap_add(model, rewriter):
    "Right."
    for node in list(model.graph):
        if node.op_type == "Add":
            with rewriter.rewrite("swap-add", node):
                rewriter.replace(node, rewriter.op("Add", node.inputs[1], node.inputs[0]))
"""


def proto(text: str = TEXT) -> onnx.ModelProto:
    return onnx.parser.parse_model(text)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "net.onnx"
    path.write_bytes(proto().SerializeToString())
    return path


@pytest.fixture
def wrong(tmp_path: Path) -> str:
    file = tmp_path / "in" / "wrong.py"
    file.parent.mkdir(exist_ok=True)
    file.write_text(WRONG)
    return f"default,{file}"


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


class TestWritten:
    def test_file_report_and_record(self, model: Path, tmp_path: Path) -> None:
        lines: list[str] = []
        result = graphrewrite.run(model, output=tmp_path / "out" / "net.tflite", progress=lines.append)
        assert result.path == tmp_path / "out" / "net.tflite"
        assert files(tmp_path / "out") == ["net.tflite"], "nothing is left beside it"
        assert result.path.read_bytes()[4:8] == b"TFL3"
        assert result.report["check"]["passed"] is True
        assert [item["name"] for item in result.report["check"]["outputs"]] == ["y"]
        assert [entry.name for entry in result.record][-1] in {p["name"] for p in result.report["passes"]}
        json.dumps(result.report)
        assert lines[0] == "loading"
        assert "checking against the original" in lines
        assert model.read_bytes() == proto().SerializeToString(), "the source is as it was"

    def test_bytes_and_protos(self, tmp_path: Path) -> None:
        for source in (proto(), proto().SerializeToString()):
            with pytest.raises(UsageError, match="has no name: say where to write"):
                graphrewrite.run(source)
            assert graphrewrite.run(source, output=tmp_path / "a.tflite").path == tmp_path / "a.tflite"

    def test_into_a_folder_and_without_a_name(
        self, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "out").mkdir()
        assert graphrewrite.run(model, output=tmp_path / "out").path == tmp_path / "out" / "net.tflite"
        monkeypatch.chdir(tmp_path)
        assert graphrewrite.run(model).path == Path("net.tflite")

    def test_without_a_check(self, model: Path, tmp_path: Path) -> None:
        result = graphrewrite.run(model, output=tmp_path / "a.tflite", check=False)
        assert (tmp_path / "a.tflite").is_file()
        assert result.report["check"] is None or not result.report["check"].get("passed")
        assert "switched off" in json.dumps(result.report)

    def test_given_samples_are_used(self, model: Path, tmp_path: Path) -> None:
        np.savez(tmp_path / "s.npz", x=np.ones((2, 3), np.float32))
        for samples in (tmp_path / "s.npz", [{"x": np.ones((2, 3))}]):
            result = graphrewrite.run(model, output=tmp_path / "a.tflite", samples=samples)
            assert result.report["check"]["samples"] == 1
        with pytest.raises(UsageError, match="no array for the input 'x'"):
            graphrewrite.run(model, output=tmp_path / "a.tflite", samples=[{"z": np.ones(1)}])

    def test_fixed_shapes(self, tmp_path: Path) -> None:
        text = '<ir_version: 10, opset_import: ["" : 20]> g (float[N,3] x) => (float[N,3] y) { y = Relu (x) }'
        for shape in (["x=4,3"], {"x": [4, 3]}):
            result = graphrewrite.run(proto(text), output=tmp_path / "a.tflite", shape=shape)
            assert result.report["check"]["outputs"][0]["shape"] == [4, 3]

    def test_stop_after_writes_nothing(self, model: Path, tmp_path: Path) -> None:
        for name in ("import-model", "fold-constants"):
            result = graphrewrite.run(
                model, output=tmp_path / "out" / "a.tflite", instruments=[StopAfter(name)]
            )
            assert result.path is None
            assert result.record[-1].name == name
        assert not (tmp_path / "out").exists()

    def test_the_collector_is_as_it_was(self, model: Path, tmp_path: Path) -> None:
        import gc

        before = gc.get_threshold(), gc.get_freeze_count(), gc.isenabled()
        graphrewrite.run(model, output=tmp_path / "a.tflite", check=False)
        assert (gc.get_threshold(), gc.get_freeze_count(), gc.isenabled()) == before


class TestMismatch:
    def test_leaves_a_reproducer_and_no_file(self, model: Path, wrong: str, tmp_path: Path) -> None:
        out = tmp_path / "out"
        with pytest.raises(OutputsDiffer) as caught:
            graphrewrite.run(model, passes=wrong, output=out / "net.tflite")
        assert caught.value.exit_code == 4
        assert "1 of 1 outputs differ from the original (litert-xnnpack, sample 0)" in str(caught.value)
        assert "'y': SQNR" in str(caught.value)
        assert str(out / "repro" / "net") in str(caught.value)
        assert files(out) == [
            f"repro/net/{name}" for name in ("command.txt", "rejected.tflite", "report.json", "samples.npz")
        ]
        report = json.loads((out / "repro" / "net" / "report.json").read_text())
        assert report["check"]["passed"] is False
        assert "relu-to-abs" in (out / "repro" / "net" / "command.txt").read_text()
        with np.load(out / "repro" / "net" / "samples.npz") as samples:
            assert samples["sample0.input.x"].shape == (2, 3)

    def test_deletes_nothing_of_the_users(self, model: Path, wrong: str, tmp_path: Path) -> None:
        out = tmp_path / "out"
        (out / "repro" / "net").mkdir(parents=True)
        for name in ("net.tflite", ".net.unchecked.tflite", "repro/net/notes.txt", "other.bin"):
            (out / name).write_text("mine")
        before = files(out)
        with pytest.raises(OutputsDiffer):
            graphrewrite.run(model, passes=wrong, output=out / "net.tflite")
        assert set(before) <= set(files(out))
        assert all((out / name).read_text() == "mine" for name in before)
        assert {Path(name).parts[:2] for name in set(files(out)) - set(before)} == {("repro", "net-1")}

    def test_a_proto_is_kept_with_it(self, wrong: str, tmp_path: Path) -> None:
        with pytest.raises(OutputsDiffer):
            graphrewrite.run(proto(), passes=wrong, output=tmp_path / "a.tflite", repro=tmp_path / "why")
        assert (tmp_path / "why" / "a" / "model.onnx").read_bytes() == proto().SerializeToString()


class TestNumericEach:
    def test_the_guilty_pass_is_rolled_back_and_told(self, model: Path, wrong: str, tmp_path: Path) -> None:
        result = graphrewrite.run(
            model, passes=wrong, output=tmp_path / "a.tflite", numeric_each=True, debug=True
        )
        assert result.report["check"]["passed"] is True
        guilty = {entry.name: entry.rolled_back for entry in result.record if entry.rolled_back}
        assert list(guilty) == ["relu-to-abs"]
        assert guilty["relu-to-abs"].startswith("output 'y': SQNR")
        swapped = next(entry for entry in result.record if entry.name == "swap-add")
        assert swapped.rewrites == 1
        assert any("relu-to-abs: output 'y'" in note for entry in result.record for note in entry.notes)

    def test_a_graph_that_no_longer_runs(self, model: Path, tmp_path: Path) -> None:
        file = tmp_path / "bad.py"
        file.write_text(
            WRONG.replace('rewriter.op("Abs", node.inputs[0])', "bad(rewriter, node)")
            + """
def bad(rewriter, node):
    import numpy as np
    index = rewriter.constant(np.array([7, 0], np.int64))
    return rewriter.op("Gather", node.inputs[0], index, axis=0)
"""
        )
        result = graphrewrite.run(
            model, passes=f"default,{file}:relu_to_abs", output=tmp_path / "a.tflite", numeric_each=True
        )
        (guilty,) = [entry for entry in result.record if entry.rolled_back]
        assert guilty.name == "relu-to-abs"
        assert "ONNX Runtime fails on the graph" in guilty.rolled_back


class TestNotChecked:
    def fail(self, *arguments: Any, **keywords: Any) -> Any:
        raise NotChecked("ONNX Runtime can't load the model: no kernel")

    def test_leaves_nothing(self, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(original, "open_reference", self.fail)
        (tmp_path / "out").mkdir()
        with pytest.raises(NotChecked, match="no kernel") as caught:
            graphrewrite.run(model, output=tmp_path / "out" / "a.tflite")
        assert caught.value.exit_code == 5
        assert files(tmp_path / "out") == []

    def test_unless_allowed(self, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(original, "open_reference", self.fail)
        result = graphrewrite.run(model, output=tmp_path / "a.tflite", allow_unchecked=True)
        assert files(tmp_path) == ["a.tflite", "in/net.onnx"]
        assert "no kernel" in json.dumps(result.report)

    def test_an_operator_that_the_reference_lacks(self, tmp_path: Path) -> None:
        """The file says something that ONNX Runtime refuses: there is nothing to compare with."""
        text = '<ir_version: 10, opset_import: ["" : 20, "lab" : 1]> g (float[2] x) => (float[2] y) { y = lab.Thing (x) }'
        file = tmp_path / "thing.py"
        file.write_text(
            WRONG.replace('node.op_type == "Relu"', 'node.op_type == "Thing"').replace(
                "relu_to_abs", "thing_to_abs"
            )
        )
        with pytest.raises(NotChecked, match="ONNX Runtime can't load the model"):
            graphrewrite.run(proto(text), passes=f"default,{file}:thing_to_abs", output=tmp_path / "a.tflite")
        assert files(tmp_path) == ["thing.py"]


class TestRefused:
    THREE = """
    <ir_version: 10, opset_import: ["" : 20, "lab" : 1]> g (float[4] x) => (float[4] y)
    { [one] a = lab.Odd (x)  [two] b = lab.Even (a)  c = Relu (b)  [three] y = lab.Odd (c) }
    """

    def test_all_blockers_at_once_and_no_file(self, tmp_path: Path) -> None:
        with pytest.raises(NotExpressible) as caught:
            graphrewrite.run(proto(self.THREE), output=tmp_path / "out" / "a.tflite")
        assert [blocker.node for blocker in caught.value.blockers] == ["one", "two", "three"]
        assert caught.value.exit_code == 3
        assert not (tmp_path / "out").exists()

    def test_a_broken_model(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidModel):
            graphrewrite.run(b"nonsense", output=tmp_path / "out" / "a.tflite")
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize(
        ("keywords", "reason"),
        [
            ({"target": "tfl1te"}, "unknown target 'tfl1te'"),
            ({"passes": "no-such-pass"}, "unknown pass"),
            ({"shape": ["x=5,5"]}, "dimension 0 of input 'x' is 2 in the model"),
            ({"shape": ["q=1"]}, "there is no input 'q'"),
            ({"shape": ["x"]}, "is written NAME="),
            ({"shape": {"x": [2]}}, "input 'x' has rank 2"),
            ({"samples": "none.npz"}, "can't be read"),
        ],
    )
    def test_usage(self, tmp_path: Path, keywords: dict[str, Any], reason: str) -> None:
        with pytest.raises(UsageError, match=reason):
            graphrewrite.run(proto(), output=tmp_path / "out" / "a.tflite", **keywords)
        assert not (tmp_path / "out").exists()

    def test_an_interrupted_write_leaves_nothing(
        self, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def stop(*arguments: Any) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(conversion, "judge", stop)
        (tmp_path / "out").mkdir()
        with pytest.raises(KeyboardInterrupt):
            graphrewrite.run(model, output=tmp_path / "out" / "a.tflite")
        assert files(tmp_path / "out") == []
