"""Values of more than five dimensions on Core ML: the shuffles, partitions and heads that models write with them."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence

import numpy as np
import onnx
import onnx.parser
import pytest

pytest.importorskip("coremltools")

from coreml_check import check_coreml

from graphrewrite import ir
from graphrewrite.errors import NotExpressible
from graphrewrite.numeric.reference import create_session
from graphrewrite.pipeline import build, run_pipeline

rng = np.random.default_rng(11)


def _text(sizes: Sequence[int | str]) -> str:
    return ",".join(map(str, sizes))


def _move(
    shape: Sequence[int | str], wide: Sequence[int], perm: Sequence[int], result: Sequence[int | str]
) -> str:
    """A model that reshapes to `wide`, transposes and reshapes to `result`, where a name stands for what is left."""
    target = [size if isinstance(size, int) else -1 for size in result]
    return f"""<ir_version: 10, opset_import: ["" : 20]>
    g (float[{_text(shape)}] x) => (float[{_text(result)}] y)
    <int64[{len(wide)}] wide = {{{_text(wide)}}}, int64[{len(target)}] narrow = {{{_text(target)}}}> {{
      a = Reshape(x, wide)
      b = Transpose<perm=[{_text(perm)}]>(a)
      y = Reshape(b, narrow)
    }}"""


def _values(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def _kinds(graph: ir.Model) -> list[str]:
    return [node.op_type for node in graph.graph]


@pytest.mark.parametrize(
    ("shape", "wide", "perm", "result"),
    [
        ((1, 16, 3, 5), (1, 4, 2, 2, 3, 5), (0, 1, 4, 2, 5, 3), (1, 4, 6, 10)),  # pixel_shuffle
        ((1, 3, 8, 6), (1, 3, 4, 2, 3, 2), (0, 1, 3, 5, 2, 4), (1, 12, 4, 3)),  # pixel_unshuffle
        ((1, 3, 8, 6), (1, 3, 4, 2, 3, 2), (0, 5, 3, 1, 2, 4), (1, 12, 4, 3)),  # focus
        ((2, 6, 9, 8), (2, 2, 3, 3, 3, 8), (0, 1, 3, 2, 4, 5), (12, 9, 8)),  # window_partition
        ((12, 9, 8), (2, 2, 3, 3, 3, 8), (0, 1, 3, 2, 4, 5), (2, 6, 9, 8)),  # window_reverse
        ((1, 12, 2, 4, 4), (1, 2, 3, 2, 2, 4, 4), (0, 2, 1, 3, 4, 5, 6), (1, 12, 2, 4, 4)),  # channel shuffle
    ],
)
def test_one_transpose(
    shape: tuple[int, ...], wide: tuple[int, ...], perm: tuple[int, ...], result: tuple[int, ...]
) -> None:
    graph = check_coreml(_move(shape, wide, perm, result), {"x": _values(*shape)})
    assert _kinds(graph) == ["reshape", "transpose", "reshape"]


def test_two_images_need_two_transposes() -> None:
    model = _move((2, 16, 3, 5), (2, 4, 2, 2, 3, 5), (0, 1, 4, 2, 5, 3), (2, 4, 6, 10))
    assert _kinds(check_coreml(model, {"x": _values(2, 16, 3, 5)})).count("transpose") == 1
    model = _move((2, 16, 3, 5), (2, 4, 2, 2, 3, 5), (5, 2, 0, 4, 1, 3), (10, 48))
    graph = check_coreml(model, {"x": _values(2, 16, 3, 5)})
    assert _kinds(graph).count("transpose") == 2


def test_windows_of_any_batch() -> None:
    model = _move(("n", 4, 6, 8), (-1, 2, 2, 3, 2, 8), (0, 1, 3, 2, 4, 5), ("m", 4, 8))
    check_coreml(model, {"x": _values(3, 4, 6, 8)})


def test_detection_head() -> None:
    """Boxes and scores of 3 anchors, decoded in [batch, anchor, level, attribute, row, column]."""
    model = """<ir_version: 10, opset_import: ["" : 20]>
    g (float[2,42,4,5] x, float[3,1,1,1,1] anchors) => (float[2,120,7] y)
    <int64[6] wide = {2,3,2,7,4,5}, int64[3] parts = {2,2,3}, float[1,1,2,1,1,1] stride = {8,16}, float two = {2},
     int64[3] narrow = {2,120,7}> {
      a = Reshape(x, wide)
      b = Transpose<perm=[0,1,2,4,5,3]>(a)
      c = Sigmoid(b)
      place, size, rest = Split<axis=-1>(c, parts)
      d = Mul(place, stride)
      e = Pow(size, two)
      f = Mul(e, anchors)
      h = Concat<axis=-1>(d, f, rest)
      y = Reshape(h, narrow)
    }"""
    check_coreml(model, {"x": _values(2, 42, 4, 5), "anchors": _values(3, 1, 1, 1, 1)})


@pytest.mark.parametrize(
    "equation",
    ["abcd,aef->abcdef", "abc,def->fedcba", "abcd,adef->cfabe", "abcd,cbef->afbced", "abcd,bcef->ef"],
)
def test_einsum_of_six_indices(equation: str) -> None:
    sizes = dict(zip("abcdef", (2, 3, 2, 2, 3, 2), strict=True))
    operands, result = equation.split("->")
    left, right = ([sizes[label] for label in term] for term in operands.split(","))
    total = math.prod(sizes[label] for label in result)
    model = f"""<ir_version: 10, opset_import: ["" : 20]>
    g (float[{_text(left)}] x, float[{_text(right)}] z) => (float[2,{total // 2}] y) <int64[2] narrow = {{2,-1}}> {{
      a = Einsum<equation="{equation}">(x, z)
      b = Relu(a)
      y = Reshape(b, narrow)
    }}"""
    check_coreml(model, {"x": _values(*left), "z": _values(*right)})


def test_what_stays_wide_is_refused() -> None:
    model = _move((2, 16, 3, 5), (2, 4, 2, 2, 3, 5), (0, 1, 4, 2, 5, 3), (2, 4, 6, 2, 5, 1))
    with pytest.raises(NotExpressible, match="at most 5 dimensions"):
        check_coreml(model, {"x": _values(2, 16, 3, 5)})


@pytest.mark.parametrize("rank", [6, 7, 8])
def test_permutations(rank: int) -> None:
    """Some permutations of axes without neighbours that stay together: two transposes for 6 and 7 axes."""
    sizes = [2, 3, 2, 2, 3, 2, 2, 2][:rank]
    for perm in _scattered(rank, 6):
        flat = math.prod(sizes)
        model = _move([2, flat // 2], sizes, perm, [flat // 2, 2])
        graph = check_pass(model, {"x": _values(2, flat // 2)})
        transposes = [node for node in graph.graph if node.op_type == "Transpose"]
        assert len(transposes) <= (2 if rank < 8 else 3)
        assert max(ir.rank(value) or 0 for node in graph.graph for value in node.outputs) <= 5


def _scattered(rank: int, count: int) -> list[list[int]]:
    chosen = random.Random(rank)
    found: list[list[int]] = []
    while len(found) < count:
        perm = chosen.sample(range(rank), rank)
        if all(b != a + 1 for a, b in itertools.pairwise(perm)):
            found.append(perm)
    return found


def check_pass(text: str, feeds: dict[str, np.ndarray]) -> ir.Model:
    """The model after the pass alone, which must compute bit for bit what it did before."""
    source = onnx.parser.parse_model(text)
    graph = ir.load(source)
    passes = [
        item for item in build("none,merge-axes", "coreml") if item.name in ("import-model", "merge-axes")
    ]
    run_pipeline(graph, passes, debug=True)
    wanted = create_session(source).run(None, feeds)
    found = create_session(ir.to_runnable_proto(graph)).run(None, feeds)
    np.testing.assert_array_equal(found[0], wanted[0])
    return graph
