"""Runs .tflite files in LiteRT, in another process.

Some kernels abort the process they run in (int8 ADD without quantisation parameters), others read
past their operands when a file is wrong, so no written file is ever loaded into the converter. One
worker process is started on first use, answers over pipes within milliseconds, and is replaced when
it dies.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from graphrewrite.targets.failures import (
    InputRefused,
    LoadFailed,
    RunFailed,
    RuntimeAborted,
    RuntimeFailure,
    TimedOut,
)
from graphrewrite.targets.tflite import runtime_worker

TIMEOUT = 600.0
"""Seconds a call may take before the worker is killed."""


_STAGES: Mapping[str, type[RuntimeFailure]] = {"load": LoadFailed, "input": InputRefused, "invoke": RunFailed}


@dataclass(frozen=True)
class RunResult:
    """What one run gave.

    Attributes:
        outputs: arrays by output name, in the order of the file's signature (or as asked for).
        seconds: time of the one `invoke`, the first of which also packs weights.
        operators: operators in the main graph.
        partitions: parts of the main graph that XNNPACK took; 1 is ideal, 0 without XNNPACK.
        outside: number of operators left outside them, by operator name.
    """

    outputs: dict[str, npt.NDArray[Any]]
    seconds: float
    operators: int
    partitions: int
    outside: Mapping[str, int] = field(default_factory=dict)

    @property
    def delegated(self) -> int:
        """Operators that XNNPACK took."""
        return self.operators - sum(self.outside.values())


@dataclass(frozen=True)
class BenchmarkResult:
    """Latencies of repeated runs, in seconds, in the order they ran."""

    latencies: Sequence[float]

    @property
    def median(self) -> float:
        """The median latency in seconds."""
        return statistics.median(self.latencies)

    @property
    def best(self) -> float:
        """The lowest latency in seconds."""
        return min(self.latencies)


class LiteRTRunner:
    """A worker process that runs .tflite files, started when first needed.

    Calls from several threads are served one after the other. After a fork, the child starts a worker
    of its own.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0
        self._log: BinaryIO | None = None

    def run(
        self,
        path: str | os.PathLike[str],
        inputs: Mapping[str, npt.NDArray[Any]],
        *,
        xnnpack: bool = True,
        threads: int = 1,
        outputs: Sequence[str] | None = None,
        timeout: float = TIMEOUT,
    ) -> RunResult:
        """Run a file once.

        Args:
            path: the .tflite file. It stays loaded for the next call with the same file and settings.
            inputs: one array for every input of the signature, of its exact dtype. Where the file has
                a dynamic dimension (-1), any size is taken.
            xnnpack: with the XNNPACK delegate, or with TFLite's own kernels only, the independent
                second opinion.
            threads: CPU threads.
            outputs: names of the outputs to return, all if None. A name that is no output is a tensor
                of the main graph; without XNNPACK, intermediate tensors have their content too.
            timeout: seconds until the call is given up.

        Raises:
            LoadFailed, InputRefused, RunFailed, RuntimeAborted, TimedOut: see there.
        """
        answer = self._call(
            "run",
            timeout,
            path=_absolute(path),
            inputs={name: np.asarray(array) for name, array in inputs.items()},
            xnnpack=xnnpack,
            threads=threads,
            outputs=None if outputs is None else list(outputs),
            keep_all=outputs is not None and not xnnpack,
        )
        return RunResult(
            outputs=answer["outputs"],
            seconds=answer["seconds"],
            operators=answer["operators"],
            partitions=answer["partitions"],
            outside=dict(Counter(answer["outside"])),
        )

    def benchmark(
        self,
        path: str | os.PathLike[str],
        inputs: Mapping[str, npt.NDArray[Any]],
        *,
        xnnpack: bool = True,
        threads: int = 1,
        warmup: int = 2,
        runs: int = 10,
        timeout: float = TIMEOUT,
    ) -> BenchmarkResult:
        """Time `runs` invocations inside the worker, after `warmup` that are not counted.

        Raises:
            LoadFailed, InputRefused, RunFailed, RuntimeAborted, TimedOut: see there.
        """
        latencies = self._call(
            "benchmark",
            timeout,
            path=_absolute(path),
            inputs={name: np.asarray(array) for name, array in inputs.items()},
            xnnpack=xnnpack,
            threads=threads,
            warmup=warmup,
            runs=runs,
        )
        return BenchmarkResult(tuple(latencies))

    def describe(
        self, path: str | os.PathLike[str], *, timeout: float = TIMEOUT
    ) -> dict[str, dict[str, tuple[list[int], str]]]:
        """The signature as the runtime sees it: {"inputs" | "outputs": {name: (shape with -1, dtype)}}.

        Raises:
            LoadFailed, RuntimeAborted, TimedOut: see there.
        """
        answer: dict[str, dict[str, tuple[list[int], str]]] = self._call(
            "describe", timeout, path=_absolute(path)
        )
        return answer

    def prepared_shapes(
        self, path: str | os.PathLike[str], *, timeout: float = TIMEOUT
    ) -> list[tuple[int, ...] | None]:
        """The shape of every tensor of the main graph after preparation, without XNNPACK.

        Dynamic dimensions of the inputs count as 1. None for a tensor whose shape is only known once
        it has run, and for one of the interpreter's own.

        Raises:
            LoadFailed, RuntimeAborted, TimedOut: see there.
        """
        shapes: list[tuple[int, ...] | None] = self._call("prepared_shapes", timeout, path=_absolute(path))
        return shapes

    def close(self) -> None:
        """Stop the worker. The next call starts another one."""
        with self._lock:
            self._stop()

    def _call(self, method: str, timeout: float, **arguments: Any) -> Any:
        with self._lock:
            process = self._started()
            assert process.stdin is not None
            assert process.stdout is not None
            expired = threading.Event()

            def give_up() -> None:
                expired.set()
                process.kill()

            timer = threading.Timer(timeout, give_up)
            timer.start()
            try:
                runtime_worker.send(process.stdin, (method, arguments))  # type: ignore[arg-type]  # pipes: not None
                status, answer = runtime_worker.receive(process.stdout)  # type: ignore[arg-type]  # likewise
            except (EOFError, OSError):
                message = self._obituary(process)
                self._stop()
                what = f"LiteRT on '{arguments['path']}'"
                if expired.is_set():
                    raise TimedOut(f"{what} took longer than {timeout:g} s and was stopped") from None
                raise RuntimeAborted(f"{what} crashed the process it ran in ({message})") from None
            except BaseException:  # an interrupt: the pipes hold half a message
                self._stop()
                raise
            finally:
                timer.cancel()
        if status == "ok":
            return answer
        stage, message = answer
        raise _STAGES[stage](message)

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._owner != os.getpid():
            self._process = None  # inherited through a fork: the parent's, not ours
        if self._process is None or self._process.poll() is not None:
            self._stop()
            self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the worker
            self._process = subprocess.Popen(
                [sys.executable, str(Path(runtime_worker.__file__))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                bufsize=1 << 20,
            )
            self._owner = os.getpid()
        return self._process

    def _obituary(self, process: subprocess.Popen[bytes]) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)
        code = process.poll()
        how = "no exit code" if code is None else f"exit code {code}"
        if code is not None and code < 0:
            how = signal.Signals(-code).name
        assert self._log is not None
        self._log.seek(0)
        lines = [line for line in self._log.read().decode(errors="replace").splitlines() if line.strip()]
        return ": ".join([how, *lines[-1:]])

    def _stop(self) -> None:
        process, self._process = self._process, None
        log, self._log = self._log, None
        if process is not None and self._owner == os.getpid():
            process.kill()
            for stream in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):
                    if stream is not None:
                        stream.close()
            process.wait()
        if log is not None:
            log.close()


def _absolute(path: str | os.PathLike[str]) -> str:
    return os.path.abspath(os.fspath(path))


runner = LiteRTRunner()
"""The instance everyone shares; its worker ends with the program."""

atexit.register(runner.close)
