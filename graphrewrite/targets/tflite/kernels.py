"""What LiteRT's CPU kernels take: measured by `tools/probe_kernels.py` and kept in `kernels.json`."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from graphrewrite.ir import DataType

_NAMES = {"float32": "FLOAT", "float64": "DOUBLE"}

MEASURED: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("kernels.json").read_text())
"""What was found, by operator."""


@functools.cache
def accepted_types(op: str) -> frozenset[DataType] | None:
    """Element types that `op` computes right with XNNPACK and without; None where it was not measured."""
    entry = MEASURED.get(op)
    if entry is None or "dtypes" not in entry:
        return None
    return frozenset(DataType[_NAMES.get(name, name.upper())] for name in entry["dtypes"])
