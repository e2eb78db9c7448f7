"""A virtual environment of the project's own, made with nothing but Python."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OLDEST = (3, 10)


def make(folder: Path, extras: str, *, fresh: bool = False) -> Path:
    """Make (or bring up to date) the environment in `folder` with the project and `extras`; its interpreter.

    `fresh` removes what is there first. The project is installed in editable mode, so its files are the ones that run.
    """
    if sys.version_info < OLDEST:
        sys.exit(
            f"Python {OLDEST[0]}.{OLDEST[1]} or newer is needed; this is {sys.version.split()[0]} ({sys.executable})"
        )
    if fresh and folder.exists():
        shutil.rmtree(folder)
    python = interpreter(folder)
    stamp = folder / f"installed-{extras.replace(',', '-')}"
    wanted = (ROOT / "pyproject.toml").read_bytes()
    if python.is_file() and stamp.is_file() and stamp.read_bytes() == wanted:
        return python
    if not python.is_file():
        print(f"making a virtual environment in {folder}", flush=True)
        if subprocess.run([sys.executable, "-m", "venv", str(folder)]).returncode:
            sys.exit(
                "python -m venv failed; on Debian and Ubuntu: apt install python3-venv, and run this again"
            )
    print(f"installing graphrewrite[{extras}] into {folder}", flush=True)
    command = [str(python), "-m", "pip", "install", "-qq", "--editable", f"{ROOT}[{extras}]"]
    if subprocess.run(command, cwd=ROOT).returncode:
        sys.exit("the installation failed; pip's message above says why")
    stamp.write_bytes(wanted)
    return python


def interpreter(folder: Path) -> Path:
    """Where a virtual environment keeps its Python."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
