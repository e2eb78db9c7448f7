"""Importing OpenVINO without its usage telemetry."""

from __future__ import annotations

import functools
import sys
from typing import Any


@functools.lru_cache(maxsize=1)
def openvino() -> Any:
    """The module `openvino`.

    Importing it reports the import to its makers through the package `openvino_telemetry`, which forks a process for each
    event. It does without where that package can't be imported.
    """
    name = "openvino_telemetry"
    if name in sys.modules or "openvino" in sys.modules:  # somebody else's choice
        import openvino as found
    else:
        sys.modules[name] = None  # type: ignore[assignment]  # what a missing module is
        try:
            import openvino as found
        finally:
            del sys.modules[name]
    return found


@functools.lru_cache(maxsize=1)
def core() -> Any:
    """OpenVINO's runtime, of which a process needs one."""
    return openvino().Core()
