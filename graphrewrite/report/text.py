"""The report of a run for people: what was written, how far it is from the original, and what the passes did."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from graphrewrite.ir import Model, source_name, value_type
from graphrewrite.layout.report import weighed_transposes

if TYPE_CHECKING:
    from graphrewrite.api import Result

_OPERATORS = 12
"""Operators listed before the rest are summed up."""
_HAZARDS = 10
"""Values near float16's limits listed, the worst first."""
_WEAK = 5
"""Outputs listed of which the check proves little."""
_TRANSPOSES = 5
"""Transposes listed, the heaviest first."""


def report_lines(result: Result) -> list[str]:
    """The whole report of a run."""
    report = result.report
    return [
        *_file_lines(report),
        *_check_lines(report),
        *_half_lines(report["half"]),
        *graph_report_lines(report, result.model),
    ]


def graph_report_lines(report: Mapping[str, Any], model: Model) -> list[str]:
    """What the passes did and what is left of it in the graph; the part that needs no written file."""
    return [
        *_operator_lines(report["details"]),
        *_pass_lines(report["passes"]),
        *_transpose_lines(model),
        *_note_lines(report["notes"]),
    ]


def size_text(count: int) -> str:
    """`34.1 MB`: bytes in the unit that a file manager shows."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} bytes"


def _file_lines(report: Mapping[str, Any]) -> list[str]:
    if report["path"] is None:
        return []
    size = f"  {size_text(report['size'])}" if report["size"] is not None else ""
    lines = [f"wrote {report['path']}{size}"]
    for kind in ("inputs", "outputs"):
        for value in report[kind]:
            ranges = value.get("ranges", {})
            sizes = (_dimension(dim, ranges) for dim in value["shape"] or ())
            shape = "?" if value["shape"] is None else ",".join(sizes)
            lines.append(f"  {kind[:-1]:<6} {value['name']}: {value['dtype']}[{shape}]{_image(value)}")
    return lines + _metadata_lines(report["details"])


def _image(value: Mapping[str, Any]) -> str:
    """What of a picture goes in, where one does."""
    image = value.get("image")
    if image is None:
        return ""
    return (
        f", an image ({image['color']})"
        if image["feature"]
        else f", the pixels of an image ({image['color']})"
    )


def _metadata_lines(details: Mapping[str, Any]) -> list[str]:
    """What the file says of itself, and what it has no place for."""
    lines = []
    classifier, metadata = details.get("classifier"), details.get("metadata")
    if classifier is not None:
        lines.append(
            f"  classifier of {classifier['classes']} classes: '{classifier['scores']}' holds the scores by label, "
            f"'{classifier['label']}' the label of the largest"
        )
    if metadata is not None:
        lines.append(f"  says of itself: {', '.join(metadata['kept']) or 'nothing'}")
        if metadata["left_out"]:
            lines.append(f"  has no place for: {', '.join(metadata['left_out'])}")
    return lines


def _dimension(dim: int | str | None, ranges: Mapping[str, str]) -> str:
    if dim is None:
        return "?"
    return f"{dim}:{ranges[dim]}" if isinstance(dim, str) and dim in ranges else str(dim)


def _check_lines(report: Mapping[str, Any]) -> list[str]:
    found = report["check"]
    if found is None:
        return [f"NOT CHECKED: {report['unchecked']}"] if report["unchecked"] else []
    plural = "" if found["samples"] == 1 else "s"
    verdict = "matches the original" if found["passed"] else "DIFFERS from the original"
    lines = [f"{verdict} on {found['samples']} sample{plural} ({', '.join(found['runners'])})"]
    return [*lines, *comparison_lines(found["outputs"]), *weak_lines(found)]


def weak_lines(check: Mapping[str, Any]) -> list[str]:
    """Outputs of which the samples prove little, and what helps."""
    weak: Mapping[str, str] = check["weak"]
    if not weak:
        return []
    lines = [f"  '{name}': {why}" for name, why in list(weak.items())[:_WEAK]]
    if len(weak) > _WEAK:
        lines.append(f"  and {len(weak) - _WEAK} more")
    return ["the check proves little here; inputs of the real kind do better (--samples FILE.npz)", *lines]


def comparison_lines(outputs: Sequence[Mapping[str, Any]]) -> list[str]:
    """One line an output: its errors, or what is wrong with it."""
    width = max((len(item["name"]) for item in outputs), default=0)
    return [f"  {item['name']:<{width}}  {_comparison(item)}" for item in outputs]


def _comparison(item: Mapping[str, Any]) -> str:
    sqnr, distance = float(item["sqnr"]), float(item["max_abs"])
    if item["passed"] and distance == 0:
        return "equal"
    numbers = f"SQNR {sqnr:.1f} dB" if math.isfinite(sqnr) else ""
    if math.isfinite(distance):
        numbers += f"{', ' if numbers else ''}max abs {distance:.3g} of {float(item['ref_max']):.3g}"
    if item["passed"]:
        return numbers
    return f"{item['problem']}{f' ({numbers})' if numbers else ''}"


def _half_lines(found: Mapping[str, Any] | None) -> list[str]:
    """What float16 can't hold, the worst first."""
    if found is None:
        return []
    if found["problem"]:
        return [f"float16 ranges are unknown: {found['problem']}"]
    return _hazard_lines(found) + _rounding_lines(found["rounding"])


def _rounding_lines(found: Mapping[str, Any] | None) -> list[str]:
    """Why nodes compute in float32 though nothing is out of range, and which."""
    if found is None:
        return []
    lines = [
        f"rounding: {found['sqnr']:.1f} dB, {found['needed']:g} needed; {found['kept']} of {found['total']} nodes compute in "
        "float32"
    ]
    lines += [f"  '{name}'" for name in found["nodes"][:_HAZARDS]]
    if len(found["nodes"]) > _HAZARDS:
        lines.append(f"  and {len(found['nodes']) - _HAZARDS} more")
    return lines


def _hazard_lines(found: Mapping[str, Any]) -> list[str]:
    hazards = found["hazards"]
    if not hazards:
        return ["every value and sum fits well into float16"]
    lines = [
        f"{len(hazards)} values or sums are near float16's limits or beyond them, and {len(found['kept'])} nodes must "
        "compute in float32 for it"
    ]
    for item in hazards[:_HAZARDS]:
        lines.append(
            f"  {item['op']} '{item['node']}': {item['reason']}{'' if item['kept'] else ' (told only)'}"
        )
    if len(hazards) > _HAZARDS:
        lines.append(f"  and {len(hazards) - _HAZARDS} more")
    return lines


def _operator_lines(details: Mapping[str, Any]) -> list[str]:
    operators: Mapping[str, int] = details.get("operators", {})
    if not operators:
        return []
    ranked = sorted(operators.items(), key=lambda item: (-item[1], item[0]))
    shown = [f"{count} {name.rpartition('.')[2]}" for name, count in ranked[:_OPERATORS]]
    if len(ranked) > _OPERATORS:
        shown.append(f"{sum(count for _, count in ranked[_OPERATORS:])} others")
    lines = [f"{sum(operators.values())} operators: {', '.join(shown)}"]
    if "partitions" in details:
        outside = details.get("outside_xnnpack", {})
        left = ", ".join(f"{count} {name}" for name, count in outside.items())
        lines.append(
            f"XNNPACK partitions: {details['partitions']}"
            + (f"; outside them: {left}" if left else ", every operator in them")
        )
    return lines


def _pass_lines(passes: Sequence[Mapping[str, Any]]) -> list[str]:
    acted = [item for item in passes if item["rewrites"] or item["nodes_before"] != item["nodes_after"]]
    if not acted:
        return []
    width = max(len(item["spec"]) for item in acted)
    lines = [f"{len(acted)} of {len(passes)} passes changed something"]
    for item in acted:
        undone = f"  ROLLED BACK: {item['rolled_back']}" if item["rolled_back"] else ""
        label = "" if item["label"] == "exact" else f"  {item['label']}"
        lines.append(
            f"  {item['spec']:<{width}}  {item['rewrites']:>5} rewrites  "
            f"{item['nodes_before']} -> {item['nodes_after']} nodes{label}{undone}"
        )
    return lines


def _transpose_lines(model: Model) -> list[str]:
    """The transposes that are left, the heaviest ones by source name."""
    weighed = weighed_transposes(model)
    if not weighed:
        return []
    plural = "" if len(weighed) == 1 else "s"
    lines = [f"{len(weighed)} transpose{plural} left, moving {size_text(sum(size for size, _ in weighed))}"]
    for size, node in weighed[:_TRANSPOSES]:
        lines.append(f"  {size_text(size):>9}  {value_type(node.outputs[0])} at '{source_name(node)}'")
    if len(weighed) > _TRANSPOSES:
        lines.append(f"  and {len(weighed) - _TRANSPOSES} smaller ones")
    return lines


def _note_lines(notes: Sequence[str]) -> list[str]:
    return [f"note: {note}" for note in notes]
