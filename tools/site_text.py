"""Docstrings as Markdown: prose, pictures as code, and the sections on arguments and errors as lists."""

from __future__ import annotations

import re

_SECTION = re.compile(r"(Args|Attributes|Returns|Raises|Yields):$")
_ENTRY = re.compile(r"(\*{0,2}[A-Za-z_][\w., ]*?): +(.*)$")


def prose(text: str) -> str:
    """`text` with what Markdown would take for markup escaped, outside of code."""
    parts = re.split(r"(`[^`]+`)", text)
    return "".join(
        part if index % 2 else re.sub(r"([*_<\[|~])", r"\\\1", part) for index, part in enumerate(parts)
    )


def cell(text: str) -> str:
    """Markdown for a cell of a table."""
    return text.replace("\n", " ").replace("\\|", "|").replace("|", "\\|")


def docstring(text: str) -> str:
    """A cleaned docstring (`inspect.getdoc`) as Markdown."""
    blocks: list[str] = []
    paragraphs = re.split(r"\n(?:[ \t]*\n)+", text.strip())
    section = ""
    for paragraph in paragraphs:
        lines = paragraph.split("\n")
        head = _SECTION.match(lines[0])
        if head:
            section = head[1]
            blocks.append(_section(section, lines[1:]))
        elif _is_picture(lines):
            _append_code(blocks, paragraph)
        else:
            blocks.append("\n".join(prose(line) for line in lines))
    return "\n\n".join(blocks)


def _is_picture(lines: list[str]) -> bool:
    return all(line.startswith((" ", "%", "--->", "@", "def ")) for line in lines)


def _append_code(blocks: list[str], text: str) -> None:
    """As a block of code, in one with the block before where that is code, too."""
    indent = min(len(line) - len(line.lstrip()) for line in text.split("\n"))
    body = "\n".join(line[indent:] for line in text.split("\n"))
    if blocks and blocks[-1].startswith("```text"):
        blocks[-1] = f"{blocks[-1].removesuffix('```')}\n{body}\n```"
    else:
        blocks.append(f"```text\n{body}\n```")


def _section(name: str, lines: list[str]) -> str:
    """A list of `name: text` entries, whose continuation lines are indented deeper; plain text otherwise."""
    entries: list[str] = []
    for line in lines:
        found = _ENTRY.match(line.strip())
        if found and name != "Returns" and len(line) - len(line.lstrip()) <= 4:
            entries.append(f"- `{found[1]}`: {prose(found[2])}")
        elif entries:
            entries[-1] += f" {prose(line.strip())}"
        else:
            entries.append(prose(line.strip()))
    title = {"Args": "Arguments"}.get(name, name)
    return f"**{title}**\n\n" + "\n".join(entries)
