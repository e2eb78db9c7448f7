"""`graphrewrite verify`: run two files on the same inputs and compare every output."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from graphrewrite.cli.flags import add_samples, add_shape

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx

    from graphrewrite.numeric.check import Runner
    from graphrewrite.numeric.inputs import Sample
    from graphrewrite.numeric.reference import Reference

HELP = "compare two files on the same inputs"
DESCRIPTION = """\
Run an ONNX model and a second one, a target's or .onnx, on the same inputs and compare every output, by name. The
file may come from anywhere. Exit code 0 where they agree, 4 where they differ.

  graphrewrite verify model.onnx model.tflite
  graphrewrite verify model.onnx repro/model/rejected.tflite --samples repro/model/samples.npz
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("model", metavar="ORIGINAL", help="the ONNX model to be compared with")
    parser.add_argument("candidate", metavar="FILE", help="the model to judge: .tflite, .onnx, ...")
    add_samples(parser)
    add_shape(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Run both and compare."""
    from graphrewrite.errors import OutputsDiffer
    from graphrewrite.numeric.check import check, margins
    from graphrewrite.numeric.reference import open_reference
    from graphrewrite.report.text import comparison_lines

    samples = _samples(arguments)
    runners = _runners(Path(arguments.candidate))
    margin = margins(_graph(arguments.model))
    reference = open_reference(
        arguments.model, extra_outputs=dict.fromkeys(item.scores for item in margin.values())
    )
    _refuse_noise(arguments.model, reference)
    verdict = check(
        reference, samples, runners, margin=margin, first_sample_only=frozenset(list(runners)[1:])
    )
    found = verdict.to_json()
    if arguments.json:
        print(json.dumps({"schema": 1, "check": found}, indent=2))
    else:
        print("\n".join(comparison_lines(found["outputs"])))
    if verdict.passed:
        return 0
    if arguments.json:  # the document above says everything
        return OutputsDiffer.exit_code
    count = sum(not item.passed for item in verdict.outputs)
    raise OutputsDiffer(
        f"{count} of {len(verdict.outputs)} outputs differ ({verdict.failing_runner}, sample {verdict.failing_sample})"
    )


def _graph(path: str) -> onnx.ModelProto:
    import onnx

    return onnx.load(path, load_external_data=False)


def _samples(arguments: argparse.Namespace) -> list[Sample]:
    """Samples for the original, which is read (and refused where it is none) on the way."""
    from graphrewrite.ir import load
    from graphrewrite.ir.inputs import parse_shapes, set_shapes
    from graphrewrite.numeric.inputs import load_samples, make_samples
    from graphrewrite.pipeline import Stage, build, run_pipeline

    model = load(arguments.model)
    set_shapes(model, parse_shapes(arguments.shape))
    run_pipeline(model, [item for item in build("none", "tflite") if item.stage == Stage.IMPORT])
    if arguments.samples is not None:
        return load_samples(arguments.samples, {value.name or "": value for value in model.graph.inputs})
    return make_samples(model.graph, seed=arguments.seed)


def _runners(path: Path) -> Mapping[str, Runner]:
    from graphrewrite.errors import UsageError
    from graphrewrite.numeric.reference import open_reference
    from graphrewrite.targets.base import target_of

    if not path.exists():
        raise UsageError(f"there is no file '{path}'")
    if path.suffix == ".onnx":
        other = open_reference(path)
        return {"onnxruntime": lambda sample: other.run({name: sample[name] for name in other.inputs})}
    found = target_of(path)
    found.require()
    return found.runners(path)


def _refuse_noise(path: str, reference: Reference) -> None:
    from graphrewrite.errors import NotChecked

    if reference.noise:
        names = ", ".join(f"'{name}'" for name in reference.noise[:5])
        raise NotChecked(
            f"'{path}' draws random numbers ({names}), so two runs of it differ: convert it with `graphrewrite run`, which "
            "feeds both sides the same noise, or with the pass noise-policy"
        )
