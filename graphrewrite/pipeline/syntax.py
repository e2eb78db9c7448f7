"""The syntax of things with options, `name{option=value,...}`: passes and targets, whose dataclass fields are the options."""

from __future__ import annotations

import ast
import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from graphrewrite.errors import UsageError

T = TypeVar("T")


def split_items(text: str, what: str = "pass specification") -> list[str]:
    """`text` split at the commas that stand in no bracket; empty parts are dropped.

    Raises:
        UsageError: a bracket is not closed, or closed twice.
    """
    out: list[str] = []
    depth, start = 0, 0
    for index, char in enumerate(text + ","):
        depth += (char in "{[(") - (char in "}])")
        if depth < 0:
            break
        if char == "," and depth == 0:
            out.append(text[start:index].strip())
            start = index + 1
    if depth != 0:
        raise UsageError(f"unbalanced braces in the {what} '{text}'")
    return [part for part in out if part]


def split_options(item: str) -> tuple[str, dict[str, Any]]:
    """`name{a=1,b=two}` as the name and its options; values are Python literals, true, false, or words.

    Raises:
        UsageError: an option is not written name=value.
    """
    head, _, rest = item.partition("{")
    options: dict[str, Any] = {}
    for part in split_items(rest.removesuffix("}")):
        key, equals, raw = part.partition("=")
        if not equals:
            raise UsageError(f"an option is written name=value, not '{part}'")
        options[key.strip()] = _value(raw.strip())
    return head.strip(), options


def option_names(kind: Any) -> set[str]:
    """The options of a dataclass, or of an instance of one; none where it is no dataclass."""
    return {field.name for field in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else set()


def make(what: str, kind: Any, build: Callable[..., T], options: Mapping[str, Any]) -> T:
    """`build(**options)`; `kind` is the dataclass that has them, `what` names it for the reader.

    Raises:
        UsageError: an option that it does not have, or a value that it refuses.
    """
    fields = option_names(kind)
    unknown = sorted(options.keys() - fields)
    if unknown:
        known = f"it has {', '.join(sorted(fields))}" if fields else "it has none"
        raise UsageError(f"{what} has no option '{unknown[0]}'; {known}")
    try:
        return build(**options)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{what}: {error}") from None


def describe_options(name: str, item: Any) -> str:
    """The text that builds `item` again: its name and the options that differ from the defaults."""
    options: dict[str, Any] = {}
    if dataclasses.is_dataclass(item):
        for field in dataclasses.fields(item):
            content = getattr(item, field.name)
            if content != field.default:
                options[field.name] = content
    text = ",".join(f"{key}={_written(content)}" for key, content in options.items())
    return f"{name}{{{text}}}" if text else name


def _written(content: Any) -> str:
    """Words stand for themselves; everything else, and a string that is more than a word, as Python writes it."""
    plain = isinstance(content, str) and re.fullmatch(r"[A-Za-z_][\w.-]*", content) is not None
    return content if plain and _value(content) == content else repr(content)


def _value(text: str) -> Any:
    """A Python literal, true or false, else the text itself."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return {"true": True, "false": False}.get(text.lower(), text)
