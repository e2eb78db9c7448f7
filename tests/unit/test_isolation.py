"""Targets by themselves: none imports another's modules, and one extra is enough for its target."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import graphrewrite
from graphrewrite.targets.base import BUNDLED, target

RUNTIMES = {"tflite": "ai_edge_litert", "coreml": "coremltools", "openvino": "openvino"}
"""What the extra of each target brings."""


MODEL = '<ir_version: 10, opset_import: ["" : 20]> g (float[2,3] x) => (float[2,3] y) { y = Relu (x) }'


def python(code: str, folder: Path) -> str:
    root = str(Path(graphrewrite.__file__).resolve().parent.parent)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": root},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def others(name: str) -> list[str]:
    """Beginnings of module names that belong to the other targets."""
    return [
        item
        for other in RUNTIMES
        if other != name
        for item in (RUNTIMES[other], f"graphrewrite.targets.{other}")
    ]


def loaded(name: str) -> str:
    """Code that prints which modules of other targets are there."""
    return (
        f"import sys\nprint([item for item in sys.modules for start in {others(name)!r} "
        "if item == start or item.startswith(start + '.')])"
    )


@pytest.fixture
def able(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    pytest.importorskip(RUNTIMES[name])
    return name


@pytest.mark.parametrize("able", BUNDLED, indirect=True)
def test_importing_all_of_one_target_imports_nothing_of_another(able: str, tmp_path: Path) -> None:
    code = f"""
import importlib, pkgutil
package = importlib.import_module("graphrewrite.targets.{able}")
for item in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    importlib.import_module(item.name)
{loaded(able)}
"""
    assert python(code, tmp_path) == "[]\n"


@pytest.mark.parametrize("able", BUNDLED, indirect=True)
def test_a_conversion_runs_where_only_its_target_is_installed(able: str, tmp_path: Path) -> None:
    """The other runtimes can't be imported: `None` in sys.modules is what a missing module is."""
    missing = [runtime for name, runtime in RUNTIMES.items() if name != able]
    code = f"""
import sys
for name in {missing!r}:
    sys.modules[name] = None
import graphrewrite, onnx.parser
proto = onnx.parser.parse_model({MODEL!r})
result = graphrewrite.run(proto, {able!r}, output="a{target(able).suffix}")
assert result.report["check"]["passed"]
for name in {missing!r}:
    del sys.modules[name]
{loaded(able)}
"""
    assert python(code, tmp_path) == "[]\n"


@pytest.mark.parametrize("name", BUNDLED)
def test_a_missing_runtime_names_its_extra(name: str, tmp_path: Path) -> None:
    code = f"""
import sys
sys.modules[{RUNTIMES[name]!r}] = None
import onnx, onnx.parser
from graphrewrite.cli.main import main
onnx.save(onnx.parser.parse_model({MODEL!r}), "net.onnx")
for command in ("run", "check"):
    sys.stderr = sys.stdout
    assert main([command, "net.onnx", "--target", {name!r}]) == 2
"""
    assert python(code, tmp_path).count(f"pip install 'graphrewrite[{name}]'") == 2
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]
