"""Core ML rows of If and Loop: source, lowered graph and saved package agree."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("coremltools")

from coreml_check import check_coreml

F = np.float32
HEAD = '<ir_version: 8, opset_import: ["": 20]>'
PRECISIONS = pytest.mark.parametrize("precision", ["fp32", "fp16"])
IF = f"""{HEAD} m (bool c, float[2,3] x, int64[1] n) => (float[2,3] y, int64[1] k) {{
  y, k = If (c) <
    then_branch = t () => (float[2,3] a, int64[1] b) {{ a = Relu(x) b = Add(n, n) }},
    else_branch = e () => (float[2,3] d, int64[1] f) {{ d = Neg(x) f = Identity(n) }}
  >
}}"""
LOOP = f"""{HEAD} m (int64 n, float[2] x, float[2] w) => (float[2] y, float[R,2] rows, int64[R] rounds) {{
  y, rows, rounds = Loop (n, , x) <
    body = b (int64 i, bool go, float[2] s) => (bool again, float[2] t, float[2] row, int64 r) {{
      t = Mul(s, w)
      row = Add(t, w)
      r = Mul(i, i)
      most = ReduceMax<keepdims=0>(t)
      high = Constant<value = float {{50.0}}> ()
      again = Less(most, high)
    }}
  >
}}"""


@PRECISIONS
@pytest.mark.parametrize("condition", [True, False])
def test_if(condition: bool, precision: str) -> None:
    feeds = {"c": np.asarray(condition), "x": np.arange(-3, 3, dtype=F).reshape(2, 3), "n": np.asarray([7])}
    graph = check_coreml(IF, feeds, precision=precision, rtol=1e-3)
    assert "cond" in [node.op_type for node in graph.graph]


@PRECISIONS
@pytest.mark.parametrize("limit", [1, 4, 20])
def test_loop(limit: int, precision: str) -> None:
    """Up to `limit` rounds, or until the state is large: 1.5 * 2^k >= 50."""
    feeds = {"n": np.asarray(limit), "x": np.asarray([1.5, 0.5], F), "w": np.asarray([2, 1], F)}
    graph = check_coreml(LOOP, feeds, precision=precision, rtol=1e-3)
    assert "while_loop" in [node.op_type for node in graph.graph]


def test_loop_over_batches_of_unknown_size() -> None:
    model = f"""{HEAD} m (int64 n, float[N,2] x) => (float[N,2] y, float[R,N,2] rows) {{
      y, rows = Loop (n, , x) <
        body = b (int64 i, bool go, float[N,2] s) => (bool again, float[N,2] t, float[N,2] row) {{
          again = Identity(go) t = Add(s, s) row = Identity(s)
        }}
      >
    }}"""
    check_coreml(model, {"n": np.asarray(3), "x": np.ones((3, 2), F)})


def test_if_in_a_loop() -> None:
    model = f"""{HEAD} m (int64 n, float[2] x) => (float[2] y) {{
      y = Loop (n, , x) <
        body = b (int64 i, bool go, float[2] s) => (bool again, float[2] t) {{
          again = Identity(go)
          two = Constant<value = int64 {{2}}> ()
          odd = Mod(i, two)
          c = Cast<to=9>(odd)
          t = If (c) <
            then_branch = t () => (float[2] a) {{ a = Neg(s) }},
            else_branch = e () => (float[2] d) {{ d = Add(s, x) }}
          >
        }}
      >
    }}"""
    check_coreml(model, {"n": np.asarray(5), "x": np.asarray([1, -2], F)})


@pytest.mark.parametrize("length", ["4", "T"])
def test_scan(length: str) -> None:
    """Two sequences, one of them backwards along its second axis, and a result that is stacked backwards along its last."""
    model = f"""{HEAD} m (float[2] s, float[{length},2] x, float[2,{length}] w) => (float[2] y, float[R,2] up, float[2,Q] down) {{
      y, up, down = Scan <
        body = b (float[2] h, float[2] a, float[2] c) => (float[2] k, float[2] one, float[2] two) {{
          d = Mul(h, a) k = Add(d, c) one = Neg(k) two = Identity(d)
        }},
        num_scan_inputs = 2, scan_input_axes = [0, -1], scan_input_directions = [0, 1],
        scan_output_axes = [0, -1], scan_output_directions = [0, 1]
      > (s, x, w)
    }}"""
    rng = np.random.default_rng(0)
    feeds = {
        name: rng.standard_normal(shape).astype(F) for name, shape in (("s", 2), ("x", (4, 2)), ("w", (2, 4)))
    }
    graph = check_coreml(model, feeds)
    assert ("while_loop" in [node.op_type for node in graph.graph]) == (length == "T")
