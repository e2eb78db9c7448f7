"""Finding passes: the bundled ones, installed packages' by entry point, and a user's file or folder."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import inspect
from pathlib import Path
from types import ModuleType

from graphrewrite.discovery import import_tree, load_file
from graphrewrite.errors import UsageError
from graphrewrite.pipeline.adapters import adapted_in
from graphrewrite.pipeline.passes import Pass, PatternPass, RewritePass, pass_name

PassClass = type[Pass]


def passes_in(module: ModuleType) -> list[PassClass]:
    """The concrete pass classes that `module` defines."""
    found = [item for item in vars(module).values() if inspect.isclass(item) and issubclass(item, Pass)]
    return [
        cls
        for cls in dict.fromkeys(found)
        if cls.__module__ == module.__name__
        and cls not in (Pass, RewritePass, PatternPass)
        and not inspect.isabstract(cls)
    ]


@functools.lru_cache(maxsize=1)
def known_passes() -> dict[str, PassClass]:
    """Every pass by name: the library's and those of installed packages (entry points `graphrewrite.passes`).

    Raises:
        UsageError: two packages define a pass of the same name.
    """
    found: dict[str, PassClass] = {}
    classes = [cls for module in import_tree("graphrewrite.passes") for cls in passes_in(module)]
    for entry in importlib.metadata.entry_points(group="graphrewrite.passes"):
        module = _entry_module(entry)
        classes += passes_in(module) + adapted_in(module)
    for cls in classes:
        if found.setdefault(pass_name(cls), cls) is not cls:
            other = found[pass_name(cls)].__module__
            raise UsageError(f"two passes are named '{pass_name(cls)}': in {other} and in {cls.__module__}")
    return found


def _entry_module(entry: importlib.metadata.EntryPoint) -> ModuleType:
    loaded = entry.load()
    return loaded if isinstance(loaded, ModuleType) else importlib.import_module(loaded.__module__)


def user_passes(path: Path) -> list[PassClass]:
    """The passes of a user's file, or of every file in a folder, foreign ones included (see `adapters`).

    Raises:
        UsageError: nothing there, or no pass in it.
    """
    files = sorted(path.glob("*.py")) if path.is_dir() else [path]
    modules = [load_file(file) for file in files]
    found = [cls for module in modules for cls in passes_in(module) + adapted_in(module)]
    if not found:
        raise UsageError(
            f"no pass is defined in '{path}': define a subclass of graphrewrite.pipeline.Pass, or a function under "
            "@graphrewrite.pipeline.as_pass"
        )
    return found
