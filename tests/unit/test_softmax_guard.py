"""Rows of attention scores that a mask covers as a whole: what the guard gave there is still given without it."""

from __future__ import annotations

import numpy as np
import onnx.parser
import pytest

from graphrewrite import ir
from graphrewrite.numeric.reference import create_session
from graphrewrite.pipeline import Stage, build, run_pipeline
from graphrewrite.targets.base import target

_MODEL = """
<ir_version: 10, opset_import: ["" : 20]>
g (float[1,2,3,8] q, float[1,2,8,4] k, bool[1,1,3,4] c) => (float[1,2,3,4] y)
<float z = {{0.0}}, float low = {{-inf}}> {{
  {mask}
  p = Softmax<axis=-1>(e)
  n = IsNaN(p)
  y = Where(n, z, p)
}}
"""


@pytest.mark.parametrize(
    "mask",
    [
        "a = MatMul(q, k) m = Where(c, z, low) e = Add(m, a)",
        "a = MatMul(q, k) d = Not(c) e = Where(d, low, a)",
    ],
)
def test_covered_rows_stay_zero(mask: str) -> None:
    source = onnx.parser.parse_model(_MODEL.format(mask=mask.replace(") ", ")\n  ")))
    model = ir.load(source)
    passes = build("default", "tflite", target("tflite").options)
    run_pipeline(
        model,
        [item for item in passes if item.stage == Stage.IMPORT or item.name == "remove-softmax-nan-guard"],
    )
    assert "IsNaN" not in {node.op_type for node in model.graph}
    rng = np.random.default_rng(0)
    feed = {
        "q": rng.standard_normal((1, 2, 3, 8)).astype(np.float32),
        "k": rng.standard_normal((1, 2, 8, 4)).astype(np.float32),
        "c": np.array([[[[True, False, True, True], [False] * 4, [False, True, False, False]]]]),
    }
    (want,) = create_session(source).run(None, feed)
    (got,) = create_session(ir.to_runnable_proto(model)).run(None, feed)
    assert not want[:, :, 1].any()
    assert not got[:, :, 1].any()
    np.testing.assert_allclose(got, want, rtol=1e-6)
