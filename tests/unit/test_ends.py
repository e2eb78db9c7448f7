"""--normalize and --io-layout: the ends of the written model, and that the check follows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest

import graphrewrite
from graphrewrite import ir
from graphrewrite.cli.main import main
from graphrewrite.errors import OutputsDiffer, UsageError
from graphrewrite.sources.ends import Normalization, parse_layouts
from graphrewrite.sources.opening import Opening
from graphrewrite.targets.tflite.runtime import runner

MODELS = Path(__file__).resolve().parent.parent / "golden" / "models"
WEIGHTS = ", ".join(str(k % 7 - 3) for k in range(4 * 3 * 9))
TEXT = f"""<ir_version: 10, opset_import: ["" : 20]> g (float[N,3,H,W] image, float[3] k) => (float[N,4,H,W] y, float[3] m)
<float[4,3,3,3] w = {{{WEIGHTS}}}> {{ y = Conv<pads = [1, 1, 1, 1]>(image, w) m = Neg(k) }}"""
MEAN, STD = [123.7, 116.3, 103.5], [58.4, 57.1, 57.4]


def proto(text: str = TEXT) -> onnx.ModelProto:
    return onnx.parser.parse_model(text)


class TestWriting:
    def test_normalizations(self) -> None:
        name, item = Normalization.parse("a=b=123.7,116.3,103.5:58.4,57.1,57.4")
        assert (name, item) == ("a=b", Normalization(tuple(MEAN), tuple(STD)))
        assert Normalization.parse(f"x={item}") == ("x", item)
        assert Normalization.parse("x=127.5:127.5")[1] == Normalization((127.5,), (127.5,))

    @pytest.mark.parametrize(
        "item", ["x", "x=1", "x=1:", "x=:1", "=1:2", "x=1:a", "x=1:0", "x=nan:1", "x=1:2:3"]
    )
    def test_wrong_normalizations(self, item: str) -> None:
        with pytest.raises(UsageError, match="--normalize"):
            Normalization.parse(item)

    def test_layouts(self) -> None:
        assert parse_layouts(["nhwc"]) == {"": "nhwc"}
        assert parse_layouts(["a=nhwc,b=nchw", "nhwc"]) == {"a": "nhwc", "b": "nchw", "": "nhwc"}
        for wrong in ("nwhc", "a=", "a=NHWC", ""):
            with pytest.raises(UsageError, match="--io-layout is written"):
                parse_layouts([wrong])

    def test_flags_ask_for_the_same_again(self) -> None:
        shape = {"x": [1, None, "8|16", "2..3"], "batch": 4}
        normalize = {"x": (MEAN, 1)}
        opening = Opening.of(shape, "a,b", ["c"], normalize=normalize, io_layout={"x": "nhwc"})
        assert opening.flags == [
            "--shape=x=1,?,8|16,2..3",
            "--shape=batch=4",
            "--inputs=a,b",
            "--outputs=c",
            "--normalize=x=123.7,116.3,103.5:1.0",
            "--io-layout=x=nhwc",
        ]


class TestNormalize:
    @pytest.mark.parametrize("target", ["tflite", "folder"])
    @pytest.mark.parametrize(("mean", "std"), [(MEAN, STD), (127.5, 127.5), (MEAN, 255.0), ([0.0], STD)])
    def test_raw_images_go_in(self, target: str, mean: Any, std: Any, tmp_path: Path) -> None:
        from folder_target import FolderTarget

        item: Any = FolderTarget() if target == "folder" else target
        output = tmp_path / f"a.{target}"
        result = graphrewrite.run(proto(), item, output=output, normalize={"image": (mean, std)})
        assert result.report["check"]["passed"] is True
        assert [entry["name"] for entry in result.report["inputs"]] == ["image", "k"]

    def test_the_file_does_what_was_asked_for(self, tmp_path: Path) -> None:
        path = tmp_path / "a.tflite"
        graphrewrite.run(
            proto(), output=path, normalize=[f"image={','.join(map(str, MEAN))}:{','.join(map(str, STD))}"]
        )
        image = np.random.default_rng(0).uniform(0, 255, (1, 3, 8, 8)).astype(np.float32)
        k = np.ones(3, np.float32)
        found = runner.run(path, {"image": image, "k": k}).outputs["y"]
        graphrewrite.run(proto(), output=path)
        normal = (image - np.reshape(MEAN, (3, 1, 1))) / np.reshape(STD, (3, 1, 1))
        wanted = runner.run(path, {"image": normal.astype(np.float32), "k": k}).outputs["y"]
        np.testing.assert_allclose(found, wanted, atol=1e-4)

    def test_a_scale_goes_into_the_weights(self, tmp_path: Path) -> None:
        result = graphrewrite.run(
            proto(), output=tmp_path / "a.tflite", normalize={"image": (0, 255)}, io_layout="nhwc"
        )
        assert result.report["details"]["operators"] == {"CONV_2D": 1, "NEG": 1}

    @pytest.mark.parametrize(
        ("normalize", "reason"),
        [
            ({"img": (0, 1)}, "there is no input 'img'; the inputs are image, k"),
            ({"image": ([1, 2], 1)}, "numbers for 2 channels, and it has 3"),
            ({"image": ([1, 2, 3], [1, 2])}, "3 means and 2 standard deviations do not go together"),
            ({"k": ([1, 2, 3], 1)}, "it has no"),
        ],
    )
    def test_wrong(self, normalize: Any, reason: str, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=reason):
            graphrewrite.run(proto(), output=tmp_path / "a.tflite", normalize=normalize)

    def test_integers_and_outputs_are_refused(self, tmp_path: Path) -> None:
        text = (
            '<ir_version: 10, opset_import: ["" : 20]> g (uint8[2] x) => (float[2] y) { y = Cast<to = 1>(x) }'
        )
        with pytest.raises(UsageError, match="is no float32 tensor"):
            graphrewrite.run(proto(text), output=tmp_path / "a.tflite", normalize={"x": (0, 1)})
        text = '<ir_version: 10, opset_import: ["" : 20]> g (float[2] x) => (float[2] x, float[2] y) { y = Neg(x) }'
        with pytest.raises(UsageError, match="is an output as well"):
            graphrewrite.run(proto(text), output=tmp_path / "a.tflite", normalize={"x": (0, 1)})


class TestLayout:
    @pytest.mark.parametrize("target", ["tflite", "folder"])
    @pytest.mark.parametrize(
        ("layout", "image", "y"),
        [
            ("nhwc", ["N", "H", "W", 3], ["N", "H", "W", 4]),
            ({"image": "nhwc"}, ["N", "H", "W", 3], ["N", 4, "H", "W"]),
            (["nhwc", "image=nchw"], ["N", 3, "H", "W"], ["N", "H", "W", 4]),
        ],
    )
    def test_images_are_channels_last(
        self, target: str, layout: Any, image: list[Any], y: list[Any], tmp_path: Path
    ) -> None:
        from folder_target import FolderTarget

        item: Any = FolderTarget() if target == "folder" else target
        result = graphrewrite.run(proto(), item, output=tmp_path / f"a.{target}", io_layout=layout)
        assert result.report["check"]["passed"] is True
        shapes = {
            entry["name"]: entry["shape"] for entry in [*result.report["inputs"], *result.report["outputs"]]
        }
        assert shapes["image"] == image
        assert shapes["y"][3 if y[3] == 4 else 1] == 4
        assert shapes["k"] == shapes["m"] == [3]
        if target == "tflite":
            transposes = result.report["details"]["operators"].get("TRANSPOSE", 0)
            assert transposes == (image[1] == 3) + (y[1] == 4)

    def test_the_file_takes_and_gives_them(self, tmp_path: Path) -> None:
        path = tmp_path / "a.tflite"
        image = np.random.default_rng(0).standard_normal((2, 3, 8, 6)).astype(np.float32)
        k = np.ones(3, np.float32)
        graphrewrite.run(proto(), output=path)
        wanted = runner.run(path, {"image": image, "k": k}).outputs["y"]
        graphrewrite.run(proto(), output=path, io_layout="nhwc")
        found = runner.run(
            path, {"image": np.ascontiguousarray(image.transpose(0, 2, 3, 1)), "k": k}
        ).outputs["y"]
        np.testing.assert_allclose(found.transpose(0, 3, 1, 2), wanted, atol=1e-5)

    def test_wrong(self, tmp_path: Path) -> None:
        for layout, reason in (
            ({"img": "nhwc"}, "no input or output 'img'"),
            ({"k": "nhwc"}, "'k' has 1 dimensions"),
        ):
            with pytest.raises(UsageError, match=reason):
                graphrewrite.run(proto(), output=tmp_path / "a.tflite", io_layout=layout)

    def test_samples_are_in_the_source_s_order(self, tmp_path: Path) -> None:
        sample = {"image": np.ones((1, 3, 8, 8), np.float32), "k": np.ones(3, np.float32)}
        result = graphrewrite.run(proto(), output=tmp_path / "a.tflite", io_layout="nhwc", samples=[sample])
        assert result.report["check"]["outputs"][0]["shape"] == [1, 4, 8, 8]


class TestTogether:
    @pytest.mark.parametrize("name", ["bisenet_labels.ts17", "bisenet.dyn"])
    def test_bisenet(self, name: str, tmp_path: Path) -> None:
        result = graphrewrite.run(
            MODELS / f"{name}.onnx",
            output=tmp_path / "a.tflite",
            normalize=["image=123.7,116.3,103.5:58.4,57.1,57.4"] if "labels" in name else {},
            io_layout="nhwc",
        )
        assert result.report["check"]["passed"] is True
        assert result.report["details"]["operators"].get("TRANSPOSE", 0) == 0
        assert ir.dims(result.model.graph.inputs[0])[-1] == 3  # type: ignore[index]

    def test_numeric_each_and_random_noise(self, tmp_path: Path) -> None:
        text = TEXT.replace("m = Neg(k)", "r = RandomNormal<shape = [3]>() m = Add(k, r)")
        result = graphrewrite.run(
            proto(text),
            output=tmp_path / "a.tflite",
            normalize={"image": (MEAN, STD)},
            io_layout="nhwc",
            shape=["N=1", "H=8|9", "W=8"],
            numeric_each=True,
            debug=True,
        )
        assert result.report["check"]["passed"] is True
        assert not [entry for entry in result.record if entry.rolled_back]

    def test_errors_along_the_pipeline(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The imported graph has the source's ends, and takes what the source takes."""
        monkeypatch.chdir(tmp_path)
        onnx.save(
            proto(TEXT.replace("(image, w)", "(im, w)").replace("y = Conv", "im = Identity(image) y = Conv")),
            "net.onnx",
        )
        flags = ["--normalize=image=127.5:127.5", "--image=image=rgb", "--shape=N=1", "--io-layout=nhwc"]
        assert main(["diff", "net.onnx", "--numeric", "--json", *flags]) == 0
        stages = [
            item["numeric"] for item in json.loads(capsys.readouterr().out)["passes"] if item.get("numeric")
        ]
        assert len(stages) > 2
        assert all(item["total"]["passed"] for errors in stages for item in errors)

    def test_the_command_line_and_a_reproducer(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        from folder_target import FolderTarget

        monkeypatch.chdir(tmp_path)
        onnx.save(proto(), "net.onnx")
        flags = ["--normalize=image=127.5:127.5", "--io-layout=nhwc", "--shape=N=1"]
        assert main(["run", "net.onnx", *flags]) == 0
        assert main(["verify", "net.onnx", "net.tflite", *flags]) == 0
        assert main(["verify", "net.onnx", "net.tflite", *flags[1:]]) == 4
        assert main(["check", "net.onnx", *flags]) == 0
        capsys.readouterr()
        with pytest.raises(OutputsDiffer):
            graphrewrite.run(
                "net.onnx",
                FolderTarget("outputs"),
                normalize={"image": (127.5, 127.5)},
                io_layout="nhwc",
                shape={"N": 1},
            )
        command = Path("repro/net/command.txt").read_text()
        assert "--shape=N=1 --normalize=image=127.5:127.5 --io-layout=nhwc --samples samples.npz" in command
