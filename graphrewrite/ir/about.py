"""What a model says of itself: who made it, under which licence, and what its answers are called."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping

import onnx_ir

ABOUT = "graphrewrite.about"


@dataclasses.dataclass(frozen=True)
class Labels:
    """What the elements of the output called `output` are the scores of: the names of the classes, in order."""

    output: str
    names: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class About:
    """Texts for the reader of a written model; empty where nothing is said.

    Attributes:
        author, license, description, version: of the model.
        custom: texts under other keys.
        labels: of a classifier.
    """

    author: str = ""
    license: str = ""
    description: str = ""
    version: str = ""
    custom: Mapping[str, str] = dataclasses.field(default_factory=dict)
    labels: Labels | None = None

    @property
    def texts(self) -> dict[str, str]:
        """Every text that is given, by key."""
        plain = {name: getattr(self, name) for name in TEXTS}
        return {name: text for name, text in plain.items() if text} | dict(self.custom)

    def kept(self, places: Collection[str]) -> dict[str, list[str]]:
        """For a report: what is said here that a file keeps, having these `places` (keys, `labels`), and what not.

        Empty where nothing is said.
        """
        said = [*self.texts, *(["labels"] if self.labels is not None else [])]
        if not said:
            return {}
        return {
            "kept": [name for name in said if name in places],
            "left_out": [name for name in said if name not in places],
        }


TEXTS = ("author", "license", "description", "version")
"""The keys that every target knows."""


def about(model: onnx_ir.Model) -> About:
    """What is noted of `model`."""
    found: About | None = model.meta.get(ABOUT)
    return About() if found is None else found


def set_about(model: onnx_ir.Model, content: About) -> None:
    """Note what `model` is to say of itself."""
    model.meta[ABOUT] = content
