"""Pass specifications: `default`, `none`, `default,-fuse-gelu,my-pass{a=1}`, `my.py:Shrink`, `pipeline.toml`."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from graphrewrite.errors import UsageError
from graphrewrite.pipeline.discovery import PassClass, known_passes, user_passes
from graphrewrite.pipeline.passes import Pass, pass_name
from graphrewrite.pipeline.syntax import describe_options, make, option_names, split_items, split_options

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def build(spec: str | Sequence[str], target: str, options: Mapping[str, Any] | None = None) -> list[Pass]:
    """The ordered passes that `spec` means for `target`; mandatory ones are always included.

    `options` are the target's own: a pass for named targets with an option of the same name takes its value from there, unless
    `spec` gives it one.

    Raises:
        UsageError: an unknown pass or option, or passes whose `after` form a cycle.
    """
    inherited = options or {}
    chosen: dict[str, Pass] = {
        name: _instance(cls, {}, inherited)
        for name, cls in known_passes().items()
        if cls.mandatory and _applies(cls, target)
    }
    for item in _items(spec):
        if item == "none":
            continue
        if item == "default":
            for name, cls in known_passes().items():
                if cls.default and _applies(cls, target):
                    chosen.setdefault(name, _instance(cls, {}, inherited))
        elif item.startswith("-"):
            _remove(chosen, item[1:])
        else:
            for made in _make(item, inherited):
                if _applies(type(made), target):
                    chosen[made.name] = made
    return order(chosen.values())


def describe(item: Pass) -> str:
    """The specification that builds `item` again: its name and the options that differ from the defaults."""
    return describe_options(item.name, item)


def order(passes: Iterable[Pass]) -> list[Pass]:
    """Sort by stage, then so that `after` holds, then by name.

    Raises:
        UsageError: the declared order is a cycle.
    """
    left = sorted(passes, key=lambda item: (item.stage, item.name))
    names = {item.name: item.stage for item in left}
    done: set[str] = set()
    out: list[Pass] = []
    while left:
        for item in left:
            waits = [name for name in item.after if names.get(name) == item.stage and name not in done]
            if item.stage == left[0].stage and not waits:
                break
        else:
            raise UsageError(
                f"the order of these passes is a cycle: {', '.join(entry.name for entry in left)}"
            )
        left.remove(item)
        done.add(item.name)
        out.append(item)
    return out


def _applies(cls: PassClass, target: str) -> bool:
    return cls.targets is None or target in cls.targets


def _items(spec: str | Sequence[str], files: tuple[Path, ...] = ()) -> list[str]:
    """The single items of `spec`; `files` are the pipeline files that are being read."""
    if not isinstance(spec, str):
        return [part for item in spec for part in _items(item, files)]
    expanded: list[str] = []
    for item in split_items(spec):
        if item.endswith(".toml"):
            path = Path(item).resolve()
            if path in files:
                raise UsageError(f"the pipeline file '{item}' includes itself")
            expanded += _items(_toml(Path(item)), (*files, path))
        else:
            expanded.append(item)
    return expanded


def _toml(path: Path) -> list[str]:
    try:
        content = tomllib.loads(path.read_text())
    except OSError as error:
        raise UsageError(f"the pipeline file '{path}' can't be read: {error.strerror}") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"the pipeline file '{path}' is not valid TOML: {error}") from None
    items = content.get("passes")
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise UsageError(f"'{path}' must hold a list of pass specifications: passes = [\"default\", ...]")
    return items


def _remove(chosen: dict[str, Pass], name: str) -> None:
    if name not in known_passes() and name not in chosen:
        raise UsageError(f"unknown pass '{name}'{_suggest(name)}")
    if name in chosen and chosen[name].mandatory:
        raise UsageError(f"'{name}' can't be left out: the target can't be reached without it")
    chosen.pop(name, None)


def _suggest(name: str) -> str:
    close = difflib.get_close_matches(name, known_passes(), n=3)
    return f"; did you mean {' or '.join(close)}?" if close else "; `graphrewrite passes` lists them"


def _make(item: str, inherited: Mapping[str, Any]) -> list[Pass]:
    head, options = split_options(item)
    file, colon, cls_name = head.rpartition(":")
    path = Path(file if colon else head)
    if path.suffix == ".py" or (path.is_dir() and head not in known_passes()):
        classes = [cls for cls in user_passes(path) if not colon or _is_called(cls, cls_name)]
        if not classes:
            raise UsageError(f"'{path}' defines no pass '{cls_name}'")
        return [_instance(cls, options, inherited) for cls in classes]
    if head not in known_passes():
        raise UsageError(f"unknown pass '{head}'{_suggest(head)}")
    return [_instance(known_passes()[head], options, inherited)]


def _is_called(cls: PassClass, name: str) -> bool:
    """True for the class's name, and for that of the function or variable that it was made of."""
    return cls.__name__ == name or pass_name(cls) == name.replace("_", "-")


def _instance(cls: PassClass, options: Mapping[str, Any], inherited: Mapping[str, Any]) -> Pass:
    """The pass with its options; one that is for named targets takes the target's options of the same names."""
    if cls.targets is not None:
        options = {key: inherited[key] for key in inherited.keys() & option_names(cls)} | dict(options)
    return make(f"pass '{pass_name(cls)}'", cls, cls, options)
