"""If, Loop and Scan: resolved where known, IF and WHILE otherwise."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx.parser
import pytest

import graphrewrite
from graphrewrite import ir
from op_check import check_op

HEADER = '<ir_version: 10, opset_import: ["": 21]>'
X = np.array([1.0, -2.0, 3.0], np.float32)


def operators(model: ir.Model) -> Counter[str]:
    return Counter(node.op_type for node in model.graph)


IF = """
    choose (bool c, float[3] x, float[3] z) => (float[3] y, float[3] w)
    <bool yes = {1}>
    {
      y, w = If (CONDITION) <
        then_branch = yes_branch () => (float[3] a, float[3] b) { a = Add (x, z)  b = Identity (x) },
        else_branch = no_branch () => (float[3] d, float[3] e) { d = Mul (x, x)  e = Sub (d, z) }>
    }"""


@pytest.mark.parametrize("truth", [True, False])
def test_if_at_run_time(truth: bool) -> None:
    feeds = {"c": np.array(truth), "x": X, "z": X + 1}
    model = check_op(HEADER + IF.replace("CONDITION", "c"), feeds)
    assert operators(model)["IF"] == 1


def test_if_with_a_constant_condition_is_its_branch() -> None:
    feeds = {"c": np.array(True), "x": X, "z": X + 1}
    model = check_op(HEADER + IF.replace("CONDITION", "yes"), feeds)
    assert operators(model)["IF"] == 0


def test_nested_if_captures_through_both() -> None:
    text = (
        HEADER
        + """
    nested (bool c, bool d, float[3] x) => (float[3] y) {
      z = Neg (x)
      y = If (c) <
        then_branch = outer () => (float[3] a) {
          a = If (d) <
            then_branch = inner () => (float[3] p) { p = Add (x, z) },
            else_branch = other () => (float[3] q) { q = Mul (z, z) }>
        },
        else_branch = last () => (float[3] b) { b = Identity (x) }>
    }"""
    )
    for c in (True, False):
        for d in (True, False):
            check_op(text, {"c": np.array(c), "d": np.array(d), "x": X})


LOOP = """
    rounds (int64 n, float[3] x, float[3] step) => (float[3] last, float[k, 3] all)
    <int64 three = {3}, bool go = {1}>
    {
      last, all = Loop (COUNT, go, x) <body = round (int64 i, bool c, float[3] h) => (bool c2, float[3] h2, float[3] row) {
        c2 = Identity (c)
        t = Cast <to = 1> (i)
        s = Mul (step, t)
        h2 = Add (h, s)
        row = Neg (h2)
      }>
    }"""


@pytest.mark.parametrize("count", [1, 4])
def test_loop_at_run_time(count: int) -> None:
    feeds = {"n": np.array(count, np.int64), "x": X, "step": X / 2}
    model = check_op(HEADER + LOOP.replace("COUNT", "n"), feeds)
    assert operators(model)["WHILE"] == 1


def test_loop_with_a_constant_count_is_unrolled() -> None:
    feeds = {"n": np.array(1, np.int64), "x": X, "step": X / 2}
    model = check_op(HEADER + LOOP.replace("COUNT", "three"), feeds)
    assert operators(model)["WHILE"] == 0


def test_loop_until_a_condition() -> None:
    text = (
        HEADER
        + """
    doubling (float[3] x, float limit) => (float[3] y)
    <bool go = {1}, int64[1] zero = {0}>
    {
      y = Loop (, go, x) <body = round (int64 i, bool c, float[3] h) => (bool c2, float[3] h2) {
        h2 = Add (h, h)
        top = ReduceMax <keepdims = 0> (h2, zero)
        c2 = Less (top, limit)
      }>
    }"""
    )
    check_op(text, {"x": X, "limit": np.array(50, np.float32)})


def test_loop_whose_condition_folds_is_unrolled() -> None:
    text = (
        HEADER
        + """
    counted (float[3] x) => (float[3] y)
    <bool go = {1}, int64 last = {4}>
    {
      y = Loop (, go, x) <body = round (int64 i, bool c, float[3] h) => (bool c2, float[3] h2) {
        h2 = Add (h, x)
        c2 = Less (i, last)
      }>
    }"""
    )
    model = check_op(text, {"x": X})
    assert operators(model) == {"ADD": 5}


@pytest.mark.parametrize("backwards", [0, 1])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("length", ["4", "T"])
def test_scan(backwards: int, axis: int, length: str) -> None:
    """Unrolled, or a loop where the length of the sequence is known only at run time."""
    text = (
        HEADER
        + f"""
    running (float[3] s, float[{f"{length}, 3" if axis == 0 else f"3, {length}"}] xs) => (float[3] total, float[a, b] sums) {{
      total, sums = Scan <num_scan_inputs = 1, scan_input_axes = [{axis}], scan_output_axes = [{axis}],
        scan_input_directions = [{backwards}], scan_output_directions = [{backwards}],
        body = round (float[3] h, float[3] x) => (float[3] h2, float[3] row) {{
          h2 = Add (h, x)
          row = Mul (h2, x)
        }}> (s, xs)
    }}"""
    )
    xs = np.random.default_rng(1).standard_normal((4, 3) if axis == 0 else (3, 4)).astype(np.float32)
    check_op(text, {"s": X, "xs": xs})


@pytest.mark.parametrize("target", ["tflite", "coreml", "openvino"])
@pytest.mark.parametrize("count", ["last", "n"])
def test_loop_with_control_of_rank_1(target: str, count: str, tmp_path: Path) -> None:
    """tf2onnx declares the number of the round and the condition as [1], and ONNX Runtime gives them so."""
    text = (
        HEADER
        + f"""
    counted (float[3] x, int64 n) => (float[3] y, float[r, 1] rounds)
    <int64 last = {{4}}, bool[1] go = {{1}}>
    {{
      y, rounds = Loop ({count}, go, x) <body = round (int64[1] i, bool[1] c, float[3] h)
          => (bool[1] c2, float[3] h2, float[1] number) {{
        number = Cast <to = 1> (i)
        h2 = Add (h, number)
        c2 = Identity (c)
      }}>
    }}"""
    )
    model = onnx.parser.parse_model(text)
    samples = [{"x": X, "n": np.array(3, np.int64)}]
    graphrewrite.run(model, target, output=tmp_path / "m{suffix}", samples=samples)
