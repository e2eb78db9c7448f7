"""The golden models as goldens: all states right through the pytest plugin, and what must not pass is caught, in words."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from golden_models import TURNING, change_weight

from graphrewrite.golden import check_one, find
from graphrewrite.golden.attempt import STATES
from graphrewrite.numeric.golden_file import Golden
from graphrewrite.pipeline import build

FOLDER = Path(__file__).resolve().parent / "models"
ROOT = FOLDER.parent.parent.parent
GOLDENS = {golden.name: golden for golden in find(FOLDER)}
TARGETS = ("tflite", "coreml", "openvino")
SAMPLE = list(GOLDENS)[::47]
WITHOUT_WEIGHTS = frozenset(
    {
        *(
            f"upfirdn2d_kept_{case}.dyn"
            for case in ("blur", "down2", "separable_up4", "up2", "up2_down2_crop")
        ),
        *(f"upfirdn2d_kept_{case}.ts17" for case in ("separable_up4", "up2_down2_crop")),
    }
)
"""They have a blur filter only, which repeats its numbers or lies in Constant nodes."""


WITHOUT_INNER_VALUES = frozenset(
    f"upfirdn2d_{order}_{case}.{exporter}"
    for order in ("kept", "moved")
    for case in ("blur", "down2")
    for exporter in ("dyn", "ts17")
)
"""They become a single convolution on Core ML and OpenVINO: there is no value between two nodes that could be turned."""


def _through_the_plugin(names: list[str]) -> None:
    plugin = [
        "-p",
        "graphrewrite.pytest_plugin",
        "-p",
        "no:cacheprovider",
        "--graphrewrite-golden",
        str(FOLDER),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *plugin, *(str(GOLDENS[name].path) for name in names)],
        cwd=ROOT,
        env={key: text for key, text in os.environ.items() if not key.startswith("PYTEST_")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) == sum(len(GOLDENS[name].expected) for name in names) * len(STATES)


def test_every_golden_expects_something_of_every_target() -> None:
    assert {name for name, golden in GOLDENS.items() if golden.expected.keys() != set(TARGETS)} == set()


def test_sample_through_the_plugin() -> None:
    _through_the_plugin(SAMPLE)


@pytest.mark.full
def test_all_through_the_plugin() -> None:
    _through_the_plugin(list(GOLDENS))


def _changed_weight(golden: Golden, spec: str, folder: Path) -> None:
    for name in (golden.model, golden.samples):
        shutil.copy(FOLDER / name, folder)
    assert change_weight(folder / golden.model) == (golden.name not in WITHOUT_WEIGHTS)
    if golden.name in WITHOUT_WEIGHTS:
        return
    lines = check_one(dataclasses.replace(golden, path=folder / golden.path.name), spec)
    assert re.match(
        r"output '.+' (max abs|share of elements that differ) \S+ where \S+ was allowed", lines[0]
    )
    assert lines[-1].startswith("the original model gives other outputs than the recorded ones, too")


@pytest.mark.parametrize("spec", TARGETS)
@pytest.mark.parametrize("name", SAMPLE)
def test_a_changed_weight_is_caught(name: str, spec: str, tmp_path: Path) -> None:
    _changed_weight(GOLDENS[name], spec, tmp_path)


@pytest.mark.full
@pytest.mark.parametrize("spec", TARGETS)
@pytest.mark.parametrize("name", GOLDENS)
def test_a_changed_weight_is_caught_in_every_model(name: str, spec: str, tmp_path: Path) -> None:
    _changed_weight(GOLDENS[name], spec, tmp_path)


def _acting() -> dict[str, tuple[str, str]]:
    """Each pass that can be left out and acts on a golden model, with the smallest such model and the target."""
    found: dict[str, tuple[str, str]] = {}
    for spec in TARGETS:
        optional = {item.name for item in build("default", spec) if not item.mandatory}
        for golden in sorted(GOLDENS.values(), key=lambda item: item.expected[spec].size):
            for name in golden.expected[spec].rewrites:
                if name in optional:
                    found.setdefault(name, (golden.name, spec))
    return dict(sorted(found.items()))


@pytest.mark.parametrize(
    ("name", "model", "spec"), [(name, *where) for name, where in _acting().items()], ids=lambda text: text
)
def test_a_pass_switched_off_is_caught(name: str, model: str, spec: str) -> None:
    golden = GOLDENS[model]
    lines = check_one(dataclasses.replace(golden, passes=f"{golden.passes},-{name}"), spec)
    count = golden.expected[spec].rewrites[name]
    assert f"pass {name}: {count} rewrites before, none now" in lines


def _new_transpose(golden: Golden, spec: str, folder: Path) -> None:
    """The file is right and hardly larger: only the count of transposes tells."""
    path = folder / "turn_and_return.py"
    path.write_text(TURNING)
    lines = check_one(dataclasses.replace(golden, passes=f"{golden.passes},{path}"), spec)
    found = re.match(r"\+2 TRANSPOSE, \+(\d+) bytes \((\d+) left: ", lines[0])
    assert found is not None, lines
    assert int(found[2]) == golden.expected[spec].transposes + 2
    assert "pass turn-and-return: no rewrites before, 1 now" in lines
    assert not any(line.startswith("output") for line in lines)


@pytest.mark.parametrize("spec", TARGETS)
@pytest.mark.parametrize("name", SAMPLE)
def test_a_new_transpose_is_caught(name: str, spec: str, tmp_path: Path) -> None:
    _new_transpose(GOLDENS[name], spec, tmp_path)


@pytest.mark.full
@pytest.mark.parametrize("spec", TARGETS)
@pytest.mark.parametrize("name", GOLDENS)
def test_a_new_transpose_is_caught_in_every_model(name: str, spec: str, tmp_path: Path) -> None:
    if spec != "tflite" and name in WITHOUT_INNER_VALUES:
        pytest.skip("there is no value to turn")
    _new_transpose(GOLDENS[name], spec, tmp_path)
