"""Flags that several commands share, worded once."""

from __future__ import annotations

import argparse
import shlex
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from graphrewrite.pipeline import Pass
    from graphrewrite.sources.opening import Opening
    from graphrewrite.targets.base import Target


def add_model(parser: argparse.ArgumentParser, help: str = "the ONNX model") -> None:
    """The positional model."""
    parser.add_argument("model", metavar="MODEL", help=help)


def add_pipeline(parser: argparse.ArgumentParser, *, several: bool = False) -> None:
    """`--target` with its options, `--passes` and `--shape`: what turns a model into a lowered graph.

    `several` says that the command takes a list of targets.
    """
    group = parser.add_argument_group("the target")
    group.add_argument(
        "--target",
        default="tflite",
        metavar="NAME,..." if several else "NAME",
        help="what to convert to (default: tflite)"
        + (", or several in one go: tflite,coreml,openvino" if several else "")
        + "; options in braces, as in coreml{minimum_deployment_target=iOS16}",
    )
    group.add_argument(
        "--precision",
        choices=("fp32", "fp16"),
        help="of the target's numbers (default: the target's own); short for NAME{precision=...}",
    )
    group.add_argument(
        "--minimum-deployment-target",
        metavar="OS",
        help="the oldest system that must run the model, such as iOS16; short for coreml{minimum_deployment_target=...}",
    )
    group.add_argument(
        "--passes",
        action="append",
        metavar="SPEC",
        help="default, none, or a list such as default,-fuse-gelu,my-pass{a=1},my.py:Shrink,pipeline.toml; "
        "`graphrewrite passes` lists them",
    )
    add_source(parser)


def add_source(parser: argparse.ArgumentParser) -> None:
    """What is taken of the source, in which sizes and with which ends; `source_options` reads it."""
    group = parser.add_argument_group("the source")
    add_shape(group)
    group.add_argument(
        "--inputs",
        action="append",
        default=[],
        metavar="VALUE,...",
        help="cut the model: these values become its inputs",
    )
    group.add_argument(
        "--outputs",
        action="append",
        default=[],
        metavar="VALUE,...",
        help="cut the model: these values become its outputs, and what they do not need goes",
    )
    group.add_argument(
        "--image",
        action="append",
        default=[],
        metavar="INPUT=rgb|bgr|gray,...",
        help="take a picture of whole numbers from 0 to 255, an image input in Core ML: pixel * scale + bias becomes part of the "
        "model, as in x=bgr,scale=1/255 or x=rgb,scale=0.017,bias=-2.1:-2.0:-1.8 (one number, or one a channel)",
    )
    group.add_argument(
        "--normalize",
        action="append",
        default=[],
        metavar="INPUT=MEAN:STD",
        help="take raw images: (x - mean) / std becomes part of the model; one number each, or one a channel, as in "
        "image=123.7,116.3,103.5:58.4,57.1,57.4; of an --image, behind its scale and bias",
    )
    group.add_argument(
        "--io-layout",
        action="append",
        default=[],
        metavar="nhwc|NAME=nhwc,...",
        help="channels last in the written model: every input and output of 4 dimensions, or those named",
    )


def opening_of(arguments: argparse.Namespace) -> Opening:
    """How the flags want the source to be taken in."""
    from graphrewrite.sources.opening import Opening

    return Opening.of(**source_options(arguments))


def add_metadata(parser: argparse.ArgumentParser) -> None:
    """`--metadata` and `--labels`: what the written model says of itself."""
    group = parser.add_argument_group("what the model says of itself")
    group.add_argument(
        "--metadata",
        action="append",
        default=[],
        metavar="KEY=TEXT",
        help="author, license, description or version, or a key of your own with a dot in it, as in author='Jane Doe'; the "
        "report says what the target has a place for",
    )
    group.add_argument(
        "--labels",
        metavar="[OUTPUT=]FILE",
        help="names of the classes, one a line in the order of their scores: a Core ML model becomes a classifier. OUTPUT says "
        "which output scores them where several would fit",
    )


def add_shape(parser: argparse._ActionsContainer) -> None:
    """`--shape`."""
    parser.add_argument(
        "--shape",
        action="append",
        default=[],
        metavar="NAME=SIZE,...",
        help="sizes of the dimensions of an input: x=1,3,512,512 fixes them, ? keeps one dynamic, 1..8 bounds it, 224|256 "
        "enumerates it, and a name stands for one size wherever it is used; or of a dimension by its name: batch=1..8. A "
        "file with dynamic dimensions is checked at several sizes, each enumerated one among them",
    )


def add_samples(parser: argparse._ActionsContainer) -> None:
    """`--samples` and `--seed`: what both sides are run on."""
    parser.add_argument(
        "--samples",
        "--inputs-npz",
        dest="samples",
        metavar="FILE.npz",
        help="inputs to check with: arrays by input name (default: three seeded random samples that suit each input)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="seed of the random samples (default: 0)"
    )


class TargetOptions(TypedDict):
    """The flags that are options of targets; None where one was not given."""

    precision: str | None
    minimum_deployment_target: str | None


def target_options(arguments: argparse.Namespace) -> TargetOptions:
    """Those flags, by the option's name."""
    return {
        "precision": arguments.precision,
        "minimum_deployment_target": arguments.minimum_deployment_target,
    }


class SourceOptions(TypedDict):
    """What `add_source` adds, by the argument's name in Python."""

    shape: list[str]
    inputs: list[str]
    outputs: list[str]
    image: list[str]
    normalize: list[str]
    io_layout: list[str]


def source_options(arguments: argparse.Namespace) -> SourceOptions:
    """Those flags, as given."""
    return {
        "shape": arguments.shape,
        "inputs": arguments.inputs,
        "outputs": arguments.outputs,
        "image": arguments.image,
        "normalize": arguments.normalize,
        "io_layout": arguments.io_layout,
    }


class MetadataOptions(TypedDict):
    """What `add_metadata` adds, by the argument's name in Python."""

    metadata: list[str]
    labels: str | None


def metadata_options(arguments: argparse.Namespace) -> MetadataOptions:
    """Those flags, as given."""
    return {"metadata": arguments.metadata, "labels": arguments.labels}


def target_of(arguments: argparse.Namespace) -> Target:
    """The one target that the flags name."""
    from graphrewrite.targets.base import target

    return target(arguments.target, target_options(arguments))


def pipeline_of(arguments: argparse.Namespace) -> list[Pass]:
    """The passes that the flags mean for their one target."""
    from graphrewrite.pipeline import build

    target = target_of(arguments)
    return build(passes_of(arguments), target.name, target.options)


OF_PIPELINE = ("target", "precision", "minimum_deployment_target", "passes")
"""What says how to convert."""
OF_SOURCE = ("shape", "inputs", "outputs", "image", "normalize", "io_layout", "samples", "seed")
"""What says how to take and run the original."""


def repeated(arguments: argparse.Namespace, names: Sequence[str] = (*OF_PIPELINE, *OF_SOURCE)) -> str:
    """Those of the flags `names` that are not at their defaults, for another command, as a shell reads them."""
    given: list[str] = []
    for name in names:
        content = getattr(arguments, name, None)
        for item in content if isinstance(content, list) else [content]:
            if item not in (None, 0) and (name, item) != ("target", "tflite"):
                given += [f"--{name.replace('_', '-')}", str(item)]
    return "".join(f" {shlex.quote(item)}" for item in given)


def passes_of(arguments: argparse.Namespace) -> list[str]:
    """The pass specification as given, `default` where none was."""
    return arguments.passes or ["default"]
