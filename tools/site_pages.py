"""The pages of the docs site: the guides as they are, and a reference generated from the code.

    python -m tools.site_pages      into build/site_src, from where mkdocs takes them; `tools/docs` does both

The folder is laid out as the repository is, so that links between pages stay what they are.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

from tools.site_api import api_page
from tools.site_text import cell, docstring, prose

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build" / "site_src"
"""`docs_dir` of mkdocs.yml."""

TARGETS = ("tflite", "coreml", "openvino")
SOURCES = ("README.md", "docs/**/*.md", "examples/*/README.md")
LINK = re.compile(r"(?<=\]\()([^)#\s:]+)(?=[)#])")

SAMPLE = """<ir_version: 9, opset_import: ["" : 17]>
g (float[1,3,8,8] x) => (float[1,3,8,8] y) <float one = {1.0}> {
  a = Add(x, one)
  y = Relu(a)
}"""


def write(folder: Path) -> None:
    """Make `folder` anew with every page of the site."""
    shutil.rmtree(folder, ignore_errors=True)
    for path in sources():
        _put(folder / path.relative_to(ROOT), _relinked(path, folder))
    for name, text in generated().items():
        _put(folder / name, text)


def sources() -> list[Path]:
    """The pages that are written by hand."""
    return sorted(path for pattern in SOURCES for path in ROOT.glob(pattern))


def generated() -> dict[str, str]:
    """The pages that are made from the code, by their place in the site."""
    return {
        **passes_pages(),
        "reference/ops.md": ops_page(),
        "reference/cli.md": cli_page(),
        "reference/api.md": api_page(),
        "reference/report.md": report_page(),
    }


def passes_pages() -> dict[str, str]:
    """An overview, and a page a stage: each pass with its picture of before and after, its options and its promise."""
    by_target = {name: _answer("passes", "--target", name)["passes"] for name in TARGETS}
    stages: dict[str, dict[str, Any]] = {}
    runs: dict[str, list[str]] = {}
    for target, facts in by_target.items():
        for item in facts:  # in the order in which they run
            stages.setdefault(item["stage"], {}).setdefault(item["name"], item)
            runs.setdefault(item["name"], []).extend([target] if item["in_pipeline"] else [])
    found = {"reference/passes/index.md": _overview(stages, runs)}
    for stage, passes in stages.items():
        text = [f"# Passes of the stage {stage}", ""]
        for item in passes.values():
            text += [f"## {item['name']}", "", docstring(item["documentation"]), "", *_promise(item)]
        found[f"reference/passes/{stage}.md"] = "\n".join(text)
    return found


def _overview(stages: Mapping[str, Mapping[str, Any]], runs: Mapping[str, list[str]]) -> str:
    lines = [
        "# Passes",
        "",
        "In the order of the default pipelines, with the targets that each pass runs for.",
        "",
    ]
    for stage, passes in stages.items():
        lines += [f"## {stage}", "", "| pass | what it does | runs by default for |", "|---|---|---|"]
        for name, item in passes.items():
            when = "all targets" if len(runs[name]) == len(TARGETS) else ", ".join(runs[name]) or "none"
            lines.append(f"| [{name}]({stage}.md#{name}) | {cell(prose(item['summary']))} | {when} |")
        lines.append("")
    return "\n".join(lines)


def _promise(item: Mapping[str, Any]) -> Iterator[str]:
    when = "always" if item["mandatory"] else "by default" if item["default"] else "when asked for"
    yield f"- label: {item['label']}"
    yield f"- runs: {when}"
    if item["after"]:
        yield f"- after: {', '.join(f'`{name}`' for name in item['after'])}"
    if item["targets"] is not None:
        yield f"- targets: {', '.join(item['targets'])}"
    for option in item["options"]:
        yield f"- option `{option['name']}` ({prose(option['type'])}), default `{option['default']!r}`"
    yield ""


def ops_page() -> str:
    """How each ONNX operator reaches each target, from the rows."""
    facts = _answer("ops")["ops"]
    told = {item["op"]: list(_told(item)) for item in facts}
    lines = ["# Operators", "", *_legend(facts), "", f"| operator | {' | '.join(TARGETS)} |"]
    lines.append("|---" * (len(TARGETS) + 1) + "|")
    for item in facts:
        name = f"[{item['op']}](#{item['op'].lower()})" if told[item["op"]] else item["op"]
        ways = [_way(item["targets"][target]) for target in TARGETS]
        lines.append(f"| {name} | {' | '.join(ways)} |")
    for name, text in told.items():
        lines += ["", f"## {name}", "", *text] if text else []
    return "\n".join([*lines, ""])


def _legend(facts: list[dict[str, Any]]) -> Iterator[str]:
    yield "- **lowered**: written directly in the target's operators"
    yield "- **read**: by the target, which reads ONNX itself"
    yield "- **expanded**: in simpler ONNX operators, **function**: through the body that the specification gives"
    yield "- **refused**: the target has no exact form, **-**: not implemented"
    yield "- *: not in every form; the operator's section says which are refused"
    yield ""
    for target in TARGETS:
        reached = sum(item["targets"][target]["way"] not in ("-", "refused") for item in facts)
        yield f"- {target}: {reached} of {len(facts)} operators"


def _way(way: Mapping[str, Any]) -> str:
    return f"{way['way']}{' *' if way['note'] else ''}"


def _told(item: Mapping[str, Any]) -> Iterator[str]:
    for target in TARGETS:
        way = item["targets"][target]
        notes = [
            docstring(way["documentation"]),
            f"Not taken: {prose(way['note'])}." if way["note"] else "",
            f"Because {prose(way['reason'])}." if way["reason"] else "",
            f"Instead: {prose(way['hint'])}." if way["hint"] else "",
        ]
        if any(notes):
            yield from (f"**{target}**, {way['way']}", "", "\n\n".join(filter(None, notes)), "")
    if item["expansion"]:
        yield from ("**expansion**", "", docstring(item["expansion"]), "")


def cli_page() -> str:
    """The help of every command, as argparse prints it."""
    from graphrewrite.cli.main import COMMANDS

    lines = ["# Command line", "", *_help([])]
    for command in COMMANDS:
        lines += [f"## graphrewrite {command}", "", *_help([command])]
    return "\n".join(lines)


def _help(command: list[str]) -> list[str]:
    with mock.patch.dict(os.environ, {"COLUMNS": "100"}):
        return ["```text", _printed([*command, "--help"]).rstrip(), "```", ""]


def report_page() -> str:
    """Every field of a real report, with its type."""
    import onnx
    import onnx.parser

    import graphrewrite

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(onnx.parser.parse_model(SAMPLE), path)
        report = graphrewrite.run(path, output=Path(folder) / "model.tflite").report
    report |= {"source": "model.onnx", "path": "model.tflite"}
    lines = ["# Fields of the report", "", "[The report](../docs/report.md) says what they mean.", ""]
    lines += ["| field | type | example |", "|---|---|---|"]
    for name, value in _fields(report, ""):
        example = "" if isinstance(value, dict | list) else f"`{cell(json.dumps(value))}`"
        lines.append(f"| `{name}` | {_json_type(value)} | {example} |")
    return "\n".join(
        [*lines, "", "## A whole report", "", "```json", json.dumps(report, indent=2), "```", ""]
    )


def _fields(content: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """Every member by its path; of a list, those of its first entry."""
    if isinstance(content, dict):
        for key, value in content.items():
            name = f"{prefix}.{key}" if prefix else key
            yield name, value
            yield from _fields(value, name)
    elif isinstance(content, list) and content:
        yield from _fields(content[0], f"{prefix}[]")


def _json_type(value: Any) -> str:
    names = {bool: "boolean", int: "number", float: "number", str: "string", list: "array", dict: "object"}
    return names.get(type(value), "null")


def _answer(*command: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_printed([*command, "--json"]))
    return found


def _printed(command: list[str]) -> str:
    from graphrewrite.cli.main import main

    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        code = main(command)
    if code:
        raise RuntimeError(f"graphrewrite {' '.join(command)} ended with {code}")
    return output.getvalue()


def _relinked(page: Path, folder: Path) -> str:
    return LINK.sub(lambda found: _linked(page, found[1], folder), page.read_text(encoding="utf-8"))


def _linked(page: Path, link: str, folder: Path) -> str:
    """`link` as the site has it: a folder's page, or a file of the repository, which is put where the link leads."""
    path = Path(os.path.normpath(page.parent / link))
    if not path.is_relative_to(ROOT) or not path.exists():
        return link
    if path.is_dir():
        return f"{link.rstrip('/')}/README.md"
    if path.suffix != ".md":
        place = folder / path.relative_to(ROOT)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)
    return link


def _put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(FOLDER)
    sys.exit(0)
