"""Goldens: recording, checking and blessing, and messages that say what changed."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import onnx
import onnx.parser
import pytest
from golden_models import TRANSPOSING, WRONG, change_weight, edit, recorded_net

from graphrewrite.cli.main import main
from graphrewrite.errors import UsageError
from graphrewrite.golden.attempt import STATES, attempt
from graphrewrite.numeric.golden import Expectation, Found, Limit, changes
from graphrewrite.numeric.golden_file import Golden, find, read
from graphrewrite.numeric.metrics import FP32, Comparison, compare
from graphrewrite.numeric.reference import open_reference
from graphrewrite.pipeline import known_passes
from graphrewrite.targets.base import target

TEXT = Path("goldens/net.golden.toml")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recorded_net(tmp_path_factory.mktemp("recorded"))


@pytest.fixture
def goldens(recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, as working directory."""
    shutil.copytree(recorded, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


Said = Callable[[], str]


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Said:
    """What was printed since the last call, on standard output."""
    capsys.readouterr()
    return lambda: capsys.readouterr().out


def test_record_writes_text_and_arrays(goldens: Path) -> None:
    text = TEXT.read_text()
    assert text.startswith(
        'model = "../net.onnx"\nsamples = "net.npz"\nrecorded_from = "ONNX Runtime"\npasses = "default"\n'
    )
    for line in (
        "[expected.tflite]",
        "transposes = 1",
        "transpose_bytes = 768",
        "CONV_2D = 1",
        "fuse-activations = 1",
    ):
        assert f"\n{line}\n" in text
    assert read(TEXT).text() == text
    assert sorted(np.load("goldens/net.npz").files) == [
        f"sample{index}.{kind}" for index in range(3) for kind in ("input.x", "output.y")
    ]


def test_check_is_silent_about_what_is_as_expected(goldens: Path, said: Said) -> None:
    before = TEXT.read_bytes()
    assert main(["golden", "check", "goldens", "--junit", "report.xml"]) == 0
    assert said() == "ok        net  tflite\n"
    suite = ElementTree.parse("report.xml").getroot()[0]
    assert suite.attrib == {"name": "graphrewrite golden check", "tests": "1", "failures": "0", "errors": "0"}
    assert main(["golden", "bless", "goldens"]) == 0
    assert said() == "as before net  tflite\n"
    assert TEXT.read_bytes() == before


def test_a_weight_changed_by_one_percent(goldens: Path, said: Said) -> None:
    change_weight(goldens / "net.onnx")
    assert main(["golden", "check", "goldens", "--json", "--junit", "report.xml"]) == 4
    (entry,) = json.loads(said())["goldens"]
    assert (entry["golden"], entry["target"], entry["exit_code"]) == ("net", "tflite", 4)
    worse, where = entry["changes"]
    assert worse.startswith("output 'y' max abs ")
    assert worse.endswith(" where 1e-05 was allowed")
    assert (
        where
        == "the original model gives other outputs than the recorded ones, too: it has changed, not its conversion"
    )
    failure = ElementTree.parse("report.xml").getroot().find("testsuite/testcase/failure")
    assert failure is not None
    assert failure.attrib["message"] == worse


def test_a_pass_switched_off(goldens: Path, said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_passes()["fuse-activations"], "default", False)
    assert main(["golden", "check", "goldens"]) == 4
    lines = said().splitlines()
    assert lines[0] == "CHANGED   net  tflite"
    assert lines[1].strip() == "RELU 0 -> 1"
    assert lines[-1].strip() == "pass fuse-activations: 1 rewrites before, none now"


def test_a_new_transpose(goldens: Path, said: Said) -> None:
    Path("sideways.py").write_text(TRANSPOSING)
    edit(TEXT, lambda text: text.replace('"default"', '"default,sideways.py"'))
    assert main(["golden", "check", "goldens"]) == 4
    lines = said().splitlines()
    assert (
        lines[1].strip()
        == "+2 TRANSPOSE, +40 bytes (3 left: 768 at 'conv', 20 at 'neg', 20 at 'neg'); MUL 0 -> 1; NEG 1 -> 0"
    )
    assert lines[-1].strip() == "pass negate-sideways: no rewrites before, 1 now"
    assert main(["golden", "bless", "goldens"]) == 0
    assert main(["golden", "check", "goldens"]) == 0
    edit(TEXT, lambda text: text.replace('"default,sideways.py"', '"default"'))
    said()
    assert main(["golden", "check", "goldens"]) == 4
    assert "-2 TRANSPOSE, -40 bytes (1 left: 768 at 'conv'); MUL 1 -> 0; NEG 0 -> 1" in said()


def test_the_stage_that_changes_the_outputs_is_named(goldens: Path, said: Said) -> None:
    Path("wrong.py").write_text(WRONG)
    edit(TEXT, lambda text: text.replace('"default"', '"default,wrong.py"'))
    assert main(["golden", "check", "goldens"]) == 4
    where, _, command = said().splitlines()[-1].strip().removesuffix(" says more").partition(": ")
    assert where == "the first graph with other outputs is the one after stage 'fuse'"
    assert command.startswith("graphrewrite bisect net.onnx --target tflite --passes default,wrong.py ")
    assert main(shlex.split(command)[1:]) == 0
    assert "relu-to-abs" in said()
    before = TEXT.read_bytes()
    assert main(["golden", "bless", "goldens"]) == 4
    assert "which can't be blessed" in said()
    assert TEXT.read_bytes() == before


def test_bless_keeps_the_settings_and_what_still_holds(goldens: Path, said: Said) -> None:
    edit(TEXT, lambda text: "# ours\n" + text.replace("size_tolerance = 0.01", "size_tolerance = 0.5 # half"))
    before = read(TEXT).expected["tflite"]
    edit(TEXT, lambda text: text.replace(f"size = {before.size}", f"size = {before.size - 4}"))
    edit(TEXT, lambda text: text.replace("max_abs = 1e-05", "max_abs = 2e-05"))
    edit(TEXT, lambda text: text.replace("CONV_2D = 1", "CONV_2D = 2"))
    assert main(["golden", "bless", "goldens"]) == 0
    assert "CONV_2D 2 -> 1" in said()
    assert TEXT.read_text().startswith("# ours\n")
    assert "size_tolerance = 0.5 # half\n" in TEXT.read_text()
    after = read(TEXT).expected["tflite"]
    assert (after.size, after.outputs["y"], after.operators) == (
        before.size - 4,
        Limit(2e-05),
        before.operators,
    )


def test_bless_outputs_of_a_changed_model(goldens: Path, said: Said) -> None:
    change_weight(goldens / "net.onnx")
    assert main(["golden", "bless", "goldens"]) == 4
    assert "--outputs records what it gives today" in said()
    inputs = np.load("goldens/net.npz")["sample1.input.x"]
    assert main(["golden", "bless", "goldens", "--outputs"]) == 0
    np.testing.assert_array_equal(np.load("goldens/net.npz")["sample1.input.x"], inputs)
    assert main(["golden", "check", "goldens"]) == 0


def test_bless_adds_a_target(goldens: Path, said: Said) -> None:
    assert main(["golden", "bless", "goldens", "--target", "tflite{precision=fp16}"]) == 0
    assert "is expected now" in said()
    assert sorted(read(TEXT).expected) == ["tflite", "tflite{precision=fp16}"]
    assert main(["golden", "check", "goldens", "--target", "tflite{precision=fp16}"]) == 0
    assert said().count("ok ") == 1
    assert main(["golden", "check", "goldens", "--target", "openvino"]) == 2


def test_what_is_missing_is_said(goldens: Path, said: Said, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.move("net.onnx", "elsewhere.onnx")
    assert main(["golden", "check", "goldens"]) == 2
    text = said()
    assert "the golden 'goldens/net.golden.toml' needs '../net.onnx', which is not there" in text
    assert "mend `model` in the golden" in text
    for text, reason in (
        ("model = 1", "one text in quotes"),
        ('model = "m"', "`samples` is missing"),
        ('model = "m"\nsamples = "s"\npass = "none"', "there is no setting `pass`"),
        ("model =", "not valid TOML"),
        ('model = "m"\nsamples = "s"\n[expected.tflite]\nsize = 3', "`transposes` is missing"),
    ):
        TEXT.write_text(text)
        assert main(["golden", "check", "goldens"]) == 2
        assert reason in capsys.readouterr().err
    TEXT.unlink()
    assert main(["golden", "check", "goldens"]) == 2
    assert "graphrewrite golden record goldens MODEL" in capsys.readouterr().err
    assert main(["golden", "check", "nowhere"]) == 2


def test_a_golden_that_expects_nothing_fails(goldens: Path, said: Said) -> None:
    edit(TEXT, lambda text: text.split("[expected")[0])
    assert main(["golden", "check", "goldens"]) == 2
    assert "golden bless --target NAME" in said()


def test_record_refuses_to_overwrite(goldens: Path, said: Said) -> None:
    assert main(["golden", "record", "goldens", "net.onnx", "missing.onnx"]) == 2
    text = said()
    assert "--replace records all of it anew" in text
    assert "there is no file 'missing.onnx'" in text
    assert main(["golden", "record", "goldens", "net.onnx", "--name", "other", "--passes", "none"]) == 0
    assert read(Path("goldens/other.golden.toml")).passes == "none"
    assert main(["golden", "record", "goldens", "net.onnx", "net.onnx", "--name", "other"]) == 2


def _from_framework(path: Path, wrong: float = 0.0) -> None:
    reference = open_reference("net.onnx")
    rng = np.random.default_rng(3)
    arrays = {}
    for index in range(2):
        x = rng.standard_normal((1, 3, 8, 8)).astype(np.float32)
        arrays[f"sample{index}.input.x"] = x
        arrays[f"sample{index}.output.y"] = reference.run({"x": x})["y"] + np.float32(wrong)
    np.savez(path, **arrays)  # type: ignore[arg-type]


def test_outputs_of_a_framework(goldens: Path, said: Said) -> None:
    _from_framework(Path("torch.npz"))
    record = ["golden", "record", "goldens", "net.onnx", "--samples", "torch.npz", "--name"]
    assert main([*record, "theirs"]) == 0
    assert read(Path("goldens/theirs.golden.toml")).recorded_from == "torch.npz"
    np.testing.assert_array_equal(
        np.load("goldens/theirs.npz")["sample1.output.y"], np.load("torch.npz")["sample1.output.y"]
    )
    assert main(["golden", "bless", "goldens", "--outputs"]) == 2
    assert "record them again with graphrewrite golden record --replace --samples FILE.npz" in said()
    _from_framework(Path("torch.npz"), wrong=0.01)
    assert main([*record, "wrong"]) == 4
    assert "if it is not, the export is" in said()
    assert not Path("goldens/wrong.golden.toml").exists()
    np.savez("torch.npz", x=np.zeros((1, 3, 8, 8), np.float32), y=np.zeros((1, 5), np.float32))
    assert main([*record, "plain"]) == 4, "outputs of a single sample are called like the outputs"


def test_random_values_and_near_ties(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: Said) -> None:
    """Both sides are fed the same noise; what an arg-max chose from is recorded, too."""
    monkeypatch.chdir(tmp_path)
    text = """<ir_version: 9, opset_import: ["" : 17]>
    g (float[2,6] x) => (float[2,6] y, int64[2] best) {
      n = RandomNormalLike(x)
      z = Add(x, n)
      y = Tanh(z)
      best = ArgMax<axis = 1, keepdims = 0>(y)
    }"""
    onnx.save(onnx.parser.parse_model(text), "noisy.onnx")
    assert main(["golden", "record", "g", "noisy.onnx"]) == 0
    assert (
        main(
            [
                "golden",
                "record",
                "g",
                "noisy.onnx",
                "--passes",
                "default,noise-policy{policy=freeze}",
                "--name",
                "frozen",
            ]
        )
        == 0
    )
    held = np.load("g/noisy.npz")
    assert not np.allclose(held["sample0.output.y"], np.tanh(held["sample0.input.x"]))
    np.testing.assert_array_equal(held["sample0.scores.y"], held["sample0.output.y"])
    assert read(Path("g/noisy.golden.toml")).expected["tflite"].outputs["best"] == Limit(mismatch=0.0)
    assert main(["golden", "check", "g"]) == 0
    for golden in find(Path("g")):
        made = attempt(golden, target("tflite"), states=True)
        assert all(made.at(state).passed for state in STATES[:-1])


def test_part_of_a_model_with_other_ends(goldens: Path, said: Said) -> None:
    ends = ["--outputs", "b", "--normalize", "x=127.5:58.0", "--io-layout", "nhwc"]
    assert main(["golden", "record", "goldens", "net.onnx", "--name", "part", *ends]) == 0
    text = Path("goldens/part.golden.toml").read_text()
    assert '\noutputs = ["b"]\nnormalize = ["x=127.5:58.0"]\nio_layout = ["nhwc"]\n' in text
    assert "\ninputs" not in text
    held = np.load("goldens/part.npz")
    assert held["sample0.input.x"].mean() > 100, "raw images"
    assert held["sample0.output.b"].shape == (1, 4, 8, 8), "in the source's order"
    (part,) = (golden for golden in find(Path("goldens")) if golden.name == "part")
    made = attempt(part, target("tflite"), states=True)
    assert made.found.passed
    assert all(made.at(state).passed for state in STATES[:-1])
    assert main(["golden", "bless", "goldens", "--outputs"]) == 0
    assert main(["golden", "check", "goldens"]) == 0


def _comparison(error: float, scale: float = 1.0, dtype: type = np.float32) -> Comparison:
    wanted = np.full((2, 3), scale, dtype)
    found = wanted.copy()
    found[0, 0] += dtype(error)
    return compare("y", wanted, found, FP32)


@pytest.mark.parametrize(
    ("error", "scale", "allowed"),
    [
        (0, 1, 1e-6),  # rounding is always allowed
        (2e-6, 1, 1e-5),
        (4e-6, 1, 1e-4),
        (0, 1000, 1e-3),
        (0, 0, 0),
        (1e-9, 1e-3, 1e-8),
    ],
)
def test_an_error_is_kept_as_its_power_of_ten(error: float, scale: float, allowed: float) -> None:
    assert Limit.of(_comparison(error, scale)).max_abs == pytest.approx(allowed)


def test_limits_fail_for_worse_and_for_better() -> None:
    limit = Limit(1e-4)
    assert limit.change(_comparison(2e-4)) == "output 'y' max abs 0.0002 where 0.0001 was allowed"
    assert (
        limit.excess(_comparison(2e-4), slack=10) == "output 'y': max abs 0.0002 exceeds 0.0001 of max(1, 1)"
    )
    assert limit.change(_comparison(5e-5)) == ""
    assert limit.change(_comparison(5e-7)) == ""
    assert limit.change(_comparison(2e-7)) == "output 'y' max abs 2.4e-07 where 0.0001 was needed: better"
    assert Limit(1e-5).change(_comparison(0)) == "", "nothing is much better than rounding"
    assert (
        Limit(mismatch=0.1)
        .change(_comparison(0, 4, np.int32))
        .endswith("differ 0 where 0.1 was needed: better")
    )
    assert (
        Limit(mismatch=0.0)
        .change(_comparison(1, 4, np.int32))
        .startswith("output 'y' share of elements that differ 0.17")
    )
    assert limit.change(_comparison(0, 4, np.int32)) == "output 'y': is int32 now"
    assert "shape" in limit.change(compare("y", np.zeros(3, np.float32), np.zeros(4, np.float32), FP32))


def test_changes_of_sizes_and_outputs() -> None:
    expected = Expectation(
        1000, 1, 64, {"ADD": 41, "TRANSPOSE": 1}, {"y": Limit(1e-5), "z": Limit(1e-5)}, {"p": 1}
    )
    same = [_comparison(0), compare("z", np.ones(1), np.ones(1), FP32)]
    found = Found(1010, [("t", 64)], {"ADD": 41, "TRANSPOSE": 1}, same, {"p": 2})
    assert changes(expected, found, 0.01) == []
    assert changes(expected, found, 0.001)[0] == "size 1000 -> 1010 bytes (+1.0%, 0.001 of it is allowed)"
    wider = Found(1000, [("t", 128)], {"ADD": 43, "TRANSPOSE": 1}, same[:1], {"q": 1})
    assert changes(expected, wider, 0.01) == [
        "TRANSPOSE moves +64 bytes (1 left: 128 at 't'); ADD 41 -> 43",
        "output 'z' is gone",
        "pass p: 1 rewrites before, none now",
        "pass q: no rewrites before, 1 now",
    ]
    assert changes(_without_z(expected), found, 0.01) == [
        "output 'z' is new",
        "pass p: 1 rewrites before, 2 now",
    ]


def _without_z(expected: Expectation) -> Expectation:
    """The same without the output z."""
    return Expectation(expected.size, 1, 64, expected.operators, {"y": Limit(1e-5)}, expected.rewrites)


def test_names_of_any_kind_survive_the_text(tmp_path: Path) -> None:
    odd = 'a"b\\c/é:0\n\x7f.x'
    golden = Golden(
        tmp_path / "n.golden.toml", "m.onnx", "n.npz", "us", shape=("x=1,?",), size_tolerance=0.05
    )
    golden.expected['tflite{precision="fp16"}'] = Expectation(
        1, 0, 0, {"A": 1}, {odd: Limit(3e-7), "i": Limit(mismatch=0.1)}, {}
    )
    golden.write()
    again = read(golden.path)
    assert again.expected == golden.expected
    assert (again.shape, again.size_tolerance, again.name) == (("x=1,?",), 0.05, "n")
    with pytest.raises(UsageError, match="which is not there"):
        _ = again.samples_path
