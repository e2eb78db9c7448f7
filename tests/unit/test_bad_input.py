"""Bad input: the documented exit code, a message that names the place and the cure, no traceback, and no file left."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import TensorProto, helper

from graphrewrite.cli.main import main

HEADER = '<ir_version: 9, opset_import: ["" : 17]>\n'
GOOD = HEADER + "g (float[2,3] x) => (float[2,3] y) { a = Relu(x) y = Tanh(a) }"


def _text(text: str) -> Callable[[Path], None]:
    """Writes a model given in ONNX's textual syntax."""
    return lambda path: path.write_bytes(onnx.parser.parse_model(text).SerializeToString()) and None


def _bytes(content: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(content) and None


def _truncated(path: Path) -> None:
    data = onnx.parser.parse_model(GOOD).SerializeToString()
    path.write_bytes(data[: len(data) * 2 // 3])


def _no_permission(path: Path) -> None:
    path.mkdir()


def _weight(**fields: Any) -> Callable[[Path], None]:
    """A model `y = x + w` with the weight `w` as given."""

    def write(path: Path) -> None:
        tensor = TensorProto(**{"name": "w", "data_type": TensorProto.FLOAT} | fields)
        graph = helper.make_graph(
            [helper.make_node("Add", ["x", "w"], ["y"], name="shift")],
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 3])],
            [tensor],
        )
        path.write_bytes(helper.make_model(graph, ir_version=9).SerializeToString())

    return write


def _external(location: str, content: bytes | None = None, **fields: str) -> Callable[[Path], None]:
    """A model whose weight `w` [3] lies in `location`; `content` is written to weights.bin beside the model."""

    def write(path: Path) -> None:
        if content is not None:
            (path.parent / "weights.bin").write_bytes(content)
        entries = [
            onnx.StringStringEntryProto(key=key, value=value)
            for key, value in {"location": location, **fields}.items()
        ]
        _weight(dims=[3], data_location=TensorProto.EXTERNAL, external_data=entries)(path)

    return write


def _symlink(path: Path) -> None:
    outside = path.parent.parent / "outside.bin"
    outside.write_bytes(bytes(12))
    (path.parent / "weights.bin").symlink_to(outside)
    _external("weights.bin")(path)


CASES = {
    "no such file": (None, 2, ["can't be read", "No such file"]),
    "a folder": (_no_permission, 2, ["can't be read"]),
    "empty": (_bytes(b""), 2, ["is empty", "export"]),
    "not a protobuf": (_bytes(b"this is no model at all\n" * 20), 2, ["is not an ONNX model", "export"]),
    "a tflite file": (_bytes(b"\x1c\x00\x00\x00TFL3" + bytes(64)), 2, ["not an ONNX model"]),
    "truncated": (_truncated, 2, ["cut off", "export"]),
    "no outputs": (_text(HEADER + "g (float[2] x) => () { y = Relu(x) }"), 2, ["no outputs"]),
    "an opset too old": (
        _text(GOOD.replace('"" : 17', '"" : 5')),
        2,
        ["opset 5", "onnx.version_converter"],
    ),
    "missing external data": (
        _external("weights.bin"),
        2,
        ["'w'", "'weights.bin'", "missing", "copy it beside the model"],
    ),
    "external data above the folder": (
        _external("../weights.bin"),
        2,
        ["'w'", "outside the model's folder", "beside the model"],
    ),
    "external data by absolute path": (_external("/etc/passwd"), 2, ["'w'", "outside the model's folder"]),
    "external data through a link": (_symlink, 2, ["'w'", "outside the model's folder"]),
    "short external data": (_external("weights.bin", bytes(8)), 2, ["'w'", "cut off"]),
    "external data of a wrong length": (
        _external("weights.bin", bytes(64), offset="0", length="8"),
        2,
        ["'w'", "needs 12 bytes"],
    ),
    "external data past the end": (
        _external("weights.bin", bytes(64), offset="60", length="12"),
        2,
        ["'w'", "cut off"],
    ),
    "negative offset": (_external("weights.bin", bytes(64), offset="-8", length="12"), 2, ["'w'"]),
    "cycle": (
        _text(
            HEADER
            + 'g (float[2] x) => (float[2] y) { ["first"] a = Add(x, b) ["second"] b = Relu(a) ["last"] y = Tanh(b) }'
        ),
        2,
        ["cycle", "'first'", "'second'", "can't need its own output"],
    ),
    "a value written twice": (
        _text(
            HEADER
            + 'g (float[2] x) => (float[2] y) { ["one"] a = Relu(x) ["two"] a = Tanh(x) y = Add(a, a) }'
        ),
        2,
        ["'two'", "'a'", "'one'", "rename"],
    ),
    "two inputs of one name": (
        _text(HEADER + "g (float[2] x, float[2] x) => (float[2] y) { y = Relu(x) }"),
        2,
        ["'x'", "rename"],
    ),
    "a value that nothing defines": (
        _text(HEADER + 'g (float[2] x) => (float[2] y) { ["broken"] y = Add(x, ghost) }'),
        2,
        ["'broken'", "'ghost'", "nothing defines"],
    ),
    "an output that nothing writes": (
        _text(HEADER + "g (float[2] x) => (float[2] y) { z = Relu(x) }"),
        2,
        ["'y'", "written by no node"],
    ),
    "shapes that do not broadcast": (
        _text(HEADER + 'g (float[2,3] x, float[4,5] z) => (float[2,3] y) { ["sum"] y = Add(x, z) }'),
        2,
        ["'sum'", "Add"],
    ),
    "a matrix product of wrong sizes": (
        _text(
            HEADER
            + 'g (float[2,3] x, float[4,5] z) => (float[2,5] y) { ["product"] p = MatMul(x, z) y = Relu(p) }'
        ),
        2,
        ["'product'", "MatMul"],
    ),
    "a weight with too little data": (
        _weight(dims=[3], raw_data=bytes(8)),
        2,
        ["'w'", "[3]", "12 bytes", "8"],
    ),
    "a weight with too few elements": (_weight(dims=[3], float_data=[1.0]), 2, ["'w'", "[3]", "3 elements"]),
    "a weight of negative size": (_weight(dims=[-3], float_data=[1.0]), 2, ["'w'", "[-3]"]),
    "a weight of no type": (_weight(dims=[1], float_data=[1.0], data_type=99), 2, ["'w'", "99"]),
    "a declared type that is wrong": (
        _text(HEADER + 'g (float[2,3] x) => (int64[2,3] y) { ["act"] y = Relu(x) }'),
        2,
        ["'act'", "INT64", "FLOAT"],
    ),
    "wrong number of operands": (
        _text(HEADER + 'g (float[2] x) => (float[2] y) { ["sum"] y = Add(x) }'),
        2,
        ["'sum'", "Add"],
    ),
    "a scale of the wrong size, which inference lets pass": (
        _text(
            '<ir_version: 9, opset_import: ["" : 20]> g (float[1,8,4,4] x) => (float[1,8,4,4] y)'
            " <float[8] s = {1,1,1,1,1,1,1,1}, float[8] b = {0,0,0,0,0,0,0,0}>"
            ' { ["norm"] a = GroupNormalization<num_groups=2>(x, s, b) y = Relu(a) }'
        ),
        2,
        ["'norm'", "ONNX Runtime", "try:"],
    ),
    "unknown op": (
        _text(HEADER + 'g (float[2] x) => (float[2] y) { ["odd"] a = Frobnicate(x) y = Relu(a) }'),
        3,
        ["NOT_EXPRESSIBLE", "Frobnicate", "'odd'", "try:"],
    ),
    "one op in three places": (
        _text(
            '<ir_version: 9, opset_import: ["" : 17, "com.example" : 1]>\n'
            "g (float[2] x) => (float[2] y) {"
            ' ["first"] a = com.example.Mystery(x) ["second"] b = com.example.Mystery(a)'
            ' c = Relu(b) ["third"] y = com.example.Mystery(c) }'
        ),
        3,
        ["3 things", "'first'", "'second'", "'third'", "com.example", "try:"],
    ),
}


@pytest.mark.parametrize("command", ["run", "check"])
@pytest.mark.parametrize("name", CASES)
def test_is_refused(name: str, command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write, code, words = CASES[name]
    folder = tmp_path / "model"
    folder.mkdir()
    path = folder / "bad.onnx"
    if write is not None:
        write(path)
    before = sorted(tmp_path.rglob("*"))
    output = ["-o", str(tmp_path / "out.tflite")] if command == "run" else []

    assert main([command, str(path), *output]) == code

    captured = capsys.readouterr()
    assert captured.out == ""
    for word in words:
        assert word in captured.err
    assert "Traceback" not in captured.err
    assert sorted(tmp_path.rglob("*")) == before, "nothing may be left behind"


def test_every_truncation_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = onnx.parser.parse_model(GOOD).SerializeToString()
    path = tmp_path / "cut.onnx"
    for length in range(len(data)):
        path.write_bytes(data[:length])
        code = main(["check", str(path)])
        assert code == 2, f"cut off after {length} of {len(data)} bytes: exit code {code}"
    assert "Traceback" not in capsys.readouterr().err


def test_every_flipped_byte_is_survived(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = onnx.parser.parse_model(GOOD).SerializeToString()
    path = tmp_path / "flipped.onnx"
    rng = np.random.default_rng(0)
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= int(rng.integers(1, 256))
        path.write_bytes(bytes(damaged))
        code = main(["check", str(path)])
        assert code in (0, 2, 3), (
            f"byte {position}: {data[position]} -> {damaged[position]}: exit code {code}"
        )
    assert "Traceback" not in capsys.readouterr().err


def test_blockers_in_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bad.onnx"
    write = CASES["one op in three places"][0]
    assert write is not None
    write(path)
    assert main(["check", str(path), "--json"]) == 3
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["type"] == "NotExpressible"
    assert error["exit_code"] == 3
    assert [item["node"] for item in error["blockers"]] == ["first", "second", "third"]
    assert {item["code"] for item in error["blockers"]} == {"NOT_EXPRESSIBLE"}
    assert all(item["reason"] and item["hint"] for item in error["blockers"])
