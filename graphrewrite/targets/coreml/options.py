"""What a Core ML file can be asked to be."""

from __future__ import annotations

import dataclasses

from graphrewrite.errors import UsageError

DEPLOYMENT_TARGETS = ("iOS15", "iOS16", "iOS17", "iOS18")
"""Oldest first; each has an operator set of its own. coremltools knows newer ones, which add no operators."""
PRECISIONS = ("fp32", "fp16")


@dataclasses.dataclass(frozen=True)
class CoreMLOptions:
    """Options of the Core ML target.

    Attributes:
        minimum_deployment_target: oldest system that runs the file: iOS15 to iOS18, or newest (and macOS 12 to 15 alike).
        precision: fp32, or fp16: computed in half precision, weights stored in it.
    """

    minimum_deployment_target: str = "iOS15"
    precision: str = "fp32"

    def __post_init__(self) -> None:
        deployment_target(self.minimum_deployment_target)
        if self.precision not in PRECISIONS:
            raise UsageError(
                f"Core ML has no precision '{self.precision}'; there are: {', '.join(PRECISIONS)}"
            )


def deployment_target(name: str) -> str:
    """The name of a deployment target as coremltools spells it; `newest` is the newest.

    Raises:
        UsageError: there is none of that name.
    """
    if name == "newest":
        return DEPLOYMENT_TARGETS[-1]
    for known in DEPLOYMENT_TARGETS:
        if known.lower() == name.lower():
            return known
    raise UsageError(
        f"unknown minimum deployment target '{name}'; there are: {', '.join(DEPLOYMENT_TARGETS)}, newest"
    )
