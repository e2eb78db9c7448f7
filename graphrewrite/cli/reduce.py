"""`graphrewrite reduce`: the smallest part of a model that still fails."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from graphrewrite.cli.flags import (
    OF_PIPELINE,
    add_model,
    add_pipeline,
    add_samples,
    passes_of,
    repeated,
    target_options,
)
from graphrewrite.cli.progress import stages

if TYPE_CHECKING:
    from graphrewrite.reduction import Reduction

HELP = "cut a model down to the few nodes that still fail"
DESCRIPTION = """\
Find the smallest part of a model that still fails: by default its conversion, in the way in which the whole model
does (outputs that differ, a defect of graphrewrite, a runtime that gives up); with --check any command. What crosses
into the part that is left becomes an input, with the values that the whole model computes.

  graphrewrite reduce model.onnx                             writes model.reduced.onnx and model.reduced.npz
  graphrewrite reduce model.onnx --bundle report.zip         all that a bug report needs, without your weights
  graphrewrite reduce model.onnx --check 'python try.py {}'  it fails where the exit code is not 0
  graphrewrite reduce model.onnx --check 'python try.py {} {samples}'

The best model so far is always on disk, with what has been tried beside it: stop it when you like, and the same
command goes on from there. Exit code 0 where there is a reduced model.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_model(parser)
    add_pipeline(parser)
    add_samples(parser)
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="the reduced model (default: NAME.reduced.onnx, in this folder)",
    )
    parser.add_argument(
        "--check",
        metavar="COMMAND",
        help="what must go on failing: a shell command with {} for the model's path, and {samples} for its inputs",
    )
    bundle = parser.add_argument_group("a bug report")
    bundle.add_argument(
        "--bundle",
        metavar="FILE.zip",
        help="pack the reduced model, its inputs, versions, the report and the command; weights and inputs are random numbers",
    )
    bundle.add_argument(
        "--with-weights", action="store_true", help="pack the real weights and inputs instead"
    )


def execute(arguments: argparse.Namespace) -> int:
    """Reduce, pack, and say what is left."""
    from graphrewrite.cli.main import INTERRUPTED
    from graphrewrite.errors import UsageError
    from graphrewrite.reduction import reduce
    from graphrewrite.report.bundle import pack

    if arguments.image or arguments.normalize or arguments.io_layout:
        raise UsageError(
            "--image, --normalize and --io-layout belong to the ends of the whole model, which a part of it lacks: leave them out"
        )
    if arguments.with_weights and not arguments.bundle:
        raise UsageError("--with-weights says what goes into the --bundle: name one")
    output = Path(arguments.output or f"{Path(arguments.model).stem}.reduced.onnx")
    try:
        with stages() as progress:
            found = reduce(
                arguments.model,
                arguments.target,
                passes_of(arguments),
                output,
                command=arguments.check,
                **target_options(arguments),
                shape=arguments.shape,
                inputs=arguments.inputs,
                outputs=arguments.outputs,
                samples=arguments.samples,
                seed=arguments.seed,
                random_weights=bool(arguments.bundle) and not arguments.with_weights,
                progress=progress,
            )
    except KeyboardInterrupt:
        state = (
            "there is no smaller model yet" if not output.exists() else f"the best model so far is '{output}'"
        )
        print(
            f"graphrewrite reduce: interrupted; {state}; the same command goes on from here", file=sys.stderr
        )
        return INTERRUPTED
    command = _command(arguments, found)
    if arguments.bundle:
        pack(Path(arguments.bundle), found, _command(arguments, None), with_weights=arguments.with_weights)
    if arguments.json:
        print(json.dumps({"schema": 1, **_json(arguments, found), "command": command}, indent=2))
    else:
        print("\n".join(_lines(arguments, found, command)))
    return 0


def _command(arguments: argparse.Namespace, found: Reduction | None) -> str:
    """What shows the failure of the reduced model, or of the one in the bundle where none is given."""
    model, samples = ("model.onnx", "samples.npz") if found is None else (str(found.path), str(found.samples))
    if arguments.check is not None:
        text: str = arguments.check.replace("{}", shlex.quote(model)).replace(
            "{samples}", shlex.quote(samples)
        )
        return text
    given = repeated(arguments, OF_PIPELINE)
    return f"graphrewrite run {shlex.quote(model)} --samples {shlex.quote(samples)}{given}"


def _json(arguments: argparse.Namespace, found: Reduction) -> dict[str, object]:
    return {
        "path": str(found.path),
        "samples": str(found.samples),
        "nodes": found.nodes,
        "source_nodes": found.source_nodes,
        "checks": found.checks,
        "failure": found.failure,
        "bundle": arguments.bundle,
        "fails_with_random_weights": None
        if not arguments.bundle or arguments.with_weights
        else found.random_fails,
    }


def _lines(arguments: argparse.Namespace, found: Reduction, command: str) -> list[str]:
    lines = [
        f"wrote {found.path}  {found.nodes} of {found.source_nodes} nodes, after {found.checks} checks",
        *(f"  {line}" for line in found.failure.splitlines()[:10]),
        "to see it:",
        f"  {command}",
    ]
    if arguments.bundle:
        lines.append(f"wrote {arguments.bundle}")
        if not arguments.with_weights and not found.random_fails:
            lines.append(
                "  with the random numbers in it, it does NOT fail any more: only the structure of the model is there. "
                "--with-weights packs the real ones"
            )
    return lines
