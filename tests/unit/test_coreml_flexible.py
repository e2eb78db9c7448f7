"""Flexible shapes in Core ML: what a package says of its inputs, and that it is right at each of their sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import onnx.parser
import pytest

pytest.importorskip("coremltools")

import graphrewrite

TEXT = """<ir_version: 10, opset_import: ["" : 20]> g (float[N,2,H,W] x) => (float[N,2,H,W] y) <float[2,2,3,3] w =
{1,2,3,4,5,6,7,8,9,1,2,3,4,5,6,7,8,9,1,2,3,4,5,6,7,8,9,1,2,3,4,5,6,7,8,9}> { a = Conv<pads = [1,1,1,1]>(x, w) y = Tanh(a) }"""

TWO = """<ir_version: 10, opset_import: ["" : 20]> g (float[N,4] x, float[N,T] z, float[3] k)
=> (float[N,S] y, float[3] m) { y = Concat<axis = 1>(x, z) m = Neg(k) }"""


def inputs(
    text: str, shape: list[str], folder: Path, **options: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The array types in the written package, and the report."""
    import coremltools

    path = folder / "net.mlpackage"
    result = graphrewrite.run(onnx.parser.parse_model(text), "coreml", shape=shape, output=path, **options)
    spec = coremltools.utils.load_spec(str(path))
    return {item.name: item.type.multiArrayType for item in spec.description.input}, result.report


def bounds(array: Any) -> list[tuple[int, int]]:
    return [(item.lowerBound, item.upperBound) for item in array.shapeRange.sizeRanges]


def shapes(array: Any) -> list[list[int]]:
    return [list(item.shape) for item in array.enumeratedShapes.shapes]


@pytest.mark.parametrize(
    ("shape", "default", "wanted"),
    [
        ([], [1, 2, 1, 1], [(1, -1), (2, 2), (1, -1), (1, -1)]),
        (["N=1", "H=4..8", "W=6.."], [1, 2, 4, 6], [(1, 1), (2, 2), (4, 8), (6, -1)]),
        (["N=1|3", "H=4..8", "W=6"], [1, 2, 4, 6], [(1, 3), (2, 2), (4, 8), (6, 6)]),
    ],
)
def test_ranges(shape: list[str], default: list[int], wanted: list[tuple[int, int]], tmp_path: Path) -> None:
    found, report = inputs(TEXT, shape, tmp_path)
    assert list(found["x"].shape) == default
    assert bounds(found["x"]) == wanted
    assert shapes(found["x"]) == []
    assert report["details"]["flexible_shapes"] == {"x": [list(item) for item in wanted]}


def test_enumerated_shapes(tmp_path: Path) -> None:
    found, report = inputs(TEXT, ["x=1,2,S,S", "S=4|6|8|10"], tmp_path)
    wanted = [[1, 2, size, size] for size in (4, 6, 8, 10)]
    assert list(found["x"].shape) == wanted[0]
    assert shapes(found["x"]) == wanted
    assert bounds(found["x"]) == []
    assert report["check"]["samples"] == 4
    found, _ = inputs(TEXT, ["N=1", "H=4|6", "W=3|5"], tmp_path)
    assert shapes(found["x"]) == [[1, 2, 4, 3], [1, 2, 4, 5], [1, 2, 6, 3], [1, 2, 6, 5]]


def test_too_many_combinations_are_a_range(tmp_path: Path) -> None:
    sizes = "|".join(str(size) for size in range(4, 16))
    found, _ = inputs(TEXT, ["N=1", f"H={sizes}", f"W={sizes}"], tmp_path, check=False)
    assert shapes(found["x"]) == []
    assert bounds(found["x"]) == [(1, 1), (2, 2), (4, 15), (4, 15)]


def test_several_inputs_are_enumerated_together_where_the_system_can(tmp_path: Path) -> None:
    spec = ["N=1|2", "T=3|5"]
    found, _ = inputs(TWO, spec, tmp_path)
    assert bounds(found["x"]) == [(1, 2), (4, 4)]
    assert bounds(found["z"]) == [(1, 2), (3, 5)]
    found, _ = inputs(TWO, spec, tmp_path, minimum_deployment_target="iOS18")
    assert shapes(found["x"]) == [[1, 4], [1, 4], [2, 4], [2, 4]]
    assert shapes(found["z"]) == [[1, 3], [1, 5], [2, 3], [2, 5]]
    assert shapes(found["k"]) == bounds(found["k"]) == []


def test_fixed_shapes_are_no_such_thing(tmp_path: Path) -> None:
    found, report = inputs(TEXT, ["x=1,2,8,8"], tmp_path)
    assert list(found["x"].shape) == [1, 2, 8, 8]
    assert found["x"].WhichOneof("ShapeFlexibility") is None
    assert "flexible_shapes" not in report["details"]


def test_channels_last(tmp_path: Path) -> None:
    found, _ = inputs(TEXT, ["N=1", "H=4..8", "W=16..32"], tmp_path, io_layout="nhwc")
    assert bounds(found["x"]) == [(1, 1), (4, 8), (16, 32), (2, 2)]


@pytest.mark.parametrize(
    ("source", "target"), [("N,T,4,4", "0, 0, 16"), ("N,12,T", "0, 3, 4, -1"), ("N,T,16", "-1, 0, 2, 8")]
)
@pytest.mark.parametrize("system", ["iOS15", "iOS18"])
def test_a_reshape_that_keeps_dimensions_and_changes_the_rank(
    source: str, target: str, system: str, tmp_path: Path
) -> None:
    """Core ML's own reading of 0 wants the rank to stay."""
    rank = target.count(",") + 1
    text = f"""<ir_version: 10, opset_import: ["" : 20]> g (float[{source}] x) => (float[{",".join("ABCD"[:rank])}] y)
    <int64[{rank}] s = {{{target}}}> {{ a = Relu(x) y = Reshape(a, s) }}"""
    _, report = inputs(text, [], tmp_path, minimum_deployment_target=system)
    assert report["check"]["passed"]
