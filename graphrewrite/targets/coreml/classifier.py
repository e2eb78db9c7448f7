"""Classifiers: the op that names the scores of an output, and how a saved one is read.

`classify` gives the label of the largest score and a dictionary of all of them; it ends a program, and nothing reads its results.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphrewrite.errors import NotChecked
from graphrewrite.ir import Array

CLASSIFY = "classify"
LABEL = "classLabel"
"""What the output with the label is called, as in other classifiers."""


def classified(builder: Any, scores: Any, classes: Sequence[str], label: str, name: str) -> tuple[Any, Any]:
    """Appends the op, which must be a program's last; `scores` is float32, one a class.

    Returns:
        The variables of the label, called `label`, and of the dictionary, called `name`.
    """
    from coremltools.converters.mil.mil.operation import mil_list

    names = builder.const(val=mil_list(list(classes)), name=f"{label}_classes")
    first, second = builder.classify(probabilities=scores, classes=names, name=label)
    first.name, second.name = label, name
    return first, second


@dataclasses.dataclass(frozen=True)
class Classifier:
    """What a saved program names: outputs `label` and `scores`, made of the value `source` of that `shape`, one a class."""

    label: str
    scores: str
    source: str
    classes: tuple[str | int, ...]

    @classmethod
    def of(cls, operation: Any) -> Classifier:
        """Of the protobuf's operation.

        Raises:
            NotChecked: its classes are no list of texts or whole numbers.
        """
        label, scores = (item.name for item in operation.outputs)
        source = operation.inputs["probabilities"].arguments[0].name
        argument = operation.inputs["classes"].arguments[0]
        items = argument.value.immediateValue.list.values
        found: list[str | int] = []
        for item in items:
            tensor = item.immediateValue.tensor
            kind = tensor.WhichOneof("value")
            if kind == "strings":
                found += list(tensor.strings.values)
            elif kind in ("ints", "longInts"):
                found += [int(number) for number in getattr(tensor, kind).values]
            else:
                raise NotChecked("the classifier's classes are neither texts nor whole numbers")
        return cls(label, scores, source, tuple(found))

    def check(self, description: Any) -> None:
        """Raise NotChecked where the description of the file names other outputs than the program does."""
        named = description.predictedFeatureName, description.predictedProbabilitiesName
        if named != (self.label, self.scores):
            raise NotChecked(
                f"the file is damaged: the outputs of its classifier are described as {' and '.join(map(repr, named))}, and are "
                f"'{self.label}' and '{self.scores}' in its program"
            )

    def best(self, scores: Array) -> Array:
        """The class of the largest of `scores`, the first one of equals.

        Raises:
            NotChecked: there is another number of scores.
        """
        if scores.size != len(self.classes):
            raise NotChecked(
                f"the file is damaged: it has {len(self.classes)} classes, and '{self.source}' holds {scores.size} scores"
            )
        return np.asarray(self.classes[int(np.argmax(scores))])

    def array(self, found: Mapping[str, Any], shape: Sequence[int]) -> Array:
        """The dictionary among what Core ML gave, as the tensor of that shape that it was made of."""
        scores = found[self.scores]
        return np.array([scores[name] for name in self.classes], np.float32).reshape(shape)
