"""The reference of the Python API, from signatures and docstrings."""

from __future__ import annotations

import dataclasses
import enum
import importlib
import inspect
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from tools.site_text import docstring

MODULES = {
    "graphrewrite": ("run", "run_all", "preflight", "bisect", "reduce", "Result", "Outcome"),
    "graphrewrite.errors": (),
    "graphrewrite.pipeline": (),
    "graphrewrite.rewrite": (),
    "graphrewrite.registry": (),
    "graphrewrite.targets.base": (),
    "graphrewrite.ir": (),
}
"""What a user of the library or a writer of passes, rows and targets imports; all public names where none are listed."""


def api_page() -> str:
    """Every public function and class of `MODULES`."""
    lines = ["# Python API", ""]
    for name, listed in MODULES.items():
        module = importlib.import_module(name)
        lines += [f"## {name}", "", docstring(inspect.getdoc(module) or ""), ""]
        for member in listed or public(module):
            lines += [*_member(f"{name}.{member}", getattr(module, member)), ""]
    return "\n".join(lines)


def public(module: ModuleType) -> list[str]:
    """Names of the documented functions and classes that `module` offers."""
    names = getattr(module, "__all__", None) or [
        name
        for name, item in vars(module).items()
        if not name.startswith("_") and getattr(item, "__module__", None) == module.__name__
    ]
    return [name for name in names if _documented(getattr(module, name))]


def _documented(item: Any) -> bool:
    return (inspect.isclass(item) or inspect.isroutine(item)) and bool(inspect.getdoc(item))


def _member(name: str, item: Any) -> Iterator[str]:
    yield from (f"### {name}", "")
    if inspect.isclass(item):
        yield from _class(name.rpartition(".")[2], item)
    else:
        yield from (
            _code(_signature(name.rpartition(".")[2], item)),
            "",
            docstring(inspect.getdoc(item) or ""),
        )


def _class(name: str, cls: type) -> Iterator[str]:
    if dataclasses.is_dataclass(cls) and "__init__" in vars(cls):
        yield from (_code(_signature(name, cls)), "")
    text = cls.__doc__ or ""
    if not (
        dataclasses.is_dataclass(cls) and text.startswith(f"{cls.__name__}(")
    ):  # else dataclasses wrote it
        yield from (docstring(inspect.cleandoc(text)), "")
    if issubclass(cls, enum.Enum):
        yield ", ".join(f"`{item.name}`" for item in cls)
        return
    for member, item in _members(cls).items():
        function = item.__func__ if isinstance(item, classmethod | staticmethod) else item
        if member.startswith("_") or not inspect.getdoc(function):
            continue
        if isinstance(item, property):
            yield from (f"**`{member}`**", "", docstring(inspect.getdoc(item) or ""), "")
        elif inspect.isfunction(function):
            yield from (
                _code(_signature(member, function)),
                "",
                docstring(inspect.getdoc(function) or ""),
                "",
            )


def _members(cls: type) -> dict[str, Any]:
    """What `cls` defines, after what it takes from classes that have no entry of their own."""
    inner = [
        base for base in cls.__mro__[1:] if base.__module__.startswith("graphrewrite.") and not _listed(base)
    ]
    return {name: item for part in (*reversed(inner), cls) for name, item in vars(part).items()}


def _listed(cls: type) -> bool:
    return any(
        getattr(importlib.import_module(name), cls.__name__, None) is cls
        and cls.__name__ in (listed or public(importlib.import_module(name)))
        for name, listed in MODULES.items()
    )


def _code(text: str) -> str:
    return f"```python\n{text}\n```"


class _Bare:
    """An annotation that is printed as it is written."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def _as_written(item: inspect.Parameter) -> inspect.Parameter:
    if inspect.isroutine(item.default):  # its address would differ from build to build
        item = item.replace(default=_Bare(item.default.__name__))
    return item.replace(annotation=_Bare(item.annotation)) if isinstance(item.annotation, str) else item


def _signature(name: str, function: Any) -> str:
    """As it is written, one parameter a line where it is long."""
    signature = inspect.signature(function)
    bare = [_as_written(item) for item in signature.parameters.values()]
    result = signature.return_annotation
    signature = signature.replace(
        parameters=bare, return_annotation=_Bare(result) if isinstance(result, str) else result
    )
    text = f"{name}{signature}"
    if len(text) <= 100:
        return text
    lines, starred = [], False
    for item in bare:
        if item.kind is inspect.Parameter.KEYWORD_ONLY and not starred:
            lines.append("*")
        starred = starred or item.kind in (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_POSITIONAL)
        lines.append(str(item))
    end = text[text.rindex(")") :] if result is inspect.Signature.empty else f") -> {result}"
    return "\n".join([f"{name}(", *(f"    {line}," for line in lines), end])
