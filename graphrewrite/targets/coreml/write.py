"""Writes a model of the `mil` dialect to a package: the emitted program, its weights, and what describes it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from graphrewrite.ir import Model, Value, about, dims
from graphrewrite.targets.coreml.emit import Emitter
from graphrewrite.targets.coreml.flexible import FlexibleShape
from graphrewrite.targets.coreml.images import describe_image
from graphrewrite.targets.coreml.options import CoreMLOptions, deployment_target
from graphrewrite.targets.coreml.package import write_package
from graphrewrite.targets.coreml.ports import METADATA, Port, to_metadata


@dataclasses.dataclass(frozen=True)
class WriteReport:
    """What was written: ops by name, bytes of weights and of all, the features, and their shapes."""

    operators: dict[str, int]
    weight_bytes: int
    size: int
    inputs: list[Port]
    outputs: list[Port]
    flexible: dict[str, FlexibleShape]
    """Of those inputs that take several shapes, by source name."""
    label: str
    """The output that names the class of the largest score, where the model is a classifier."""
    classes: int


def write(model: Model, path: Path, options: CoreMLOptions) -> WriteReport:
    """Write a model of the `mil` dialect to the folder `path`, which must not exist.

    Raises:
        InternalError: a node is no valid MIL op; that is for the lowering to prevent.
    """
    emitter = Emitter(options)
    program = emitter.program(model)

    def serialise(weights: Path) -> Any:
        spec = _serialised(program, weights, _specification(options), emitter)
        _describe(spec, model, emitter)
        return spec

    size, weight_bytes = write_package(path, serialise)
    flexible = {emitter.inputs[index].source: shape for index, shape in emitter.flexible.items()}
    return WriteReport(
        dict(emitter.operators),
        weight_bytes,
        size,
        emitter.inputs,
        emitter.outputs,
        flexible,
        emitter.label,
        len(emitter.classes),
    )


def _specification(options: CoreMLOptions) -> int:
    import coremltools

    return int(getattr(coremltools.target, deployment_target(options.minimum_deployment_target)))


def _serialised(program: Any, weights: Path, version: int, emitter: Emitter) -> Any:
    """The protobuf of the model; the weights go into the folder `weights`."""
    from coremltools.converters.mil.backend.mil import load

    config = None
    if emitter.label:
        from coremltools import ClassifierConfig

        config = ClassifierConfig(list(emitter.classes), emitter.label)
    proto = load.MILProtoExporter(program, str(weights), version).export()
    exporter = load.CoreMLProtoExporter(
        program,
        proto,
        predicted_feature_name=emitter.label,
        predicted_probabilities_name=emitter.scores,
        classifier_config=config,
        convert_to=None,
        convert_from=None,
        specification_version=version,
    )
    return exporter.export(version)


def _describe(spec: Any, model: Model, emitter: Emitter) -> None:
    content, metadata = about(model), spec.description.metadata
    metadata.author, metadata.license = content.author, content.license
    metadata.shortDescription, metadata.versionString = content.description, content.version
    metadata.userDefined.update(content.custom)
    metadata.userDefined[METADATA] = to_metadata(emitter.inputs, emitter.outputs)
    features = {item.name: item for item in [*spec.description.input, *spec.description.output]}
    for index, (item, value) in enumerate(zip(emitter.inputs, model.graph.inputs, strict=True)):
        flexible = emitter.flexible.get(index)
        if item.image:
            describe_image(features[item.name], item.image, _default_shape(value, flexible), flexible)
        elif flexible is not None:
            flexible.describe(features[item.name].type.multiArrayType)
    for item in [*emitter.inputs, *emitter.outputs]:
        if item.differs:
            features[item.name].shortDescription = f"'{item.source}' of the source model, {item.differs}"


def _default_shape(value: Value, flexible: FlexibleShape | None) -> tuple[int, ...]:
    if flexible is not None:
        return flexible.default
    return tuple(dim for dim in dims(value) or () if isinstance(dim, int))
