"""Passes and pipelines."""

from __future__ import annotations

from graphrewrite.pipeline.adapters import as_pass
from graphrewrite.pipeline.discovery import known_passes
from graphrewrite.pipeline.manager import (
    BaseInstrument,
    Guard,
    Instrument,
    PassRecord,
    histogram,
    run_pipeline,
)
from graphrewrite.pipeline.passes import Label, Pass, PatternPass, RewritePass, Stage, pass_name
from graphrewrite.pipeline.spec import build, describe

__all__ = [
    "BaseInstrument",
    "Guard",
    "Instrument",
    "Label",
    "Pass",
    "PassRecord",
    "PatternPass",
    "RewritePass",
    "Stage",
    "as_pass",
    "build",
    "describe",
    "histogram",
    "known_passes",
    "pass_name",
    "run_pipeline",
]
