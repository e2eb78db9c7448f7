"""One-thread latency of our file, the original in ONNX Runtime and onnx2tf's file, interleaved in one run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import graphrewrite
from graphrewrite.targets.tflite.runtime import LiteRTRunner
from tools.benchmarks.conversion import convert_with_onnx2tf

Feeds = Mapping[str, Any]


@dataclass(frozen=True)
class Latency:
    """Milliseconds an inference: the median over rounds, and the ratio to the baseline by rounds."""

    name: str
    milliseconds: dict[str, float]
    ratios: dict[str, float]
    """Our time over the peer's: median of the ratios of each round."""
    facts: dict[str, Any]


def feeds_for(model: Path) -> dict[str, Any]:
    """Seeded normal inputs of the model's static shapes."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    return {
        item.name: rng.standard_normal([n if isinstance(n, int) else 1 for n in item.shape]).astype(
            np.float32
        )
        for item in session.get_inputs()
    }


def onnxruntime_timer(model: Path, feeds: Feeds) -> Callable[[int], float]:
    """Runs the original with all of ONNX Runtime's optimisations on one thread; seconds an inference."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    session.run(None, dict(feeds))

    def run(count: int) -> float:
        started = time.perf_counter()
        for _ in range(count):
            session.run(None, dict(feeds))
        return (time.perf_counter() - started) / count

    return run


def litert_timer(path: Path, feeds: Feeds) -> Callable[[int], float]:
    """Runs a file in LiteRT with XNNPACK on one thread, in a process of its own."""
    runner = LiteRTRunner()
    described = runner.describe(path)["inputs"]
    by_name = dict(feeds)
    fed = {}
    for (name, (shape, _)), (key, _) in zip(described.items(), by_name.items(), strict=True):
        found = by_name.get(name, by_name[key])
        # onnx2tf makes inputs channels last
        fed[name] = found if list(found.shape) == shape else np.ascontiguousarray(np.moveaxis(found, 1, -1))
    runner.benchmark(path, fed, warmup=2, runs=1)
    return lambda count: runner.benchmark(path, fed, warmup=1, runs=count).median


def measure(name: str, model: Path, work: Path, *, onnx2tf: bool, rounds: int = 5, runs: int = 2) -> Latency:
    """Convert `model`, then time all sides in turn, `rounds` times."""
    feeds = feeds_for(model)
    ours = work / f"{name}.tflite"
    result = graphrewrite.run(model, "tflite", output=ours)
    timers = {"graphrewrite": litert_timer(ours, feeds), "onnxruntime": onnxruntime_timer(model, feeds)}
    if onnx2tf:
        peer = convert_with_onnx2tf(model, work / f"{name}.onnx2tf")
        if peer.file is not None:
            timers["onnx2tf"] = litert_timer(peer.file, feeds)
    seconds: dict[str, list[float]] = {key: [] for key in timers}
    for _ in range(rounds):
        for key, timer in timers.items():
            seconds[key].append(timer(runs))
    ratios = {
        key: statistics.median(a / b for a, b in zip(seconds["graphrewrite"], found, strict=True))
        for key, found in seconds.items()
        if key != "graphrewrite"
    }
    facts = {
        "megabytes": result.report["size"] / 1e6,
        "operators": result.report["details"]["operator_count"],
        "partitions": result.report["details"].get("partitions"),
        "worst_sqnr_db": min(float(item["sqnr"]) for item in result.report["check"]["outputs"]),
    }
    return Latency(
        name, {key: statistics.median(found) * 1e3 for key, found in seconds.items()}, ratios, facts
    )
