"""The out-of-process runner: results, errors, crashes, and what it says of XNNPACK."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from graphrewrite.errors import NotChecked
from graphrewrite.targets.failures import InputRefused, LoadFailed, RunFailed, RuntimeAborted, TimedOut
from graphrewrite.targets.tflite import runtime_worker
from graphrewrite.targets.tflite.emit import write
from graphrewrite.targets.tflite.runtime import LiteRTRunner, runner


def binary(path: Path, op: str, dtype: Any, *, right: ir.Value | None = None) -> Path:
    kind = ir.TensorType(ir.DataType.from_numpy(np.dtype(dtype)))
    x, y = (ir.Value(name=name, shape=ir.Shape(["n", 3]), type=kind) for name in "xy")
    node = ir.Node("tflite", op, [x, x if right is None else right], outputs=[y])
    graph = ir.Graph([x], [y], nodes=[node], name="g", opset_imports={"tflite": 1})
    write(ir.Model(graph, ir_version=10), path)
    return path


def chain(path: Path) -> Path:
    """x -> ADD a -> CUMSUM b -> MUL y: XNNPACK takes the first and the last."""
    kind = ir.TensorType(ir.DataType.FLOAT)
    x, a, b, y = (ir.Value(name=name, shape=ir.Shape([2, 3]), type=kind) for name in "xaby")
    axis = ir.Value(
        name="axis",
        shape=ir.Shape([]),
        type=ir.TensorType(ir.DataType.INT32),
        const_value=ir.tensor(np.int32(1)),
    )
    nodes = [
        ir.Node("tflite", "ADD", [x, x], outputs=[a]),
        ir.Node("tflite", "CUMSUM", [a, axis], outputs=[b]),
        ir.Node("tflite", "MUL", [b, b], outputs=[y]),
    ]
    graph = ir.Graph([x], [y], nodes=nodes, name="g", opset_imports={"tflite": 1})
    write(ir.Model(graph, ir_version=10), path)
    return path


@pytest.fixture
def own() -> Iterator[LiteRTRunner]:
    made = LiteRTRunner()
    yield made
    made.close()


def test_partitions_and_what_stays_outside(tmp_path: Path) -> None:
    path, x = chain(tmp_path / "m"), np.arange(6, dtype=np.float32).reshape(2, 3)
    with_delegate = runner.run(path, {"x": x})
    assert (with_delegate.partitions, with_delegate.operators, with_delegate.delegated) == (2, 3, 2)
    assert with_delegate.outside == {"CUMSUM": 1}
    without = runner.run(path, {"x": x}, xnnpack=False)
    assert (without.partitions, without.delegated) == (0, 0)
    for result in (with_delegate, without):
        np.testing.assert_array_equal(result.outputs["y"], np.cumsum(2 * x, 1) ** 2)
        assert result.seconds > 0


def test_intermediate_tensors_by_name(tmp_path: Path) -> None:
    x = np.ones((2, 3), np.float32)
    result = runner.run(chain(tmp_path / "m"), {"x": x}, xnnpack=False, outputs=["a", "b"])
    np.testing.assert_array_equal(result.outputs["a"], 2 * x)
    np.testing.assert_array_equal(result.outputs["b"], np.cumsum(2 * x, 1))
    with pytest.raises(InputRefused, match="no output or tensor named 'c'"):
        runner.run(tmp_path / "m", {"x": x}, xnnpack=False, outputs=["c"])


def test_a_crash_leaves_the_runner_usable(tmp_path: Path, own: LiteRTRunner) -> None:
    crashing = binary(tmp_path / "crash", "ADD", np.int8)
    sound = binary(tmp_path / "sound", "ADD", np.float32)
    for _ in range(2):
        with pytest.raises(RuntimeAborted, match="SIGABRT") as caught:
            own.run(crashing, {"x": np.ones((1, 3), np.int8)})
        assert isinstance(caught.value, NotChecked)
        assert str(crashing) in str(caught.value)
        result = own.run(sound, {"x": np.ones((1, 3), np.float32)})
        np.testing.assert_array_equal(result.outputs["y"], 2 * np.ones((1, 3)))


def test_timeout_leaves_the_runner_usable(tmp_path: Path, own: LiteRTRunner) -> None:
    path = binary(tmp_path / "m", "ADD", np.float32)
    x = np.ones((100_000, 3), np.float32)
    with pytest.raises(TimedOut, match=r"longer than 0\.3 s"):
        own.benchmark(path, {"x": x}, runs=1_000_000, timeout=0.3)
    assert own.run(path, {"x": x}).outputs["y"].shape == x.shape


def test_wrong_inputs_are_named(tmp_path: Path) -> None:
    path = binary(tmp_path / "m", "ADD", np.float32)
    for inputs, message in [
        ({}, r"takes the inputs \['x'\], not \[\]"),
        ({"z": np.zeros((1, 3), np.float32)}, r"not \['z'\]"),
        ({"x": np.zeros((1, 3))}, "'x' is float32, not float64"),
        ({"x": np.zeros((1, 4), np.float32)}, r"'x' has shape \[-1, 3\], not \[1, 4\]"),
    ]:
        with pytest.raises(InputRefused, match=message):
            runner.run(path, inputs)


def test_files_that_do_not_load_or_run(tmp_path: Path) -> None:
    (tmp_path / "rubbish").write_bytes(b"TFL3" * 8)
    with pytest.raises(LoadFailed, match="Flatbuffer"):
        runner.run(tmp_path / "rubbish", {})
    with pytest.raises(LoadFailed, match="No such file"):
        runner.run(tmp_path / "absent", {})
    refused = binary(tmp_path / "m", "ADD", np.float64)
    with pytest.raises(RunFailed, match="FLOAT64"):
        runner.run(refused, {"x": np.zeros((1, 3))})


def test_a_rewritten_file_is_loaded_again(tmp_path: Path) -> None:
    x = np.full((1, 3), 3, np.float32)
    for op, expected in (("ADD", 6), ("MUL", 9)):
        path = binary(tmp_path / "m", op, np.float32)
        assert runner.run(path, {"x": x}).outputs["y"][0, 0] == expected


def test_warm_calls_take_milliseconds(tmp_path: Path) -> None:
    path, x = binary(tmp_path / "m", "ADD", np.float32), np.ones((2, 3), np.float32)
    runner.run(path, {"x": x})
    start = time.perf_counter()
    for _ in range(20):
        runner.run(path, {"x": x})
    assert (time.perf_counter() - start) / 20 < 0.05  # 0.001 on an idle core


def test_large_arrays_and_changing_shapes(tmp_path: Path) -> None:
    path = binary(tmp_path / "m", "ADD", np.float32)
    for rows in (1, 700_000, 2):
        x = np.random.default_rng(rows).standard_normal((rows, 3), np.float32)
        np.testing.assert_array_equal(runner.run(path, {"x": x}).outputs["y"], x + x)
        np.testing.assert_array_equal(runner.run(path, {"x": x[::-1]}).outputs["y"], (x + x)[::-1])


def test_benchmark_and_description(tmp_path: Path) -> None:
    path = binary(tmp_path / "m", "ADD", np.int32)
    result = runner.benchmark(path, {"x": np.ones((2, 3), np.int32)}, runs=5)
    assert len(result.latencies) == 5
    assert 0 < result.best <= result.median
    description = runner.describe(path)
    assert description == {"inputs": {"x": ([-1, 3], "int32")}, "outputs": {"y": ([-1, 3], "int32")}}


def test_worker_starts_without_onnx() -> None:
    code = f"import runpy, sys; runpy.run_path({runtime_worker.__file__!r}); print(sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "numpy" in loaded
    for heavy in ("onnx", "onnx_ir", "graphrewrite", "ai_edge_litert"):
        assert f"'{heavy}'" not in loaded


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_starts_its_own_worker(tmp_path: Path, own: LiteRTRunner) -> None:
    path, x = binary(tmp_path / "m", "ADD", np.float32), np.ones((2, 3), np.float32)
    own.run(path, {"x": x})
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = int(own.run(path, {"x": x}).outputs["y"][0, 0] != 2)
            own.close()
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert own.run(path, {"x": x}).outputs["y"][0, 0] == 2
