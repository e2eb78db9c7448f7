"""Shared check of op rows: source in ONNX Runtime == lowered graph in ONNX Runtime == the file in LiteRT, twice."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnx.helper
import onnx.parser

from graphrewrite import ir
from graphrewrite.numeric.reference import create_session, open_reference
from graphrewrite.pipeline import build, run_pipeline

Array = npt.NDArray[np.generic]


def lowered(model: onnx.ModelProto | str, passes: str = "default") -> ir.Model:
    """The model (a proto or ONNX text) after the whole TFLite pipeline, verified after each pass."""
    proto = onnx.parser.parse_model(model) if isinstance(model, str) else model
    graph = ir.load(proto)
    run_pipeline(graph, build(passes, "tflite"), debug=True)
    return graph


def check_op(
    model: onnx.ModelProto | str,
    feeds: Mapping[str, Array],
    *,
    passes: str = "default",
    rtol: float = 1e-4,
    atol: float = 1e-5,
    runtime: bool = True,
) -> ir.Model:
    """Assert that source, lowered graph and file agree on `feeds`; returns the lowered graph for further assertions."""
    proto = onnx.parser.parse_model(model) if isinstance(model, str) else model
    reference = open_reference(proto)
    wanted = reference.run(feeds)
    graph = lowered(proto, passes)
    session = create_session(ir.to_runnable_proto(graph))
    names = [item.name for item in session.get_outputs()]
    _compare(
        "lowered graph in ONNX Runtime", wanted, dict(zip(names, session.run(names, dict(feeds)))), rtol, atol
    )
    if runtime:
        from graphrewrite.targets.tflite.emit import write
        from graphrewrite.targets.tflite.runtime import runner

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.tflite"
            write(graph, path)
            for xnnpack in (True, False):
                found = runner.run(path, dict(feeds), xnnpack=xnnpack).outputs
                _compare(f"file in LiteRT, {xnnpack=}", wanted, found, rtol, atol)
    return graph


def _compare(
    what: str, wanted: Mapping[str, Array], found: Mapping[str, Array], rtol: float, atol: float
) -> None:
    # LiteRT's signatures list their outputs by name, whatever order the file has
    assert set(wanted) == set(found), f"{what}: outputs {list(found)} where {list(wanted)} are wanted"
    for name, array in wanted.items():
        got = found[name]
        assert got.dtype == array.dtype, f"{what}: '{name}' is {got.dtype}, not {array.dtype}"
        assert got.shape == array.shape, f"{what}: '{name}' is {got.shape}, not {array.shape}"
        np.testing.assert_allclose(got, array, rtol=rtol, atol=atol, err_msg=f"{what}: '{name}'")


def single(
    op_type: str,
    inputs: Mapping[str, Array | None],
    *,
    constants: Mapping[str, Array] | None = None,
    outputs: int = 1,
    opset: int = 26,
    **attributes: object,
) -> onnx.ModelProto:
    """A model of one node. `inputs` in order (None = absent); those also in `constants` become initializers."""
    fixed = dict(constants or {})
    node = onnx.helper.make_node(
        op_type,
        [name if array is not None else "" for name, array in inputs.items()],
        [f"y{index}" for index in range(outputs)],
        **attributes,
    )
    graph = onnx.helper.make_graph(
        [node],
        "single",
        [
            onnx.helper.make_tensor_value_info(
                name, onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
            )
            for name, array in inputs.items()
            if array is not None and name not in fixed
        ],
        [onnx.helper.make_empty_tensor_value_info(f"y{index}") for index in range(outputs)],
        [onnx.numpy_helper.from_array(array, name) for name, array in fixed.items()],
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=10)
