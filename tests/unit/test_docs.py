"""Guides run: `python` and `toml` blocks that begin with a file's name become that file, other `python` blocks are executed,
and `graphrewrite`, `pytest` and `pip install` lines of `sh` blocks, and of the steps of a workflow in a `yaml` block, must
succeed, in order. What a guide installs goes into a folder of its own, which its later commands see."""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import onnx
import onnx.parser
import pytest

from graphrewrite.cli.main import main

ROOT = Path(__file__).resolve().parent.parent.parent
GUIDES = sorted([ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*/README.md")])

MODEL = """<ir_version: 9, opset_import: ["" : 17]>
g (float[N,3,H,W] x) => (float[N,3,H,W] y) <float one = {1.0}, float two = {2.0}> {
  ["double"] a = Add(x, one)
  b = Add(a, two)
  c = Neg(x)
  ["sum"] d = Add(b, c)
  ["act"] y = Relu(d)
}"""


@pytest.mark.parametrize("path", GUIDES, ids=[str(path.relative_to(ROOT)) for path in GUIDES])
def test_blocks_run(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shown = follow(path, tmp_path)
    for command, texts in SHOWN.get(str(path.relative_to(ROOT)), {}).items():
        output = "".join(text for line, text in shown if line.startswith(command))
        assert [text for text in texts if not re.search(text, output)] == [], f"{command}: {output}"


SHOWN = {
    "docs/writing_a_pass.md": {
        "pytest": [r"2 passed"],
        "graphrewrite run model.onnx --passes": [
            r"matches the original on 3 samples",
            r"add-once +1 rewrites",
        ],
        "graphrewrite diff": [r"\d+ add-once: 1 rewrite, 3 -> 2 nodes", r"- %a:float\[1,3,8,8\] = Add"],
        "graphrewrite explain add-once": [r"no match: 'c2' is larger than 1.5"],
        "graphrewrite passes add-once": [
            r"Add two constants before they meet",
            r"option: +largest \(float\)",
        ],
        "graphrewrite run model.onnx --json": [
            r'"name": "add-once",\s+"spec": .*\s+"label": .*\s+"rewrites": 1'
        ],
    },
    "docs/writing_an_op.md": {
        "pytest": [r"6 passed"],
        "graphrewrite ops": [r"tflite: lowered\n.*the variance is taken about the mean"],
    },
    "docs/writing_a_target.md": {
        "graphrewrite run": [r"wrote model.calc", r"matches the original on 3 samples \(numpy\)"],
        "graphrewrite verify": [r"y  equal"],
        "graphrewrite diff": [r"%y:float\[N,3\] = Max\(%b, 0.0\)"],
        "graphrewrite ops Abs": [r"calc: lowered"],
        "pytest": [r"4 passed"],
    },
    "examples/custom_pass/README.md": {
        "graphrewrite passes": [r"runs: +by default", r"option: +floats_only"],
        "graphrewrite run model.onnx": [r"use-subtraction +1 rewrites"],
    },
}
"""What the output of a guide's commands must hold, by the beginning of the command."""


def follow(path: Path, folder: Path) -> list[tuple[str, str]]:
    """Do what the guide says in `folder`, which is the current one; its commands with what they print."""
    (folder / "examples").symlink_to(ROOT / "examples")
    onnx.save(onnx.parser.parse_model(MODEL), "model.onnx")
    shown = []
    for language, block in re.findall(
        r"^```(python|toml|sh|yaml)\n(.*?)^```$", path.read_text(), re.DOTALL | re.MULTILINE
    ):
        file = re.match(r"# (\w+\.(?:py|toml))\n", block)
        if file:
            Path(file[1]).write_text(block)
        elif language == "python":
            exec(compile(block, str(path), "exec"), {"__name__": "guide"})
        elif language != "toml":
            lines = re.findall(r"- run: (.*)", block) if language == "yaml" else block.splitlines()
            shown += [(line, _run(shlex.split(line, comments=True), line, folder)) for line in lines]
    return shown


def _run(words: list[str], line: str, folder: Path) -> str:
    """One command; in this process where nothing is installed, because that is quicker."""
    site = folder / "site"
    if words[:1] == ["graphrewrite"] and not site.exists():
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            assert main(words[1:]) == 0, line
        return output.getvalue()
    commands = {
        "graphrewrite": ["graphrewrite"],
        # the plugin is named for checkouts installed before there was one
        "pytest": ["pytest", "-p", "graphrewrite.pytest_plugin"],
        "pip": ["pip"],
    }
    if not words or words[0] not in commands:
        return ""
    if words[0] == "pip":  # what is needed is there, hatchling too: no index, no network
        named = [word for word in words[2:] if not word.startswith("-") and not Path(word).exists()]
        for word in named:
            importlib.metadata.distribution(re.split(r"[\[<>=~]", word)[0])  # raises where it is not there
        words = [word for word in words if word not in named]
        if len(words) == 2:
            return ""
        options = ["-q", "--target", str(site), "--no-deps", "--no-build-isolation", "--no-index"]
        words = [*words, *options, "--disable-pip-version-check"]
    environment = {key: text for key, text in os.environ.items() if not key.startswith("PYTEST_")}
    environment["PYTHONPATH"] = os.pathsep.join([str(site), str(ROOT)])
    command = [sys.executable, "-m", *commands[words[0]], *words[1:]]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("path", GUIDES, ids=[str(path.relative_to(ROOT)) for path in GUIDES])
def test_links_lead_somewhere(path: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
        if "://" not in link:
            assert (path.parent / link).exists(), link


def test_every_dependency_is_explained() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    start = project.index("dependencies = [")
    section = project[start : project.index("[project.scripts]")]
    names = {match[1] for match in re.finditer(r'"([a-z][\w-]*)(?:>=|\[)', section)} - {"graphrewrite"}
    text = (ROOT / "docs" / "dependencies.md").read_text()
    assert [name for name in sorted(names) if name not in text] == []
