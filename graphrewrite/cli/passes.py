"""`graphrewrite passes`: the passes there are, and what one of them does."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from graphrewrite.cli.flags import passes_of

if TYPE_CHECKING:
    from graphrewrite.pipeline import Pass

HELP = "list the passes in the order they run, or show one"
DESCRIPTION = """\
List the passes of a pipeline in the order they run, with those that are not part of it after them; or show one
pass: what it does, before and after, its options and what it promises.

  graphrewrite passes                                   all of them
  graphrewrite passes fuse-activations                  one of them
  graphrewrite passes --passes default,my.py:Shrink     where a pass of your own would run
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("name", nargs="?", metavar="PASS", help="the pass to show")
    parser.add_argument(
        "--target", default="tflite", metavar="NAME", help="the pipeline's target (default: tflite)"
    )
    parser.add_argument(
        "--passes", action="append", metavar="SPEC", help="a pipeline other than the default one"
    )


def execute(arguments: argparse.Namespace) -> int:
    """Print the list or the pass."""
    from graphrewrite.pipeline import build, known_passes, pass_name
    from graphrewrite.targets.base import target

    chosen_target = target(arguments.target)
    chosen = build(passes_of(arguments), chosen_target.name, chosen_target.options)
    names = {item.name for item in chosen}
    others = [cls for name, cls in known_passes().items() if name not in names]
    classes = [(type(item), True) for item in chosen] + [(cls, False) for cls in others]
    if arguments.name is not None:
        classes = [(cls, used) for cls, used in classes if pass_name(cls) == arguments.name]
        if not classes:
            raise _unknown(arguments.name)
    facts = [_facts(cls, used) for cls, used in classes]
    if arguments.json:
        print(json.dumps({"schema": 1, "target": arguments.target, "passes": facts}, indent=2))
    elif arguments.name is not None:
        print("\n".join(_page(facts[0])))
    else:
        print("\n".join(_table(facts)))
    return 0


def _unknown(name: str) -> Exception:
    import difflib

    from graphrewrite.errors import UsageError
    from graphrewrite.pipeline import known_passes

    close = difflib.get_close_matches(name, known_passes(), n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else "`graphrewrite passes` lists them"
    return UsageError(f"unknown pass '{name}'; {hint}")


def _facts(cls: type[Pass], used: bool) -> dict[str, Any]:
    import inspect

    from graphrewrite.pipeline import pass_name

    text = inspect.getdoc(cls) or ""
    return {
        "name": pass_name(cls),
        "summary": text.split("\n")[0],
        "in_pipeline": used,
        "stage": cls.stage.name.lower(),
        "label": cls.label.value,
        "default": cls.default,
        "mandatory": cls.mandatory,
        "after": list(cls.after),
        "targets": None if cls.targets is None else sorted(cls.targets),
        "options": _options(cls),
        "documentation": text,
    }


def _options(cls: type[Pass]) -> list[dict[str, Any]]:
    import dataclasses

    if not dataclasses.is_dataclass(cls):
        return []
    return [
        {
            "name": field.name,
            "type": field.type if isinstance(field.type, str) else field.type.__name__,
            "default": None if field.default is dataclasses.MISSING else field.default,
        }
        for field in dataclasses.fields(cls)
    ]


def _table(facts: list[dict[str, Any]]) -> list[str]:
    width = max(len(item["name"]) for item in facts)
    lines: list[str] = []
    stage = ""
    for item in facts:
        heading = item["stage"] if item["in_pipeline"] else "not in this pipeline"
        if heading != stage:
            stage = heading
            lines += ["", stage] if lines else [stage]
        marks = [] if item["label"] == "exact" else [item["label"]]
        marks += ["always runs"] if item["mandatory"] else []
        lines.append(
            f"  {item['name']:<{width}}  {item['summary']}" + (f" ({', '.join(marks)})" if marks else "")
        )
    return lines


def _page(item: dict[str, Any]) -> list[str]:
    lines = [item["name"], "", item["documentation"], ""]
    lines.append(f"label:    {item['label']}")
    when = "always" if item["mandatory"] else "by default" if item["default"] else "when asked for"
    lines.append(f"runs:     {when}, in the stage {item['stage']}")
    if item["after"]:
        lines.append(f"after:    {', '.join(item['after'])}")
    if item["targets"] is not None:
        lines.append(f"targets:  {', '.join(item['targets'])}")
    for option in item["options"]:
        lines.append(f"option:   {option['name']} ({option['type']}), default {option['default']!r}")
    if item["options"]:
        first = item["options"][0]
        lines.append(f"example:  --passes 'default,{item['name']}{{{first['name']}={first['default']}}}'")
    return lines
