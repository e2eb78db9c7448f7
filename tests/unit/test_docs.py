"""Guides run: `python` blocks are executed, and `graphrewrite` and `pytest` lines of `sh` blocks, and of the steps of a
workflow in a `yaml` block, must succeed, in order."""

from __future__ import annotations

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
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    onnx.save(onnx.parser.parse_model(MODEL), "model.onnx")
    for language, block in re.findall(
        r"^```(python|sh|yaml)\n(.*?)^```$", path.read_text(), re.DOTALL | re.MULTILINE
    ):
        if language == "python":
            file = re.match(r"# (\w+\.py)\n", block)
            if file:
                Path(file[1]).write_text(block)
            else:
                exec(compile(block, str(path), "exec"), {"__name__": "guide"})
            continue
        lines = re.findall(r"- run: (.*)", block) if language == "yaml" else block.splitlines()
        for line in lines:
            words = shlex.split(line, comments=True)
            if words and words[0] == "graphrewrite":
                assert main(words[1:]) == 0, line
            if words and words[0] == "pytest":
                assert _pytest(words[1:]) == 0, line


def _pytest(arguments: list[str]) -> int:
    """In a process of its own, as the reader's would be. The plugin is named for checkouts installed before there was one."""
    environment = {key: text for key, text in os.environ.items() if not key.startswith("PYTEST_")}
    environment["PYTHONPATH"] = str(ROOT)
    command = [sys.executable, "-m", "pytest", "-p", "graphrewrite.pytest_plugin", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, check=False).returncode


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
