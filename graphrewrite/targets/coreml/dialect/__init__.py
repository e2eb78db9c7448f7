"""The `mil` dialect; importing it registers every op's meaning. One module a family, all found by being here."""

from __future__ import annotations

import importlib
import pkgutil

from graphrewrite.targets.coreml.dialect.op import (
    CARRY,
    DOMAIN,
    MilBody,
    TargetOp,
    define,
    defined,
    target_op,
)

for _family in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_family.name}")

__all__ = ["CARRY", "DOMAIN", "MilBody", "TargetOp", "define", "defined", "target_op"]
