"""The `.mlpackage` folder: a manifest, the model and its weights. Same model, same bytes."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

_AUTHOR = "com.apple.CoreML"
_DATA = "Data"
MODEL = Path(_DATA, _AUTHOR, "model.mlmodel")
WEIGHTS = Path(_DATA, _AUTHOR, "weights")
_NAMESPACE = uuid.UUID("6f2b4c6e-6a4e-5d0b-9d3b-3f6f3a3b8f10")
"""Of the identifiers in the manifest, which are random in other writers' packages."""


def write_package(path: Path, serialise: Callable[[Path], Any]) -> tuple[int, int]:
    """Write a package to `path`; `serialise` writes weights into the folder that it is given and returns the model's protobuf.

    Returns:
        Bytes of the package and bytes of its weights.
    """
    weights = path / WEIGHTS
    weights.mkdir(parents=True)
    spec = serialise(weights)
    (path / MODEL).write_bytes(spec.SerializeToString(deterministic=True))
    entries = {"Model": (MODEL, "CoreML Model Specification"), "Weights": (WEIGHTS, "CoreML Model Weights")}
    identifiers = {name: str(uuid.uuid5(_NAMESPACE, name)).upper() for name in entries}
    manifest = {
        "fileFormatVersion": "1.0.0",
        "itemInfoEntries": {
            identifiers[name]: {
                "author": _AUTHOR,
                "description": description,
                "name": place.name,
                "path": place.relative_to(_DATA).as_posix(),
            }
            for name, (place, description) in entries.items()
        },
        "rootModelIdentifier": identifiers["Model"],
    }
    (path / "Manifest.json").write_text(json.dumps(manifest, indent=4, sort_keys=True) + "\n")
    files = [item for item in path.rglob("*") if item.is_file()]
    stored = sum(item.stat().st_size for item in files if item.parent == weights)
    return sum(item.stat().st_size for item in files), stored


def model_file(path: Path) -> Path:
    """The model inside a package, by its manifest.

    Raises:
        FileNotFoundError, KeyError, json.JSONDecodeError: it is no package.
    """
    manifest = json.loads((path / "Manifest.json").read_text())
    entry = manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]
    return path / _DATA / str(entry["path"])
