"""The meaning of every op of the mil dialect: against coremltools' own value inference, or a closed form where it has none."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("coremltools")

from coreml_cases import Case, all_cases, meaning, value_inference
from graphrewrite.targets.coreml.dialect import CARRY, defined


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
