"""--metadata and --labels: what a written model says of itself, for each target that has a place for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest

import graphrewrite
from graphrewrite.cli.main import main
from graphrewrite.errors import NotChecked, UsageError
from graphrewrite.sources.metadata import ClassNames, parse_metadata
from graphrewrite.sources.opening import Opening

HEAD = '<ir_version: 10, opset_import: ["" : 20]>'
WEIGHTS = ", ".join(str(k % 7 - 3) for k in range(12))
NET = f"""{HEAD} g (float[N,4] x) => (float[N,3] y)
<float[4,3] w = {{{WEIGHTS}}}> {{ a = MatMul(x, w) y = Softmax(a) }}"""
TWO = NET.replace("=> (float[N,3] y)", "=> (float[N,3] y, float[N,3] a, float[N,4] z)")
TWO = TWO.replace("y = Softmax(a) }", "y = Softmax(a) z = Neg(x) }")
LABELS = ["red panda", "cat", "dog"]
TEXTS = {
    "author": "Jane Doe, Zoë",
    "license": "MIT = fine",
    "description": "Tells animals apart.",
    "version": "1.2",
    "com.example.data-set": "v3",
}


def proto(text: str = NET) -> onnx.ModelProto:
    return onnx.parser.parse_model(text)


class TestWriting:
    def test_texts(self) -> None:
        assert parse_metadata(TEXTS) == parse_metadata([f"{key}={text}" for key, text in TEXTS.items()])
        assert parse_metadata(TEXTS).texts == TEXTS
        assert parse_metadata(()).texts == {}

    @pytest.mark.parametrize(
        ("item", "reason"),
        [
            ("author", "is written KEY=TEXT"),
            (
                "autor=Jane",
                r"no key 'autor' \(did you mean author\?\); there are author, license, description, version, and keys",
            ),
            ("note=a", "keys of your own with a dot"),
            ("com..x=a", "no key 'com..x'"),
            ("a b.c=a", "no key 'a b.c'"),
        ],
    )
    def test_wrong_texts(self, item: str, reason: str) -> None:
        with pytest.raises(UsageError, match=reason):
            parse_metadata([item])

    def test_labels(self, tmp_path: Path) -> None:
        file = tmp_path / "a=b.txt"
        file.write_bytes("\ufeffred panda\r\ncat \ndog\n\n".encode())
        assert ClassNames.of(LABELS) == ClassNames(tuple(LABELS))
        assert ClassNames.of({"y": LABELS}) == ClassNames(tuple(LABELS), "y")
        assert ClassNames.of(str(file)) == ClassNames.of(file) == ClassNames(tuple(LABELS), "", str(file))
        plain = tmp_path / "names.txt"
        plain.write_text("\n".join(LABELS))
        assert (
            ClassNames.of(f"y={plain}")
            == ClassNames.of({"y": plain})
            == ClassNames(tuple(LABELS), "y", str(plain))
        )

    @pytest.mark.parametrize(
        ("labels", "reason"),
        [
            ("missing.txt", "'missing.txt' can't be read"),
            ([], "there are no labels"),
            (["a", "", "c"], "label 2 is empty"),
            (["crane", "b", "crane"], "labels 1 and 3 are both 'crane'"),
            ({"y": ["a"], "z": ["b"]}, "those of one output, not of 2"),
        ],
    )
    def test_wrong_labels(self, labels: Any, reason: str) -> None:
        with pytest.raises(UsageError, match=reason):
            ClassNames.of(labels)

    def test_flags_ask_for_the_same_again(self, tmp_path: Path) -> None:
        file = tmp_path / "names.txt"
        file.write_text("\n".join(LABELS))
        opening = Opening.of(metadata={"author": "Jane Doe"}, labels={"y": file})
        assert opening.flags == ["--metadata=author=Jane Doe", f"--labels=y={file}"]
        assert Opening.of(labels=LABELS).flags == []

    @pytest.mark.parametrize(
        ("text", "labels", "shape", "reason"),
        [
            (
                NET,
                LABELS[:2],
                ["N=1"],
                "2 labels fit no output:\n  'y': it gives 3 scores, and there are 2 labels",
            ),
            (NET, LABELS, [], r"it is \[N, 3\], and labels are those of one answer at a time: fix the sizes"),
            (NET, LABELS, ["N=2"], r"it is \[2, 3\], more than one answer"),
            (TWO, LABELS, ["N=1"], "3 labels fit the outputs y, a: say which, as in y=FILE"),
            (TWO, {"z": LABELS}, ["N=1"], "--labels z: it gives 4 scores, and there are 3 labels"),
            (TWO, {"b": LABELS}, ["N=1"], "no output 'b'; the outputs are y, a, z"),
            (
                f"{HEAD} g (float[3] x) => (int64[3] y) {{ y = Cast<to = 7>(x) }}",
                LABELS,
                [],
                "scores are floats, and it is int64",
            ),
            (
                f"{HEAD} g (float[3] x) => (float y) {{ y = ReduceSum<keepdims = 0>(x) }}",
                LABELS,
                [],
                "it has no dimensions",
            ),
        ],
    )
    def test_labels_that_do_not_fit(self, text: str, labels: Any, shape: list[str], reason: str) -> None:
        with pytest.raises(UsageError, match=reason):
            graphrewrite.preflight(proto(text), labels=labels, shape=shape)


class TestPlaces:
    def test_tflite_has_a_description(self, tmp_path: Path) -> None:
        schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
        path = tmp_path / "a.tflite"
        report = graphrewrite.run(proto(), output=path, metadata=TEXTS, labels=LABELS, shape=["N=1"]).report
        assert report["check"]["passed"] is True
        found = report["details"]["metadata"]
        assert found["kept"] == ["description"]
        assert found["left_out"] == ["author", "license", "version", "com.example.data-set", "labels"]
        assert schema.Model.GetRootAs(path.read_bytes()).Description() == b"Tells animals apart."
        assert "metadata" not in graphrewrite.run(proto(), output=path).report["details"]
        assert schema.Model.GetRootAs(path.read_bytes()).Description() == b"graphrewrite"

    def test_openvino_has_a_place_for_all(self, tmp_path: Path) -> None:
        openvino = pytest.importorskip("openvino")
        path = tmp_path / "a.xml"
        report = graphrewrite.run(
            proto(), "openvino", output=path, metadata=TEXTS, labels=LABELS, shape=["N=1"]
        ).report
        assert report["check"]["passed"] is True
        assert report["details"]["metadata"] == {"kept": [*TEXTS, "labels"], "left_out": []}
        model = openvino.Core().read_model(path)
        for key, text in TEXTS.items():
            assert model.get_rt_info(["model_info", key]).astype(str) == text
        assert model.get_rt_info(["model_info", "labels"]).astype(str) == "red_panda cat dog"

    def test_the_command_line_says_what_was_kept(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.chdir(tmp_path)
        onnx.save(proto(), "net.onnx")
        Path("names.txt").write_text("\n".join(LABELS))
        flags = [
            "--metadata",
            "author=Jane",
            "--metadata",
            "description=Animals.",
            "--labels",
            "names.txt",
            "--shape=N=1",
        ]
        assert main(["check", "net.onnx", *flags]) == 0
        assert main(["run", "net.onnx", *flags]) == 0
        text = capsys.readouterr().out
        assert "  says of itself: description\n  has no place for: author, labels" in text
        assert main(["check", "net.onnx", "--labels=names.txt"]) == 2
        assert "fix the sizes with --shape" in capsys.readouterr().err


def _altered(path: Path, alter: Callable[[Any], None]) -> Path:
    from coremltools.proto import Model_pb2

    (file,) = path.rglob("*.mlmodel")
    spec = Model_pb2.Model.FromString(file.read_bytes())
    alter(spec)
    file.write_bytes(spec.SerializeToString())
    return path


class TestCoreML:
    @pytest.fixture(autouse=True)
    def _coremltools(self) -> None:
        pytest.importorskip("coremltools")

    def test_metadata(self, tmp_path: Path) -> None:
        import coremltools

        path = tmp_path / "a.mlpackage"
        report = graphrewrite.run(proto(), "coreml", output=path, metadata=TEXTS, shape=["N=1"]).report
        assert report["details"]["metadata"] == {"kept": list(TEXTS), "left_out": []}
        found = coremltools.utils.load_spec(str(path)).description.metadata
        assert [found.author, found.license, found.shortDescription, found.versionString] == list(
            TEXTS.values()
        )[:4]
        assert found.userDefined["com.example.data-set"] == "v3"

    @pytest.mark.parametrize("precision", ["fp32", "fp16"])
    @pytest.mark.parametrize("deployment", ["iOS15", "iOS18"])
    @pytest.mark.parametrize("kind", ["float", "float16"])
    def test_a_classifier(self, kind: str, deployment: str, precision: str, tmp_path: Path) -> None:
        import coremltools

        from graphrewrite.targets.coreml.evaluate import Evaluator

        path = tmp_path / "a.mlpackage"
        text = NET
        if kind == "float16":
            text = (
                text.replace("float[N", "float16[N")
                .replace("MatMul(x,", "MatMul(f,")
                .replace("y = Softmax(a)", "s = Softmax(a) y = Cast<to = 10>(s)")
            )
            text = text.replace("{ a =", "{ f = Cast<to = 1>(x) a =")
        report = graphrewrite.run(
            proto(text),
            f"coreml{{minimum_deployment_target={deployment},precision={precision}}}",
            output=path,
            labels=LABELS,
            shape=["N=1"],
        ).report
        assert report["check"]["passed"] is True
        assert report["details"]["classifier"] == {"label": "classLabel", "scores": "y", "classes": 3}
        assert report["details"]["features"]["y"] == "a dictionary of scores by label"
        assert report["details"]["metadata"] == {"kept": ["labels"], "left_out": []}
        described = coremltools.utils.load_spec(str(path)).description
        assert described.predictedFeatureName == "classLabel"
        assert described.predictedProbabilitiesName == "y"
        assert {item.name: item.type.WhichOneof("Type") for item in described.output} == {
            "y": "dictionaryType",
            "classLabel": "stringType",
        }
        run = Evaluator(path)
        weights = np.reshape([float(item) for item in WEIGHTS.split(",")], (4, 3))
        for seed in range(6):
            x = (
                np.random.default_rng(seed)
                .standard_normal((1, 4))
                .astype("float16" if kind == "float16" else "float32")
            )
            found = run({"x": x})
            assert found["classLabel"] == LABELS[int(np.argmax(x @ weights))]
            assert found["y"].shape == (1, 3)

    def test_names_that_are_taken(self, tmp_path: Path) -> None:
        text = TWO.replace("float[N,4] z", "float[N,4] classLabel").replace("z = Neg", "classLabel = Neg")
        path = tmp_path / "a.mlpackage"
        report = graphrewrite.run(
            proto(text), "coreml", output=path, labels={"a": LABELS}, shape=["N=1"]
        ).report
        assert report["check"]["passed"] is True
        assert [item["name"] for item in report["check"]["outputs"]] == ["y", "a", "classLabel"]
        assert report["details"]["classifier"]["label"] == "classLabel_1"
        assert report["details"]["classifier"]["scores"] == "a"

    def test_an_input_that_is_the_scores(self, tmp_path: Path) -> None:
        text = (
            f"{HEAD} g (float[1,3] x) => (float[1,3] y, float[1,3] z) {{ y = Identity(x) z = Identity(x) }}"
        )
        report = graphrewrite.run(
            proto(text), "coreml", output=tmp_path / "a.mlpackage", labels={"y": LABELS}
        ).report
        assert report["check"]["passed"] is True

    def test_the_same_bytes_twice(self, tmp_path: Path) -> None:
        options: dict[str, Any] = {"metadata": TEXTS, "labels": LABELS, "shape": ["N=1"]}
        contents = []
        for name in ("a", "b"):
            path = tmp_path / f"{name}.mlpackage"
            graphrewrite.run(proto(), "coreml", output=path, **options)
            contents.append(
                {item.relative_to(path): item.read_bytes() for item in path.rglob("*") if item.is_file()}
            )
        assert contents[0] == contents[1]

    def test_random_noise_and_labels(self, tmp_path: Path) -> None:
        text = NET.replace(
            "a = MatMul(x, w)", "r = RandomNormal<shape = [1, 3]>() b = MatMul(x, w) a = Add(b, r)"
        )
        report = graphrewrite.run(
            proto(text), "coreml", output=tmp_path / "a.mlpackage", labels=LABELS, shape=["N=1"]
        ).report
        assert report["check"]["passed"] is True

    def test_a_damaged_classifier(self, tmp_path: Path) -> None:
        from graphrewrite.targets.coreml.evaluate import Evaluator

        path = tmp_path / "a.mlpackage"

        def written() -> Path:
            graphrewrite.run(proto(), "coreml", output=path, labels=LABELS, shape=["N=1"])
            return path

        def rename(spec: Any) -> None:
            spec.description.predictedFeatureName = "label"

        def shorten(spec: Any) -> None:
            function = spec.mlProgram.functions["main"]
            operation = function.block_specializations[function.opset].operations[-1]
            del operation.inputs["classes"].arguments[0].value.immediateValue.list.values[0]

        with pytest.raises(NotChecked, match="described as 'label' and 'y', and are 'classLabel' and 'y'"):
            Evaluator(_altered(written(), rename))
        run = Evaluator(_altered(written(), shorten))
        with pytest.raises(NotChecked, match="has 2 classes, and 'y_tensor' holds 3 scores"):
            run({"x": np.zeros((1, 4), np.float32)})

    @pytest.mark.parametrize("classes", [["a", "b", "c"], [7, 5, 3]])
    @pytest.mark.parametrize("precision", ["FLOAT32", "FLOAT16"])
    def test_classifiers_that_others_made(
        self, classes: list[Any], precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """coremltools' own: the scores are found under the dictionary's name, and under that of the output they were made of."""
        import coremltools
        from coremltools.converters.mil import Builder as mb
        from coremltools.converters.mil.mil import types

        from graphrewrite.targets.coreml.evaluate import Evaluator

        monkeypatch.chdir(tmp_path)
        weights = np.reshape([float(item) for item in WEIGHTS.split(",")], (4, 3)).astype(np.float32)

        @mb.program(input_specs=[mb.TensorSpec(shape=(1, 4), dtype=types.fp32)])
        def program(x: Any) -> Any:
            return mb.softmax(x=mb.matmul(x=x, y=weights), axis=-1, name="y")

        coremltools.convert(
            program,
            convert_to="mlprogram",
            classifier_config=coremltools.ClassifierConfig(classes),
            compute_precision=getattr(coremltools.precision, precision),
        ).save("theirs.mlpackage")
        found = Evaluator(Path("theirs.mlpackage"))({"x": np.array([[1, 0, 0, 0]], np.float32)})
        assert found["classLabel"] == classes[int(np.argmax(weights[0]))]
        np.testing.assert_array_equal(found["classLabel_probs"], found["y"])
        onnx.save(proto(), "net.onnx")
        fine = ["--precision", "fp16"] if precision == "FLOAT16" else []
        assert main(["verify", "net.onnx", "theirs.mlpackage", "--shape=N=1", *fine]) == 0
        onnx.save(proto(NET.replace("y = Softmax(a)", "b = Neg(a) y = Softmax(b)")), "net.onnx")
        assert main(["verify", "net.onnx", "theirs.mlpackage", "--shape=N=1", *fine]) == 4

    def test_a_classifier_of_pictures(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        text = f"""{HEAD} g (float[N,3,H,W] x) => (float[N,2] y) <float[2,3,1,1] w = {{1, -2, 5, 3, 0.5, -1}}>
        {{ a = Conv(x, w) b = GlobalAveragePool(a) c = Flatten(b) y = Softmax(c) }}"""
        onnx.save(proto(text), tmp_path / "net.onnx")
        (tmp_path / "names.txt").write_text("day\nnight\n")
        command = [
            "run",
            str(tmp_path / "net.onnx"),
            "--target=coreml",
            "-o",
            str(tmp_path / "net.mlpackage"),
        ]
        command += ["--image=x=rgb,scale=1/255", "--shape=N=1", "--shape=H=32..64", "--shape=W=32..64"]
        assert main([*command, "--labels", str(tmp_path / "names.txt"), "--precision=fp16"]) == 0
        text = capsys.readouterr().out
        assert (
            "classifier of 2 classes: 'y' holds the scores by label, 'classLabel' the label of the largest"
            in text
        )
