"""Arrays are saved under any name that an input may have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx.parser
import pytest

import graphrewrite
from graphrewrite.numeric.npz import save_npz

ARRAYS = {
    "file": np.arange(6, dtype=np.float32).reshape(2, 3),
    "allow_pickle": np.array([True, False]),
    "block/1/x:0": np.float32(3.5),
    "none": np.zeros((0, 4), np.int64),
}


def test_every_name_comes_back(tmp_path: Path) -> None:
    save_npz(tmp_path / "a.npz", ARRAYS)
    with np.load(tmp_path / "a.npz") as found:
        assert set(found) == set(ARRAYS)
        for name, array in ARRAYS.items():
            np.testing.assert_array_equal(found[name], array, strict=True)


def test_equal_arrays_make_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_npz(tmp_path / f"{name}.npz", ARRAYS)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_a_model_whose_input_is_called_file_is_reduced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 20]> g (float[2,3] file) => (float[2,3] y) { a = Abs(file) y = Neg(a) }'
    )
    onnx.save(model, "model.onnx")
    graphrewrite.reduce("model.onnx", command="! grep -q Neg {}")
    with np.load("model.reduced.npz") as found:
        assert len(found.files) == 1
