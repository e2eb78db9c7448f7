"""Measure which dtypes and ranks LiteRT's CPU kernels take, and write `kernels.json`.

    python -m tools.probe_kernels                 # print the table and rewrite kernels.json
    python -m tools.probe_kernels --ops ADD,TILE  # probe some operators, print, write nothing

Each probe is one operator in one tiny file, run twice: with XNNPACK and without. A dtype counts as
accepted only if both runs give what numpy says. Every run is a forked child, since some kernels
abort the process (int8 ADD without quantisation parameters) or read out of bounds. Versions are
found by loading the operator at version 1, 2, 3, ... and reading the error.

The JSON is `{op: {"versions": [...], "dtypes": [...], "max_rank": n, ...}}`:

- `versions`: the operator versions the interpreter registers; an operator without any is absent;
- `dtypes`: accepted dtypes of the data operand, without quantisation parameters;
- `rejected`: dtype -> "refused", "aborts", "wrong values", "xnnpack only" or "builtin only", for the
  others (`--verbose` prints LiteRT's words);
- `max_rank`: the largest rank (up to 10) at which all smaller ones from `min_rank` on are right, for
  float32 or the first accepted dtype; for binary operators, with operands that broadcast;
- `empty`: what becomes of a tensor with a dimension of size 0: "right", "aborts", ...;
- `run_time`: those of the operands that are constants in these probes (axes, shapes, weights) which may
  also be computed at run time, by position;
- further keys for what has its own axis of choice: `index_dtypes`, `pairs` of CAST, ...
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import pickle
import select
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from graphrewrite.targets.tflite.schema_tables import OPERATOR_CODES, TENSOR_TYPES, options_table
from tools.kernel_cases import CASES, DTYPES, Case, Family, NotApplicableError, empty_axis

KERNELS_JSON = Path(__file__).parents[1] / "graphrewrite/targets/tflite/kernels.json"
RESOLVERS = {
    "xnnpack": OpResolverType.BUILTIN,
    "builtin": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
}
MAX_VERSION = 20
MAX_RANK = 10
TIMEOUT = 20.0
M_PERTURB = -6  # mallopt(3)
FILLS = (0, 0x5A, 0xFE)


def build_model(case: Case, version: int) -> bytes:
    """A .tflite file holding one operator whose non-constant operands are the model's inputs."""
    model = schema.ModelT()
    model.version = 3
    model.buffers = [schema.BufferT()]
    model.operatorCodes = []
    model.subgraphs = []

    def code_index(op: str, op_version: int) -> int:
        code = schema.OperatorCodeT()
        code.builtinCode = OPERATOR_CODES[op]
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        code.version = op_version
        model.operatorCodes.append(code)
        return len(model.operatorCodes) - 1

    def add_graph(
        op: str, op_version: int, inputs: list[Any], outputs: list[Any], attrs: Mapping[str, Any], const: Any
    ) -> None:
        graph = schema.SubGraphT()
        graph.name = f"g{len(model.subgraphs)}"
        graph.tensors, graph.inputs, graph.outputs = [], [], []
        operator = schema.OperatorT()
        operator.opcodeIndex = code_index(op, op_version)
        operator.inputs, operator.outputs = [], []

        def tensor(name: str, array: np.ndarray, constant: bool) -> int:
            entry = schema.TensorT()
            entry.name = name
            entry.shape = list(array.shape)
            entry.type = TENSOR_TYPES[array.dtype.name.upper()]
            entry.hasRank = True
            entry.buffer = 0
            if constant:
                buffer = schema.BufferT()
                buffer.data = np.frombuffer(array.tobytes(), np.uint8)
                model.buffers.append(buffer)
                entry.buffer = len(model.buffers) - 1
            graph.tensors.append(entry)
            return len(graph.tensors) - 1

        for position, array in enumerate(inputs):
            if array is None:
                operator.inputs.append(-1)
                continue
            index = tensor(f"i{position}", array, position in const)
            operator.inputs.append(index)
            if position not in const:
                graph.inputs.append(index)
        for position, array in enumerate(outputs):
            index = tensor(f"o{position}", array, False)
            operator.outputs.append(index)
            graph.outputs.append(index)
        table = options_table(op)
        if table is not None:
            if table.union == 1:
                operator.builtinOptionsType, operator.builtinOptions = table.code, table.build(attrs)
            else:
                operator.builtinOptions2Type, operator.builtinOptions2 = table.code, table.build(attrs)
        graph.operators = [operator]
        model.subgraphs.append(graph)

    add_graph(case.op, version, list(case.inputs), list(case.outputs), case.attrs, case.constants)
    if case.body is not None:
        add_graph(case.body.op, 1, list(case.body.inputs), list(case.body.outputs), {}, ())
    builder = flatbuffers.Builder(4096)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def run_model(content: bytes, arrays: list[np.ndarray], resolver: Any, fill: int) -> list[np.ndarray]:
    """Load and run in this process; the caller has forked.

    Fresh memory is filled with `fill` where the C library can: some kernels read what they never
    wrote (int16 NOT_EQUAL takes a shift from there) and are right by luck otherwise.
    """
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(M_PERTURB, fill)
    interpreter = Interpreter(model_content=content, experimental_op_resolver_type=resolver)
    interpreter.allocate_tensors()
    for detail, array in zip(interpreter.get_input_details(), arrays, strict=True):
        if array.size:
            interpreter.set_tensor(detail["index"], array)
    interpreter.invoke()
    outputs = []
    for detail in interpreter.get_output_details():
        try:
            outputs.append(interpreter.get_tensor(detail["index"]))
        except ValueError:  # there is no memory behind an empty tensor
            detail = interpreter._get_tensor_details(detail["index"], 0)
            if 0 not in detail["shape"]:
                raise
            outputs.append(np.zeros(detail["shape"], detail["dtype"]))
    return outputs


def forked(function: Any, *args: Any) -> Any:
    """`function(*args)` in a forked child; its value, or a string that says how it failed."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        try:
            answer: Any = ("ok", function(*args))
        except BaseException as error:
            answer = ("error", f"{type(error).__name__}: {error}")
        with os.fdopen(writing, "wb") as pipe:
            pickle.dump(answer, pipe)
        os._exit(0)
    os.close(writing)
    chunks: list[bytes] = []
    timed_out = False
    while True:
        ready, _, _ = select.select([reading], [], [], TIMEOUT)
        if not ready:
            timed_out = True
            os.kill(pid, signal.SIGKILL)
            break
        chunk = os.read(reading, 1 << 20)
        if not chunk:
            break
        chunks.append(chunk)
    os.close(reading)
    _, status = os.waitpid(pid, 0)
    if timed_out:
        return "timeout"
    if os.WIFSIGNALED(status):
        return f"aborts ({signal.Signals(os.WTERMSIG(status)).name})"
    kind, value = pickle.loads(b"".join(chunks))
    return value if kind == "ok" else "refused: " + first_line(value)


def first_line(message: str) -> str:
    """The telling part of LiteRT's multi-line error messages."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    text = lines[0] if lines else message
    return text.removeprefix("RuntimeError: ").removeprefix("ValueError: ")[:160]


def compare(case: Case, got: list[np.ndarray]) -> str | None:
    """None if the outputs are right, otherwise what is wrong with them."""
    for index, (want, have) in enumerate(zip(case.outputs, got, strict=True)):
        if want.shape != have.shape:
            return f"wrong shape of output {index}: {list(have.shape)} for {list(want.shape)}"
        if want.dtype != have.dtype:
            return f"wrong dtype of output {index}: {have.dtype} for {want.dtype}"
        if want.dtype.kind == "f":
            tolerance = 2e-2 if want.dtype == np.float16 else 2e-5
            right = np.allclose(have.astype("f8"), want.astype("f8"), rtol=tolerance, atol=tolerance)
        else:
            right = bool(np.array_equal(have, want))
        if not right:
            return "wrong values"
    return None


def probe(case: Case, version: int) -> str | None:
    """None if `case` is right with and without XNNPACK, otherwise what went wrong."""
    content = build_model(case, version)
    arrays = [a for i, a in enumerate(case.inputs) if a is not None and i not in case.constants]
    faults = {}
    for name, resolver in RESOLVERS.items():
        for fill in FILLS:
            got = forked(run_model, content, arrays, resolver, fill)
            fault = got if isinstance(got, str) else compare(case, got)
            if fault:
                faults[name] = fault
                break
    if not faults:
        return None
    if len(set(faults.values())) == 1 and len(faults) == len(RESOLVERS):
        return next(iter(faults.values()))
    return "; ".join(f"{name}: {fault}" for name, fault in faults.items())


def registered_versions(op: str) -> list[int]:
    """The versions of `op` that this interpreter has a kernel for."""

    def try_load(version: int) -> bool:
        one = np.zeros((1,), np.float32)
        content = build_model(Case(op, [one], [one]), version)
        Interpreter(model_content=content)
        return True

    found = []
    for version in range(1, MAX_VERSION + 1):
        answer = forked(try_load, version)
        # A kernel that is there may still dislike these operands, even fatally: only the resolver's
        # own message says that it is not.
        if not (isinstance(answer, str) and "find op for builtin opcode" in answer):
            found.append(version)
        elif found:
            break
    return found


def probe_operator(op: str, versions: list[int]) -> dict[str, Any]:
    """The entry of `op` in kernels.json."""
    entry: dict[str, Any] = {"versions": versions}
    family = CASES.get(op)
    if family is None:
        return entry
    version = versions[-1]

    def result(**choice: Any) -> str | None:
        try:
            case = family(**choice)
        except NotApplicableError as reason:
            return f"n/a: {reason}"
        return probe(case, version)

    accepted, rejected = [], {}
    for dtype in DTYPES:
        fault = result(dtype=dtype)
        if fault is None:
            accepted.append(dtype)
        elif not fault.startswith("n/a"):
            rejected[dtype] = fault
    entry["dtypes"] = accepted
    if rejected:
        entry["rejected"] = rejected
    if not accepted:
        return entry
    base = "float32" if "float32" in accepted else accepted[0]
    for key, values in family.axes.items():
        argument = family.axis_argument[key]
        right = [value for value in values if result(dtype=base, **{argument: value}) is None]
        if key.startswith("max_rank"):
            entry[key] = last_of_run(right)
        else:
            entry[key] = right
    if family.ranked:
        right = [rank for rank in range(MAX_RANK + 1) if result(dtype=base, rank=rank) is None]
        if right:
            entry["min_rank"], entry["max_rank"] = right[0], last_of_run(right)
        entry["empty"] = probe_empty(family, base, version)
    case = family(dtype=base)
    if case.constants:
        entry["run_time"] = [
            operand
            for operand in case.constants
            if probe(replace(case, constants=[c for c in case.constants if c != operand]), version) is None
        ]
    return entry


def probe_empty(family: Family, dtype: str, version: int) -> str:
    """How the operator takes a tensor with a dimension of size 0, in the words of `category`."""
    with empty_axis():
        try:
            case = family(dtype=dtype)
        except (NotApplicableError, ValueError, IndexError):
            return "not measured"
        if all(array is None or array.size for array in case.inputs):
            return "not measured"
        fault = probe(case, version)
    return "right" if fault is None else category(fault)


def last_of_run(numbers: list[int]) -> int:
    """The last number before the first gap: 4 for 1, 2, 3, 4, 6."""
    top = numbers[0]
    while top + 1 in numbers:
        top += 1
    return top


def category(fault: str) -> str:
    """A fault in a few words, for kernels.json: "refused", "aborts", "wrong values", "xnnpack only"."""
    if fault.startswith("builtin: "):
        return "xnnpack only"
    if fault.startswith("xnnpack: ") and "; builtin: " not in fault:
        return "builtin only"
    return "aborts" if "aborts" in fault else "wrong values" if "wrong" in fault else "refused"


def operators(names: str | None) -> Iterator[str]:
    skipped = {"CUSTOM", "DELEGATE", "PLACEHOLDER_FOR_GREATER_OP_CODES"}
    for op in sorted(OPERATOR_CODES):
        if op not in skipped and (names is None or op in names.split(",")):
            yield op


def print_table(table: Mapping[str, Any]) -> None:
    short = {"float": "f", "uint": "u", "int": "i", "bool": "b1", "complex": "c"}

    def abbreviate(dtype: str) -> str:
        for prefix, letter in short.items():
            if dtype.startswith(prefix):
                return letter + dtype.removeprefix(prefix)
        return dtype

    for op, entry in table.items():
        versions = entry["versions"]
        ranks = f"rank {entry['min_rank']}-{entry['max_rank']}" if "max_rank" in entry else ""
        dtypes = " ".join(abbreviate(d) for d in entry["dtypes"]) if "dtypes" in entry else "(not probed)"
        extra = {k: v for k, v in entry.items() if k.endswith("_dtypes") or k in ("empty", "run_time")}
        print(f"{op:30} v{versions[0]}-{versions[-1]:<3} {dtypes:45} {ranks:10} {extra or ''}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--ops", help="comma-separated operators; prints only, writes nothing")
    parser.add_argument("--verbose", action="store_true", help="print why dtypes were rejected")
    arguments = parser.parse_args()
    table: dict[str, Any] = {}
    missing = []
    for op in operators(arguments.ops):
        versions = registered_versions(op)
        if not versions:
            missing.append(op)
            continue
        table[op] = probe_operator(op, versions)
    print_table(table)
    print(f"\n{len(table)} operators have a CPU kernel; none: {', '.join(missing)}")
    if arguments.verbose:
        for op, entry in table.items():
            for dtype, reason in entry.get("rejected", {}).items():
                print(f"  {op} {dtype}: {reason}")
    if arguments.ops is None:
        for entry in table.values():
            entry["rejected"] = {dtype: category(fault) for dtype, fault in entry.get("rejected", {}).items()}
            if not entry["rejected"]:
                del entry["rejected"]
        lines = [f" {json.dumps(op)}: {json.dumps(entry)}" for op, entry in table.items()]
        text = "{\n" + ",\n".join(lines) + "\n}\n"
        with tempfile.NamedTemporaryFile("w", dir=KERNELS_JSON.parent, delete=False) as file:
            file.write(text)
        os.chmod(file.name, 0o644)
        os.replace(file.name, KERNELS_JSON)
    return 0


if __name__ == "__main__":
    sys.exit(main())
