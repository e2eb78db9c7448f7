"""The reviewed file of expected outcomes: one line a case, `name | shipped | constants`.

An outcome is `right`, or a reason code with why. A case that gets better or worse fails until the file is updated
(`python tools/backend_suite.py --update`) and the difference reviewed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

MODES = ("shipped", "constants")
HEADER = (
    "# Expected outcome of every eligible case of the ONNX conformance suite: name | as shipped | inputs but the first constant\n"
    "# Made by `python tools/backend_suite.py --update`; review the difference.\n"
)

Outcomes = dict[str, dict[str, tuple[str, str]]]


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


def write(path: Path, outcomes: Mapping[str, Mapping[str, tuple[str, str]]], *, partial: bool) -> None:
    """Write the file; with `partial`, cases that were not run keep their line."""
    merged = read(path) if partial else {}
    for name, by_mode in outcomes.items():
        merged[name] = {**merged.get(name, {}), **by_mode}
    lines = [
        " | ".join([name, *(_cell(by_mode.get(mode, ("unknown", ""))) for mode in MODES)])
        for name, by_mode in sorted(merged.items())
    ]
    path.write_text(HEADER + "\n".join(lines) + "\n")


def _cell(outcome: tuple[str, str]) -> str:
    kind, why = outcome
    return f"{kind}: {why.replace(' | ', ' / ')}" if why else kind
