"""Virtual environments for the peers, made once below `.bench/`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / ".bench"

PEERS = {
    # onnx2tf needs Python 3.12 or newer and pins everything it uses.
    "onnx2tf": ((3, 12), ("onnx2tf==2.6.9",)),
    # onnxsim's exporter goes through coremltools, which has no wheels for the newest Python.
    "onnxsim": ((3, 10), ("onnxsim==0.8.1", "coremltools>=9")),
    # PyTorch makes the full-size models; nothing that is measured runs in it.
    "torch": ((3, 10), ("torch==2.13.0", "onnx", "onnxscript", "onnxruntime", "numpy")),
    "transformers": ((3, 10), ("torch==2.13.0", "transformers==5.24.0", "onnx", "onnxscript")),
}


def python(peer: str) -> Path:
    """The interpreter of a peer's environment; makes the environment where it is not there yet.

    Raises:
        SystemExit: no Python that is new enough is on the machine.
    """
    override = os.environ.get(f"BENCH_{peer.upper()}")
    if override:
        return Path(override)
    folder = HOME / f"venv-{peer}"
    interpreter = folder / "bin" / "python"
    if interpreter.exists() and (folder / "complete").exists():
        return interpreter
    minimum, packages = PEERS[peer]
    print(f"making the environment of {peer} in {folder}", file=sys.stderr)
    subprocess.run([_base(minimum), "-m", "venv", "--clear", str(folder)], check=True)
    subprocess.run([str(interpreter), "-m", "pip", "install", "-q", *packages], check=True)
    (folder / "complete").touch()
    return interpreter


def _base(minimum: tuple[int, int]) -> str:
    if sys.version_info[:2] >= minimum:
        return sys.executable
    candidates = [shutil.which(f"python3.{minor}") for minor in range(minimum[1], minimum[1] + 3)]
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for minor in range(minimum[1], minimum[1] + 3):
        candidates += [str(path) for path in sorted(root.glob(f"3.{minor}.*/bin/python"), reverse=True)]
    for candidate in candidates:
        if (
            candidate is not None
            and subprocess.run([candidate, "-c", "import venv"], capture_output=True).returncode == 0
        ):
            return candidate
    raise SystemExit(f"Python {minimum[0]}.{minimum[1]} or newer is needed for this peer, and none was found")
