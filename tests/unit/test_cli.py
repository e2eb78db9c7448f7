"""The command line: what each command prints and writes, its exit codes, and that it starts at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest

import graphrewrite
from graphrewrite.cli import main as cli
from graphrewrite.cli.main import main

TINY = """<ir_version: 9, opset_import: ["" : 17]>
g (float[N,3] x) => (float[N,3] y) { ["first"] a = Relu(x) ["second"] b = Tanh(a) ["third"] y = Sigmoid(b) }"""


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A tiny model in an empty working directory."""
    monkeypatch.chdir(tmp_path)
    onnx.save(onnx.parser.parse_model(TINY), tmp_path / "tiny.onnx")
    return "tiny.onnx"


def _files() -> list[str]:
    return sorted(str(path) for path in Path().rglob("*") if path.is_file())


def _python(*command: str, hash_seed: str = "0") -> subprocess.CompletedProcess[str]:
    root = str(Path(graphrewrite.__file__).resolve().parent.parent)
    environment = os.environ | {"PYTHONPATH": root, "PYTHONHASHSEED": hash_seed}
    return subprocess.run(
        [sys.executable, *command], env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_help_imports_nothing_heavy() -> None:
    heavy = ("numpy", "onnx", "onnx_ir", "onnxruntime", "rich", "ai_edge_litert", "sympy")
    code = (
        "import sys\nfrom graphrewrite.cli.main import main\nassert main(['--help']) == 0\n"
        f"print('LOADED', [name for name in {heavy!r} if name in sys.modules])"
    )
    done = _python("-c", code)
    assert done.stdout.splitlines()[-1] == "LOADED []", done.stderr


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"graphrewrite {name}" in text
    assert "--json" in text


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert graphrewrite.__version__ in capsys.readouterr().out


def test_run_writes_checks_and_reports(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", model, "--shape", "x=2,3"]) == 0
    captured = capsys.readouterr()
    assert "wrote tiny.tflite" in captured.out
    assert "matches the original on 3 samples" in captured.out
    assert "input  x: float[2,3]" in captured.out
    assert "1 LOGISTIC" in captured.out
    assert "lower-to-tflite" in captured.out
    assert captured.err.splitlines()[0] == "graphrewrite: loading"
    assert _files() == ["tiny.onnx", "tiny.tflite"]


def test_json_is_all_of_standard_output(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--json", "--time-passes", "--print-changed=diff"]
    assert main(["run", model, "-o", "out/it.tflite", *flags]) == 0
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert report["schema"] == 1
    assert report["path"] == str(Path("out/it.tflite"))
    assert report["check"]["passed"] is True
    assert "*** " in captured.err


def test_no_check_says_so(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", model, "--no-check"]) == 0
    assert "NOT CHECKED" in capsys.readouterr().out


def test_samples_are_used(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez("inputs.npz", x=np.ones((4, 3), np.float32))
    assert main(["run", model, "--samples", "inputs.npz"]) == 0
    assert "matches the original on 1 sample " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--target", "nonsense"], ["nonsense", "tflite"]),
        (["--passes", "fold-constnats"], ["fold-constnats", "did you mean fold-constants"]),
        (["--passes", "default,-lower-to-tflite"], ["can't be left out"]),
        (["--passes", "fold-constants{nothing=1}"], ["no option 'nothing'"]),
        (["--passes", "missing.py:Shrink"], ["missing.py"]),
        (["--passes", "missing.toml"], ["missing.toml"]),
        (["--shape", "z=1,3"], ["no input 'z'", "x"]),
        (["--shape", "x"], ["NAME=1,3,512,512"]),
        (["--shape", "x=1,2,3"], ["rank"]),
        (["--shape", "x=1,7"], ["can't become 7"]),
        (["--samples", "missing.npz"], ["missing.npz"]),
        (["--stop-after", "nonsense"], ["nonsense", "import-model"]),
        (["--stop-after", "import-model", "-o", "graph.tflite"], ["something.onnx"]),
        (["--seed", "one"], ["--seed"]),
        (["--no-such-flag"], ["--no-such-flag"]),
    ],
)
def test_wrong_flags(
    flags: Sequence[str], words: Sequence[str], model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", model, *flags]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    for word in words:
        assert word in captured.err
    assert _files() == ["tiny.onnx"]


def test_no_command_and_unknown_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert main(["convert"]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_unwritable_output(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("occupied").write_text("a file")
    assert main(["run", model, "-o", "occupied/out.tflite"]) == 2
    assert "occupied" in capsys.readouterr().err
    assert _files() == ["occupied", "tiny.onnx"]


def test_internal_errors_are_reported_without_a_traceback(
    model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*arguments: object, **keywords: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("graphrewrite.api.run_all", broken)
    assert main(["run", model]) == 1
    text = capsys.readouterr().err
    assert "internal error: ZeroDivisionError: division by zero (test_cli.py" in text
    assert "please report" in text
    assert "Traceback" not in text
    assert main(["run", model, "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_failing_pass_of_the_user_is_named(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.py").write_text(
        "from graphrewrite.pipeline import Pass\n\n\nclass Mine(Pass):\n"
        "    def run(self, model, rewriter):\n        return {}[model.graph.name]\n"
    )
    assert main(["run", model, "--passes", "default,mine.py"]) == 2
    text = capsys.readouterr().err
    assert "mine.py', line 6 failed: KeyError: 'g'" in text
    assert "defect" not in text
    assert not Path("tiny.tflite").exists()


def test_differing_outputs_leave_a_reproducer_and_no_file(
    model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from graphrewrite.targets.tflite.target import TFLiteTarget

    def wrong(self: TFLiteTarget, path: Path) -> object:
        return {"wrong": lambda sample: {"y": sample["x"] + 1}}

    monkeypatch.setattr(TFLiteTarget, "runners", wrong)
    Path("tiny.tflite").write_bytes(b"the user's own")
    assert main(["run", model]) == 4
    assert "'y'" in capsys.readouterr().err
    assert Path("tiny.tflite").read_bytes() == b"the user's own"
    assert not list(Path().glob(".*"))
    assert {path.name for path in Path("repro/tiny").iterdir()} == {
        "command.txt",
        "rejected.tflite",
        "report.json",
        "samples.npz",
    }


def test_what_cannot_be_checked_is_not_left(
    model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from graphrewrite.errors import NotChecked
    from graphrewrite.targets.tflite.target import TFLiteTarget

    def absent(self: TFLiteTarget, path: Path) -> object:
        raise NotChecked("the runtime is not here")

    monkeypatch.setattr(TFLiteTarget, "runners", absent)
    assert main(["run", model]) == 5
    assert _files() == ["tiny.onnx"]
    assert main(["run", model, "--allow-unchecked"]) == 0
    assert "NOT CHECKED: the runtime is not here" in capsys.readouterr().out
    assert _files() == ["tiny.onnx", "tiny.tflite"]


def test_check_writes_nothing(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", model]) == 0
    assert "can be converted to tflite" in capsys.readouterr().out
    assert _files() == ["tiny.onnx"]
    assert main(["check", model, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["details"]["operators"]["tflite.RELU"] == 1


def test_diff_of_the_passes(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", model, "--only", "lower-to-tflite"]) == 0
    text = capsys.readouterr().out
    assert "ops: Relu -1, Sigmoid -1, Tanh -1, tflite.LOGISTIC +1" in text
    assert "-> %y:float[N,3] = tflite.LOGISTIC(%b)    # from 'third'" in text
    assert main(["diff", model, "--json"]) == 0
    passes = json.loads(capsys.readouterr().out)["passes"]
    assert [item["pass"] for item in passes if item["operators"]] == ["lower-to-tflite"]
    assert main(["diff", model, "--only", "nonsense"]) == 2


def test_diff_of_two_files(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    onnx.save(onnx.parser.parse_model(TINY.replace("Tanh", "Neg").replace("a)", "x)")), "other.onnx")
    assert main(["diff", model, "other.onnx"]) == 0
    text = capsys.readouterr().out
    assert "ops: Neg +1, Tanh -1" in text
    assert "~ %b" in text
    assert main(["diff", model, model]) == 0
    assert "no differences" in capsys.readouterr().out


def test_verify(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", model]) == 0
    capsys.readouterr()
    assert main(["verify", model, "tiny.tflite"]) == 0
    assert "SQNR" in capsys.readouterr().out
    assert main(["verify", model, model]) == 0
    assert "y  equal" in capsys.readouterr().out
    onnx.save(onnx.parser.parse_model(TINY.replace("Tanh", "Neg")), "other.onnx")
    assert main(["verify", model, "other.onnx"]) == 4
    assert "1 of 1 outputs differ" in capsys.readouterr().err
    assert main(["verify", model, "other.onnx", "--json"]) == 4
    assert json.loads(capsys.readouterr().out)["check"]["passed"] is False
    assert main(["verify", model, "missing.tflite"]) == 2
    assert main(["verify", model, "other.json"]) == 2
    Path("broken.tflite").write_bytes(b"\x1c\x00\x00\x00TFL3" + bytes(100))
    assert main(["verify", model, "broken.tflite"]) == 5


def test_passes_lists_them_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["passes"]) == 0
    text = capsys.readouterr().out
    assert text.index("import-model") < text.index("fold-constants") < text.index("lower-to-tflite")
    assert main(["passes", "--passes", "none", "--json"]) == 0
    passes = json.loads(capsys.readouterr().out)["passes"]
    used = [item["name"] for item in passes if item["in_pipeline"]]
    ours = [item for item in passes if item["targets"] is None or "tflite" in item["targets"]]
    assert used == [item["name"] for item in ours if item["mandatory"]]
    assert len(passes) > len(used)


def test_passes_shows_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["passes", "fuse-activations"]) == 0
    text = capsys.readouterr().out
    assert "--->" in text
    assert "label:    exact" in text
    assert main(["passes", "fuse-activation"]) == 2
    assert "did you mean fuse-activations" in capsys.readouterr().err


def test_ops(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ops", "--json"]) == 0
    table = {item["op"]: item for item in json.loads(capsys.readouterr().out)["ops"]}
    assert len(table) > 150
    assert table["Relu"]["targets"]["tflite"]["way"] == "lowered"
    assert main(["ops"]) == 0
    assert "Relu" in capsys.readouterr().out
    assert main(["ops", "Relu"]) == 0
    assert "tflite: lowered" in capsys.readouterr().out
    assert main(["ops", "Rellu"]) == 2
    assert "did you mean Relu" in capsys.readouterr().err


def test_explain(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "fuse-activations", model, "--node", "first"]) == 0
    assert "%a:float[N,3] = tflite.RELU(%x)\n  no match: " in capsys.readouterr().out
    assert main(["explain", "fuse-activations", model, "--node", "ghost"]) == 2


def test_import_sample(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", "--sample", "mobilestylegan", "--size", "64", "-o", "out/sample.onnx"]) == 0
    assert "wrote out" in capsys.readouterr().out
    assert onnx.load("out/sample.onnx").graph.output[0].name == "image"
    assert main(["import", "--sample", "mobilestylegan", "--size", "65", "-o", "no.onnx"]) == 2
    assert main(["import", "--sample", "nonsense", "-o", "no.onnx"]) == 2
    assert not Path("no.onnx").exists()


@pytest.mark.parametrize("name", ["tiny", "mobilestylegan.ts17"])
def test_two_processes_write_the_same_bytes(name: str, tmp_path: Path) -> None:
    source = Path(__file__).parent.parent / "golden" / "models" / f"{name}.onnx"
    if name == "tiny":
        onnx.save(onnx.parser.parse_model(TINY), source := tmp_path / "tiny.onnx")
    written = []
    for seed in ("1", "2"):
        output = tmp_path / f"{seed}.tflite"
        done = _python(
            "-m", "graphrewrite", "run", str(source), "-o", str(output), "--no-check", hash_seed=seed
        )
        assert done.returncode == 0, done.stderr
        written.append(output.read_bytes())
    assert written[0] == written[1]
