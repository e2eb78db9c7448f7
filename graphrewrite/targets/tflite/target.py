"""The TFLite target: written directly, validated, and run in LiteRT with XNNPACK and without."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from graphrewrite.errors import InternalError, MissingExtra
from graphrewrite.ir import Model
from graphrewrite.numeric.check import Runner
from graphrewrite.targets.base import Written


class TFLiteTarget:
    """See `graphrewrite.targets.base.Target`."""

    name = "tflite"
    suffix = ".tflite"

    def require(self) -> None:
        """Raise MissingExtra where LiteRT is not installed."""
        for module in ("ai_edge_litert", "flatbuffers"):
            if importlib.util.find_spec(module) is None:
                raise MissingExtra("tflite", module)

    def write(self, model: Model, path: Path) -> Written:
        """Write and validate; a finding of the validator is graphrewrite's own fault."""
        from graphrewrite.targets.tflite.emit import write
        from graphrewrite.targets.tflite.validate import validate

        report = write(model, path)
        findings = validate(path)
        if findings:
            raise InternalError(
                "the written file breaks TFLite's rules:\n"
                + "\n".join(f"  {finding}" for finding in findings)
            )
        details = {
            "operators": dict(sorted(report.operators.items())),
            "operator_count": sum(report.operators.values()),
            "tensors": report.tensors,
            "weight_bytes": report.weight_bytes,
            "weights_behind": report.weights_behind,
        }
        return Written(path, report.size, details)

    def runners(self, path: Path) -> Mapping[str, Runner]:
        """LiteRT with XNNPACK, and with its own kernels as an independent second opinion."""
        from graphrewrite.targets.tflite.runtime import runner

        return {
            "litert-xnnpack": lambda sample: runner.run(path, sample, xnnpack=True).outputs,
            "litert-kernels": lambda sample: runner.run(path, sample, xnnpack=False).outputs,
        }

    def facts(self, path: Path, sample: Mapping[str, Any]) -> dict[str, Any]:
        """XNNPACK partitions and what is left outside them."""
        from graphrewrite.targets.tflite.runtime import runner

        result = runner.run(path, sample, xnnpack=True)
        return {"partitions": result.partitions, "outside_xnnpack": dict(sorted(result.outside.items()))}


TARGET = TFLiteTarget()
