"""One-thread latency and size of our OpenVINO model and of the one that OpenVINO's own converter makes of the export."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import graphrewrite
from graphrewrite.targets.openvino.package import openvino
from graphrewrite.targets.openvino.runtime import CpuPlugin
from tools.benchmarks.latency import Feeds, feeds_for


def timer(path: Path, feeds: Feeds) -> Callable[[int], float]:
    """Runs a saved model on the CPU plugin in float32 on one thread; seconds an inference."""
    compiled = CpuPlugin(path, threads=1).compiled()
    request = compiled.create_infer_request()
    by_port = {
        port: feeds[next(name for name in port.get_names() if name in feeds)] for port in compiled.inputs
    }
    request.infer(by_port)

    def run(count: int) -> float:
        started = time.perf_counter()
        for _ in range(count):
            request.infer(by_port)
        return (time.perf_counter() - started) / count

    return run


def measure(model: Path, work: Path, *, rounds: int = 7, runs: int = 2) -> dict[str, Any]:
    """Convert `model` both ways, then time both in turn, `rounds` times.

    Returns milliseconds (medians), our time over the raw export's (median of the rounds' ratios), and megabytes of weights.
    """
    ours, half, raw = (work / f"{name}.xml" for name in ("ours", "half", "raw"))
    for target, path in (("openvino", ours), ("openvino{precision=fp16}", half)):
        graphrewrite.run(model, target, output=path, check=False)
    openvino().save_model(openvino().convert_model(model), raw, compress_to_fp16=False)
    feeds = feeds_for(model)
    timers = {"ours": timer(ours, feeds), "raw": timer(raw, feeds)}
    seconds: dict[str, list[float]] = {key: [] for key in timers}
    for _ in range(rounds):
        for key, run in timers.items():
            seconds[key].append(run(runs))
    return {
        "milliseconds": {key: statistics.median(found) * 1e3 for key, found in seconds.items()},
        "ratio": statistics.median(a / b for a, b in zip(seconds["ours"], seconds["raw"], strict=True)),
        "megabytes": {path.stem: path.with_suffix(".bin").stat().st_size / 1e6 for path in (ours, half, raw)},
    }
