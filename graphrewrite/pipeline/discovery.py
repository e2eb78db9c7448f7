"""Finding passes and op rows: the bundled ones, installed packages' by entry point, and a user's file or folder."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import importlib.util
import inspect
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from graphrewrite.errors import UsageError
from graphrewrite.pipeline.adapters import adapted_in
from graphrewrite.pipeline.passes import Pass, PatternPass, RewritePass, pass_name

PassClass = type[Pass]

USER_MODULE = "graphrewrite_user_"
"""What the module names of users' files begin with."""


def import_tree(package: str) -> Iterator[ModuleType]:
    """Import `package` and every module below it, in name order."""
    root = importlib.import_module(package)
    yield root
    for info in sorted(pkgutil.walk_packages(root.__path__, f"{package}."), key=lambda item: item.name):
        yield importlib.import_module(info.name)


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


def load_file(path: Path) -> ModuleType:
    """Import a user's Python file.

    Raises:
        UsageError: the file is missing or fails to import.
    """
    name = f"{USER_MODULE}{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise UsageError(f"'{path}' is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UsageError(f"'{path}' can't be imported: {type(error).__name__}: {error}") from error
    return module


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
