"""`graphrewrite ops`: which ONNX operators each target takes, read from the op rows."""

from __future__ import annotations

import argparse
import inspect
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graphrewrite.registry import OpRow

HELP = "show which ONNX operators each target takes"
DESCRIPTION = """\
Show how each ONNX operator reaches each target, and which forms of it are refused.

  lowered     written directly in the target's operators
  read        by the target, which reads ONNX itself; where it refuses a form, as below
  expanded    through simpler ONNX operators
  function    through the body that the ONNX specification gives
  refused     the target has no exact form; the reason follows
  -           not implemented

  graphrewrite ops            the table
  graphrewrite ops Resize     one operator in full
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("name", nargs="?", metavar="OP", help="the operator to show")


def execute(arguments: argparse.Namespace) -> int:
    """Print the table or the operator."""
    from graphrewrite.errors import UsageError
    from graphrewrite.registry.rows import rows
    from graphrewrite.targets.base import BUNDLED, target

    known = rows()
    targets = sorted({*BUNDLED, *(name for row in known.values() for name in row.lowerings)})
    readers = {name for name in BUNDLED if target(name).reads_onnx}
    names = _names(known)
    if arguments.name is not None:
        if arguments.name not in names:
            raise UsageError(f"ONNX has no operator '{arguments.name}'{_suggest(arguments.name, names)}")
        names = [arguments.name]
    facts = [_facts(name, known.get(name), targets, readers) for name in names]
    if arguments.json:
        print(json.dumps({"schema": 1, "targets": targets, "ops": facts}, indent=2))
    elif arguments.name is not None:
        print("\n".join(_page(facts[0], targets)))
    else:
        print("\n".join(_table(facts, targets)))
    return 0


def _names(known: dict[str, OpRow]) -> list[str]:
    import onnx.defs

    standard = {item.name for item in onnx.defs.get_all_schemas() if item.domain == ""}
    return sorted(standard | known.keys())


def _suggest(name: str, names: list[str]) -> str:
    import difflib

    folded = {item.lower(): item for item in names}
    close = [folded[item] for item in difflib.get_close_matches(name.lower(), folded, n=3)]
    return f"; did you mean {' or '.join(close)}?" if close else "; `graphrewrite ops` lists them"


def _facts(name: str, row: OpRow | None, targets: list[str], readers: set[str]) -> dict[str, Any]:
    return {
        "op": name,
        "targets": {target: _way(name, row, target, reads=target in readers) for target in targets},
        "expansion": _documentation(row.expansion) if row is not None and row.expansion else None,
        "older_spellings": [before for before, _ in row.upgrades] if row is not None else [],
    }


def _way(name: str, row: OpRow | None, target: str, *, reads: bool) -> dict[str, Any]:
    """How `name` reaches `target`, in the order in which lowering tries the ways."""
    from graphrewrite.ir import schema

    refused = row.refusals.get(target) if row is not None else None
    definition = schema(name)
    way = "-"
    if row is not None and target in row.lowerings:
        way = "lowered"
    elif reads and refused is None and definition is not None:
        way = "read"
    elif row is not None and row.expansion is not None:
        way = "expanded"
    elif definition is not None and (definition.has_function or definition.has_context_dependent_function):
        way = "function"
    elif refused is not None:
        way = "refused"
    return {
        "way": way,
        "note": row.notes.get(target, "") if row is not None else "",
        "reason": refused[0] if refused is not None and way == "refused" else "",
        "hint": refused[1] if refused is not None and way == "refused" else "",
        "documentation": _documentation(row.lowerings[target])
        if row is not None and way == "lowered"
        else "",
    }


def _documentation(function: Any) -> str:
    return inspect.getdoc(function) or ""


def _table(facts: list[dict[str, Any]], targets: list[str]) -> list[str]:
    width = max(len(item["op"]) for item in facts)
    lines = [f"{'op':<{width}}  " + "  ".join(f"{target:<10}" for target in targets)]
    for item in facts:
        ways = "  ".join(f"{item['targets'][target]['way']:<10}" for target in targets)
        notes = [text for way in item["targets"].values() if (text := way["note"] or way["reason"])]
        lines.append(f"{item['op']:<{width}}  {ways}  {'; '.join(notes)}".rstrip())
    for target in targets:
        reached = sum(item["targets"][target]["way"] not in ("-", "refused") for item in facts)
        lines.append(f"{target}: {reached} of {len(facts)} operators")
    return lines


def _page(item: dict[str, Any], targets: list[str]) -> list[str]:
    lines = [item["op"]]
    for target in targets:
        way = item["targets"][target]
        lines += ["", f"{target}: {way['way']}"]
        lines += [f"  {line}" for line in way["documentation"].splitlines()]
        lines += [f"  not taken: {way['note']}"] if way["note"] else []
        lines += [f"  because {way['reason']}"] if way["reason"] else []
        lines += [f"  try: {way['hint']}"] if way["hint"] else []
    if item["expansion"]:
        lines += ["", "expansion:", *(f"  {line}" for line in item["expansion"].splitlines())]
    if item["older_spellings"]:
        older = ", ".join(str(version) for version in item["older_spellings"])
        lines += ["", f"spellings of opsets before {older} are read, too"]
    return lines
