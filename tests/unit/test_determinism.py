"""The same model gives the same bytes, whatever the hash seed of the process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODELS = ROOT / "tests" / "golden" / "models"
NAMES = (
    "mobilestylegan.dyn",
    "resnet18.ts17",
    "shufflenet_v2.ts17",
    "bert_dynamic.dyn",
    "lstm_states.ts17",
    "bisenet.dyn",
)

_CODE = """
import hashlib, sys
from pathlib import Path
import graphrewrite
from graphrewrite.errors import GraphRewriteError
from graphrewrite.targets.base import target
found = target(sys.argv[2])
for name in sys.argv[3:]:
    out = Path(sys.argv[1]) / (Path(name).stem + found.suffix)
    try:
        graphrewrite.run(name, found, output=out, check=False)
        print(Path(name).name, hashlib.sha256(b"".join(file.read_bytes() for file in found.files(out))).hexdigest())
    except GraphRewriteError as error:
        print(Path(name).name, "".join(str(error).split(str(out))))
"""


def converted(target: str, seed: str, folder: Path) -> str:
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", _CODE, str(folder), target, *(str(MODELS / f"{name}.onnx") for name in NAMES)],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.mark.parametrize("target", ["tflite", "openvino", "openvino{precision=fp16}"])
def test_two_processes_write_the_same_bytes(target: str, tmp_path: Path) -> None:
    first, second = (converted(target, seed, tmp_path / seed) for seed in ("1", "4242"))
    assert first == second
    assert len(first.splitlines()) == len(NAMES)
    assert all(len(line.split()[-1]) == 64 for line in first.splitlines()), first


@pytest.mark.parametrize("name", ["lstm_states.ts17", "shufflenet_v2.ts17"])
def test_one_process_writes_the_same_package_twice(name: str, tmp_path: Path) -> None:
    """coremltools counts the constants that it names over the whole life of a process."""
    pytest.importorskip("coremltools")
    import graphrewrite

    contents = []
    for number in range(2):
        path = tmp_path / f"{number}.mlpackage"
        graphrewrite.run(MODELS / f"{name}.onnx", "coreml", output=path, check=False)
        contents.append(
            {item.relative_to(path): item.read_bytes() for item in path.rglob("*") if item.is_file()}
        )
    assert contents[0] == contents[1]
