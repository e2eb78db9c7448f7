"""Reduction: few nodes are left, they still fail, and a search that was killed goes on where it was."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import onnx.parser
import pytest

import graphrewrite
from graphrewrite.cli.main import main
from graphrewrite.errors import NotChecked, UsageError
from graphrewrite.numeric.reduce import Memory, Reducer
from graphrewrite.numeric.submodel import Part, Submodel, Whole
from graphrewrite.reduction import reduce
from tools.planted_faults import CASES, Case, find, reduced

PASS = '''
import dataclasses

from graphrewrite.pipeline import PatternPass, Stage
from graphrewrite.rewrite import op, value


@dataclasses.dataclass(frozen=True)
class Planted(PatternPass):
    """%y = Neg(Sigmoid(%x))   --->   %y = Sigmoid(%x)"""

    stage = Stage.CANONICALIZE
    patterns = (op("Neg", op("Sigmoid", value("x"), shared=True)),)

    def rewrite(self, match, rewriter):
        return rewriter.op("Sigmoid", match["x"])
'''
CHECK = """
import sys

import numpy as np
import onnx

model = onnx.load(sys.argv[1])
with open("log", "a") as log:
    log.write(f"{len(model.graph.node)}\\n")
samples = np.load(sys.argv[2])
assert set(samples) == {item.name for item in model.graph.input}
sys.exit(any(node.op_type == "Neg" for node in model.graph.node))
"""
DEEP = 40


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A chain of 40 products, with a Sigmoid and a Neg in the middle, its weights constants and its shapes computed."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    nodes, weights = [], []
    for index in range(DEEP):
        name = f"v{index}"
        if index == DEEP // 2:
            nodes.append(onnx.helper.make_node("Sigmoid", [name], [f"v{index}s"], name="sigmoid"))
            nodes.append(onnx.helper.make_node("Neg", [f"v{index}s"], [f"v{index}n"], name="neg"))
            nodes.append(onnx.helper.make_node("Shape", [f"v{index}n"], [f"v{index}shape"], name="shape"))
            nodes.append(
                onnx.helper.make_node(
                    "Reshape", [f"v{index}n", f"v{index}shape"], [f"v{index}r"], name="reshape"
                )
            )
            name = f"v{index}r"
        weights.append(
            onnx.numpy_helper.from_array(rng.standard_normal((4, 4)).astype(np.float32) / 2, f"w{index}")
        )
        nodes.append(
            onnx.helper.make_node("MatMul", [name, f"w{index}"], [f"v{index + 1}"], name=f"product{index}")
        )
    graph = onnx.helper.make_graph(
        nodes,
        "deep",
        [onnx.helper.make_tensor_value_info("v0", onnx.TensorProto.FLOAT, ["N", 4])],
        [
            onnx.helper.make_tensor_value_info("v3", onnx.TensorProto.FLOAT, ["N", 4]),
            onnx.helper.make_tensor_value_info(f"v{DEEP}", onnx.TensorProto.FLOAT, ["N", 4]),
        ],
        weights,
    )
    onnx.save(
        onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9),
        "model.onnx",
    )
    Path("wrong.py").write_text(PASS)
    Path("check.py").write_text(CHECK)
    return "model.onnx"


def whole(text: str, **sample: list[float]) -> Whole:
    proto = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : 17]> {text}')
    return Whole(proto, {name: np.asarray(array, np.float32) for name, array in sample.items()}, None)


class TestParts:
    def test_what_crosses_becomes_inputs_with_the_values_of_the_whole(self) -> None:
        model = whole(
            "g (float[N,2] x) => (float[N,2] y) <float two = {2.0}> "
            "{ a = Mul(x, two) b = Neg(a) c = Exp(b) y = Add(c, a) }",
            x=[[1, 2]],
        )
        part = model.build(Part((1, 2)))
        assert part is not None
        assert [node.op_type for node in part.proto.graph.node] == ["Neg", "Exp"]
        assert [item.name for item in part.proto.graph.output] == ["c"]
        np.testing.assert_array_equal(part.sample["a"], [[2, 4]])
        assert [dim.dim_value for dim in part.proto.graph.input[0].type.tensor_type.shape.dim] == [1, 2]

    def test_shapes_that_cross_become_constants(self) -> None:
        model = whole(
            "g (float[N,2] x) => (float[N,2] y) { s = Shape(x) a = Neg(x) y = Reshape(a, s) }", x=[[1, 2]]
        )
        part = model.build(Part((2,)))
        assert part is not None
        assert [item.name for item in part.proto.graph.input] == ["a"]
        assert [item.name for item in part.proto.graph.initializer] == ["s"]

    def test_dynamic_dimensions_may_stay(self) -> None:
        model = whole("g (float[N,2] x) => (float[N,2] y) { a = Neg(x) y = Exp(a) }", x=[[1, 2]])
        part = model.build(Part((1,), static=False))
        assert part is not None
        dims = part.proto.graph.input[0].type.tensor_type.shape.dim
        assert (dims[0].dim_param, dims[1].dim_value) == ("N", 2)

    def test_bodies_keep_what_they_read(self) -> None:
        model = whole(
            "g (float[2] x, bool c) => (float[2] y) { a = Neg(x) y = If(c) "
            "<then_branch = t () => (float[2] u) { u = Exp(a) }, else_branch = e () => (float[2] v) { v = Abs(a) }> }",
            x=[1, 2],
            c=True,  # type: ignore[arg-type]
        )
        model.sample["c"] = np.asarray(True)
        part = model.build(Part((1,)))
        assert part is not None
        assert {item.name for item in part.proto.graph.input} == {"a", "c"}

    def test_random_weights_keep_their_shape_and_their_sign(self) -> None:
        model = whole(
            "g (float[2] x) => (float[2] y) <float[2] w = {3.0, 4.0}, float s = {0.5}> { a = Mul(x, w) y = Mul(a, s) }",
            x=[1, 2],
        )
        part = model.build(Part((0, 1), seed=1))
        assert part is not None
        held = {item.name: onnx.numpy_helper.to_array(item) for item in part.proto.graph.initializer}
        assert held["w"].shape == (2,)
        assert np.all(held["w"] > 0)
        assert not np.array_equal(held["w"], [3, 4])
        assert held["s"] == 0.5
        assert not np.array_equal(part.sample["x"], [1, 2])


class TestSearch:
    def run(self, count: int, guilty: set[int], memory: Memory) -> tuple[Reducer, list[int]]:
        chain = " ".join(f"v{i + 1} = Neg(v{i})" for i in range(count))
        model = whole(f"g (float[1] v0) => (float[1] v{count}) {{ {chain} }}", v0=[1])
        asked: list[int] = []

        def fails(part: Submodel) -> bool:
            names = {node.output[0] for node in part.proto.graph.node}
            asked.append(len(names))
            return {f"v{i + 1}" for i in guilty} <= names

        reducer = Reducer(model, fails, memory, lambda part: None, lambda text: None, model.all_of_it())
        reducer.run()
        return reducer, asked

    def test_finds_the_guilty_nodes_alone(self) -> None:
        for guilty in ({0}, {99}, {50}, {40, 41}, {10, 90}):
            reducer, asked = self.run(100, guilty, Memory(None, ""))
            assert set(reducer.best.nodes) - {node for node, _ in reducer.best.bypassed} == guilty
            assert len(asked) < 60

    def test_remembers_what_it_has_tried(self, tmp_path: Path) -> None:
        path = tmp_path / "tried"
        first, asked = self.run(100, {40, 41}, Memory(path, "a"))
        lines = path.read_text().splitlines()
        path.write_text("\n".join([*lines[: len(lines) // 2], lines[-1][:10]]))  # killed half-way through
        second, again = self.run(100, {40, 41}, Memory(path, "a"))
        assert second.best == first.best
        assert 0 < len(again) < len(asked)
        _, anew = self.run(100, {40, 41}, Memory(path, "another check"))
        assert anew == asked


class TestReduce:
    def test_leaves_what_fails(self, model: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["reduce", model, "--passes", "default,wrong.py", "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["source_nodes"] == DEEP + 4
        assert [node.op_type for node in onnx.load(found["path"]).graph.node] == ["Sigmoid", "Neg"]
        assert "SQNR" in found["failure"]
        capsys.readouterr()
        assert main(found["command"].split()[1:]) == 4

    def test_a_command_may_decide(self, model: str, capsys: pytest.CaptureFixture[str]) -> None:
        command = f"{sys.executable} check.py {{}} {{samples}}"
        assert main(["reduce", model, "--check", command, "-o", "small.onnx"]) == 0
        assert [node.op_type for node in onnx.load("small.onnx").graph.node] == ["Neg"]
        assert set(np.load("small.npz")) == {item.name for item in onnx.load("small.onnx").graph.input}
        assert "check.py small.onnx small.npz" in capsys.readouterr().out
        runs = len(Path("log").read_text().splitlines())
        assert main(["reduce", model, "--check", command, "-o", "small.onnx"]) == 0
        assert len(Path("log").read_text().splitlines()) == runs + 2  # the whole model and the last one

    def test_an_interrupted_search_goes_on(self, model: str, capsys: pytest.CaptureFixture[str]) -> None:
        wanted = 'if [ -e stop ] && [ "$(wc -l < log)" -ge 9 ]; then kill -INT $PPID; fi; '
        command = f"{wanted}{sys.executable} check.py {{}} {{samples}}"
        Path("stop").touch()
        Path("log").touch()
        # A process that was started in the background ignores Ctrl-C, and so does what it starts.
        script = (
            "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
            "from graphrewrite.cli.main import main; sys.exit(main(sys.argv[1:]))"
        )
        root = str(Path(graphrewrite.__file__).resolve().parent.parent)
        done = subprocess.run(
            [sys.executable, "-c", script, "reduce", model, "--check", command],
            env=os.environ | {"PYTHONPATH": root},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 130, done.stderr
        assert "the best model so far is 'model.reduced.onnx'" in done.stderr
        assert any(node.op_type == "Neg" for node in onnx.load("model.reduced.onnx").graph.node)
        Path("stop").unlink()
        runs = len(Path("log").read_text().splitlines())
        assert main(["reduce", model, "--check", command, "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["nodes"] == 1
        assert len(Path("log").read_text().splitlines()) - runs == found["checks"] + 2

    @pytest.mark.parametrize(
        ("flags", "words"),
        [
            ([], "nothing to reduce"),
            (["--check", "true {}"], "succeeds on the whole model"),
            (["--check", "no-such-command {}"], "can't be run"),
            (["--check", "false"], "where the model's path goes"),
            (["--with-weights"], "--bundle"),
        ],
    )
    def test_usage(
        self, model: str, flags: list[str], words: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["reduce", model, *flags]) == 2
        assert words in capsys.readouterr().err

    def test_random_models_are_refused(self, model: str) -> None:
        onnx.save(
            onnx.parser.parse_model(
                '<ir_version: 9, opset_import: ["" : 17]> g (float[2] x) => (float[2] y) '
                "{ n = RandomNormalLike(x) y = Add(x, n) }"
            ),
            model,
        )
        with pytest.raises(NotChecked, match="random"):
            reduce(model)

    def test_a_check_that_changes_its_mind_is_refused(self, model: str) -> None:
        flip = "if test -e flag; then rm flag; exit 0; else touch flag; exit 1; fi; true {}"
        with pytest.raises((NotChecked, UsageError)):
            reduce(model, command=flip)


class TestBundle:
    def contents(self, path: str) -> dict[str, bytes]:
        with zipfile.ZipFile(path) as archive:
            return {name: archive.read(name) for name in archive.namelist()}

    def test_holds_no_weights(self, model: str, capsys: pytest.CaptureFixture[str]) -> None:
        Path("wrong.py").write_text(
            PASS.replace('"Neg", op("Sigmoid"', '"MatMul", op("Reshape"')
            .replace('value("x"), shared=True', 'value("x"), value("s"), shared=True), value("w"')
            .replace(
                'rewriter.op("Sigmoid", match["x"])',
                'rewriter.op("Neg", rewriter.op("MatMul", match["x"], match["w"]))',
            )
        )
        flags = ["--passes", "default,wrong.py", "--bundle"]
        assert main(["reduce", model, *flags, "report.zip"]) == 0
        assert "NOT" not in capsys.readouterr().out
        held = self.contents("report.zip")
        assert sorted(held) == ["command.txt", "model.onnx", "report.json", "samples.npz"]
        report = json.loads(held["report.json"])
        assert report["weights"] == "random"
        assert report["fails_as_packed"] is True
        assert {"graphrewrite", "onnx", "onnxruntime"} <= set(report["versions"])
        real = {item.name: item.raw_data for item in onnx.load(model).graph.initializer}
        packed = onnx.ModelProto.FromString(held["model.onnx"])
        assert packed.graph.initializer
        for item in packed.graph.initializer:
            assert item.raw_data != real.get(item.name)
        Path("model.onnx").write_bytes(held["model.onnx"])
        Path("samples.npz").write_bytes(held["samples.npz"])
        assert main(held["command.txt"].decode().split()[1:]) == 4

    def test_with_weights(self, model: str) -> None:
        assert (
            main(["reduce", model, "--passes", "default,wrong.py", "--bundle", "a/b.zip", "--with-weights"])
            == 0
        )
        assert json.loads(self.contents("a/b.zip")["report.json"])["weights"] == "real"


@pytest.mark.parametrize("case", [CASES[4], CASES[9], CASES[10]], ids=lambda case: case.name)
def test_planted_faults_end_small(case: Case, tmp_path: Path) -> None:
    place, _ = find(case)
    assert reduced(case, place, tmp_path).nodes <= case.nodes


@pytest.mark.full
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_planted_fault_ends_small(case: Case, tmp_path: Path) -> None:
    place, _ = find(case)
    assert reduced(case, place, tmp_path).nodes <= case.nodes
