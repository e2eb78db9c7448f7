"""The ends of a model as its users want them: pictures and raw numbers that are normalised inside, images channels last, classes
by name."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import onnx_ir

from graphrewrite.errors import UsageError
from graphrewrite.ir import (
    Array,
    DataType,
    Graph,
    Layout,
    Model,
    Node,
    Value,
    dims,
    rank,
    set_layout,
    set_picture,
)
from graphrewrite.numeric.inputs import Sample
from graphrewrite.rewrite import Rewriter
from graphrewrite.sources.images import ImageInput

NHWC = "nhwc"
_LAST, _FIRST = (0, 2, 3, 1), (0, 3, 1, 2)


@dataclasses.dataclass(frozen=True)
class Normalization:
    """`(image - mean) / std`, each one number or one a channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def parse(cls, item: str) -> tuple[str, Normalization]:
        """`image=123.7,116.3,103.5:58.4,57.1,57.4` as the input's name and its normalisation.

        Raises:
            UsageError: it is written otherwise, or a standard deviation is zero.
        """
        name, equals, text = item.rpartition("=")
        mean, colon, std = text.partition(":")
        try:
            found = cls(*(tuple(float(part) for part in half.split(",")) for half in (mean, std)))
        except ValueError:
            equals = ""
        if not equals or not colon or not name:
            raise UsageError(f"--normalize is written INPUT=MEAN,...:STD,..., not '{item}'")
        return name, found

    def __post_init__(self) -> None:
        if not all(np.isfinite(self.mean)) or not all(np.isfinite(self.std)) or 0 in self.std:
            raise UsageError("--normalize takes finite numbers, and no standard deviation of zero")

    def __str__(self) -> str:
        """As `parse` reads it behind the name."""
        return ":".join(",".join(f"{number!r}" for number in half) for half in (self.mean, self.std))

    def check(self, value: Value) -> None:
        """Raise UsageError where the input is no float32, or has another number of channels (dimension 1)."""
        known = dims(value)
        if value.dtype != DataType.FLOAT or known is None:
            raise UsageError(f"--normalize: the input '{value.name}' is no float32 tensor of known rank")
        counts = {len(self.mean), len(self.std)} - {1}
        if len(counts) > 1:
            raise UsageError(
                f"--normalize {value.name}: {len(self.mean)} means and {len(self.std)} standard deviations do not go together"
            )
        if counts and (len(known) < 2 or known[1] not in counts):
            channels = known[1] if len(known) > 1 else "no"
            raise UsageError(
                f"--normalize {value.name}: numbers for {counts.pop()} channels, and it has {channels} (dimension 1)"
            )

    def constants(self, size: int) -> tuple[Array, Array]:
        """Mean and standard deviation so that they broadcast over a value of rank `size`."""
        mean, std = (
            np.array(item, np.float32).reshape((-1, *[1] * (size - 2)) if len(item) > 1 else ())
            for item in (self.mean, self.std)
        )
        return mean, std

    def apply(self, array: Array) -> Array:
        """The input of the original for a raw one."""
        mean, std = self.constants(array.ndim)
        return ((array - mean) / std).astype(np.float32)

    def undo(self, array: Array) -> Array:
        """The raw input for a normalised one."""
        mean, std = self.constants(array.ndim)
        return (array * std + mean).astype(np.float32)


def parse_layouts(items: Sequence[str]) -> dict[str, str]:
    """`["nhwc"]` or `["image=nhwc", "mask=nchw"]` as layout by name; "" stands for every image.

    Raises:
        UsageError: another layout than nhwc and nchw.
    """
    found: dict[str, str] = {}
    for item in (part for text in items for part in text.split(",")):
        name, _, layout = item.rpartition("=")
        if layout not in (NHWC, "nchw"):
            raise UsageError(f"--io-layout is written nhwc, or NAME=nhwc,NAME=nchw, not '{item}'")
        found[name] = layout
    return found


@dataclasses.dataclass(frozen=True)
class Ends:
    """What is asked of the ends, by the names of inputs and outputs; of `layouts`, "" stands for every image."""

    images: Mapping[str, ImageInput] = dataclasses.field(default_factory=dict)
    normalize: Mapping[str, Normalization] = dataclasses.field(default_factory=dict)
    layouts: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def placed(self, model: Model) -> Ends:
        """The same for `model`, whose images have their channels where its inputs have them.

        Raises:
            UsageError: `model` has no such input or output, or an input can't be changed so.
        """
        inputs = {value.name or "": value for value in model.graph.inputs}
        ends = dict.fromkeys([*inputs, *(value.name or "" for value in model.graph.outputs)])
        for flag, names in (("image", self.images), ("normalize", self.normalize)):
            for name in names:
                if name not in inputs:
                    raise UsageError(
                        f"--{flag}: there is no input '{name}'; the inputs are {', '.join(inputs)}"
                    )
        images = {name: item.placed(inputs[name]) for name, item in self.images.items()}
        for name, item in self.normalize.items():
            item.check(inputs[name])
        for name in self.layouts:
            if name and name not in ends:
                raise UsageError(
                    f"--io-layout: there is no input or output '{name}'; there are {', '.join(ends)}"
                )
        return dataclasses.replace(self, images=images)

    def arrange(self, model: Model, rewriter: Rewriter) -> None:
        """Put the arithmetic of inputs, and transposes of channels-last images, at the ends of the imported `model`.

        A picture's pixels are scaled and shifted before an input is normalised. Names stay; a channels-last value carries its
        order (`ir.layout`), so that a check can permute what it feeds and reads.

        Raises:
            UsageError: an input is an output as well, or what is named an image has not 4 dimensions.
        """
        graph = model.graph
        for value in list(graph.inputs):
            item = self.normalize.get(value.name or "")
            if item is not None:
                _normalize(graph, value, item, rewriter)
        for value in list(graph.inputs):
            image = self.images.get(value.name or "")
            if image is not None:
                set_picture(value, image.facet)
                if image.changes:
                    _scale(graph, value, image, rewriter)
        for value in list(graph.inputs):
            if self._last(value):
                _input_last(graph, value, rewriter)
        for value in list(graph.outputs):
            if _wanted(value, self.layouts):
                _output_last(graph, value, rewriter)

    def for_original(self, sample: Sample) -> Sample:
        """A raw sample as the original takes it.

        Raises:
            UsageError: it holds no pixels where it must.
        """
        found = dict(sample)
        for name, image in self.images.items():
            if name in found:
                found[name] = image.apply(found[name], name)
        return found | {
            name: item.apply(found[name]) for name, item in self.normalize.items() if name in found
        }

    def raw(self, sample: Sample) -> Sample:
        """What is drawn for the original as raw input."""
        undone = {name: item.undo(sample[name]) for name, item in self.normalize.items() if name in sample}
        drawn = {name: image.draw(sample[name]) for name, image in self.images.items() if name in sample}
        return sample | undone | drawn

    def _last(self, value: Value) -> bool:
        """Whether the input is to become channels last, and is not."""
        image = self.images.get(value.name or "")
        return _wanted(value, self.layouts) and (image is None or image.channels == 1)


def _wanted(value: Value, layouts: Mapping[str, str]) -> bool:
    """Whether an end of the model is to be channels last; only what has 4 dimensions is an image."""
    name = value.name or ""
    if layouts.get(name, layouts.get("")) != NHWC:
        return False
    if rank(value) == 4:
        return True
    if name in layouts:
        raise UsageError(
            f"--io-layout {name}=nhwc: '{name}' has {rank(value) or 'an unknown number of'} dimensions, and an image has 4"
        )
    return False


def _normalize(graph: Graph, value: Value, item: Normalization, rewriter: Rewriter) -> None:
    mean, std = item.constants(rank(value) or 0)
    with _at_the_beginning(graph, value, rewriter):
        shifted = rewriter.op("Sub", value, rewriter.constant(mean, f"{value.name}/mean"))
        result = rewriter.op("Div", shifted, rewriter.constant(std, f"{value.name}/std"))
    _redirect(value, result, [shifted], rewriter)


def _scale(graph: Graph, value: Value, image: ImageInput, rewriter: Rewriter) -> None:
    """pixel * scale + bias, channels first: where a channels-last source turns them, the transposes cancel."""
    turned = image.channels != 1
    with _at_the_beginning(graph, value, rewriter):
        made = [rewriter.op("Transpose", value, perm=list(_FIRST))] if turned else []
        for op, name, content, neutral in zip(
            ("Mul", "Add"), ("scale", "bias"), image.constants(), (1, 0), strict=True
        ):
            if np.any(content != neutral):
                constant = rewriter.constant(content, f"{value.name}/{name}")
                made.append(rewriter.op(op, made[-1] if made else value, constant))
        if turned:
            made.append(rewriter.op("Transpose", made[-1], perm=list(_LAST)))
    _redirect(value, made[-1], made, rewriter)


def _input_last(graph: Graph, value: Value, rewriter: Rewriter) -> None:
    """`value` becomes [N, H, W, C]; whoever read it reads a transpose of it."""
    with _at_the_beginning(graph, value, rewriter):
        rewriter.store_permuted(value, _LAST)
        first = rewriter.op("Transpose", value, perm=list(_FIRST))
    _redirect(value, first, [first], rewriter)


@contextlib.contextmanager
def _at_the_beginning(graph: Graph, value: Value, rewriter: Rewriter) -> Iterator[None]:
    """New nodes stand before all others, and come from the first one that reads `value`."""
    if value.is_graph_output():
        raise UsageError(f"the input '{value.name}' is an output as well, so it can't be changed")
    first = graph[0] if len(graph) else None
    readers = [use.node for use in value.uses()]
    if first is None or not readers:
        with rewriter.inside(graph):
            yield
        return
    with rewriter.rewrite("arrange-ends", readers[0]), rewriter.inside(graph, first):
        yield


def _redirect(old: Value, new: Value, made: Sequence[Value], rewriter: Rewriter) -> None:
    """Every reader of `old` but the nodes that were `made` of it reads `new`."""
    own = {value.producer() for value in made}
    for use in list(old.uses()):
        if use.node not in own:
            rewriter.set_input(use.node, use.idx, new)


def _output_last(graph: Graph, value: Value, rewriter: Rewriter) -> None:
    """A transpose of `value` takes its place among the outputs, and its name."""
    node = Node("", "Transpose", [value], [onnx_ir.AttrInt64s("perm", list(_LAST))], num_outputs=1)
    with rewriter.inside(graph):
        rewriter.insert(node)
    last = node.outputs[0]
    set_layout(last, Layout(_LAST))
    rewriter.give_output(value, last)
