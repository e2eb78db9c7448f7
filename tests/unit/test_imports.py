"""Imports run one way: each part of the engine may use only what stands below it, and none knows a pass or a row by name."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import graphrewrite

ROOT = Path(graphrewrite.__file__).resolve().parent.parent

FLOORS = (
    ("__main__",),
    ("cli", "pytest_plugin"),
    ("golden",),
    ("bisection", "reduction"),
    ("api",),
    ("conversion",),
    ("report",),
    ("sources", "targets"),
    ("numeric",),
    ("layout", "pipeline"),
    ("registry",),
    ("rewrite",),
    ("ir",),
    ("discovery",),
    ("errors",),
)
"""The parts of the engine, from the top down; those of one floor do not use each other."""

FLOOR = {part: number for number, floor in enumerate(FLOORS) for part in floor}


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, module) of what a file imports, in functions too; not what it needs for its annotations alone."""
    todo: list[ast.AST] = [ast.parse(path.read_text())]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            todo += node.orelse
            continue
        todo += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            yield from ((node.lineno, item.name) for item in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = _absolute(path, node.level, node.module)
            yield node.lineno, module
            yield from ((node.lineno, f"{module}.{item.name}") for item in node.names)


def _absolute(path: Path, level: int, module: str | None) -> str:
    package = path.relative_to(ROOT).parts[:-1]
    start = package[: len(package) - level + 1] if level else ()
    return ".".join((*start, *filter(None, [module])))


def part_of(module: str) -> str | None:
    """The part of the engine that `graphrewrite.PART...` is of."""
    names = module.split(".")
    return names[1] if names[0] == "graphrewrite" and len(names) > 1 else None


def files(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def test_every_part_has_its_floor() -> None:
    found = {
        path.relative_to(ROOT / "graphrewrite").parts[0].removesuffix(".py") for path in files("graphrewrite")
    }
    assert found - {"__init__"} == set(FLOOR)


@pytest.mark.parametrize("part", FLOOR)
def test_a_part_uses_only_what_is_below_it(part: str) -> None:
    single = ROOT / f"graphrewrite/{part}.py"
    upwards = [
        f"{path.relative_to(ROOT)}:{line}: {module}"
        for path in ([single] if single.exists() else files(f"graphrewrite/{part}"))
        for line, module in imports(path)
        for other in [part_of(module)]
        if other != part and FLOOR.get(other or "", len(FLOORS)) <= FLOOR[part]
    ]
    assert upwards == []


def test_the_engine_imports_no_pass_and_no_row() -> None:
    libraries = {"passes", "op_registry"}
    named = [
        f"{path.relative_to(ROOT)}:{line}: {module}"
        for path in files("graphrewrite")
        for line, module in imports(path)
        if module.split(".")[0] in libraries or part_of(module) in libraries
    ]
    assert named == []


@pytest.mark.parametrize("library", ["passes", "op_registry"])
def test_a_library_uses_the_engine_and_itself(library: str) -> None:
    own = {"passes", "op_registry", "tools", "tests"} - {library}
    foreign = [
        f"{path.relative_to(ROOT)}:{line}: {module}"
        for path in files(library)
        for line, module in imports(path)
        if module.split(".")[0] in own
        or part_of(module) in ({"passes", "op_registry"} | {"cli", "pytest_plugin"})
    ]
    assert foreign == []
