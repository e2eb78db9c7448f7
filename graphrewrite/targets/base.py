"""What a target is to the rest of graphrewrite, and how targets are found."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.metadata
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from graphrewrite.errors import UsageError
from graphrewrite.ir import Model
from graphrewrite.numeric.check import Runner

BUNDLED = ("tflite",)


@dataclasses.dataclass
class Written:
    """What a target wrote.

    `details` go into the report as they are (operator histogram, bytes of weights, ...).
    """

    path: Path
    size: int
    details: dict[str, Any]


class Target(Protocol):
    """One output format. Its module is imported only when it is asked for."""

    name: str
    suffix: str

    def require(self) -> None:
        """Raise MissingExtra where the target's packages are not installed."""

    def write(self, model: Model, path: Path) -> Written:
        """Write a fully lowered model to `path`; raise InternalError where the result is not valid."""

    def runners(self, path: Path) -> Mapping[str, Runner]:
        """Ways to run the file, the main one first; slow second opinions after it."""

    def facts(self, runners: Mapping[str, Runner]) -> dict[str, Any]:
        """What the runtime said of the file while `runners` ran it (partitions, ...), for the report."""


def target(name: str) -> Target:
    """The target called `name`.

    Raises:
        UsageError: there is none.
    """
    if name in BUNDLED:
        found: Target = importlib.import_module(f"graphrewrite.targets.{name}.target").TARGET
        return found
    for entry in importlib.metadata.entry_points(group="graphrewrite.targets", name=name):
        loaded: Target = entry.load()
        return loaded
    installed = sorted(
        {entry.name for entry in importlib.metadata.entry_points(group="graphrewrite.targets")}
    )
    raise UsageError(f"unknown target '{name}'; there are: {', '.join([*BUNDLED, *installed])}")
