"""Bisection: the search, and that it names the pass and the rewrite in which a fault was planted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest

import graphrewrite
from graphrewrite import ir
from graphrewrite.bisection import Guilt
from graphrewrite.cli.main import main
from graphrewrite.errors import UsageError
from graphrewrite.pipeline import build, run_pipeline
from graphrewrite.pipeline.bisect import Step, Verdict, first_wrong
from graphrewrite.pipeline.instruments import StopAfter
from graphrewrite.targets.tflite.target import TFLiteTarget
from tools.planted_faults import CASES, Case, find, named, planted

MODEL = """<ir_version: 9, opset_import: ["" : 17]>
g (float[2,3] x) => (float[2,3] y) {
  ["first"] a = Relu(x) ["second"] b = Neg(a) ["third"] c = Neg(x) ["sum"] d = Add(b, c) ["last"] y = Tanh(d)
}"""
PASS = '''
import dataclasses

from graphrewrite.pipeline import PatternPass, Stage
from graphrewrite.rewrite import op, value


@dataclasses.dataclass(frozen=True)
class Planted(PatternPass):
    """%y = Neg(%x)   --->   %y = Abs(%x)"""

    stage = Stage.CANONICALIZE
    patterns = (op("Neg", value("x")),)

    def rewrite(self, match, rewriter):
        {body}
'''
WRONG = 'return rewriter.op("Abs", match["x"])'
BROKEN = 'raise RuntimeError("out of ideas")'


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    onnx.save(onnx.parser.parse_model(MODEL), "model.onnx")
    Path("wrong.py").write_text(PASS.format(body=WRONG))
    Path("broken.py").write_text(PASS.format(body=BROKEN))
    return "model.onnx"


class TestSearch:
    def judge(self, first: int, unknown: set[int] = frozenset()):  # type: ignore[no-untyped-def,assignment]
        self.asked: list[int] = []

        def run(number: int) -> Verdict:
            self.asked.append(number)
            return Verdict(None if number in unknown else number < first)

        return run

    @pytest.mark.parametrize("first", [1, 2, 499, 500, 999, 1000])
    def test_halves(self, first: int) -> None:
        step = first_wrong(0, 1000, Verdict(False), self.judge(first))
        assert (step.right, step.wrong) == (first - 1, first)
        assert len(self.asked) <= 10

    def test_passes_over_what_cannot_be_judged(self) -> None:
        step = first_wrong(0, 16, Verdict(False), self.judge(5, {7, 8, 9}))
        assert (step.right, step.wrong) == (4, 5)

    def test_leaves_open_what_cannot_be_told(self) -> None:
        step = first_wrong(0, 16, Verdict(False, "at the end"), self.judge(9, {7, 8, 9, 10}))
        assert step == Step(6, 11, Verdict(False))


class TestBisect:
    def test_nothing_to_find(self, model: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert graphrewrite.bisect(model).guilt is Guilt.NOTHING
        assert main(["bisect", model]) == 0
        assert "nothing to find" in capsys.readouterr().out

    def test_names_the_rewrite_and_commands_that_show_it(
        self, model: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["bisect", model, "--passes", "default,wrong.py", "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["guilt"] == "rewrite"
        assert found["passes"] == ["planted"]
        assert found["rewrites"] == [{"index": 0, "rule": "planted", "node": "second"}]
        assert found["value"]["name"] == "b"
        before, after, verify = found["commands"]
        assert main(before.split()[1:]) == 0
        assert main(["verify", model, "before.onnx"]) == 0
        assert main(after.split()[1:]) == 0
        capsys.readouterr()
        assert main(verify.split()[1:]) == 4
        assert capsys.readouterr().out.splitlines()[2].split()[0] == "b"

    def test_names_the_rewrite_that_ends_in_an_error(
        self, model: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["bisect", model, "--passes", "default,broken.py"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].endswith("planted breaks")
        assert "planted at 'second'" in lines[1]
        assert "out of ideas" in lines[2]

    def test_says_that_only_the_file_is_wrong(self, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
        write = TFLiteTarget.write

        def wrong(self: TFLiteTarget, graph: ir.Model, path: Path):  # type: ignore[no-untyped-def]
            node = next(node for node in graph.graph if node.op_type == "ADD")
            node.op_type = "SUB"
            try:
                return write(self, graph, path)
            finally:
                node.op_type = "ADD"

        monkeypatch.setattr(TFLiteTarget, "write", wrong)
        found = graphrewrite.bisect(model)
        assert found.guilt is Guilt.FILE
        assert found.value is not None
        assert found.value.name == "d"

    @pytest.mark.parametrize(
        ("target", "module"),
        [
            ("openvino", "openvino"),
            ("coreml{precision=fp16}", "coremltools"),
            ("tflite{precision=fp16}", "numpy"),
        ],
    )
    def test_every_target(self, model: str, target: str, module: str) -> None:
        pytest.importorskip(module)
        assert graphrewrite.bisect(model, target).guilt is Guilt.NOTHING
        found = graphrewrite.bisect(model, target, ["default", "wrong.py"])
        assert (found.guilt, found.passes) == (Guilt.REWRITE, ("planted",))
        assert [item.root for item in found.rewrites] == ["second"]

    def test_a_float16_file_is_judged_as_a_conversion_ends_with_it(self, model: str) -> None:
        """float16 has steps of 0.5 near 1000: the subtraction is computed in float32 after the first check."""
        pytest.importorskip("coremltools")
        onnx.save(
            onnx.parser.parse_model(
                '<ir_version: 10, opset_import: ["" : 20]> g (float[4] x) => (float[4] y) <float k = {1000.0}> '
                "{ y = Sub(x, k) }"
            ),
            model,
        )
        samples = [{"x": np.float32([1000.1, 1000.2, 999.9, 999.7])}]
        assert graphrewrite.bisect(model, "coreml{precision=fp16}", samples=samples).guilt is Guilt.NOTHING

    def test_ends_are_arranged_before_the_search(self, model: str) -> None:
        onnx.save(
            onnx.parser.parse_model(
                '<ir_version: 9, opset_import: ["" : 17]> g (float[1,3,4,4] x) => (float[1,3,4,4] y)'
                '{ ["first"] a = Neg(x) ["last"] y = Tanh(a) }'
            ),
            model,
        )
        ends = {"normalize": {"x": (127.5, 127.5)}, "io_layout": "nhwc"}
        assert graphrewrite.bisect(model, **ends).guilt is Guilt.NOTHING  # type: ignore[arg-type]
        found = graphrewrite.bisect(model, passes="default,wrong.py", **ends)  # type: ignore[arg-type]
        assert (found.passes, [item.root for item in found.rewrites]) == (("planted",), ["first"])

    def test_a_wrong_import_is_found(self, model: str) -> None:
        onnx.save(
            onnx.parser.parse_model(
                '<ir_version: 7, opset_import: ["" : 9]> g (float[2,3] x) => (float[2,3] y) <float m = {-0.5}>'
                '{ ["low"] a = Clip<min = -1.0, max = 0.5>(x) ["high"] b = Clip<min = -0.5, max = 1.0>(a) ["sum"] y = Add(b, m) }'
            ),
            model,
        )
        assert graphrewrite.bisect(model).guilt is Guilt.NOTHING
        case = Case("import-model", "", "constant")

        with planted(case, "upgrade-Clip-11", "high", 0):
            found = graphrewrite.bisect(model)
        assert found.passes == ("import-model",)
        assert [item.root for item in found.rewrites] == ["high"]


@pytest.mark.parametrize("case", [CASES[4], CASES[8], CASES[10]], ids=lambda case: case.name)
def test_planted_faults_are_named(case: Case) -> None:
    place, found = find(case)
    assert named(case, place, found), found


@pytest.mark.full
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_planted_fault_is_named(case: Case) -> None:
    place, found = find(case)
    assert named(case, place, found), found


class TestStopAfter:
    def test_stops_in_the_middle_of_a_mandatory_pass(self) -> None:
        proto = onnx.parser.parse_model(MODEL)
        session = [
            self.run_state(proto, number).run(
                None, {"x": np.linspace(-2, 2, 6, dtype=np.float32).reshape(2, 3)}
            )[0]
            for number in (0, 2, 4, 99)
        ]
        for found in session[1:]:
            np.testing.assert_allclose(found, session[0], rtol=1e-6)

    def run_state(self, proto: onnx.ModelProto, number: int):  # type: ignore[no-untyped-def]
        from graphrewrite.numeric.reference import create_session

        graph = ir.load(proto)
        stop = StopAfter.checked(f"lower-to-tflite:{number}", build("default", "tflite"))
        records = run_pipeline(graph, build("default", "tflite"), instruments=[stop])
        assert records[-1].name == "lower-to-tflite"
        assert records[-1].rewrites == min(number, 5)
        lowered = sum(node.domain == "tflite" for node in graph.graph)
        assert lowered == min(number, 5)
        return create_session(ir.to_runnable_proto(graph))

    def test_is_spelled_pass_colon_number(self) -> None:
        with pytest.raises(UsageError, match="PASS:N"):
            StopAfter.checked("tidy:many", build("default", "tflite"))
