"""The validator finds planted faults, and nothing in sound files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from graphrewrite.targets.tflite.read import read
from graphrewrite.targets.tflite.runtime import runner
from graphrewrite.targets.tflite.schema_tables import OPERATOR_CODES, TENSOR_TYPES, options_table
from graphrewrite.targets.tflite.validate import Finding, validate

Edit = Callable[[Any], None]


def tensor(name: str, shape: list[int], buffer: int = 0, dtype: str = "FLOAT32") -> Any:
    made = schema.TensorT()
    made.name, made.shape, made.buffer, made.type = name, shape, buffer, TENSOR_TYPES[dtype]
    made.hasRank = True
    return made


def operator(code: int, op: str, inputs: list[int], outputs: list[int], **attributes: Any) -> Any:
    made = schema.OperatorT()
    made.opcodeIndex, made.inputs, made.outputs = code, inputs, outputs
    table = options_table(op)
    if table is not None:
        made.builtinOptionsType, made.builtinOptions = table.code, table.build(attributes)
    return made


def buffer(array: Any) -> Any:
    made = schema.BufferT()
    made.data = np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8)
    return made


def sound() -> Any:
    """x [1, 4, 4, 3] -> CONV_2D -> y [1, 4, 4, 2] -> ADD one -> z; written by LiteRT's own object API."""
    model = schema.ModelT()
    model.version = 3
    model.buffers = [schema.BufferT()]
    model.buffers += [buffer(np.ones(size, np.float32)) for size in (6, 2, 4)]
    model.operatorCodes = []
    for op in ("CONV_2D", "ADD"):
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = OPERATOR_CODES[op]
        code.version = 1
        model.operatorCodes.append(code)
    graph = schema.SubGraphT()
    graph.name = "main"
    graph.tensors = [
        tensor("x", [1, 4, 4, 3]),
        tensor("weights", [2, 1, 1, 3], 1),
        tensor("bias", [2], 2),
        tensor("y", [1, 4, 4, 2]),
        tensor("one", [1, 1, 4, 1], 3),
        tensor("z", [1, 4, 4, 2]),
    ]
    graph.inputs, graph.outputs = [0], [5]
    graph.operators = [operator(0, "CONV_2D", [0, 1, 2], [3]), operator(1, "ADD", [3, 4], [5])]
    model.subgraphs = [graph]
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = "serving_default", 0
    signature.inputs, signature.outputs = [name("x", 0)], [name("z", 5)]
    model.signatureDefs = [signature]
    return model


def name(text: str, index: int) -> Any:
    made = schema.TensorMapT()
    made.name, made.tensorIndex = text, index
    return made


def save(model: Any, path: Path) -> Path:
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(builder.Output())
    return path


def findings_of(path: Path, **options: Any) -> list[Finding]:
    """Without those of alignment, which LiteRT's object API, unlike our writer, does not keep."""
    return [finding for finding in validate(path, **options) if finding.check != "alignment"]


def graph_of(model: Any) -> Any:
    return model.subgraphs[0]


def swap_operators(model: Any) -> None:
    graph_of(model).operators.reverse()


def wrong_bias(model: Any) -> None:
    graph_of(model).tensors[2].shape = [3]
    model.buffers[2] = buffer(np.ones(3, np.float32))


def no_bias(model: Any) -> None:
    graph_of(model).operators[0].inputs = [0, 1]


def short_buffer(model: Any) -> None:
    model.buffers[1] = buffer(np.ones(5, np.float32))


def tensor_index(model: Any) -> None:
    graph_of(model).operators[0].inputs = [0, 1, 99]


def buffer_index(model: Any) -> None:
    graph_of(model).tensors[1].buffer = 17


def code_index(model: Any) -> None:
    graph_of(model).operators[0].opcodeIndex = 9


def written_twice(model: Any) -> None:
    graph_of(model).operators[1].outputs = [3]


def writes_input(model: Any) -> None:
    graph_of(model).operators[0].outputs = [0]


def output_channels(model: Any) -> None:
    graph_of(model).tensors[3].shape = [1, 4, 4, 5]


def declared_shape(model: Any) -> None:
    graph_of(model).tensors[5].shape = [1, 5, 4, 2]


def signature_name_twice(model: Any) -> None:
    graph_of(model).inputs = [0, 4]
    graph_of(model).tensors[4].buffer = 0
    model.signatureDefs[0].inputs.append(name("x", 4))


def signature_tensor(model: Any) -> None:
    model.signatureDefs[0].outputs[0].tensorIndex = 3


def no_signature(model: Any) -> None:
    model.signatureDefs = []


def custom_op(model: Any) -> None:
    model.operatorCodes[1].builtinCode = model.operatorCodes[1].deprecatedBuiltinCode = 32
    model.operatorCodes[1].customCode = "FlexAddV2"


def old_code(model: Any) -> None:
    model.operatorCodes[0].deprecatedBuiltinCode = 2


def version(model: Any) -> None:
    model.operatorCodes[0].version = 15


def options(model: Any) -> None:
    graph_of(model).operators[0].builtinOptionsType = options_table("MUL").code
    graph_of(model).operators[0].builtinOptions = options_table("MUL").build({})


def half_weights(model: Any) -> None:
    graph_of(model).tensors[1].type = TENSOR_TYPES["FLOAT16"]
    model.buffers[1] = buffer(np.ones(6, np.float16))


def half_output(model: Any) -> None:
    aborts(model)
    graph_of(model).operators = [operator(1, "DEQUANTIZE", [4], [5])]
    model.operatorCodes[1].builtinCode = model.operatorCodes[1].deprecatedBuiltinCode = OPERATOR_CODES[
        "DEQUANTIZE"
    ]
    model.operatorCodes[1].version = 3
    for index, dtype in ((4, "FLOAT16"), (5, "FLOAT32")):
        graph_of(model).tensors[index].type = TENSOR_TYPES[dtype]
    model.buffers[3] = buffer(np.ones(4, np.float16))


def aborts(model: Any) -> None:
    graph_of(model).operators = graph_of(model).operators[1:]
    graph_of(model).inputs = [3]
    model.signatureDefs[0].inputs[0].tensorIndex = 3
    for index in (3, 4, 5):
        graph_of(model).tensors[index].type = TENSOR_TYPES["INT8"]
    model.buffers[3] = buffer(np.ones(4, np.int8))


def empty_softmax(model: Any) -> None:
    aborts(model)
    graph_of(model).operators = [operator(1, "SOFTMAX", [3], [5])]
    model.operatorCodes[1].builtinCode = model.operatorCodes[1].deprecatedBuiltinCode = OPERATOR_CODES[
        "SOFTMAX"
    ]
    for index in (3, 4, 5):
        graph_of(model).tensors[index].type = TENSOR_TYPES["FLOAT32"]
        graph_of(model).tensors[index].shape = [0, 4]


def dynamic_signature(model: Any) -> None:
    graph_of(model).tensors[0].shapeSignature = [-1, 4, 5, 3]


def stride(model: Any) -> None:
    graph_of(model).operators[0].builtinOptions.strideH = 0


def filter_rank(model: Any) -> None:
    graph_of(model).tensors[1].shape = [2, 3]


@pytest.mark.parametrize(
    ("edit", "check"),
    [
        (swap_operators, "order"),
        (written_twice, "order"),
        (writes_input, "order"),
        (wrong_bias, "bias"),
        (no_bias, "bias"),
        (short_buffer, "buffer"),
        (tensor_index, "index"),
        (buffer_index, "index"),
        (code_index, "index"),
        (output_channels, "shape"),
        (dynamic_signature, "shape"),
        (filter_rank, "shape"),
        (signature_name_twice, "signature"),
        (signature_tensor, "signature"),
        (no_signature, "signature"),
        (custom_op, "custom-op"),
        (old_code, "operator-code"),
        (version, "operator-version"),
        (options, "options"),
        (stride, "options"),
        (half_weights, "float16"),
        (half_output, "float16"),
        (aborts, "dtype"),
        (empty_softmax, "empty"),
    ],
    ids=lambda item: getattr(item, "__name__", item),
)
def test_planted_fault_is_found(tmp_path: Path, edit: Edit, check: str) -> None:
    model = sound()
    edit(model)
    findings = findings_of(save(model, tmp_path / "m.tflite"))
    assert check in {finding.check for finding in findings}, findings
    assert all(str(finding).startswith(finding.check) for finding in findings)


def test_sound_file_has_no_findings(tmp_path: Path) -> None:
    assert findings_of(save(sound(), tmp_path / "m.tflite"), runner=runner) == []


def test_misaligned_content_is_found(tmp_path: Path) -> None:
    path = save(sound(), tmp_path / "m.tflite")
    expected = [f"buffer {n}" for n, item in enumerate(read(path).buffers) if (item.position or 0) % 16]
    assert expected  # the object API aligns nothing
    assert [finding.where for finding in validate(path)] == expected


def test_wrong_declared_shape_is_found_by_the_runtime(tmp_path: Path) -> None:
    model = sound()
    declared_shape(model)
    path = save(model, tmp_path / "m.tflite")
    assert findings_of(path) == []
    (finding,) = findings_of(path, runner=runner)
    assert finding.check == "declared-shape"
    assert "'z'" in str(finding)


def test_calls_are_checked(tmp_path: Path) -> None:
    model = sound()
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = OPERATOR_CODES["IF"]
    model.operatorCodes.append(code)
    graph = graph_of(model)
    graph.tensors += [tensor("condition", [], dtype="BOOL"), tensor("chosen", [1, 4, 4, 2])]
    graph.inputs, graph.outputs = [0, 6], [7]
    graph.operators.append(operator(2, "IF", [6, 5], [7], then_subgraph_index=1, else_subgraph_index=2))
    model.signatureDefs[0].inputs.append(name("condition", 6))
    model.signatureDefs[0].outputs[0].tensorIndex = 7
    for dtype in ("FLOAT32", "INT32"):
        branch = schema.SubGraphT()
        branch.name, branch.tensors = dtype, [tensor("a", [1, 4, 4, 2], dtype=dtype)]
        branch.inputs, branch.outputs, branch.operators = [0], [0], []
        model.subgraphs.append(branch)
    findings = findings_of(save(model, tmp_path / "m.tflite"))
    assert {finding.check for finding in findings} == {"subgraph"}
    assert all("'INT32'" in finding.message for finding in findings)
    model.subgraphs.pop()
    (finding,) = findings_of(save(model, tmp_path / "m.tflite"))
    assert finding.check == "subgraph"


def test_files_that_are_no_tflite_files(tmp_path: Path) -> None:
    good = save(sound(), tmp_path / "good").read_bytes()
    for content in (
        b"",
        b"abc",
        b"abcd" * 100,
        good[:40],
        good[: len(good) // 2],
        good[:200] + b"\xff" * 400,
    ):
        path = tmp_path / "m"
        path.write_bytes(content)
        assert findings_of(path), content[:20]


def test_every_single_corrupted_byte_is_survived(tmp_path: Path) -> None:
    """Reading never fails with anything but ValueError, whatever the bytes."""
    good = save(sound(), tmp_path / "good").read_bytes()
    path = tmp_path / "m"
    for position in range(0, len(good), 3):
        path.write_bytes(good[:position] + bytes([good[position] ^ 0xA5]) + good[position + 1 :])
        assert isinstance(findings_of(path), list)


def test_read_gives_names_options_and_places(tmp_path: Path) -> None:
    file = read(save(sound(), tmp_path / "m"))
    conv, add = file.subgraphs[0].operators
    assert (conv.op, conv.table, conv.options["dilation_w_factor"]) == ("CONV_2D", "Conv2DOptions", 1)
    assert (add.op, add.inputs, add.outputs) == ("ADD", (3, 4), (5,))
    assert [item.size for item in file.buffers] == [0, 24, 8, 16]
    assert file.signatures[0].outputs == [("z", 5)]
