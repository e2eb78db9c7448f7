"""A reduced model packed for a bug report."""

from __future__ import annotations

import importlib.metadata
import io
import json
import os
import platform
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from graphrewrite import __version__
from graphrewrite.numeric.npz import save_npz

if TYPE_CHECKING:
    from graphrewrite.reduction import Reduction

_PACKAGES = (
    "numpy",
    "onnx",
    "onnx-ir",
    "onnxruntime",
    "ai-edge-litert",
    "coremltools",
    "openvino",
)
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""Date of the files inside: equal content makes equal bundles."""


def pack(path: Path, found: Reduction, command: str, *, with_weights: bool) -> None:
    """Write the zip: `model.onnx`, `samples.npz`, `report.json` and `command.txt`.

    Without `with_weights`, no weight and no input of the user's is in it, whether the model fails with random ones or not.
    """
    model = found.model if with_weights else found.random
    assert model is not None, "a bundle without weights needs random ones: reduce(random_weights=True)"
    report = {
        "schema": 1,
        "failure": found.failure,
        "nodes": found.nodes,
        "source_nodes": found.source_nodes,
        "weights": "real" if with_weights else "random",
        "fails_as_packed": with_weights or found.random_fails,
        "versions": versions(),
    }
    arrays = io.BytesIO()
    save_npz(arrays, model.sample)
    content = {
        "model.onnx": model.proto.SerializeToString(deterministic=True),
        "samples.npz": arrays.getvalue(),
        "report.json": json.dumps(report, indent=2).encode() + b"\n",
        "command.txt": command.encode() + b"\n",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), data, zipfile.ZIP_DEFLATED)
    os.replace(partial, path)


def versions() -> dict[str, str]:
    """What is installed here, of what a conversion depends on."""
    found = {"graphrewrite": __version__, "python": platform.python_version(), "system": platform.platform()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
