"""Conversion time to Core ML against onnxsim's exporter: imports and checks left out on both sides."""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

from tools.benchmarks.conversion import timed
from tools.benchmarks.environments import python

_OURS = """
import json, sys, time
import graphrewrite.api, coremltools
from graphrewrite.pipeline import known_passes
from graphrewrite.registry import rows
import graphrewrite.targets.coreml.target, graphrewrite.targets.coreml.write, graphrewrite.targets.coreml.builder
known_passes(), rows()
started = time.perf_counter()
graphrewrite.api.run(sys.argv[1], "coreml", output=sys.argv[2], check=False)
print(json.dumps({"seconds": time.perf_counter() - started}))
"""

_ONNXSIM = """
import json, sys, time
import onnx, onnxsim, coremltools
started = time.perf_counter()
model, _ = onnxsim.simplify(onnx.load(sys.argv[1]))
onnxsim.export_coreml(model, sys.argv[2])
print(json.dumps({"seconds": time.perf_counter() - started}))
"""


def measure(model: Path, work: Path, *, rounds: int = 3) -> tuple[float | None, float | None, str]:
    """(our seconds, onnxsim's seconds, why one is missing): medians over fresh processes that take turns.

    onnxsim's exporter takes few operators as exporters write them; it is given what its own simplifier makes of the model.
    """
    ours, theirs = list[float](), list[float]()
    problem = ""
    for index in range(rounds):
        sides = ((ours, sys.executable, _OURS), (theirs, str(python("onnxsim")), _ONNXSIM))
        for found, interpreter, script in sides:
            output = work / f"{len(found)}_{index}_{found is ours}.mlpackage"
            seconds, error = timed([interpreter, "-c", script, str(model), str(output)])
            problem = error or problem
            if seconds is not None:
                found.append(seconds)
    return _median(ours), _median(theirs), problem


def _median(found: list[float]) -> float | None:
    return statistics.median(found) if found else None
