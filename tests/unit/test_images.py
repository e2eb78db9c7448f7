"""--image: pictures go in, scale and bias are computed inside, and the check feeds pixels to both sides."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest

import graphrewrite
from graphrewrite.cli.main import main
from graphrewrite.errors import NotChecked, OutputsDiffer, UsageError
from graphrewrite.numeric.pixels import Pixels, are_pixels
from graphrewrite.sources.images import ImageInput, parse_images
from graphrewrite.sources.opening import Opening

HEAD = '<ir_version: 10, opset_import: ["" : 20]>'
WEIGHTS = "<float[2,3,1,1] w = {1, -2, 5, 3, 0.5, -1}>"
COLOR = f"{HEAD} g (float[N,3,H,W] x, float[2] k) => (float[N,2,H,W] y, float[2] m) {WEIGHTS} {{ y = Conv(x, w) m = Neg(k) }}"
LAST = f"""{HEAD} g (float[1,H,W,3] x) => (float[1,2,H,W] y) {WEIGHTS}
{{ t = Transpose<perm = [0, 3, 1, 2]>(x) y = Conv(t, w) }}"""
GRAY = f"{HEAD} g (float[1,1,6,4] x) => (float[1,1,6,4] y) {{ y = Tanh(x) }}"
BYTES = (
    f"{HEAD} g (uint8[1,3,4,6] x) => (float[1,2,4,6] y) {WEIGHTS} {{ c = Cast<to = 1>(x) y = Conv(c, w) }}"
)
BIAS = (-0.5, 0.25, 1.0)


def proto(text: str = COLOR) -> onnx.ModelProto:
    return onnx.parser.parse_model(text)


class TestWriting:
    def test_what_is_read(self) -> None:
        assert ImageInput.parse("a=b=bgr") == ("a=b", ImageInput("bgr"))
        assert ImageInput.parse("x=rgb,scale=1/255,bias=-0.5:0.25:1") == (
            "x",
            ImageInput("rgb", (1 / 255,), BIAS),
        )
        assert ImageInput.parse("x=gray,bias=-1,scale=2e-2")[1] == ImageInput("gray", (0.02,), (-1.0,))
        assert ImageInput.parse("x=rgb,scale=1:2:3")[1].scale == (1.0, 2.0, 3.0)

    @pytest.mark.parametrize(
        "given",
        [
            ["x=rgb,scale=0.5,bias=-0.5:0.25:1"],
            {"x": "rgb,scale=0.5,bias=-0.5:0.25:1"},
            {"x": {"color": "rgb", "scale": 0.5, "bias": list(BIAS)}},
            {"x": {"color": "rgb", "scale": np.float64(0.5), "bias": np.array(BIAS)}},
        ],
    )
    def test_ways_to_say_it(self, given: Any) -> None:
        assert parse_images(given) == {"x": ImageInput("rgb", (0.5,), BIAS)}

    def test_flags_ask_for_the_same_again(self) -> None:
        opening = Opening.of(image=["x=rgb,scale=1/255,bias=1:2:3", "z=gray"])
        assert opening.flags == ["--image=x=rgb,scale=0.00392156862745098,bias=1.0:2.0:3.0", "--image=z=gray"]
        again = Opening.of(image=[flag.removeprefix("--image=") for flag in opening.flags])
        assert again.ends.images == opening.ends.images

    @pytest.mark.parametrize(
        ("item", "reason"),
        [
            ("x", "is written INPUT=rgb, bgr or gray"),
            ("=rgb", "is written"),
            ("x=rgb,gain=2", "is written"),
            ("x=rgb,scale=1,scale=2", "is written"),
            ("x=rgb,scale", "is written"),
            ("x=yuv", "a picture is rgb, bgr, gray, not 'yuv'"),
            ("x=rgb,scale=a", "'a' is no number"),
            ("x=rgb,scale=1/0", "is no number"),
            ("x=rgb,scale=1/", "is no number"),
            ("x=rgb,scale=0", "no scale of zero"),
            ("x=rgb,bias=nan", "finite numbers"),
            ("x=rgb,bias=1:2", "one for each of the 3 channels of rgb, not 2"),
            ("x=gray,bias=1:2:3", "one for each of the 1 channels"),
        ],
    )
    def test_wrong(self, item: str, reason: str) -> None:
        with pytest.raises(UsageError, match=reason):
            ImageInput.parse(item)

    @pytest.mark.parametrize(
        ("text", "image", "shape", "reason"),
        [
            (COLOR, "z=rgb", ["N=1"], "there is no input 'z'; the inputs are x, k"),
            (COLOR, "x=rgb", [], "takes N pictures at once.* fix it with --shape N=1"),
            (COLOR, "x=rgb", ["N=2"], r"takes 2 pictures at once.*--shape x=1,\?,\?,\?"),
            (COLOR, "x=gray", ["N=1"], r"gray has 1 channel, and the input is \[1, 3, H, W\]"),
            (COLOR, "k=rgb", [], "a picture has 4 dimensions.* it has 1"),
            (
                BYTES,
                "x=rgb,scale=2",
                [],
                "it is uint8, which holds pixels as they are: leave scale and bias out",
            ),
            (GRAY.replace("float[1,1,6,4] x)", "float16[1,1,6,4] x)"), "x=gray", [], "it is float16"),
        ],
    )
    def test_what_does_not_fit_the_model(self, text: str, image: str, shape: list[str], reason: str) -> None:
        with pytest.raises(UsageError, match=reason):
            graphrewrite.preflight(proto(text), image=[image], shape=shape)


def test_pixels_know_their_channels() -> None:
    array = np.arange(2 * 2 * 3, dtype=np.float32).reshape(1, 2, 2, 3)
    pixels = Pixels.of(array, "bgr", 3)
    np.testing.assert_array_equal(pixels.planes("bgr"), array.transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(pixels.planes("rgb"), array[..., ::-1].transpose(0, 3, 1, 2))
    with pytest.raises(ValueError, match="1 channels is wanted, and this is bgr"):
        pixels.planes("gray")
    assert [are_pixels(np.array([number])) for number in (0, 255, 1.5, -1, 256, np.nan)] == [
        True,
        True,
        *[False] * 4,
    ]


class TestTensors:
    """Targets without image inputs take the pixels as a tensor."""

    @pytest.mark.parametrize("target", ["tflite", "openvino", "folder"])
    def test_pixels_go_in(self, target: str, tmp_path: Path) -> None:
        from folder_target import FolderTarget

        item: Any = FolderTarget() if target == "folder" else target
        if target != "folder":
            pytest.importorskip("ai_edge_litert" if target == "tflite" else "openvino")
        output = tmp_path / ("a.xml" if target == "openvino" else f"a.{target}")
        image = {"x": {"color": "bgr", "scale": 0.5, "bias": BIAS}}
        report = graphrewrite.run(proto(), item, output=output, image=image, shape=["N=1"]).report
        assert report["check"]["passed"] is True
        wanted = {"color": "bgr", "scale": [0.5], "bias": list(BIAS), "feature": False}
        assert [entry.get("image") for entry in report["inputs"]] == [wanted, None]

    def test_the_file_computes_them(self, tmp_path: Path) -> None:
        from graphrewrite.targets.tflite.runtime import runner

        path = tmp_path / "a.tflite"
        picture = np.random.default_rng(0).integers(0, 256, (1, 3, 6, 4)).astype(np.float32)
        feeds = {"x": picture, "k": np.ones(2, np.float32)}
        graphrewrite.run(
            proto(),
            output=path,
            shape=["N=1"],
            image=["x=rgb,scale=1/255,bias=-0.5:0.25:1"],
            normalize={"x": (0.5, 0.2)},
        )
        found = runner.run(path, feeds).outputs["y"]
        graphrewrite.run(proto(), output=path, shape=["N=1"])
        inner = ((picture / 255 + np.reshape(BIAS, (3, 1, 1))) - 0.5) / 0.2  # scale and bias first
        wanted = runner.run(path, feeds | {"x": inner.astype(np.float32)}).outputs["y"]
        np.testing.assert_allclose(found, wanted, atol=1e-4)

    @pytest.mark.parametrize("text", [COLOR, LAST])
    def test_channels_last(self, text: str, tmp_path: Path) -> None:
        result = graphrewrite.run(
            proto(text),
            output=tmp_path / "a.tflite",
            image=["x=rgb,scale=1/255,bias=1:2:3"],
            io_layout="nhwc",
            shape=["H=5", "W=7"] + (["N=1"] if text == COLOR else []),
        )
        assert result.report["check"]["passed"] is True
        assert result.report["inputs"][0]["shape"] == [1, 5, 7, 3]
        assert "TRANSPOSE" not in result.report["details"]["operators"]

    def test_samples_of_the_user_are_pixels(self, tmp_path: Path) -> None:
        sample = {"x": np.full((1, 3, 2, 2), 200, np.uint8), "k": np.ones(2, np.float32)}
        options: dict[str, Any] = {
            "output": tmp_path / "a.tflite",
            "image": ["x=rgb,scale=1/255"],
            "shape": ["N=1"],
        }
        assert graphrewrite.run(proto(), samples=[sample], **options).report["check"]["passed"] is True
        with pytest.raises(
            UsageError, match="--image x: samples of a picture hold whole numbers from 0 to 255"
        ):
            graphrewrite.run(proto(), samples=[sample | {"x": sample["x"] / 255}], **options)

    def test_bisect_and_reproducers_take_it_along(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from folder_target import FolderTarget

        from graphrewrite.bisection import bisect

        monkeypatch.chdir(tmp_path)
        onnx.save(proto(), "net.onnx")
        options: dict[str, Any] = {"image": {"x": "bgr,scale=0.5"}, "shape": ["N=1"]}
        assert bisect("net.onnx", FolderTarget(), **options).guilt.name == "NOTHING"
        with pytest.raises(OutputsDiffer):
            graphrewrite.run("net.onnx", FolderTarget("outputs"), **options)
        assert "--image=x=bgr,scale=0.5" in Path("repro/net/command.txt").read_text()

    def test_goldens_keep_it(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        onnx.save(proto(), "net.onnx")
        flags = ["--image", "x=bgr,scale=0.5", "--shape", "N=1", "--shape", "H=4", "--shape", "W=6"]
        assert main(["golden", "record", "goldens", "net.onnx", *flags]) == 0
        assert 'image = ["x=bgr,scale=0.5"]' in Path("goldens/net.golden.toml").read_text()
        assert main(["golden", "check", "goldens"]) == 0

    def test_a_part_of_a_model_has_no_such_ends(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        onnx.save(proto(), tmp_path / "net.onnx")
        assert main(["reduce", str(tmp_path / "net.onnx"), "--image", "x=rgb"]) == 2
        assert "--image, --normalize and --io-layout belong" in capsys.readouterr().err


def _feature(path: Path) -> Any:
    import coremltools

    return coremltools.utils.load_spec(str(path)).description.input[0].type.imageType


def _altered(path: Path, alter: Callable[[Any], None]) -> None:
    from coremltools.proto import Model_pb2

    (file,) = path.rglob("*.mlmodel")
    spec = Model_pb2.Model.FromString(file.read_bytes())
    alter(spec)
    file.write_bytes(spec.SerializeToString())


class TestCoreML:
    @pytest.fixture(autouse=True)
    def _coremltools(self) -> None:
        pytest.importorskip("coremltools")

    @pytest.mark.parametrize("precision", ["fp32", "fp16"])
    @pytest.mark.parametrize("deployment", ["iOS15", "iOS18"])
    @pytest.mark.parametrize(
        ("text", "image", "space", "size"),
        [
            (COLOR, "x=rgb,scale=1/255,bias=-0.5:0.25:1", "RGB", (5, 7)),
            (COLOR, "x=bgr,bias=-100", "BGR", (5, 7)),
            (LAST, "x=bgr,scale=0.5:0.25:2,bias=3:2:1", "BGR", (5, 7)),
            (LAST, "x=rgb", "RGB", (5, 7)),
            (GRAY, "x=gray,scale=1/255,bias=-0.5", "GRAYSCALE", (6, 4)),
            (BYTES, "x=bgr", "BGR", (4, 6)),
        ],
    )
    def test_the_input_is_an_image(
        self,
        text: str,
        image: str,
        space: str,
        size: tuple[int, int],
        deployment: str,
        precision: str,
        tmp_path: Path,
    ) -> None:
        path = tmp_path / "a.mlpackage"
        names = [name for name in ("N", "H", "W") if f"{name}" in text.partition(")")[0]]
        sizes = {"N": 1, "H": 5, "W": 7}
        result = graphrewrite.run(
            proto(text),
            f"coreml{{minimum_deployment_target={deployment},precision={precision}}}",
            output=path,
            image=[image],
            shape={name: sizes[name] for name in names},
        )
        report = result.report
        assert report["check"]["passed"] is True
        assert report["inputs"][0]["image"]["feature"] is True
        assert "an image" in report["details"]["features"]["x"]
        feature = _feature(path)
        assert (feature.height, feature.width) == size
        assert feature.ColorSpace.Name(feature.colorSpace) == space
        assert feature.WhichOneof("SizeFlexibility") is None
        assert "transpose" not in report["details"]["operators"]

    def test_what_the_package_computes(self, tmp_path: Path) -> None:
        from graphrewrite.targets.coreml.evaluate import Evaluator

        path = tmp_path / "a.mlpackage"
        graphrewrite.run(
            proto(), "coreml", output=path, image=["x=bgr,scale=1/255,bias=-0.5:0.25:1"], shape=["x=1,3,5,7"]
        )
        rgb = np.random.default_rng(1).integers(0, 256, (1, 3, 5, 7)).astype(np.float32)
        weights = np.reshape([1, -2, 5, 3, 0.5, -1], (2, 3))
        bgr = rgb[:, ::-1] / 255 + np.reshape(BIAS, (3, 1, 1))
        run, k = Evaluator(path), np.ones(2, np.float32)
        for given in (Pixels.of(rgb, "rgb", 1), Pixels.of(rgb[:, ::-1].transpose(0, 2, 3, 1), "bgr", 3)):
            np.testing.assert_allclose(
                run({"x": given, "k": k})["y"], np.einsum("oc,nchw->nohw", weights, bgr), rtol=1e-4, atol=1e-5
            )
        for wrong, reason in (
            (rgb, r"takes an image \(bgr, 5 x 7\) as 'x': say so with --image x=bgr"),
            (Pixels.of(rgb / 2, "rgb", 1), "of whole numbers from 0 to 255"),
            (Pixels.of(rgb[:, :1], "gray", 1), "3 channels is wanted, and this is gray"),
            (Pixels.of(rgb[:, :, :4], "rgb", 1), "this one is 4 x 7"),
        ):
            with pytest.raises(NotChecked, match=reason):
                run({"x": wrong, "k": k})

    def test_several_sizes(self, tmp_path: Path) -> None:
        path = tmp_path / "a.mlpackage"

        def converted(*shape: str, **options: Any) -> Any:
            result = graphrewrite.run(
                proto(), "coreml", output=path, image=["x=rgb,scale=2"], shape=["N=1", *shape], **options
            )
            assert result.report["check"]["passed"] is True
            return _feature(path)

        feature = converted("H=4..8", "W=6..")
        ranges = feature.imageSizeRange
        assert (feature.height, feature.width) == (4, 6)
        assert (ranges.heightRange.lowerBound, ranges.heightRange.upperBound) == (4, 8)
        assert (ranges.widthRange.lowerBound, ranges.widthRange.upperBound) == (6, -1)
        feature = converted("H=4|8", "W=6", io_layout="nhwc")
        assert [(item.height, item.width) for item in feature.enumeratedSizes.sizes] == [(4, 6), (8, 6)]
        _altered(path, lambda spec: spec.description.input[0].type.imageType.enumeratedSizes.sizes.pop())
        onnx.save(proto(), tmp_path / "net.onnx")
        flags = ["--image=x=rgb,scale=2", "--shape=N=1", "--shape=H=4|8", "--shape=W=6"]
        assert main(["verify", str(tmp_path / "net.onnx"), str(path), *flags]) == 5

    def test_a_file_that_asks_for_other_colours_is_wrong(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path, source = tmp_path / "a.mlpackage", tmp_path / "net.onnx"
        onnx.save(proto(), source)
        flags = ["--image=x=rgb,scale=1/255", "--shape=x=1,3,5,7"]
        assert main(["run", str(source), "--target", "coreml", "-o", str(path), *flags]) == 0
        assert "input  x: float[1,3,5,7], an image (rgb)" in capsys.readouterr().out
        verify = ["verify", str(source), str(path)]
        assert main([*verify, *flags]) == 0
        assert main([*verify, *flags, "--io-layout=x=nhwc"]) == 0
        assert main([*verify, "--image=x=bgr,scale=1/255", flags[1]]) == 4
        assert main([*verify, "--image=x=rgb,scale=1/254", flags[1]]) == 4
        assert main([*verify, "--image=x=rgb", flags[1]]) == 4
        assert main([*verify, flags[1]]) == 5

        def swap(spec: Any) -> None:
            image = spec.description.input[0].type.imageType
            image.colorSpace = image.ColorSpace.Value("BGR")

        _altered(path, swap)
        assert main([*verify, *flags]) == 4

    def test_a_description_that_the_program_does_not_fit_is_damage(self, tmp_path: Path) -> None:
        from graphrewrite.targets.coreml.evaluate import Evaluator

        path = tmp_path / "a.mlpackage"
        for field, content in (
            ("width", 9),
            ("colorSpace", 10),
            ("colorSpace", 0),
        ):  # GRAYSCALE, and no colours
            graphrewrite.run(proto(), "coreml", output=path, image=["x=rgb"], shape=["x=1,3,5,7"])

            def alter(spec: Any, field: str = field, content: int = content) -> None:
                setattr(spec.description.input[0].type.imageType, field, content)

            _altered(path, alter)
            with pytest.raises(NotChecked, match="damaged"):
                Evaluator(path)

    def test_all_targets_in_one_go(self, tmp_path: Path) -> None:
        pytest.importorskip("openvino")
        found = graphrewrite.run_all(
            proto(),
            "tflite,coreml,openvino",
            output=f"{tmp_path}/{{target}}{{suffix}}",
            image=["x=bgr,scale=1/255"],
            io_layout="nhwc",
            shape=["N=1", "H=4", "W=6"],
        )
        shapes = {}
        for name, outcome in found.items():
            assert outcome.result is not None, outcome.error
            shapes[name] = outcome.result.report["inputs"][0]["shape"]
        assert shapes == {"tflite": [1, 4, 6, 3], "coreml": [1, 3, 4, 6], "openvino": [1, 4, 6, 3]}

    @pytest.mark.parametrize("passes", ["default", "none"])
    def test_a_picture_that_is_read_in_two_ways(self, passes: str, tmp_path: Path) -> None:
        text = LAST.replace("=> (float[1,2,H,W] y)", "=> (float[1,2,H,W] y, float[1,H,W,3] z)")
        text = text.replace("y = Conv(t, w) }", "y = Conv(t, w) z = Neg(x) }")
        result = graphrewrite.run(
            proto(text),
            "coreml",
            passes,
            tmp_path / "a.mlpackage",
            image=["x=rgb"],
            shape=["H=5", "W=7"],
            debug=True,
        )
        assert result.report["check"]["passed"] is True
        assert result.report["details"]["operators"].get("transpose", 0) == 1


@pytest.mark.parametrize("color", ["rgb", "bgr", "gray"])
def test_what_core_ml_is_given_on_a_mac(color: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture, red first, for an image, and a dictionary comes back: with both played, the same numbers as the evaluator's."""
    coremltools = pytest.importorskip("coremltools")
    from graphrewrite.targets.coreml.evaluate import Evaluator
    from graphrewrite.targets.coreml.target import Predict

    path = tmp_path / "a.mlpackage"
    count = 1 if color == "gray" else 3
    weights = ", ".join(str(k % 5 - 2) for k in range(2 * count * 15))
    text = f"""{HEAD} g (float[1,{count},3,5] x) => (float[1,2] y) <float[{count * 15},2] w = {{{weights}}}>
    {{ f = Flatten(x) a = MatMul(f, w) y = Softmax(a) }}"""
    image = f"x={color},scale=1/2550,bias=-0.1"
    graphrewrite.run(proto(text), "coreml", output=path, image=[image], labels=["day", "night"])
    picture = np.random.default_rng(0).integers(0, 256, (1, count, 3, 5)).astype(np.float32)
    pixels = Pixels.of(picture, color, 1)
    wanted = Evaluator(path)({"x": pixels})

    class Played:
        """Core ML: it knows which of the picture's channels is red."""

        def __init__(self, package: str) -> None:
            self.run = Evaluator(Path(package))

        def predict(self, given: dict[str, Any]) -> dict[str, Any]:
            content = given["x"]
            assert content.dtype == np.uint8
            planes = content[None, None] if color == "gray" else content.transpose(2, 0, 1)[None]
            found = self.run({"x": Pixels.of(planes, "gray" if color == "gray" else "rgb", 1)})
            scores = dict(zip(["day", "night"], found["y"].ravel().tolist(), strict=True))
            return {"y": dict(reversed(scores.items())), "classLabel": str(found["classLabel"])}

    pil = types.ModuleType("PIL")
    monkeypatch.setattr(pil, "Image", types.SimpleNamespace(fromarray=np.asarray), raising=False)
    monkeypatch.setitem(sys.modules, "PIL", pil)
    monkeypatch.setattr(coremltools.models, "MLModel", Played)
    found = Predict(path)({"x": pixels})
    np.testing.assert_allclose(found["y"], wanted["y"], rtol=1e-6)
    assert found["y"].shape == (1, 2)
    assert found["classLabel"] == wanted["classLabel"]


@pytest.mark.parametrize("kind", ["RGB", "BGR", "GRAYSCALE", "GRAYSCALE_FLOAT16"])
@pytest.mark.parametrize("sizes", ["fixed", "range", "enumerated"])
def test_images_of_packages_that_others_made(
    kind: str, sizes: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """coremltools itself: the same network is right with the flags that say what stands in the file, and else is not."""
    coremltools = pytest.importorskip("coremltools")
    from coremltools.converters.mil import Builder as mb
    from coremltools.converters.mil.mil import get_new_symbol
    from coremltools.converters.mil.mil import types as mil

    monkeypatch.chdir(tmp_path)
    gray = kind.startswith("GRAY")
    count = 1 if gray else 3
    weights = np.reshape([1, -2, 5, 3, 0.5, -1], (2, 3, 1, 1))[:, :count].astype(np.float32)
    half = kind == "GRAYSCALE_FLOAT16"
    shape: Any = (1, count, 6, 8)
    if sizes == "range":
        shape = coremltools.Shape((1, count, coremltools.RangeDim(4, 8), 8))
    elif sizes == "enumerated":
        shape = coremltools.EnumeratedShapes([(1, count, 6, 8), (1, count, 4, 8)])
    dims = (1, count, 6, 8) if sizes == "fixed" else (1, count, get_new_symbol(), 8)
    if sizes == "enumerated":
        dims = (1, count, get_new_symbol(), get_new_symbol())

    @mb.program(
        input_specs=[mb.TensorSpec(shape=dims, dtype=mil.fp16 if half else mil.fp32)],
        opset_version=coremltools.target.iOS16,
    )
    def program(x: Any) -> Any:
        return mb.conv(x=mb.cast(x=x, dtype="fp32"), weight=weights, name="y")

    model = coremltools.convert(
        program,
        convert_to="mlprogram",
        inputs=[
            coremltools.ImageType(
                name="x",
                shape=shape,
                scale=1 / 128,
                bias=-0.5 if gray else list(BIAS),
                color_layout=getattr(coremltools.colorlayout, kind),
                channel_first=True,
            )
        ],
        outputs=[coremltools.TensorType(name="y", dtype=np.float32)],
        minimum_deployment_target=coremltools.target.iOS16,
        compute_precision=coremltools.precision.FLOAT32,
    )
    model.save("theirs.mlpackage")
    text = f"{HEAD} g (float[1,{count},H,8] x) => (float[1,2,H,8] y) {{ y = Conv(x, w) }}"
    source = onnx.parser.parse_model(text)
    source.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    onnx.save(source, "net.onnx")
    color = "gray" if gray else kind.lower()
    bias = "-0.5" if gray else "-0.5:0.25:1"
    command = ["verify", "net.onnx", "theirs.mlpackage", "--shape", "H=6" if sizes == "fixed" else "H=4|6"]
    command += ["--precision", "fp16"] if half else []
    assert main([*command, f"--image=x={color},scale=1/128,bias={bias}"]) == 0
    assert main([*command, f"--image=x={color},scale=1/128"]) == 4
    if not gray:
        other = "bgr" if color == "rgb" else "rgb"
        assert main([*command, f"--image=x={other},scale=1/128,bias={bias}"]) == 4
    capsys.readouterr()
    assert main(command) == 5
    assert f"say so with --image x={color}" in capsys.readouterr().err
