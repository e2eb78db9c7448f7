"""Corrupted Core ML packages are caught; and a check that sees nothing would be found out."""

from __future__ import annotations

import pytest

pytest.importorskip("coremltools")

from tools.corruptions import PARAMETERS
from tools.mutate_packages import EQUAL, MISSED, PACKAGES, UNSEEN, Trial, mutants


@pytest.mark.parametrize("name", ["attention_eager.ts17", "espcn.ts17", "upfirdn2d_moved_crop.ts17"])
def test_a_few_mutants(name: str) -> None:
    found = list(mutants(name, 7))
    assert len(found) == 7
    assert not [str(item) for item in found if item.verdict == MISSED]
    assert sum(item.verdict != EQUAL for item in found) >= 4


@pytest.mark.parametrize(
    ("name", "count", "missed"), [("espcn.ts17", 6, 3), ("mobilestylegan_mapping.ts17", 6, 3)]
)
def test_a_check_that_passes_everything_is_found_out(
    monkeypatch: pytest.MonkeyPatch, name: str, count: int, missed: int
) -> None:
    monkeypatch.setattr(Trial, "passes", lambda self, path: True)
    assert sum(item.verdict == MISSED for item in mutants(name, count)) >= missed


@pytest.mark.full
def test_every_mutant_that_changes_the_outputs_is_caught() -> None:
    found = [item for name in PACKAGES for item in mutants(name, 12)]
    assert len(PACKAGES) >= 20
    assert len(found) >= 200
    assert {item.kind for item in found} > set(PARAMETERS)
    assert not [str(item) for item in found if item.verdict == MISSED]
    assert all(item.where.startswith("gather ") for item in found if item.verdict == UNSEEN)
