"""`graphrewrite bisect`: which pass, and which rewrite of it, made the outputs wrong."""

from __future__ import annotations

import argparse
import json
import shlex
from typing import TYPE_CHECKING

from graphrewrite.cli.flags import (
    OF_SOURCE,
    add_model,
    add_pipeline,
    add_samples,
    passes_of,
    repeated,
    source_options,
    target_options,
)
from graphrewrite.cli.progress import stages

if TYPE_CHECKING:
    from graphrewrite.bisection import Bisection

HELP = "find the pass, and the rewrite in it, that made the outputs wrong"
DESCRIPTION = """\
Convert the model, check the file, and where it differs search for the reason: the graph after any pass, and in the
middle of one, still runs in ONNX Runtime, so the first wrong state is found by halving, and the rewrite that led to
it is named with the node of the source it was made at. Where every state is right, the file or the runtime is to
blame, and the first value that differs inside the file is named.

  graphrewrite bisect model.onnx
  graphrewrite bisect model.onnx --passes default,my.py --samples inputs.npz

Exit code 0: there is an answer, also where nothing is wrong.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_model(parser)
    add_pipeline(parser)
    add_samples(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Search and print the answer."""
    from graphrewrite.bisection import bisect

    with stages() as progress:
        found = bisect(
            arguments.model,
            arguments.target,
            passes_of(arguments),
            **target_options(arguments),
            **source_options(arguments),
            samples=arguments.samples,
            seed=arguments.seed,
            progress=progress,
        )
    commands = _commands(found, arguments)
    if arguments.json:
        print(json.dumps({"schema": 1, **found.to_json(), "commands": commands}, indent=2))
    else:
        print("\n".join(_lines(found, commands)))
    return 0


def _commands(found: Bisection, arguments: argparse.Namespace) -> list[str]:
    """Commands that show the last right state and the first wrong one, and compare the latter with the source."""
    from graphrewrite.bisection import Guilt

    model = shlex.quote(arguments.model)
    if found.guilt is Guilt.NOTHING:
        return []
    if found.guilt is Guilt.FILE:
        return [f"graphrewrite run {model}{repeated(arguments)}"]
    files = ("before.onnx", "after.onnx")
    commands = [
        f"graphrewrite run {model}{repeated(arguments)} --stop-after {stop} -o {file}"
        for stop, file in zip(found.stops, files, strict=False)
    ]
    if len(found.stops) == 1:  # it breaks on the way: this is the state before
        return [*commands, f"graphrewrite run {model}{repeated(arguments)} --debug"]
    given = repeated(arguments, ("precision", *OF_SOURCE))
    return [*commands, f"graphrewrite verify {model} after.onnx{given} --per-value"]


def _lines(found: Bisection, commands: list[str]) -> list[str]:
    from graphrewrite.bisection import Guilt
    from graphrewrite.report.text import comparison_lines

    if found.guilt is Guilt.NOTHING:
        return ["nothing to find: the file matches the original"]
    if found.guilt is Guilt.FILE:
        head = [
            "every state of the graph matches the original, the file does not: the writer or the runtime is to blame"
        ]
    else:
        head = [
            f"{found.index:03} {' or '.join(found.passes)} {'breaks' if len(found.stops) == 1 else 'makes the graph wrong'}"
        ]
    for item in found.rewrites[:10]:
        head.append(f"  rewrite {item.index + 1} of {found.total or '?'}: {item.rule} at '{item.root}'")
    if len(found.rewrites) > 10:
        head.append(f"  and {len(found.rewrites) - 10} more that are done together with these")
    lines = [*head, f"  {found.problem}"]
    if found.value is not None:
        lines += [
            "the first value that it changes:"
            if found.rewrites
            else "the first value that differs in the file:",
            *comparison_lines([found.value.to_json()]),
        ]
    return [*lines, *(["to see it:"] if commands else []), *(f"  {item}" for item in commands)]
