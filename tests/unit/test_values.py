"""Values inside: names that survive mean what the source means by them, and the first difference is found by name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import onnx.parser
import pytest

from graphrewrite import ir
from graphrewrite.cli.main import main
from graphrewrite.errors import NotChecked
from graphrewrite.numeric import values
from graphrewrite.numeric.noise import NoisePlan
from graphrewrite.numeric.original import Original, feeder
from graphrewrite.numeric.values import compare_values, first_difference, state_probe, state_values
from graphrewrite.pipeline import Stage, build, run_pipeline
from graphrewrite.rewrite import Rewriter
from graphrewrite.targets.base import Target
from graphrewrite.targets.tflite.expose import expose
from graphrewrite.targets.tflite.read import read
from graphrewrite.targets.tflite.target import TARGET

GOLDEN = sorted((Path(__file__).resolve().parent.parent / "golden" / "models").glob("*.ts17.onnx"))
FAST = ("segformer", "mobilestylegan_synthesis", "stylegan2_kept_fused", "gpt", "bisenet")

IMAGE = """<ir_version: 9, opset_import: ["" : 17]>
g (float[1,4,6,6] x) => (float[1,4,6,6] y) <float[4,4,3,3] w, float[1,4,1,1] k> {
  ["first"] a = Conv<pads = [1,1,1,1]>(x, w)
  ["second"] b = Tanh(a)
  ["third"] c = Mul(b, k)
  ["last"] y = Conv<pads = [1,1,1,1]>(c, w)
}"""


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Four channels of images that are six high and wide, so that orders of dimensions can be told apart."""
    monkeypatch.chdir(tmp_path)
    proto = onnx.parser.parse_model(IMAGE)
    rng = np.random.default_rng(0)
    del proto.graph.initializer[:]
    for name, shape in (("w", (4, 4, 3, 3)), ("k", (1, 4, 1, 1))):
        proto.graph.initializer.append(
            onnx.numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name)
        )
    onnx.save(proto, "model.onnx")
    return "model.onnx"


def converted(path: Path | str, passes: str = "default") -> tuple[Original, ir.Model]:
    original, model = Original(path), ir.load(path)
    for item in build(passes, "tflite"):
        run_pipeline(model, [item])
        if item.stage == Stage.IMPORT:
            original.draw(model, None, 0)
    return original, model


def wrong_names(path: Path | str) -> list[str]:
    original, model = converted(path)
    plan = NoisePlan.of(model, original.open())
    perms = state_values(model)
    found = compare_values(
        original,
        state_probe(plan.externalised(model)),
        perms,
        perms=perms,
        feed=feeder(plan, model),
        noise=plan.reference_feeds(original.samples)(0),
    )
    assert found
    return [f"{item.name}: {item.problem}" for item in found if not item.passed]


@pytest.mark.parametrize(
    "path", [path for path in GOLDEN if path.name.split(".")[0] in FAST], ids=lambda path: path.stem
)
def test_a_name_means_what_the_source_means_by_it(path: Path) -> None:
    assert wrong_names(path) == []


@pytest.mark.full
@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_every_name_means_what_the_source_means_by_it(path: Path) -> None:
    assert wrong_names(path) == []


class TestAltered:
    def test_takes_the_name_of_what_it_becomes(self) -> None:
        model = ir.load(
            onnx.parser.parse_model(
                '<ir_version: 10, opset_import: ["" : 20]> g (float[2] x) => (float[2] y) '
                "{ a = Neg(x) b = Identity(a) c = Abs(b) y = Relu(c) }"
            )
        )
        run_pipeline(model, build("none", "tflite")[:1])
        nodes = {node.outputs[0].name: node for node in model.graph}
        rewriter = Rewriter(model)
        with rewriter.rewrite("fold", nodes["c"], [nodes["a"]]):
            rewriter.altered(nodes["b"].outputs[0], since=nodes["a"])
            rewriter.replace(nodes["c"], nodes["b"].outputs[0])
        assert [node.outputs[0].name for node in model.graph] == ["a/altered", "c", "y"]

    def test_outputs_of_the_model_keep_their_names(self) -> None:
        model = ir.load(
            onnx.parser.parse_model(
                '<ir_version: 10, opset_import: ["" : 20]> g (float[2] x) => (float[2] y) { y = Neg(x) }'
            )
        )
        Rewriter(model).altered(model.graph.outputs[0])
        assert model.graph.outputs[0].name == "y"


class TestFile:
    @pytest.fixture
    def path(self, model: str) -> Path:
        assert main(["run", model]) == 0
        return Path("model.tflite")

    def test_channels_last_values_are_turned_back(self, model: str, path: Path) -> None:
        original, _ = converted(model)
        names = TARGET.values(path, original.computed())
        for label in ("litert-xnnpack", "litert-kernels"):
            found = compare_values(
                original,
                lambda asked, label=label: TARGET.probes(path, asked)[label],
                names,  # type: ignore[misc]
            )
            assert [item.name for item in found] == ["a", "b", "c", "y"]
            assert all(item.passed for item in found)
            assert all(item.shape == (1, 4, 6, 6) for item in found)

    def test_batches_give_the_same(self, model: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(values, "BATCH_BYTES", 600)
        original, _ = converted(model)
        asked: list[int] = []

        def probe(names):  # type: ignore[no-untyped-def]
            asked.append(len(names))
            return TARGET.probes(path, names)["litert-kernels"]

        found = compare_values(original, probe, TARGET.values(path, original.computed()))
        assert asked == [1, 1, 1, 1]
        assert all(item.passed for item in found)

    def test_the_first_difference_comes_first(
        self, model: str, path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        other = onnx.load(model)
        other.graph.node[1].op_type = "Sigmoid"
        onnx.save(other, "other.onnx")
        capsys.readouterr()
        assert main(["verify", "other.onnx", str(path), "--per-value"]) == 4
        lines = capsys.readouterr().out.splitlines()
        assert lines[1] == "3 of 4 values inside differ, the first is written by Sigmoid 'second':"
        assert [line.split()[0] for line in lines[2:5]] == ["b", "c", "y"]
        assert main(["verify", "other.onnx", str(path), "--per-value", "--json"]) == 4
        found = json.loads(capsys.readouterr().out)["values"]
        assert [(item["name"], item["passed"]) for item in found] == [
            ("a", True),
            ("b", False),
            ("c", False),
            ("y", False),
        ]

    def test_all_right(self, model: str, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["verify", model, str(path), "--per-value"]) == 0
        assert "all 4 values inside that have a name in the original are right" in capsys.readouterr().out
        assert main(["run", model, "--stop-after", "tidy", "-o", "state.onnx"]) == 0
        assert main(["verify", model, "state.onnx", "--per-value"]) == 0
        assert "all 4 values" in capsys.readouterr().out

    def test_exposing_keeps_the_file_as_it_is(self, path: Path) -> None:
        names = TARGET.values(path, original_names := ("a", "b", "c", "y"))
        assert names == original_names
        expose(path, Path("twin.tflite"), names)
        before, after = read(path), read("twin.tflite")
        assert Path("twin.tflite").read_bytes()[-4:] != path.read_bytes()[-4:]
        assert before.subgraphs[0].tensors == after.subgraphs[0].tensors
        assert before.subgraphs[0].operators == after.subgraphs[0].operators
        assert before.subgraphs[0].outputs == after.subgraphs[0].outputs[: len(before.subgraphs[0].outputs)]
        assert {after.subgraphs[0].tensors[index].name for index in after.subgraphs[0].outputs} == set(names)

    def test_a_target_that_cannot_look_inside_says_so(self, path: Path) -> None:
        with pytest.raises(NotChecked, match="outputs only"):
            Target.values(TARGET, path, ())

    @pytest.mark.parametrize(
        ("target", "module", "suffix"),
        [("openvino", "openvino", ".xml"), ("coreml", "coremltools", ".mlpackage")],
    )
    def test_other_targets(
        self, model: str, target: str, module: str, suffix: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        pytest.importorskip(module)
        assert main(["run", model, "--target", target, "--precision", "fp32"]) == 0
        capsys.readouterr()
        assert main(["verify", model, f"model{suffix}", "--per-value"]) == 0
        assert "all 4 values inside" in capsys.readouterr().out
        other = onnx.load(model)
        other.graph.node[1].op_type = "Sigmoid"
        onnx.save(other, "other.onnx")
        assert main(["verify", "other.onnx", f"model{suffix}", "--per-value"]) == 4
        lines = capsys.readouterr().out.splitlines()
        assert "the first is written by Sigmoid 'second':" in lines[1]
        assert lines[2].split()[0] == "b"


def test_an_order_is_guessed_only_where_it_fits() -> None:
    rng = np.random.default_rng(0)
    wanted = rng.standard_normal((1, 4, 6, 6)).astype(np.float32)

    class Source(Original):
        def open(self):  # type: ignore[no-untyped-def]
            return self

        def open_for(self, extra_outputs):  # type: ignore[no-untyped-def]
            return self

        inputs = ()

        def run(self, feeds, names):  # type: ignore[no-untyped-def]
            return {"v": wanted}

        def computed(self) -> dict[str, str]:
            return {"v": "Conv 'v'"}

    source = Source("", samples=[{}], sizes={"v": 4})
    for stored in (wanted.transpose(0, 2, 3, 1), wanted.reshape(4, 6, 6), wanted.astype(np.float64)):
        (found,) = compare_values(source, lambda names, stored=stored: lambda sample: {"v": stored}, ["v"])  # type: ignore[misc]
        assert found.passed
    for stored in (wanted.transpose(0, 3, 2, 1) + 1, wanted.reshape(4, 36)):
        (found,) = compare_values(source, lambda names, stored=stored: lambda sample: {"v": stored}, ["v"])  # type: ignore[misc]
        assert first_difference([found]) is found
