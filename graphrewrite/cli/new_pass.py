"""`graphrewrite new-pass`: the files that a pass of one's own starts with."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from graphrewrite.cli import skeleton

HELP = "write the skeleton of a pass of your own, with its test"
DESCRIPTION = """\
Write a pass that works, NAME in snake case: its file, a test that passes, and a line in PASSES.md. Replace its picture,
its pattern and the models of its test by yours.

  graphrewrite new-pass fuse-my-pattern
  pytest test_fuse_my_pattern.py
  graphrewrite run model.onnx --passes default,fuse_my_pattern.py
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("name", metavar="NAME", help="name of the pass, in kebab-case")
    parser.add_argument(
        "--stage",
        choices=["canonicalize", "generative", "fuse"],
        default="fuse",
        help="when it runs (default: fuse)",
    )
    parser.add_argument(
        "--folder", type=Path, default=Path(), help="where to write (default: the current folder)"
    )


def execute(arguments: argparse.Namespace) -> int:
    """Write the files and say what comes next."""
    from graphrewrite.errors import UsageError
    from graphrewrite.pipeline import known_passes

    name, folder = arguments.name, arguments.folder
    try:
        module = skeleton.module_name(name)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if name in known_passes():
        raise UsageError(
            f"there is a pass '{name}' in {known_passes()[name].__module__}: choose another name"
        )
    files = {
        folder / f"{module}.py": skeleton.pass_text(name, arguments.stage.upper()),
        folder / f"test_{module}.py": skeleton.test_text(name),
    }
    try:
        skeleton.write_new(files)
    except FileExistsError as error:
        raise UsageError(str(error)) from error
    page = folder / "PASSES.md"
    before = page.read_text(encoding="utf-8") if page.exists() else "# Passes\n\n"
    page.write_text(f"{before}- [`{name}`]({module}.py): {skeleton.SUMMARY}\n", encoding="utf-8")
    written = [str(path) for path in [*files, page]]
    if arguments.json:
        print(json.dumps({"schema": 1, "files": written}, indent=2))
        return 0
    print("\n".join(f"wrote {path}" for path in written))
    print(f"next: pytest {folder / f'test_{module}.py'}")
    print("to have it found without naming its file, install it with these lines in its pyproject.toml:")
    print(f'  [project.entry-points."graphrewrite.passes"]\n  {name} = "{module}"')
    return 0
