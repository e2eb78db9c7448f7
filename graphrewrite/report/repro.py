"""What a mismatch leaves behind: everything needed to see it again, in one folder."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx

from graphrewrite.ir import Array, Source
from graphrewrite.numeric.npz import save_npz
from graphrewrite.targets.base import Target
from graphrewrite.targets.files import keep_rejected


def leave_repro(
    root: Path,
    stem: str,
    *,
    source: Source,
    target: Target,
    flags: Sequence[str],
    candidate: Path,
    samples: Sequence[Mapping[str, Array]],
    report: Mapping[str, Any],
) -> Path:
    """Write a fresh folder below `root`: the source (or where it lies), the rejected files (moved), inputs, report and command.

    Nothing that is there already is overwritten. Returns the folder.
    """
    number = 0
    while (folder := root / (stem if number == 0 else f"{stem}-{number}")).exists():
        number += 1
    folder.mkdir(parents=True)
    model = _keep_source(source, folder)
    keep_rejected(target, candidate, folder)
    arrays = {
        f"sample{k}.input.{name}": array for k, sample in enumerate(samples) for name, array in sample.items()
    }
    save_npz(folder / "samples.npz", arrays)
    (folder / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    passes = ",".join(item["spec"] for item in report["passes"])
    given = f"{shlex.join([*flags, '--samples', 'samples.npz'])}"
    convert = f"{shlex.join([model, '--target', target.spec])} {given}"
    (folder / "command.txt").write_text(
        f"graphrewrite run {convert} --numeric-each\n"
        f"graphrewrite bisect {convert}\n"
        f"graphrewrite verify {shlex.join([model, f'rejected{candidate.suffix}'])} {given} --per-value\n"
        f"# passes that ran: {passes}\n"
    )
    return folder


def _keep_source(source: Source, folder: Path) -> str:
    """A name for the source that works from inside `folder`; models with external data stay where they are."""
    if isinstance(source, str | os.PathLike):
        return os.path.relpath(os.path.abspath(os.fspath(source)), folder)
    data = source.SerializeToString() if isinstance(source, onnx.ModelProto) else source
    (folder / "model.onnx").write_bytes(data)
    return "model.onnx"
