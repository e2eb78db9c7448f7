"""`graphrewrite verify`: run two files on the same inputs and compare every output, or every value inside."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from graphrewrite.cli.flags import add_samples, add_source, opening_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from graphrewrite.ir import Model
    from graphrewrite.numeric.check import CheckReport, Runner
    from graphrewrite.numeric.inputs import Sample
    from graphrewrite.numeric.metrics import Comparison, Tolerance
    from graphrewrite.numeric.original import Original
    from graphrewrite.numeric.reference import Reference

HELP = "compare two files on the same inputs"
DESCRIPTION = """\
Run an ONNX model and a second one, a target's or .onnx, on the same inputs and compare every output, by name. The
file may come from anywhere. Exit code 0 where the outputs agree, 4 where they differ.

  graphrewrite verify model.onnx model.tflite
  graphrewrite verify model.onnx model.tflite --per-value
  graphrewrite verify model.onnx repro/model/rejected.tflite --samples repro/model/samples.npz

With --per-value also what lies between: each value in the file that bears the name of one of the original's is
compared with it, in the order in which the original computes them, so that the first line is where to look. Values
stored channels last are turned back; those that passes have fused into others are not there any more.
"""
_SHOWN = 20
"""Values that differ, printed before the rest are counted."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("model", metavar="ORIGINAL", help="the ONNX model to be compared with")
    parser.add_argument("candidate", metavar="FILE", help="the model to judge: .tflite, .onnx, ...")
    parser.add_argument(
        "--per-value",
        action="store_true",
        help="compare the values inside as well, the first difference first",
    )
    parser.add_argument(
        "--precision",
        choices=("fp32", "fp16"),
        default="fp32",
        help="what float32 outputs are held to: 80 dB (fp32, the default), or 40 dB for a file of float16",
    )
    add_samples(parser)
    add_source(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Run both and compare."""
    from graphrewrite.errors import OutputsDiffer
    from graphrewrite.numeric.metrics import FP16, FP32
    from graphrewrite.numeric.noise import NoisePlan
    from graphrewrite.numeric.original import feeder

    path = Path(arguments.candidate)
    original, model = _original(arguments)
    runners = _runners(path)
    _refuse_noise(arguments.model, original.open())
    plan = NoisePlan((), {}, {}, {})
    tolerance = FP16 if arguments.precision == "fp16" else FP32
    verdict = original.compare(model, plan, runners, tolerance=tolerance)
    values = _values(original, feeder(plan, model), path, verdict, tolerance) if arguments.per_value else None
    if arguments.json:
        inside = {} if values is None else {"values": [item.to_json() for item in values]}
        print(json.dumps({"schema": 1, "check": verdict.to_json(), **inside}, indent=2))
    else:
        print("\n".join(_lines(original, verdict, values)))
    if verdict.passed:
        return 0
    if arguments.json:  # the document above says everything
        return OutputsDiffer.exit_code
    count = sum(not item.passed for item in verdict.outputs)
    raise OutputsDiffer(
        f"{count} of {len(verdict.outputs)} outputs differ ({verdict.failing_runner}, sample {verdict.failing_sample})"
    )


def _lines(original: Original, verdict: CheckReport, values: Sequence[Comparison] | None) -> list[str]:
    from graphrewrite.report.text import comparison_lines, weak_lines

    found = verdict.to_json()
    lines = [*comparison_lines(found["outputs"]), *weak_lines(found)]
    if values is None:
        return lines
    wrong = [item for item in values if not item.passed]
    if not values:
        return [*lines, "no value inside the file bears the name of one of the original's"]
    if not wrong:
        return [*lines, f"all {len(values)} values inside that have a name in the original are right"]
    lines.append(
        f"{len(wrong)} of {len(values)} values inside differ, the first is written by {original.computed()[wrong[0].name]}:"
    )
    lines += comparison_lines([item.to_json() for item in wrong[:_SHOWN]])
    return [*lines, *([f"  and {len(wrong) - _SHOWN} after these"] if len(wrong) > _SHOWN else [])]


def _original(arguments: argparse.Namespace) -> tuple[Original, Model]:
    """The original with its samples, and the graph whose ends are those that the file should have."""
    from graphrewrite.pipeline import Stage, build, run_pipeline

    opening = opening_of(arguments)
    original, model = opening.begin(arguments.model)
    run_pipeline(model, [item for item in build("none", "tflite") if item.stage == Stage.IMPORT])
    original.draw(model, arguments.samples, arguments.seed)
    opening.arrange(model)
    return original, model


def _runners(path: Path) -> Mapping[str, Runner]:
    from graphrewrite.errors import UsageError
    from graphrewrite.targets.base import target_of

    if not path.exists():
        raise UsageError(f"there is no file '{path}'")
    if path.suffix == ".onnx":
        return {"onnxruntime": _onnx_runner(path, None)}
    found = target_of(path)
    found.require()
    return found.runners(path)


def _onnx_runner(path: Path, outputs: Sequence[str] | None) -> Runner:
    from graphrewrite.numeric.reference import open_reference

    other = open_reference(path, extra_outputs=outputs or ())
    return lambda sample: other.run({name: sample[name] for name in other.inputs}, outputs)


def _values(
    original: Original,
    feed: Callable[[Sample], Sample],
    path: Path,
    verdict: CheckReport,
    tolerance: Tolerance,
) -> list[Comparison]:
    """The values inside, on the sample and in the runner that showed a mismatch, or the first ones."""
    import onnx

    from graphrewrite.numeric.values import compare_values
    from graphrewrite.targets.base import target_of

    sample = original.samples[max(verdict.failing_sample, 0)]
    if path.suffix == ".onnx":
        nodes = onnx.load(path, load_external_data=False).graph.node
        names = [name for node in nodes for name in node.output if name]
        return compare_values(
            original, lambda asked: _onnx_runner(path, asked), names, sample=sample, feed=feed
        )
    target = target_of(path)

    def probe(asked: Sequence[str]) -> Runner:
        found = target.probes(path, asked)
        return found.get(verdict.failing_runner) or next(iter(found.values()))

    return compare_values(
        original,
        probe,
        target.values(path, original.computed()),
        sample=sample,
        feed=feed,
        tolerance=tolerance,
    )


def _refuse_noise(path: str, reference: Reference) -> None:
    from graphrewrite.errors import NotChecked

    if reference.noise:
        names = ", ".join(f"'{name}'" for name in reference.noise[:5])
        raise NotChecked(
            f"'{path}' draws random numbers ({names}), so two runs of it differ: convert it with `graphrewrite run`, which "
            "feeds both sides the same noise, or with the pass noise-policy"
        )
