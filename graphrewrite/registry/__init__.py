"""Op rows and what is built on them: lowering, upgrades, the op table."""

from __future__ import annotations

from graphrewrite.registry.builder import Onnx
from graphrewrite.registry.legalize import legalize
from graphrewrite.registry.lower import lower, try_row
from graphrewrite.registry.opnode import OpNode, Refusal
from graphrewrite.registry.requirements import computed_type, require_rank
from graphrewrite.registry.rows import OpRow, expansion, lowering, refusal, rows, upgrade

__all__ = [
    "Onnx",
    "OpNode",
    "OpRow",
    "Refusal",
    "computed_type",
    "expansion",
    "legalize",
    "lower",
    "lowering",
    "refusal",
    "require_rank",
    "rows",
    "try_row",
    "upgrade",
]
