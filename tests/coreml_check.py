"""Shared check of op rows for Core ML: source in ONNX Runtime == lowered graph in ONNX Runtime == the saved package, decoded."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnx.parser

from graphrewrite import ir
from graphrewrite.numeric.reference import create_session, open_reference
from graphrewrite.pipeline import build, run_pipeline
from graphrewrite.targets.base import target

Array = npt.NDArray[np.generic]


def check_coreml(
    model: onnx.ModelProto | str,
    feeds: Mapping[str, Array],
    *,
    deployment: str = "iOS15",
    precision: str = "fp32",
    rtol: float = 1e-4,
    atol: float = 1e-5,
) -> ir.Model:
    """Assert that all three agree on `feeds`; returns the lowered graph for further assertions."""
    proto = onnx.parser.parse_model(model) if isinstance(model, str) else model
    wanted = open_reference(proto).run(feeds)
    chosen = target(f"coreml{{minimum_deployment_target={deployment},precision={precision}}}")
    graph = ir.load(proto)
    run_pipeline(graph, build("default", chosen.name, chosen.options), debug=True)
    session = create_session(ir.to_runnable_proto(graph))
    names = [item.name for item in session.get_outputs()]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.mlpackage"
        chosen.write(graph, path)
        found = chosen.runners(path)["coreml-evaluator"](dict(feeds))
    for what, outputs in (
        ("lowered graph", dict(zip(names, session.run(names, dict(feeds))))),
        ("package", found),
    ):
        assert list(outputs) == list(wanted), what
        for name, array in wanted.items():
            assert outputs[name].dtype == array.dtype, f"{what}: '{name}'"
            assert outputs[name].shape == array.shape, f"{what}: '{name}'"
            np.testing.assert_allclose(
                outputs[name], array, rtol=rtol, atol=atol, err_msg=f"{what}: '{name}'"
            )
    return graph
