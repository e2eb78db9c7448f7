"""`pytest --graphrewrite-golden DIR`: what is collected, what fails, and what the messages say."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from golden_models import TRANSPOSING, WRONG, change_weight, edit, recorded_net

from graphrewrite.golden.attempt import STATES
from graphrewrite.pipeline import known_passes

pytest_plugins = ["pytester"]

ROOT = Path(__file__).resolve().parent.parent.parent
PLUGIN = "graphrewrite.pytest_plugin"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recorded_net(tmp_path_factory.mktemp("recorded"))


@pytest.fixture
def goldens(recorded: Path, pytester: pytest.Pytester) -> pytest.Pytester:
    """A copy of it, beside a test of the user's own, as working directory."""
    shutil.copytree(recorded, pytester.path, dirs_exist_ok=True)
    pytester.makepyfile(test_own="def test_own(): pass")
    return pytester


def _run(goldens: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return goldens.runpytest_inprocess(
        "-p", PLUGIN, "-p", "no:cacheprovider", "--graphrewrite-golden", "goldens", *arguments
    )


def _failed(result: pytest.RunResult) -> list[str]:
    """Names of the states that failed."""
    return re.findall(r"^FAILED goldens/net\.golden\.toml::tflite::(\w+)", result.stdout.str(), re.MULTILINE)


def test_one_test_a_state(goldens: pytest.Pytester) -> None:
    result = _run(goldens, "-v")
    result.assert_outcomes(passed=len(STATES) + 1)
    for state in STATES:
        result.stdout.fnmatch_lines(f"goldens/net.golden.toml::tflite::{state} PASSED*")
    assert "test_own" in result.stdout.str()


def test_parts_can_be_chosen(goldens: pytest.Pytester) -> None:
    _run(goldens, "-m", "graphrewrite_golden", "-k", "fuse or file").assert_outcomes(passed=2, deselected=9)
    _run(goldens, "goldens/net.golden.toml::tflite::layout").assert_outcomes(passed=1)
    strict = ["-p", "no:xdist", "--strict-markers", "-W", "error::pytest.PytestUnknownMarkWarning"]
    _run(goldens, "goldens", *strict).assert_outcomes(passed=len(STATES))


def test_a_folder_that_pytest_would_pass_by(goldens: pytest.Pytester) -> None:
    shutil.move(goldens.path / "goldens", goldens.path / ".goldens")
    result = goldens.runpytest_inprocess(
        "-p", PLUGIN, "--graphrewrite-golden", ".goldens", "-k", "file or own"
    )
    result.assert_outcomes(passed=2, deselected=len(STATES) - 1)


def test_without_the_option_nothing_is_collected(goldens: pytest.Pytester) -> None:
    goldens.runpytest_inprocess("-p", PLUGIN).assert_outcomes(passed=1)


def test_a_weight_changed_by_one_percent_fails_in_every_state(goldens: pytest.Pytester) -> None:
    change_weight(goldens.path / "net.onnx")
    result = _run(goldens)
    assert _failed(result) == list(STATES)
    result.stdout.fnmatch_lines(
        [
            "golden 'net' of ../net.onnx, tflite, original:",
            "  output 'y' max abs * where 0.0001 was allowed",
            "golden 'net' of ../net.onnx, tflite, file:",
            "  output 'y' max abs * where 1e-05 was allowed",
            "if that is meant: graphrewrite golden bless *goldens, and review the difference",
        ]
    )


def test_a_pass_switched_off_fails_in_the_file(
    goldens: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_passes()["fuse-activations"], "default", False)
    result = _run(goldens)
    assert _failed(result) == ["file"]
    result.stdout.fnmatch_lines(["  RELU 0 -> 1", "  pass fuse-activations: 1 rewrites before, none now"])


def test_a_new_transpose_fails_in_the_file(goldens: pytest.Pytester) -> None:
    (goldens.path / "sideways.py").write_text(TRANSPOSING)
    edit(
        goldens.path / "goldens/net.golden.toml",
        lambda text: text.replace('"default"', '"default,sideways.py"'),
    )
    result = _run(goldens)
    assert _failed(result) == ["file"]
    result.stdout.fnmatch_lines(["  +2 TRANSPOSE, +40 bytes (3 left: *); MUL 0 -> 1; NEG 1 -> 0"])


def test_a_wrong_pass_fails_from_its_stage_on(goldens: pytest.Pytester) -> None:
    (goldens.path / "wrong.py").write_text(WRONG)
    edit(
        goldens.path / "goldens/net.golden.toml", lambda text: text.replace('"default"', '"default,wrong.py"')
    )
    assert _failed(_run(goldens)) == list(STATES[STATES.index("fuse") :])


def test_what_cannot_be_checked_says_why(goldens: pytest.Pytester) -> None:
    (goldens.path / "net.onnx").unlink()
    result = _run(goldens, "-k", "file")
    result.stdout.fnmatch_lines(["the golden '*net.golden.toml' needs '../net.onnx', which is not there*"])
    assert "Traceback" not in result.stdout.str()
    edit(goldens.path / "goldens/net.golden.toml", lambda text: text.split("[expected")[0])
    _run(goldens).stdout.fnmatch_lines(["*nothing is expected of any target*"])
    result = goldens.runpytest_inprocess("-p", PLUGIN, "--graphrewrite-golden", "nowhere")
    result.stderr.fnmatch_lines(["ERROR: --graphrewrite-golden: there is no folder '*nowhere'"])


def test_every_pytest_can_afford_it() -> None:
    """Loading the plugin imports nothing heavy."""
    code = (
        f"import sys, {PLUGIN}; print([name for name in ('numpy', 'onnx', 'onnx_ir') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("arguments", [[], ["-p", PLUGIN]], ids=["found", "also named"])
def test_an_installed_package_brings_it(arguments: list[str], tmp_path: Path) -> None:
    """As an installer writes the entry points of pyproject.toml."""
    found = re.search(
        r"^\[project.entry-points.pytest11\]\n\"(.+)\" = \"(.+)\"$",
        (ROOT / "pyproject.toml").read_text(),
        re.MULTILINE,
    )
    assert found is not None
    made = tmp_path / "graphrewrite-9.dist-info"
    made.mkdir()
    (made / "METADATA").write_text("Metadata-Version: 2.1\nName: graphrewrite\nVersion: 9\n")
    (made / "entry_points.txt").write_text(f"[pytest11]\n{found[1]} = {found[2]}\n")
    environment = {key: text for key, text in os.environ.items() if not key.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--help", *arguments],
        env=environment | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("--graphrewrite-golden=DIR") == 1
