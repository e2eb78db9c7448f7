"""--shape: fixed, kept, bounded and enumerated dimensions, by position and by name, and what a check makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest

import graphrewrite
from graphrewrite import ir
from graphrewrite.errors import UsageError
from graphrewrite.ir import DimensionRange, dimension_ranges
from graphrewrite.ir.inputs import parse_shapes, set_shapes
from graphrewrite.numeric.inputs import checked_sample, make_samples

TEXT = """<ir_version: 10, opset_import: ["" : 20]> g (float[N,3,H,W] x, float[N,4] z, float[5] k) => (float[] y)
{ y = Identity(x) }"""


def model(text: str = TEXT) -> ir.Model:
    return ir.load(onnx.parser.parse_model(text))


def shaped(*items: str, text: str = TEXT) -> tuple[dict[str, Any], dict[str, str]]:
    """Dimensions by input, and all ranges by name, after `items`."""
    found = model(text)
    set_shapes(found, parse_shapes(items))
    ranges = {
        name: str(item) for value in found.graph.inputs for name, item in dimension_ranges(value).items()
    }
    return {value.name or "": ir.dims(value) for value in found.graph.inputs}, ranges


class TestSpecifications:
    @pytest.mark.parametrize(
        ("items", "x", "z", "ranges"),
        [
            ([], ("N", 3, "H", "W"), ("N", 4), {}),
            (["x=1,3,8,9"], (1, 3, 8, 9), (1, 4), {}),
            (["x=?,?,8,-1"], ("N", 3, 8, "W"), ("N", 4), {}),
            (["x=?,3,S,S"], ("N", 3, "S", "S"), ("N", 4), {}),
            (["x=1..8,3,?,?"], ("N", 3, "H", "W"), ("N", 4), {"N": "1..8"}),
            (["x=?,3,224|256,32.."], ("N", 3, "H", "W"), ("N", 4), {"H": "224|256", "W": "32.."}),
            (["N=2"], (2, 3, "H", "W"), (2, 4), {}),
            (["N=1|4|2", "H=7"], ("N", 3, 7, "W"), ("N", 4), {"N": "1|2|4"}),
            (["H=32..64", "W=32..64"], ("N", 3, "H", "W"), ("N", 4), {"H": "32..64", "W": "32..64"}),
            (["x=1,3,S,S", "S=8|16"], (1, 3, "S", "S"), (1, 4), {"S": "8|16"}),
            (["N=3..3", "H=5|5"], (3, 3, 5, "W"), (3, 4), {}),
            (["N=1..8", "x=1..8,3,?,?"], ("N", 3, "H", "W"), ("N", 4), {"N": "1..8"}),
            (["H=Q"], ("N", 3, "Q", "W"), ("N", 4), {}),
        ],
    )
    def test_right(self, items: list[str], x: Any, z: Any, ranges: dict[str, str]) -> None:
        assert shaped(*items) == ({"x": x, "z": z, "k": (5,)}, ranges)

    def test_unnamed_dimensions_get_a_name(self) -> None:
        text = '<ir_version: 10, opset_import: ["" : 20]> g (float[?,3] x) => (float[] y) { y = Identity(x) }'
        assert shaped("x=1..4,3", text=text) == ({"x": ("x_0", 3)}, {"x_0": "1..4"})

    def test_mappings(self) -> None:
        for spec in (
            {"x": [1, 3, "16|32", None], "W": "8..9"},
            {"x": (1, "?", DimensionRange.among({32, 16}), "?"), "W": DimensionRange(8, 9)},
            {"N": 1, "H": "16|32", "W": ["8..9"]},
        ):
            found = model()
            set_shapes(found, spec)
            assert ir.dims(found.graph.inputs[0]) == (1, 3, "H", "W")
            assert {key: str(item) for key, item in dimension_ranges(found.graph.inputs[0]).items()} == {
                "H": "16|32",
                "W": "8..9",
            }

    @pytest.mark.parametrize(
        ("items", "reason"),
        [
            (
                ["q=1"],
                "there is no input 'q' and no dimension of that name; the inputs are x, z, k, and its dynamic",
            ),
            (["xx=1"], "did you mean 'x'"),
            (["N=1,2"], "there is no input 'N'"),
            (["x"], "is written NAME="),
            (["x=1,3"], "has rank 4, and --shape gives 2"),
            (["k=6"], "dimension 0 of input 'k' is 5 in the model and can't become 6"),
            (["k=1..5"], "can't become 1..5"),
            (["x=1,3,8..4,9"], "'8..4' is no range of sizes"),
            (["N=0..4"], "begin at 1"),
            (["N=0|4"], "begin at 1"),
            (["N=a|4"], "is no size of a dimension"),
            (["N=1..b"], "is no size of a dimension"),
            (["N=1.5"], "is no size of a dimension"),
            (["x=1,3,8,8", "z=2,4"], "the dimension 'N' is given as 1 and as 2"),
            (["N=1..8", "x=1..4,3,?,?"], "the dimension 'N' is given as 1..4 and as 1..8"),
        ],
    )
    def test_wrong(self, items: list[str], reason: str) -> None:
        with pytest.raises(UsageError, match=reason.replace("|", r"\|")):
            shaped(*items)


class TestSamples:
    def sizes(self, *items: str) -> list[tuple[int, ...]]:
        found = model()
        set_shapes(found, parse_shapes(items))
        samples = make_samples(found.graph)
        assert all(sample["z"].shape[0] == sample["x"].shape[0] for sample in samples)
        return [sample["x"].shape for sample in samples]

    def test_bounds_are_met_at_both_ends_and_between(self) -> None:
        assert self.sizes("N=1..9", "H=32..64", "W=10..") == [(1, 3, 32, 10), (5, 3, 48, 20), (9, 3, 64, 30)]

    def test_every_enumerated_size_is_drawn(self) -> None:
        found = self.sizes("N=1", "H=8|16|24|32|40", "W=7|9")
        assert [shape[2] for shape in found] == [8, 16, 24, 32, 40]
        assert {shape[3] for shape in found} == {7, 9}

    def test_given_samples_must_lie_in_the_range(self) -> None:
        found = model()
        set_shapes(found, parse_shapes(["N=2..4", "H=8|16"]))
        inputs = {"x": found.graph.inputs[0]}
        checked_sample({"x": np.zeros((2, 3, 16, 1))}, inputs)
        for shape, reason in (((1, 3, 8, 1), "dimension 0 is 2..4"), ((2, 3, 9, 1), r"dimension 2 is 8\|16")):
            with pytest.raises(UsageError, match=reason):
                checked_sample({"x": np.zeros(shape)}, inputs)


def test_one_file_is_checked_at_every_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dynamic convolution: the shapes that LiteRT was given, and the report."""
    from graphrewrite.targets.tflite.target import LiteRT

    text = """<ir_version: 10, opset_import: ["" : 20]> g (float[N,1,H,H] x) => (float[N,1,H,H] y) <float[1,1,3,3] w =
    {1, 2, 3, 4, 5, 6, 7, 8, 9}> { y = Conv<pads = [1, 1, 1, 1]>(x, w) }"""
    seen: list[tuple[int, ...]] = []
    inner = LiteRT.__call__

    def logged(self: LiteRT, sample: Any) -> Any:
        seen.append(sample["x"].shape)
        return inner(self, sample)

    monkeypatch.setattr(LiteRT, "__call__", logged)
    spec = ["x=1..3,1,H,H", "H=8|12|16|20"]
    result = graphrewrite.run(onnx.parser.parse_model(text), shape=spec, output=tmp_path / "a.tflite")
    assert {shape[2] for shape in seen} == {8, 12, 16, 20}
    assert {shape[0] for shape in seen} == {1, 2, 3}
    assert result.report["check"]["samples"] == 4
    assert result.report["inputs"][0]["ranges"] == {"N": "1..3", "H": "8|12|16|20"}
    from graphrewrite.report.text import report_lines

    assert any("x: float[N:1..3,1,H:8|12|16|20,H:8|12|16|20]" in line for line in report_lines(result))
