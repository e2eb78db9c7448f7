"""Each case of tests/golden/passes/<pass>/<case>.onnxtxt through its pass.

A case is a model in ONNX's textual syntax. Values that are declared in the graph's `<...>` list without data, and that no
node writes, become seeded random initializers. Comment lines at the top may set:

    # passes: simplify-reshapes,noise-policy{policy=zero}     instead of the folder's name
    # target: coreml                                          a pass of that target only
    # equal: no                                               outputs are not compared (random ops)

Operators of a target's dialect are written with their domain: `y = tflite.ADD(a, b)`, `y = mil.add(a, b)`.

`<case>.expected` holds the graph after the pass; without it the pass must not change the model. `pytest --bless` rewrites
the expected files (and writes new ones only for cases that change).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import onnx.parser
import pytest

from graphrewrite import ir
from graphrewrite.numeric.inputs import make_samples
from graphrewrite.numeric.reference import create_session
from graphrewrite.pipeline import Stage, build, known_passes, run_pipeline
from graphrewrite.targets.coreml.dialect import DOMAIN as MIL
from graphrewrite.targets.tflite.dialect import DOMAIN as TFLITE

FOLDER = Path(__file__).parent.parent / "golden" / "passes"
CASES = sorted(FOLDER.glob("*/*.onnxtxt"))


def settings(text: str) -> dict[str, str]:
    """The `# key: value` lines at the top."""
    found = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        key, _, content = line[1:].partition(":")
        found[key.strip()] = content.strip()
    return found


def parse(text: str) -> onnx.ModelProto:
    """The model, with seeded values for initializers that are declared without data."""
    body = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    model = onnx.parser.parse_model(body)
    written = {name for node in model.graph.node for name in node.output}
    written |= {value.name for value in model.graph.input}
    rng = np.random.default_rng(0)
    for value in [item for item in model.graph.value_info if item.name not in written]:
        model.graph.value_info.remove(value)
        shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        dtype = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        content = rng.standard_normal(shape) if dtype.kind == "f" else rng.integers(0, 4, shape)
        model.graph.initializer.append(onnx.numpy_helper.from_array(content.astype(dtype), value.name))
    return model


def run_passes(model: ir.Model, spec: str, target: str = "tflite") -> int:
    """The number of rewrites that the passes of `spec` make."""
    named = spec.split(",")
    passes = [
        item
        for item in build(f"none,{spec}", target)
        if item.stage != Stage.IMPORT and (item.name in named or not item.mandatory)
    ]
    return sum(record.rewrites for record in run_pipeline(model, passes, debug=True))


def load(model: onnx.ModelProto) -> ir.Model:
    """The model as passes see it."""
    graph = ir.load(model)
    run_pipeline(graph, [item for item in build("none", "tflite") if item.stage == Stage.IMPORT])
    return graph


def lines(graph: ir.Model) -> str:
    return "\n".join(ir.graph_lines(graph.graph)) + "\n"


def run(model: onnx.ModelProto, feeds: dict[str, ir.Array]) -> list[ir.Array]:
    found: list[ir.Array] = create_session(model).run(None, feeds)
    return found


@pytest.mark.parametrize("path", CASES, ids=[f"{path.parent.name}/{path.stem}" for path in CASES])
def test_case(path: Path, bless: bool) -> None:
    text = path.read_text()
    options = settings(text)
    spec, target = options.get("passes", path.parent.name), options.get("target", "tflite")
    source = parse(text)
    graph = load(source)
    if any(node.domain in (TFLITE, MIL) for node in source.graph.node):
        source = ir.to_runnable_proto(graph)
    before = lines(graph)
    samples = [{k: np.asarray(v) for k, v in s.items()} for s in make_samples(graph.graph, seed=1)]

    rewrites = run_passes(graph, spec, target)
    after = lines(graph)
    expected = path.with_suffix(".expected")
    if bless and after != before:
        expected.write_text(after)
    if expected.exists():
        assert rewrites > 0
        assert after == expected.read_text()
    else:
        assert rewrites == 0
        assert after == before, "the pass must not change this model"

    if options.get("equal") != "no":
        changed = ir.to_runnable_proto(graph)
        for feeds in samples:
            for wanted, found in zip(run(source, feeds), run(changed, feeds), strict=True):
                assert found.dtype == wanted.dtype
                assert found.shape == wanted.shape
                scale = float(np.abs(wanted).max(initial=1)) if wanted.dtype.kind == "f" else 1
                np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5 * scale)
    assert run_passes(graph, spec, target) == 0, "a second run must find nothing to do"


def test_every_folder_is_a_pass() -> None:
    assert {path.parent.name for path in CASES} <= set(known_passes())
