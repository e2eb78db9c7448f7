"""Every golden model, both exporters: converted, run in the target's runtime, compared with PyTorch and with what is expected."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphrewrite
from graphrewrite.numeric.golden import Found, changes
from graphrewrite.numeric.golden_file import SUFFIX, Golden, read
from graphrewrite.numeric.metrics import FP16, Comparison, compare
from graphrewrite.targets.base import target as find_target

FOLDER = Path(__file__).resolve().parent / "models"
INDEX: dict[str, dict[str, Any]] = json.loads((FOLDER / "index.json").read_text())
CASES = [(name, exporter) for name, entry in INDEX.items() for exporter in entry["exporters"]]


def samples_of(name: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """PyTorch's inputs and outputs, by sample."""
    archive = np.load(FOLDER / f"{name}.npz")
    found: dict[int, tuple[dict[str, Any], dict[str, Any]]] = {}
    for key in archive.files:
        sample, kind, value = key.split(".", 2)
        found.setdefault(int(sample[6:]), ({}, {}))[kind == "output"][value] = archive[key]
    return [found[index] for index in sorted(found)]


def convert_and_compare(name: str, exporter: str, passes: str, folder: Path, target: str = "tflite") -> Found:
    """What the model came to, after PyTorch's outputs were met in every way in which the target runs its files."""
    samples = samples_of(name)
    found = find_target(target)
    path = folder / f"model{found.suffix}"
    result = graphrewrite.run(
        FOLDER / f"{name}.{exporter}.onnx",
        found,
        passes,
        path,
        samples=[inputs for inputs, _ in samples],
        debug=True,
    )
    worst: dict[str, Comparison] = {}
    runners = found.runners(path)
    for inputs, outputs in samples:
        for label, run in runners.items():
            made = run(inputs)
            assert {item["name"] for item in result.report["outputs"]} <= set(made)
            for output, wanted in outputs.items():
                if found.tolerance is FP16 and wanted.dtype.kind in "ib":
                    continue  # labels of nearly equal scores: `run` knows the scores, and has judged these
                item = compare(output, wanted, made[output], found.tolerance)
                assert item.passed, f"{name}.{exporter} '{output}' {label}: {item.problem}"
                if output not in worst or item.required > worst[output].required:
                    worst[output] = item
    return Found.of(result.report, result.model, list(worst.values()))


def as_expected(name: str, exporter: str, target: str, found: Found, bless: bool) -> None:
    """Assert that the conversion comes to what `NAME.EXPORTER.golden.toml` expects of `target`; `bless` rewrites that."""
    path = FOLDER / f"{name}.{exporter}{SUFFIX}"
    golden = (
        read(path)
        if path.exists()
        else Golden(path, f"{name}.{exporter}.onnx", f"{name}.npz", "PyTorch", INDEX[name]["passes"])
    )
    assert golden.passes == INDEX[name]["passes"]
    expected = golden.expected.get(target)
    changed = changes(expected, found, golden.size_tolerance) if expected else ["nothing is expected yet"]
    if bless and changed:
        golden.expected[target] = found.expectation(expected, golden.size_tolerance)
        golden.write()
    else:
        assert changed == [], "pytest --bless accepts it; review the difference"


@pytest.mark.parametrize(("name", "exporter"), CASES, ids=[f"{name}.{exporter}" for name, exporter in CASES])
def test_meets_pytorch(name: str, exporter: str, tmp_path: Path, bless: bool) -> None:
    found = convert_and_compare(name, exporter, INDEX[name]["passes"], tmp_path)
    as_expected(name, exporter, "tflite", found, bless)


PLAIN = [f"{name}.{exporter}" for name, exporter in CASES[::16]]
"""Every sixteenth case is converted without the optional passes in plain runs; all of them by `pytest -m full`."""


def _without_passes(name: str, exporter: str, folder: Path) -> None:
    convert_and_compare(name, exporter, INDEX[name]["passes"].replace("default", "none"), folder)


@pytest.mark.parametrize("case", PLAIN)
def test_meets_pytorch_without_optional_passes(case: str, tmp_path: Path) -> None:
    name, exporter = case.rsplit(".", 1)
    _without_passes(name, exporter, tmp_path)


OTHERS = {"openvino": "", "openvino{precision=fp16}": ",store-weights-in-half{minimum=1024}"}
"""{target: passes beside those of the model}. Every sixteenth case in plain runs, all of them by `pytest -m full`."""


@pytest.mark.parametrize("target", OTHERS)
@pytest.mark.parametrize("case", PLAIN)
def test_other_targets_meet_pytorch(case: str, target: str, tmp_path: Path, bless: bool) -> None:
    """Where no pass is added, they come to what is expected, too."""
    name, exporter = case.rsplit(".", 1)
    found = convert_and_compare(name, exporter, INDEX[name]["passes"] + OTHERS[target], tmp_path, target)
    if not OTHERS[target]:
        as_expected(name, exporter, target, found, bless)


@pytest.mark.full
@pytest.mark.parametrize("target", OTHERS)
@pytest.mark.parametrize(("name", "exporter"), CASES, ids=[f"{name}.{exporter}" for name, exporter in CASES])
def test_other_targets_meet_pytorch_on_every_model(
    name: str, exporter: str, target: str, tmp_path: Path
) -> None:
    convert_and_compare(name, exporter, INDEX[name]["passes"] + OTHERS[target], tmp_path, target)


@pytest.mark.full
@pytest.mark.parametrize(("name", "exporter"), CASES, ids=[f"{name}.{exporter}" for name, exporter in CASES])
def test_every_model_meets_pytorch_without_optional_passes(name: str, exporter: str, tmp_path: Path) -> None:
    _without_passes(name, exporter, tmp_path)


def _in_half(name: str, exporter: str, folder: Path) -> None:
    """Weights in float16: `run` itself holds the file to that tolerance."""
    source = FOLDER / f"{name}.{exporter}.onnx"
    passes = f"{INDEX[name]['passes']},store-weights-in-half{{minimum=1024}}"
    samples = [inputs for inputs, _ in samples_of(name)]
    output = folder / "model.tflite"
    report = graphrewrite.run(
        source, "tflite{precision=fp16}", passes, output, samples=samples, debug=True
    ).report
    plain = graphrewrite.run(source, "tflite", INDEX[name]["passes"], output, check=False).report
    assert report["size"] <= plain["size"]
    alone = {key for key in report["details"]["outside_xnnpack"] if key != "DEQUANTIZE"}
    assert alone <= set(plain["details"]["operators"])


@pytest.mark.parametrize("case", PLAIN)
def test_weights_in_half(case: str, tmp_path: Path) -> None:
    name, exporter = case.rsplit(".", 1)
    _in_half(name, exporter, tmp_path)


@pytest.mark.full
@pytest.mark.parametrize(("name", "exporter"), CASES, ids=[f"{name}.{exporter}" for name, exporter in CASES])
def test_every_model_s_weights_in_half(name: str, exporter: str, tmp_path: Path) -> None:
    _in_half(name, exporter, tmp_path)
