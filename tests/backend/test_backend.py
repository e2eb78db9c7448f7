"""The ONNX conformance suite against every target: each case must end as the target's reviewed file says."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from graphrewrite.targets.base import BUNDLED

HERE = Path(__file__).resolve().parent
SAMPLE_STEP = 12
"""The fast sample takes every twelfth case."""


def _module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"backend_{name}", HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


suite, outcomes = _module("suite"), _module("outcomes")
EXPECTED = {target: outcomes.read(outcomes.file_of(target)) for target in outcomes.SHARES}
TARGETS = pytest.mark.parametrize("target", [name for name in EXPECTED if EXPECTED[name] or name in BUNDLED])
"""A target that is no part of the package and has no reviewed file yet is left out."""


def _judge(target: str, names: list[str]) -> list[str]:
    problems = []
    for name in names:
        case = suite.eligible().get(name)
        if case is None:
            problems.append(f"{name}: is no eligible case any more")
            continue
        for mode in suite.MODES:
            outcome = suite.run_case(case, mode, target)
            kind, why = EXPECTED[target][name][mode]
            if outcome.kind != kind:
                problems.append(
                    f"{name} [{mode}]: {outcome.kind} ({outcome.why}) where {kind} ({why}) is expected"
                )
    return problems


def _of_kind(target: str, kinds: frozenset[str]) -> set[str]:
    return {
        name for name, modes in EXPECTED[target].items() if any(kind in kinds for kind, _ in modes.values())
    }


@TARGETS
def test_no_fault_is_an_expected_outcome(target: str) -> None:
    assert _of_kind(target, outcomes.FAULTS) == set()


@TARGETS
def test_what_only_the_check_refuses_is_explained(target: str) -> None:
    assert _of_kind(target, outcomes.REFUSED_BY_CHECK) == set(outcomes.EXPLAINED.get(target, {}))


@TARGETS
def test_share_of_right_outcomes(target: str) -> None:
    found = EXPECTED[target]
    for mode, wanted in outcomes.SHARES[target].items():
        assert sum(modes[mode][0] == suite.RIGHT for modes in found.values()) >= wanted * max(
            len(found), 1
        ), mode


@TARGETS
def test_sample(target: str) -> None:
    assert EXPECTED[target], f"no reviewed outcomes: python tools/backend_suite.py --target {target} --update"
    assert _judge(target, sorted(EXPECTED[target])[::SAMPLE_STEP]) == []


@pytest.mark.full
@TARGETS
def test_whole_suite(target: str) -> None:
    assert set(EXPECTED[target]) == set(suite.eligible())
    assert _judge(target, sorted(EXPECTED[target])) == []
