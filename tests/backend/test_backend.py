"""The ONNX conformance suite against the TFLite target: every case must end as the reviewed file says."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).resolve().parent
FAULTS = frozenset({"wrong", "unloadable", "internal"})
"""Outcomes that no review can make right. `differs` and `unchecked` are refusals by the check: nothing was written."""
SAMPLE_STEP = 12
"""The fast sample takes every twelfth case, and every case of a fault that was found before."""


def _module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"backend_{name}", HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


suite, outcomes = _module("suite"), _module("outcomes")
EXPECTED = outcomes.read(HERE / "outcomes.txt")


def _judge(names: list[str]) -> list[str]:
    problems = []
    for name in names:
        case = suite.eligible().get(name)
        if case is None:
            problems.append(f"{name}: is no eligible case any more")
            continue
        for mode in suite.MODES:
            outcome = suite.run_case(case, mode)
            kind, why = EXPECTED[name][mode]
            if outcome.kind != kind:
                problems.append(
                    f"{name} [{mode}]: {outcome.kind} ({outcome.why}) where {kind} ({why}) is expected"
                )
    return problems


def test_no_fault_is_an_expected_outcome() -> None:
    faults = [
        (name, mode)
        for name, modes in EXPECTED.items()
        for mode, (kind, _) in modes.items()
        if kind in FAULTS
    ]
    assert faults == []


def test_share_of_right_outcomes() -> None:
    share = {
        mode: sum(modes[mode][0] == suite.RIGHT for modes in EXPECTED.values()) / len(EXPECTED)
        for mode in suite.MODES
    }
    assert share["shipped"] >= 0.80
    assert share["constants"] >= 0.88


def test_sample() -> None:
    assert _judge(sorted(EXPECTED)[::SAMPLE_STEP]) == []


@pytest.mark.full
def test_whole_suite() -> None:
    assert set(EXPECTED) == set(suite.eligible())
    assert _judge(sorted(EXPECTED)) == []
