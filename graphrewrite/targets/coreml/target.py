"""The Core ML target: an ML Program through coremltools, run by decoding the saved file, and by Core ML itself on a Mac."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from graphrewrite.errors import MissingExtra
from graphrewrite.ir import Array, Model, about, static_dims
from graphrewrite.ir.about import TEXTS
from graphrewrite.numeric.check import Runner
from graphrewrite.targets.base import Target, Written
from graphrewrite.targets.coreml.options import CoreMLOptions

if TYPE_CHECKING:
    from graphrewrite.targets.coreml.evaluate import Evaluator


@dataclasses.dataclass(frozen=True)
class CoreMLTarget(CoreMLOptions, Target):
    """See `graphrewrite.targets.base.Target`; the options are those of `CoreMLOptions`."""

    name = "coreml"
    suffix = ".mlpackage"
    takes_images = True

    @property
    def computes_half(self) -> bool:
        """As `half`: precision is what a program computes in."""
        return self.half

    def require(self) -> None:
        """Raise MissingExtra where coremltools is not installed."""
        if importlib.util.find_spec("coremltools") is None:
            raise MissingExtra("coreml", "coremltools")

    def write(self, model: Model, path: Path) -> Written:
        """Write the package."""
        from graphrewrite.targets.coreml.write import write

        report = write(model, path, self)
        details: dict[str, Any] = {
            "operators": dict(sorted(report.operators.items())),
            "operator_count": sum(report.operators.values()),
            "weight_bytes": report.weight_bytes,
            "minimum_deployment_target": self.minimum_deployment_target,
            "precision": self.precision,
        }
        changed = {item.source: item.differs for item in [*report.inputs, *report.outputs] if item.differs}
        if changed:
            details["features"] = changed
        if report.flexible:
            details["flexible_shapes"] = {name: shape.to_json() for name, shape in report.flexible.items()}
        content = about(model)
        if report.label:
            scores = next(item.name for item in report.outputs if item.scores)
            details["classifier"] = {"label": report.label, "scores": scores, "classes": report.classes}
        kept = content.kept([*TEXTS, *content.custom, "labels"])
        return Written(path, report.size, details | ({"metadata": kept} if kept else {}))

    def runners(self, path: Path) -> Mapping[str, Runner]:
        """Core ML itself on a Mac, and everywhere the evaluator of the saved file."""
        found: dict[str, Runner] = {}
        if sys.platform == "darwin":
            found["predict"] = Predict(path)
        found["coreml-evaluator"] = Evaluated(path)
        return found

    def values(self, path: Path, names: Collection[str]) -> tuple[str, ...]:
        """What the main function computes under the identifiers that these names become."""
        from graphrewrite.targets.coreml.evaluate import inner_names

        return inner_names(path, names)

    def probes(self, path: Path, names: Sequence[str]) -> Mapping[str, Runner]:
        """The evaluator of the saved file, which sees every value; Core ML itself gives outputs only."""
        return {"coreml-evaluator": Evaluated(path, names)}

    def facts(self, runners: Mapping[str, Runner]) -> dict[str, Any]:
        """Which runner did the check."""
        return {"checked_by": list(runners)}


class Evaluated:
    """A Runner that decodes the saved package once and runs what it says; gives inner values of some source names as well."""

    def __init__(self, path: Path, inner: Sequence[str] = ()) -> None:
        self.path = path
        self.inner = inner
        self.evaluator: Evaluator | None = None

    def __call__(self, sample: Mapping[str, Array]) -> Mapping[str, Array]:
        """Outputs by the source's names."""
        from graphrewrite.targets.coreml.evaluate import Evaluator

        if self.evaluator is None:
            self.evaluator = Evaluator(self.path, self.inner)
        return self.evaluator(sample)


class Predict:
    """A Runner in Core ML, on macOS."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, sample: Mapping[str, Array]) -> Mapping[str, Array]:
        """Outputs by the source's names."""
        import coremltools

        from graphrewrite.targets.coreml.evaluate import read_package

        package = read_package(self.path)
        inputs, outputs = package.ports
        given: dict[str, Any] = {}
        for item in inputs:
            array, feature = sample[item.source], package.images.get(item.name)
            given[item.name] = item.to_file(array) if feature is None else feature.picture(array, item.source)
        found = coremltools.models.MLModel(str(self.path)).predict(given)
        if package.classifier is not None:
            (value,) = (
                item for item in package.model.graph.outputs if item.name == package.classifier.scores
            )
            scores = package.classifier.array(found, static_dims(value) or (-1,))
            found |= {package.classifier.scores: scores, package.classifier.source: scores}
        results = {item.source: item.from_file(found[item.name]) for item in outputs}
        return {name: np.asarray(content) for name, content in found.items()} | results


TARGET = CoreMLTarget()
