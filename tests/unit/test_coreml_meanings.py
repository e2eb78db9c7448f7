"""The meaning of every op of the mil dialect: against coremltools' own value inference, or a closed form where it has none."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("coremltools")

from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry

from coreml_cases import Case, all_cases, meaning, value_inference
from graphrewrite.targets.coreml.dialect import CARRY, defined

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.mark.parametrize("case", all_cases(), ids=str)
def test_meaning(case: Case) -> None:
    if case.expected is not None:
        given = case.expected(*(item for item in case.operands if item is not None))
        wanted = list(given) if isinstance(given, list | tuple) else [np.asarray(given)]
    else:
        computed = value_inference(case)
        assert computed is not None, f"coremltools has no formula for {case.op}: the case needs a closed form"
        wanted = computed
    found = meaning(case)
    assert len(found) == len(wanted)
    for got, array in zip(found, wanted, strict=True):
        assert got.shape == array.shape
        assert got.dtype.kind == array.dtype.kind
        np.testing.assert_allclose(got, array, rtol=case.rtol, atol=case.atol)


def test_every_op_has_a_case() -> None:
    """An op whose meaning nobody checked must not be written, nor judge a file."""
    assert set(defined()) - {CARRY} == {case.op for case in all_cases()}


def test_every_op_that_is_named_in_a_row_is_in_the_dialect() -> None:
    """A file of rows that names a MIL op means to write it, and then the evaluator must be able to read it."""
    named = {
        (node.value, file.name)
        for file in (ROOT / "op_registry").glob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Constant) and node.value in SSAOpRegistry.core_ops
    }
    assert len(named) > 100
    apart = {
        "cond",
        "while_loop",
        "affine",
    }  # two are control flow, read by the evaluator itself; one is ONNX's activation
    assert not {item for item in named if item[0] not in defined() and item[0] not in apart}
