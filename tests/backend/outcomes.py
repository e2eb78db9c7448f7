"""The reviewed files of expected outcomes, one a target, and what is asked of each target.

A line is a case: `name | shipped | constants`. An outcome is `right`, or a reason code with why. A case that gets better or
worse fails until the file is updated (`python tools/backend_suite.py --target NAME --update`) and the difference reviewed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

MODES = ("shipped", "constants")
SHARES: Mapping[str, Mapping[str, float]] = {
    "tflite": {"shipped": 0.80, "constants": 0.88},
    "coreml": {"shipped": 0.68, "constants": 0.80},
    "openvino": {"shipped": 0.95, "constants": 0.95},
}
"""The targets, and the share of right cases that each must reach."""

FAULTS = frozenset({"wrong", "unloadable", "internal"})
"""Outcomes that no review can make right."""

REFUSED_BY_CHECK = frozenset({"differs", "unchecked"})
"""Nothing was written, but only the check at the end noticed: right for the user, and a fault of a row unless explained."""

EXPLAINED: Mapping[str, Mapping[str, str]] = {
    "tflite": {
        f"test_attention_{name}": "LiteRT's kernels without XNNPACK take -inf for the lowest float32"
        for name in (
            "4d_causal_nonpad_negative_offset_structural_empty",
            "4d_causal_nonpad_negative_offset_structural_empty_expanded",
            "4d_with_past_and_present_qk_matmul_bias_3d_mask_causal_expanded",
            "4d_with_past_and_present_qk_matmul_bias_4d_mask_causal_expanded",
            "causal_boolmask_nan_robustness",
            "causal_boolmask_nan_robustness_expanded",
        )
    },
    "openvino": {
        f"test_dynamicquantizelinear{form}": "its CPU plugin divides by the reciprocal, and -127.49999 becomes -127.5"
        for form in ("", "_expanded")
    },
}
"""{target: {case: why the check alone can refuse it}}."""

HEADER = (
    "# Expected outcome of every eligible case of the ONNX conformance suite: name | as shipped | inputs but the first constant\n"
    "# Made by `python tools/backend_suite.py --target {target} --update`; review the difference.\n"
)

Outcomes = dict[str, dict[str, tuple[str, str]]]


def file_of(target: str) -> Path:
    """The reviewed file of `target`."""
    return Path(__file__).resolve().parent / "outcomes" / f"{target}.txt"


def read(path: Path) -> Outcomes:
    """{case: {mode: (kind, why)}}."""
    found: Outcomes = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        if line and not line.startswith("#"):
            name, *cells = (cell.strip() for cell in line.split(" | "))
            found[name] = {mode: _split(cell) for mode, cell in zip(MODES, cells, strict=True)}
    return found


def _split(cell: str) -> tuple[str, str]:
    kind, _, why = cell.partition(": ")
    return kind, why


def write(target: str, outcomes: Mapping[str, Mapping[str, tuple[str, str]]], *, partial: bool) -> None:
    """Write the file of `target`; with `partial`, cases that were not run keep their line."""
    path = file_of(target)
    merged = read(path) if partial else {}
    for name, by_mode in outcomes.items():
        merged[name] = {**merged.get(name, {}), **by_mode}
    lines = [
        " | ".join([name, *(_cell(by_mode.get(mode, ("unknown", ""))) for mode in MODES)])
        for name, by_mode in sorted(merged.items())
    ]
    path.write_text(HEADER.format(target=target) + "\n".join(lines) + "\n")


def _cell(outcome: tuple[str, str]) -> str:
    kind, why = outcome
    return f"{kind}: {why.replace(' | ', ' / ')}" if why else kind
