"""Checks a written .tflite file for what the interpreter does not: structure, then operators.

The interpreter runs operators in file order whether or not their operands have been computed, takes
a bias of any length under XNNPACK, and trusts declared shapes and buffer sizes. A file that passes
here has none of these faults; whether it computes the right thing is for the numeric check.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from graphrewrite.targets.failures import LoadFailed
from graphrewrite.targets.tflite.operator_checks import check_operator, registered_versions
from graphrewrite.targets.tflite.read import FileRecord, OperatorRecord, SubgraphRecord, TensorRecord, read
from graphrewrite.targets.tflite.runtime import LiteRTRunner
from graphrewrite.targets.tflite.schema_tables import OPERATOR_CODES, TENSOR_TYPES, options_table

ALIGNMENT = 16


@dataclass(frozen=True)
class Finding:
    """One fault of a file.

    Attributes:
        check: which rule is broken, a short stable name.
        where: the tensor, operator or part of the file.
        message: what is wrong with it.
    """

    check: str
    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.check}: {self.where}: {self.message}"


_Faults = Iterator[Finding]


def validate(path: str | os.PathLike[str], *, runner: LiteRTRunner | None = None) -> list[Finding]:
    """All faults of a .tflite file; empty if there are none.

    Args:
        path: the file.
        runner: if given, LiteRT also prepares the file (without running it), and the shapes that its
            kernels compute are compared with the declared ones.

    Raises:
        OSError: the file can't be read.
        graphrewrite.targets.tflite.runtime.RuntimeFailure: `runner` can't load the file.
    """
    try:
        file = read(path)
    except ValueError as error:
        return [Finding("structure", os.fspath(path), str(error))]
    findings = [finding for check in _FILE_CHECKS for finding in check(file)]
    for subgraph in file.subgraphs:
        findings += _indices(file, subgraph)
    if findings:
        return findings  # with indices out of range, the checks below have nothing to stand on
    findings += _alignment(file)
    for subgraph in file.subgraphs:
        findings += _subgraph(file, subgraph)
    if runner is not None and all(finding.check == "alignment" for finding in findings):
        findings += _prepared_shapes(file.subgraphs[0], path, runner)
    return findings


def _model(file: FileRecord) -> _Faults:
    if file.version != 3:
        yield Finding("structure", "model", f"schema version {file.version}, not 3")
    if not file.subgraphs:
        yield Finding("structure", "model", "no subgraph")


def _codes(file: FileRecord) -> _Faults:
    for code in file.codes:
        if code.op == "CUSTOM" or code.custom:
            yield Finding("custom-op", code.custom or code.op, "a custom or Flex operator")
        elif code.op not in OPERATOR_CODES:
            yield Finding("operator-code", code.op, "the schema has no such operator")
        elif code.deprecated != min(code.code, 127):
            yield Finding(
                "operator-code", code.op, f"its old code is {code.deprecated}, not {min(code.code, 127)}"
            )
        elif code.version not in registered_versions(code.op):
            versions = registered_versions(code.op)
            known = f"has versions {versions[0]} to {versions[-1]}" if versions else "has no kernel for it"
            yield Finding("operator-version", code.op, f"version {code.version}, but LiteRT {known}")


def _buffers(file: FileRecord) -> _Faults:
    if not file.buffers or file.buffers[0].size:
        yield Finding("buffer", "buffer 0", "it must be there and empty")
    for number, buffer in enumerate(file.buffers):
        if buffer.position is None:
            continue
        if buffer.position + buffer.size > file.size:
            yield Finding("buffer", f"buffer {number}", "it reaches beyond the end of the file")


def _alignment(file: FileRecord) -> _Faults:
    for number, buffer in enumerate(file.buffers):
        if buffer.size and buffer.position is not None and buffer.position % ALIGNMENT:
            message = f"its content lies at {buffer.position}, which is no multiple of {ALIGNMENT}"
            yield Finding("alignment", f"buffer {number}", message)


def _signatures(file: FileRecord) -> _Faults:
    if not file.signatures:
        yield Finding("signature", "model", "no signature")
    for signature in file.signatures:
        where = f"signature '{signature.key}'"
        if signature.subgraph >= len(file.subgraphs):
            yield Finding("signature", where, f"subgraph {signature.subgraph} is not there")
            continue
        graph = file.subgraphs[signature.subgraph]
        for role, pairs, indices in (
            ("input", signature.inputs, graph.inputs),
            ("output", signature.outputs, graph.outputs),
        ):
            names = [name for name, _ in pairs]
            if len(set(names)) != len(names) or "" in names:
                yield Finding("signature", where, f"{role} names are not unique and given: {names}")
            if {index for _, index in pairs} != set(indices):
                yield Finding("signature", where, f"its {role}s are not those of the subgraph")


_FILE_CHECKS: Sequence[Callable[[FileRecord], _Faults]] = (_model, _codes, _buffers, _signatures)


def _indices(file: FileRecord, graph: SubgraphRecord) -> _Faults:
    count = len(graph.tensors)
    for role, indices in (("inputs", graph.inputs), ("outputs", graph.outputs)):
        if any(not 0 <= index < count for index in indices):
            yield Finding("index", f"{role} of '{graph.name}'", f"{list(indices)} of {count} tensors")
    for number, operator in enumerate(graph.operators):
        where = f"operator {number} ({operator.op}) of '{graph.name}'"
        if operator.code >= len(file.codes):
            yield Finding("index", where, f"operator code {operator.code} of {len(file.codes)}")
        if any(not -1 <= index < count for index in operator.inputs):
            yield Finding("index", where, f"inputs {list(operator.inputs)} of {count} tensors")
        if any(not 0 <= index < count for index in operator.outputs):
            yield Finding("index", where, f"outputs {list(operator.outputs)} of {count} tensors")
    for tensor in graph.tensors:
        if tensor.buffer >= len(file.buffers):
            yield Finding(
                "index", f"tensor '{tensor.name}'", f"buffer {tensor.buffer} of {len(file.buffers)}"
            )
        if tensor.dtype not in TENSOR_TYPES:
            yield Finding("index", f"tensor '{tensor.name}'", f"{tensor.dtype} is not in the schema")


def _subgraph(file: FileRecord, graph: SubgraphRecord) -> _Faults:
    for tensor in graph.tensors:
        yield from _tensor(file, tensor)
    yield from _order(file, graph)
    for number, operator in enumerate(graph.operators):
        where = _name(graph, number, operator)
        table = options_table(operator.op)
        expected = "" if table is None else table.name
        if operator.table != expected:
            wanted, found = expected or "none", operator.table or "none"
            yield Finding("options", where, f"its options are {found}, not {wanted}")
        yield from _calls(file, graph, where, operator)
        for check, message in check_operator(operator, graph, lambda t: _is_constant(file, t)):
            yield Finding(check, where, message)


def _name(graph: SubgraphRecord, number: int, operator: OperatorRecord) -> str:
    written = graph.tensors[operator.outputs[0]].name if operator.outputs else "nothing"
    return f"operator {number} ({operator.op}, writes '{written}') of '{graph.name}'"


def _is_constant(file: FileRecord, tensor: TensorRecord) -> bool:
    return file.buffers[tensor.buffer].position is not None


def _tensor(file: FileRecord, tensor: TensorRecord) -> _Faults:
    where = f"tensor '{tensor.name}'"
    if any(size < 0 for size in tensor.shape):
        yield Finding("shape", where, f"negative sizes in {list(tensor.shape)}")
    elif len(tensor.signature) != len(tensor.shape) or any(
        wanted not in (-1, size) for wanted, size in zip(tensor.signature, tensor.shape)
    ):
        yield Finding("shape", where, f"{list(tensor.shape)} against the signature {list(tensor.signature)}")
    elif _is_constant(file, tensor) and not tensor.sparse:
        size = file.buffers[tensor.buffer].size
        if -1 in tensor.signature:
            yield Finding("shape", where, "a constant with a dynamic dimension")
        elif tensor.nbytes is not None and size != tensor.nbytes:
            expected = f"{tensor.dtype} {list(tensor.shape)} needs {tensor.nbytes}"
            yield Finding("buffer", where, f"its buffer has {size} bytes, {expected}")


def _order(file: FileRecord, graph: SubgraphRecord) -> _Faults:
    ready = {
        index for index, tensor in enumerate(graph.tensors) if _is_constant(file, tensor) or tensor.variable
    }
    ready.update(graph.inputs)
    for index in graph.inputs:
        if _is_constant(file, graph.tensors[index]):
            yield Finding("order", f"tensor '{graph.tensors[index].name}'", "an input that is a constant")
    for number, operator in enumerate(graph.operators):
        where = _name(graph, number, operator)
        for index in operator.inputs:
            if index >= 0 and index not in ready:
                name = graph.tensors[index].name
                yield Finding("order", where, f"it reads '{name}', which nothing before it writes")
        for index in operator.outputs:
            if index in ready:
                name = graph.tensors[index].name
                yield Finding("order", where, f"it writes '{name}', which is written already")
            ready.add(index)
    for index in graph.outputs:
        if index not in ready:
            yield Finding(
                "order", f"output '{graph.tensors[index].name}' of '{graph.name}'", "nothing writes it"
            )


def _calls(file: FileRecord, graph: SubgraphRecord, where: str, operator: OperatorRecord) -> _Faults:
    """Control flow: called subgraphs are there and take and give what the operator passes."""
    called: list[int] = []
    for field, value in operator.options.items():
        if field.endswith("_subgraph_index"):
            called.append(value)
        elif field.endswith("_subgraph_indices"):
            called += value or []
    if any(not 0 < index < len(file.subgraphs) for index in called):
        yield Finding("subgraph", where, f"it calls subgraph {called} of {len(file.subgraphs)}")
        return
    operands = [graph.tensors[index].dtype for index in operator.inputs if index >= 0]
    results = [graph.tensors[index].dtype for index in operator.outputs]
    if operator.op == "IF":
        expected = [(operands[1:], results), (operands[1:], results)]
    elif operator.op == "WHILE":
        expected = [(operands, ["BOOL"]), (operands, results)]
    else:
        return
    for index, (wants, gives) in zip(called, expected, strict=True):
        callee = file.subgraphs[index]
        takes = [callee.tensors[item].dtype for item in callee.inputs]
        returns = [callee.tensors[item].dtype for item in callee.outputs]
        if takes != wants:
            yield Finding("subgraph", where, f"'{callee.name}' takes {takes}, and is passed {wants}")
        if returns != gives:
            yield Finding("subgraph", where, f"'{callee.name}' gives {returns}, and {gives} is expected")


def _prepared_shapes(graph: SubgraphRecord, path: str | os.PathLike[str], runner: LiteRTRunner) -> _Faults:
    try:
        shapes = runner.prepared_shapes(path)
    except LoadFailed:
        if any(-1 in graph.tensors[index].signature for index in graph.inputs):
            return  # LiteRT prepares with 1 for a dynamic dimension, which this graph need not take
        raise
    for index in sorted({index for operator in graph.operators for index in operator.outputs}):
        tensor, prepared = graph.tensors[index], shapes[index]
        if prepared is None or not tensor.signature:
            continue
        if len(prepared) != len(tensor.signature) or any(
            size not in (-1, actual) for size, actual in zip(tensor.signature, prepared)
        ):
            message = f"declared {list(tensor.signature)}, LiteRT computes {list(prepared)}"
            yield Finding("declared-shape", f"tensor '{tensor.name}'", message)
