"""The other side of `runtime.py`: a process that runs .tflite files and answers over pipes.

It is started by file path, so that it imports LiteRT and numpy but neither onnx_ir nor the rest of
graphrewrite, and it must stay importable alone. A message is a pickle whose arrays travel beside it,
uncopied (pickle protocol 5).
"""

from __future__ import annotations

import functools
import os
import pickle
import struct
import sys
import time
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np

CACHED_FILES = 2
"""Interpreters kept warm: one file with and without XNNPACK."""

_HEAD = struct.Struct("<QI")
_SIZE = struct.Struct("<Q")


class WorkerError(Exception):
    """What the worker reports back instead of a result.

    Attributes:
        stage: "load", "input" or "invoke".
    """

    def __init__(self, stage: str, message: str) -> None:
        super().__init__(stage, message)
        self.stage = stage
        self.message = message


def send(stream: BinaryIO, message: object) -> None:
    """Write one message."""
    buffers: list[pickle.PickleBuffer] = []
    body = pickle.dumps(message, protocol=5, buffer_callback=buffers.append)
    raw = [buffer.raw() for buffer in buffers]
    stream.write(_HEAD.pack(len(body), len(raw)) + b"".join(_SIZE.pack(item.nbytes) for item in raw) + body)
    for item in raw:
        stream.write(item)
    stream.flush()


def receive(stream: BinaryIO) -> Any:
    """Read one message.

    Raises:
        EOFError: the other side has gone.
    """
    length, count = _HEAD.unpack(_exactly(stream, _HEAD.size))
    sizes = [_SIZE.unpack(_exactly(stream, _SIZE.size))[0] for _ in range(count)]
    body = _exactly(stream, length)
    return pickle.loads(body, buffers=[_exactly(stream, size) for size in sizes])


def _exactly(stream: BinaryIO, size: int) -> bytearray:
    data = bytearray(size)
    view, done = memoryview(data), 0
    while done < size:
        got = stream.readinto(view[done:])  # type: ignore[attr-defined]  # every pipe has it, BinaryIO does not say so
        if not got:
            raise EOFError
        done += got
    return data


class _Session:
    """One file, loaded once with one choice of delegate and threads."""

    def __init__(self, path: str, xnnpack: bool, threads: int, keep_all: bool) -> None:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        try:
            self.interpreter: Any = Interpreter(
                model_path=path,
                num_threads=threads,
                experimental_op_resolver_type=OpResolverType.BUILTIN if xnnpack else plain,
                experimental_preserve_all_tensors=keep_all,
            )
        except (ValueError, RuntimeError) as error:
            raise WorkerError("load", str(error)) from None
        signatures = list(self.interpreter._get_full_signature_list().values())
        if signatures:
            self.inputs: dict[str, int] = dict(signatures[0]["inputs"])
            self.outputs: dict[str, int] = dict(signatures[0]["outputs"])
        else:
            self.inputs = {item["name"]: item["index"] for item in self.interpreter.get_input_details()}
            self.outputs = {item["name"]: item["index"] for item in self.interpreter.get_output_details()}
        self.details = {item["index"]: item for item in self.interpreter.get_input_details()}
        self.shapes = {index: tuple(item["shape"]) for index, item in self.details.items()}
        self._prepared = False
        self._delegation: dict[str, Any] | None = None

    def feed(self, arrays: dict[str, np.ndarray[Any, Any]]) -> None:
        if set(arrays) != set(self.inputs):
            raise WorkerError(
                "input", f"the file takes the inputs {sorted(self.inputs)}, not {sorted(arrays)}"
            )
        for name, array in arrays.items():
            index = self.inputs[name]
            wanted = self.details[index]["dtype"]
            if array.dtype != wanted:
                raise WorkerError(
                    "input", f"the input '{name}' is {np.dtype(wanted).name}, not {array.dtype.name}"
                )
            if array.shape != self.shapes[index]:
                try:
                    self.interpreter.resize_tensor_input(index, array.shape, strict=True)
                except (ValueError, RuntimeError):
                    fixed = [int(size) for size in _signature(self.details[index])]
                    message = f"the input '{name}' has shape {fixed}, not {list(array.shape)}"
                    raise WorkerError("input", message) from None
                self.shapes[index] = array.shape
                self._prepared = False
        self.prepare()
        for name, array in arrays.items():
            if array.size:
                index = self.inputs[name]
                self._call("input", functools.partial(self.interpreter.set_tensor, index, array))

    def prepare(self) -> None:
        if not self._prepared:
            self._delegation = None
            self._call("load", self.interpreter.allocate_tensors)
            self._prepared = True

    def invoke(self) -> float:
        start = time.perf_counter()
        self._call("invoke", self.interpreter.invoke)
        return time.perf_counter() - start

    def fetch(self, name: str) -> np.ndarray[Any, Any]:
        index = self.outputs.get(name)
        if index is None:
            index = self._tensors().get(name)
        if index is None:
            raise WorkerError("input", f"the file has no output or tensor named '{name}'")
        try:
            return np.asarray(self.interpreter.get_tensor(index))
        except ValueError:
            detail = self.interpreter._get_tensor_details(index, 0)
            if 0 in detail["shape"]:  # there is no memory behind an empty tensor
                return np.zeros(detail["shape"], detail["dtype"])
            raise WorkerError("invoke", f"the tensor '{name}' has no content after the run") from None

    def _tensors(self) -> dict[str, int]:
        return {item["name"]: item["index"] for item in self.interpreter.get_tensor_details()}

    def _call(self, stage: str, function: Callable[[], Any]) -> None:
        try:
            function()
        except (ValueError, RuntimeError) as error:
            raise WorkerError(stage, str(error)) from None

    def delegation(self) -> dict[str, Any]:
        """How the main graph was split: operators, delegate partitions, and what stayed outside them.

        The interpreter keeps delegated nodes in its list. Those of a partition are the ones reached
        backwards from the delegate's outputs before its inputs.
        """
        if self._delegation is not None:
            return self._delegation
        native = self.interpreter._interpreter
        nodes = range(native.NumNodes())
        names = [native.NodeName(node) for node in nodes]
        outputs = [[int(item) for item in native.NodeOutputs(node)] for node in nodes]
        producer = {tensor: node for node in nodes if names[node] != "DELEGATE" for tensor in outputs[node]}
        inside: set[int] = set()
        partitions = [node for node in nodes if names[node] == "DELEGATE"]
        for node in partitions:
            seen = {int(item) for item in native.NodeInputs(node)}
            pending = list(outputs[node])
            while pending:
                tensor = pending.pop()
                if tensor in seen or tensor not in producer:
                    continue
                seen.add(tensor)
                inside.add(producer[tensor])
                seen.update(outputs[producer[tensor]])
                pending += [int(item) for item in native.NodeInputs(producer[tensor]) if item >= 0]
        operators = [node for node in nodes if names[node] != "DELEGATE"]
        self._delegation = {
            "operators": len(operators),
            "partitions": len(partitions),
            "outside": [names[node] for node in operators if node not in inside],
        }
        return self._delegation


class Worker:
    """Answers requests; keeps the last interpreters warm."""

    def __init__(self) -> None:
        self.sessions: dict[object, _Session] = {}

    def session(self, path: str, xnnpack: bool, threads: int, keep_all: bool) -> _Session:
        try:
            status = os.stat(path)
        except OSError as error:
            raise WorkerError("load", f"{path}: {error.strerror}") from None
        key = (path, status.st_ino, status.st_mtime_ns, status.st_size, xnnpack, threads, keep_all)
        session = self.sessions.pop(key, None)
        if session is None:
            while len(self.sessions) >= CACHED_FILES:
                del self.sessions[next(iter(self.sessions))]
            session = _Session(path, xnnpack, threads, keep_all)
        self.sessions[key] = session
        return session

    def run(
        self,
        path: str,
        inputs: dict[str, Any],
        xnnpack: bool,
        threads: int,
        outputs: list[str] | None,
        keep_all: bool,
    ) -> dict[str, Any]:
        session = self.session(path, xnnpack, threads, keep_all)
        session.feed(inputs)
        session.interpreter.reset_all_variables()  # a cached session may hold the state of its last run
        seconds = session.invoke()
        names = list(session.outputs) if outputs is None else outputs
        arrays = {name: session.fetch(name) for name in names}
        return {"outputs": arrays, "seconds": seconds, **session.delegation()}

    def benchmark(
        self, path: str, inputs: dict[str, Any], xnnpack: bool, threads: int, warmup: int, runs: int
    ) -> list[float]:
        session = self.session(path, xnnpack, threads, False)
        session.feed(inputs)
        for _ in range(warmup):
            session.invoke()
        return [session.invoke() for _ in range(runs)]

    def prepared_shapes(self, path: str) -> list[tuple[int, ...] | None]:
        session = self.session(path, False, 1, False)
        session.prepare()
        native = session.interpreter._interpreter
        shapes: list[tuple[int, ...] | None] = []
        for index in range(native.NumTensors(0)):
            try:
                shapes.append(tuple(int(size) for size in native.TensorSize(index, 0)))
            except ValueError:  # a temporary of a kernel, behind the file's own tensors
                shapes.append(None)
        return shapes

    def describe(self, path: str) -> dict[str, Any]:
        session = self.session(path, True, 1, False)
        details = {item["index"]: item for item in session.interpreter.get_tensor_details()}
        return {
            role: {
                name: (
                    [int(size) for size in _signature(details[index])],
                    np.dtype(details[index]["dtype"]).name,
                )
                for name, index in names.items()
            }
            for role, names in (("inputs", session.inputs), ("outputs", session.outputs))
        }


def _signature(detail: dict[str, Any]) -> Any:
    return detail["shape_signature"] if len(detail["shape_signature"]) else detail["shape"]


def main() -> None:
    """Answer requests on the standard streams until they close."""
    requests = sys.stdin.buffer
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what native code prints must not end up between two answers
    worker = Worker()
    while True:
        try:
            method, arguments = receive(requests)
        except EOFError:
            return
        try:
            answer = "ok", getattr(worker, method)(**arguments)
        except WorkerError as error:
            answer = "error", (error.stage, error.message)
        except Exception as error:  # whatever it is, the caller is to hear of it, and the worker goes on
            answer = "error", ("invoke", f"{type(error).__name__}: {error}")
        send(answers, answer)


if __name__ == "__main__":
    # This file's folder comes first on the path and holds modules with common names.
    sys.path = [entry for entry in sys.path if entry != os.path.dirname(os.path.abspath(__file__))]
    main()
