"""The source model as the side to be compared with: its reference session and samples, made once for all targets."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import onnx

from graphrewrite.errors import GraphRewriteError, InternalError, InvalidModel, NotChecked
from graphrewrite.ir import Array, Model, Source, TensorType, Value, dims, layout, load, picture
from graphrewrite.numeric.check import CheckReport, Margin, Runner, check, margins
from graphrewrite.numeric.inputs import SAMPLES, Sample, checked_sample, load_samples, make_samples
from graphrewrite.numeric.metrics import FP32, Tolerance
from graphrewrite.numeric.noise import NoisePlan
from graphrewrite.numeric.pixels import Pixels
from graphrewrite.numeric.reference import Reference, open_reference
from graphrewrite.numeric.rounded import rounded_outputs

_UNKNOWN_DIM = 64
"""Stands for a dynamic dimension where bytes are estimated."""

_GROWTHS = (1, 16, 256)
"""Of the sizes of samples, tried until the source runs: a speech model wants hundreds of samples, one of text few tokens."""


@dataclasses.dataclass
class Original:
    """One source model, its samples, and its reference session, which is opened when first needed.

    `part` is what of it is converted, where that is not all, and `folder` where that part's external data lies. The written model
    may take its inputs in another form: `raw` makes samples in that form of those drawn for the original, `prepare` goes back.
    """

    source: Source
    samples: list[Sample] = dataclasses.field(default_factory=list)
    margin: dict[str, Margin] = dataclasses.field(default_factory=dict)
    sizes: dict[str, int] = dataclasses.field(default_factory=dict)
    """Bytes of the tensors that nodes compute, by name and in order; filled by `draw`. A dynamic dimension counts as 64."""
    rounded: frozenset[str] = frozenset()
    """Outputs that carry the roundings of float16, filled by `draw`; see `graphrewrite.numeric.rounded`."""
    part: Source | None = None
    folder: str | None = None
    raw: Callable[[Sample], Sample] = dict
    prepare: Callable[[Sample], Sample] = dict
    _reference: Reference | None = None

    def draw(
        self, model: Model, samples: Sequence[Sample] | str | os.PathLike[str] | None, seed: int
    ) -> None:
        """Take the user's samples (raw ones), or draw some for the inputs of `model`, the imported source.

        Raises:
            UsageError: they do not fit the inputs, or an input can't be drawn.
        """
        inputs = {value.name or "": value for value in model.graph.inputs}
        made = (value for node in model.graph for value in node.outputs)
        self.rounded = rounded_outputs(model)
        self.sizes = {value.name: nbytes(value) for value in made if value.name and _is_tensor(value)}
        if samples is None:
            static = all(value.shape is not None and value.shape.is_static() for value in inputs.values())
            for growth in (1,) if static else (*_GROWTHS, 1):
                drawn = make_samples(model.graph, 1 if static and not inputs else SAMPLES, seed, growth)
                self.samples = [self.raw(sample) for sample in drawn]
                if not static and self._answers(self.samples[0]):
                    break
        elif isinstance(samples, str | os.PathLike):
            self.samples = load_samples(samples, inputs)
        else:
            self.samples = [checked_sample(sample, inputs) for sample in samples]
        if samples is not None:
            for sample in self.samples:
                self.prepare(sample)  # what is no raw input is told before anything is converted

    def _answers(self, sample: Sample) -> bool:
        """Whether the source runs on `sample`: a dynamic one may want more of a signal than was drawn."""
        try:
            reference = self.open()
            if reference.noise:
                return True
            given = self.prepare(sample)
            names = [*reference.outputs, *(item.scores for item in self.margin.values())]
            reference.run({name: given[name] for name in reference.inputs}, dict.fromkeys(names))
        except NotChecked:
            return False
        return True

    def open(self) -> Reference:
        """The reference session; arg-max scores are made extra outputs.

        Raises:
            NotChecked: ONNX Runtime can't load the source.
        """
        if self._reference is None:
            self.margin = margins(_proto(self.taken))
            scores = dict.fromkeys(item.scores for item in self.margin.values())
            self._reference = self.open_for(scores)
            self._reference.memory = {}  # it is asked for each target, and for each state of the graph
        return self._reference

    @property
    def taken(self) -> Source:
        """What is compared with: the part, or the whole source."""
        return self.source if self.part is None else self.part

    def open_for(self, extra_outputs: Iterable[str]) -> Reference:
        """A new session that can give more values.

        Raises:
            NotChecked: ONNX Runtime can't load the source.
        """
        return open_reference(self.taken, extra_outputs=extra_outputs, base_dir=self.folder)

    def computed(self) -> dict[str, str]:
        """The values that nodes of the source's main graph write, with the node: `Conv 'conv1'`."""
        return {
            name: f"{node.op_type} '{node.name or node.output[0]}'"
            for node in _proto(self.taken).graph.node
            for name in node.output
            if name
        }

    @contextlib.contextmanager
    def blamed(self) -> Iterator[None]:
        """What fails unexpectedly inside is the model's fault where ONNX Runtime can't run the model either.

        Type inference lets much pass that no kernel takes (a scale of the wrong size, ...), and no row looks for all of it.

        Raises:
            InvalidModel: instead of what was raised inside, with ONNX Runtime's words.
        """
        try:
            yield
        except Exception as error:  # a row may stumble in any way over what it takes for granted
            if isinstance(error, InternalError) or not isinstance(error, GraphRewriteError):
                self._raise_unless_sound(error)
            raise

    def _raise_unless_sound(self, error: Exception) -> None:
        try:
            reference = self.open_for(())
            if reference.noise:
                return
            sample = (
                self.prepare(self.samples[0]) if self.samples else make_samples(load(self.taken).graph, 1)[0]
            )
            reference.run(sample)
        except NotChecked as refusal:
            raise InvalidModel(
                f"the model contradicts itself: {error}\n    {refusal}\n"
                "    try: onnxruntime on the file itself, and export it again once that runs"
            ) from error
        except GraphRewriteError:
            return  # no sample could be drawn

    def compare(
        self,
        model: Model,
        plan: NoisePlan,
        runners: Mapping[str, Runner],
        *,
        tolerance: Tolerance = FP32,
        samples: Sequence[Sample] | None = None,
    ) -> CheckReport:
        """Judge `runners` of what `model` became; the first one runs all samples, the others the first only.

        Raises:
            NotChecked: one side could not run.
        """
        return check(
            self.open(),
            self.samples if samples is None else samples,
            {name: fed(runner, plan, model) for name, runner in runners.items()},
            tolerance=tolerance,
            margin=self.margin,
            rounded=self.rounded,
            noise=plan.reference_feeds(self.samples),
            prepare=self.prepare,
            first_sample_only=frozenset(list(runners)[1:]),
        )


def fed(runner: Runner, plan: NoisePlan, model: Model) -> Runner:
    """`runner` in the source's dimension order: inputs and outputs that the model stores in another are permuted."""
    feed = feeder(plan, model)
    outputs = {value.name: layout(value) for value in model.graph.outputs if value.name}

    def run(sample: Sample) -> Mapping[str, Array]:
        found = dict(runner(feed(sample)))
        for name, facet in outputs.items():
            if facet is not None and name in found:
                found[name] = found[name].transpose(np.argsort(facet.perm))
        return found

    return run


def feeder(plan: NoisePlan, model: Model) -> Callable[[Sample], Sample]:
    """What turns a sample of the source into the inputs of `model`: noise is added, what it stores permuted is permuted, and a
    picture knows that it is one."""
    inputs = {value.name: layout(value) for value in model.graph.inputs if value.name}
    pictures = {value.name: picture(value) for value in model.graph.inputs if value.name}

    def feed(sample: Sample) -> Sample:
        feeds = plan.candidate_feeds(sample)
        given = {name: feeds[name] for name in [*inputs, *plan.inputs] if name in feeds}
        for name, facet in inputs.items():
            if facet is not None and name in given:
                given[name] = np.ascontiguousarray(given[name].transpose(facet.perm))
        for name, image in pictures.items():
            if image is not None and name in given:
                stored = inputs[name]
                axis = image.channels if stored is None else stored.perm.index(image.channels)
                given[name] = Pixels.of(given[name], image.color, axis)
        return given

    return feed


def _is_tensor(value: Value) -> bool:
    return isinstance(value.type, TensorType) and value.dtype is not None and not value.dtype.is_string()


def nbytes(value: Value) -> int:
    """Bytes of a value; a dynamic dimension counts as 64."""
    known = dims(value) or ()
    elements = math.prod(dim if isinstance(dim, int) else _UNKNOWN_DIM for dim in known)
    return int(elements * (value.dtype.itemsize if value.dtype is not None else 4))


def _proto(source: Source) -> onnx.ModelProto:
    if isinstance(source, onnx.ModelProto):
        return source
    if isinstance(source, bytes):
        proto = onnx.ModelProto()
        proto.ParseFromString(source)
        return proto
    return onnx.load(os.fspath(source), load_external_data=False)
