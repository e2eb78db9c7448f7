"""Finding code that the engine does not know by name: the bundled folders, and a user's file."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from graphrewrite.errors import UsageError

USER_MODULE = "graphrewrite_user_"
"""What the module names of users' files begin with."""


def import_tree(package: str) -> Iterator[ModuleType]:
    """Import `package` and every module below it, in name order."""
    root = importlib.import_module(package)
    yield root
    for info in sorted(pkgutil.walk_packages(root.__path__, f"{package}."), key=lambda item: item.name):
        yield importlib.import_module(info.name)


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
    except Exception as error:  # a user's file may raise anything
        raise UsageError(f"'{path}' can't be imported: {type(error).__name__}: {error}") from error
    return module
