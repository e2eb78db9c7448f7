"""Conversion time against onnx2tf's: imports and checks left out on both sides."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tools.benchmarks.environments import ROOT, python

_OURS = """
import json, sys, time
import graphrewrite.api
from graphrewrite.pipeline import known_passes
from graphrewrite.registry import rows
import graphrewrite.targets.tflite.target, graphrewrite.targets.tflite.emit, graphrewrite.targets.tflite.validate
import graphrewrite.targets.tflite.builder, graphrewrite.targets.tflite.layout_dialect
known_passes(), rows()
started = time.perf_counter()
result = graphrewrite.api.run(sys.argv[1], "tflite", output=sys.argv[2], check=False)
print(json.dumps({"seconds": time.perf_counter() - started}))
"""

_ONNX2TF = """
import json, sys, time
import onnx2tf
started = time.perf_counter()
onnx2tf.convert(input_onnx_file_path=sys.argv[1], output_folder_path=sys.argv[2], non_verbose=True)
print(json.dumps({"seconds": time.perf_counter() - started}))
"""


@dataclass(frozen=True)
class Converted:
    """Seconds in the converter proper, and the float32 file; None where it failed."""

    seconds: float | None
    file: Path | None
    error: str = ""


def convert_with_onnx2tf(model: Path, work: Path) -> Converted:
    """onnx2tf 2.6.9 on a copy of the model (it rewrites its input in place)."""
    work.mkdir(parents=True, exist_ok=True)
    copy = work / model.name
    shutil.copyfile(model, copy)
    interpreter = python("onnx2tf")
    # onnx2tf starts the onnxsim command of its own environment
    path = os.pathsep.join([str(interpreter.parent), os.environ.get("PATH", "")])
    seconds, error = timed([str(interpreter), "-c", _ONNX2TF, str(copy), str(work)], {"PATH": path})
    files = sorted(work.glob("*_float32.tflite"))
    return Converted(seconds, files[0] if files else None, error)


def convert_with_graphrewrite(model: Path, output: Path) -> Converted:
    """This converter, in a fresh process."""
    seconds, error = timed([sys.executable, "-c", _OURS, str(model), str(output)])
    return Converted(seconds, output if output.exists() else None, error)


def timed(command: list[str], environment: Mapping[str, str] | None = None) -> tuple[float | None, str]:
    """The `{"seconds": ...}` that a command prints last, or None and why there is none."""
    variables = {**os.environ, **(environment or {})}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1800, env=variables)
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"seconds"')]
    if lines:
        return float(json.loads(lines[-1])["seconds"]), ""
    tail = (done.stderr or done.stdout).strip().splitlines()
    return None, tail[-1] if tail else f"exit {done.returncode}"
