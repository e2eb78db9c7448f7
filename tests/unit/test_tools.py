"""The skeleton writers, the example package and the PNG writer."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import zlib
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import onnx.parser
import pytest

from graphrewrite import ir
from graphrewrite.cli.main import main
from graphrewrite.pipeline import Pass, Stage, build, run_pipeline

ROOT = Path(__file__).resolve().parent.parent.parent


def _tool(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, cwd=ROOT, timeout=120, check=False
    )


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def before_lowering(spec: str) -> list[Pass]:
    """The mandatory passes and `spec`, up to where ONNX becomes TFLite."""
    return [item for item in build(f"none,{spec}", "tflite") if item.stage < Stage.LEGALIZE]


def test_new_pass_writes_a_pass_that_works(tmp_path: Path) -> None:
    done = _tool("tools/new_pass", "fuse-double-neg", "--root", str(tmp_path))
    assert done.returncode == 0, done.stderr
    written = tmp_path / "passes" / "fuse" / "fuse_double_neg.py"
    cases = tmp_path / "tests" / "golden" / "passes" / "fuse-double-neg"
    rewrites = {}
    for case in sorted(cases.glob("*.onnxtxt")):
        model = ir.load(onnx.parser.parse_model(case.read_text()))
        records = {
            record.name: record for record in run_pipeline(model, before_lowering(str(written)), debug=True)
        }
        rewrites[case.stem] = records["fuse-double-neg"].rewrites
    assert rewrites == {"acts": 1, "used_elsewhere_stays": 0}
    again = _tool("tools/new_pass", "fuse-double-neg", "--root", str(tmp_path))
    assert again.returncode == 2
    assert "there already" in again.stderr
    assert _tool("tools/new_pass", "FuseIt", "--root", str(tmp_path)).returncode == 2


def test_new_pass_for_outsiders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = ["--folder", str(tmp_path)]
    assert main(["new-pass", "drop-double-neg", *folder]) == 0
    done = _tool("-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path))
    assert "2 passed" in done.stdout
    assert main(["new-pass", "other-2", *folder]) == 2
    assert main(["new-pass", "fold-x-y", *folder]) == 2
    assert main(["new-pass", "fuse-gelu", *folder]) == 2
    capsys.readouterr()
    assert main(["new-pass", "drop-double-neg", *folder]) == 2
    assert "drop_double_neg.py is there already" in capsys.readouterr().err
    assert main(["new-pass", "drop-other", "--json", *folder]) == 0
    assert [Path(name).name for name in json.loads(capsys.readouterr().out)["files"]] == [
        "drop_other.py",
        "test_drop_other.py",
        "PASSES.md",
    ]
    assert (tmp_path / "PASSES.md").read_text() == (
        "# Passes\n\n"
        "- [`drop-double-neg`](drop_double_neg.py): Remove double negations.\n"
        "- [`drop-other`](drop_other.py): Remove double negations.\n"
    )


def test_new_op_writes_a_row(tmp_path: Path) -> None:
    done = _tool("tools/new_op", "SequenceErase", "--root", str(tmp_path))
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "op_registry" / "sequence_erase.py").read_text()
    assert '@lowering("tflite", "SequenceErase")' in text
    compile(text, "row", "exec")
    compile((tmp_path / "tests" / "unit" / "test_op_sequence_erase.py").read_text(), "test", "exec")
    known = _tool("tools/new_op", "Relu", "--root", str(tmp_path))
    assert known.returncode == 2
    assert "has a row in" in known.stderr
    assert _tool("tools/new_op", "Frobnicate").returncode == 2


def test_example_package_names_a_module_with_its_pass() -> None:
    folder = ROOT / "examples" / "custom_pass"
    entry = re.search(
        r'entry-points."graphrewrite.passes"\]\n(\S+) = "([\w.]+)"', (folder / "pyproject.toml").read_text()
    )
    assert entry is not None
    file = folder / f"{entry[2].replace('.', '/')}.py"
    text = """<ir_version: 9, opset_import: ["" : 17]>
    g (float[2] x, int64[2] i) => (float[2] y, int64[2] j) { a = Neg(x) y = Add(a, x) b = Neg(i) j = Add(i, b) }"""
    for options, left in (("", 0), ("{floats_only=true}", 1)):
        model = ir.load(onnx.parser.parse_model(text))
        records = run_pipeline(model, before_lowering(f"{file}{options}"), debug=True)
        assert entry[1] in {record.name for record in records}
        assert sum(node.op_type == "Add" for node in model.graph) == left


def test_png_holds_the_pixels(tmp_path: Path) -> None:
    module = _module(ROOT / "tools" / "side_by_side.py")
    pixels = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
    module.write_png(tmp_path / "p.png", pixels)
    data = (tmp_path / "p.png").read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert data[12:16] == b"IHDR"
    start = data.index(b"IDAT")
    size = int.from_bytes(data[start - 4 : start], "big")
    rows = np.frombuffer(zlib.decompress(data[start + 4 : start + 4 + size]), np.uint8).reshape(4, 16)
    assert not rows[:, 0].any()
    np.testing.assert_array_equal(rows[:, 1:].reshape(4, 5, 3), pixels)
    crc = int.from_bytes(data[start + 4 + size : start + 8 + size], "big")
    assert crc == zlib.crc32(data[start : start + 4 + size])
