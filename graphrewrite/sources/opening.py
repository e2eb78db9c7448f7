"""How a source model is taken in: which part of it, in which shapes, and with which ends."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import onnx

from graphrewrite.ir import About, Model, Source, load, set_about
from graphrewrite.ir.inputs import ShapeSpec, parse_shapes, set_shapes
from graphrewrite.numeric.original import Original
from graphrewrite.pipeline import Instrument, Pass, PassRecord, Stage, run_pipeline
from graphrewrite.rewrite import Rewriter
from graphrewrite.sources.cut import cut, read_proto
from graphrewrite.sources.ends import Ends, Normalization, parse_layouts
from graphrewrite.sources.images import Images, parse_images
from graphrewrite.sources.metadata import ClassNames, LabelsSpec, Texts, parse_metadata

Names: TypeAlias = "Sequence[str] | str"
"""Names of values: `["a", "b"]` or `"a,b"`."""

Scales: TypeAlias = "Mapping[str, tuple[float | Sequence[float], float | Sequence[float]]] | Sequence[str]"
"""Mean and standard deviation by input, `{"image": (127.5, 127.5)}` or `["image=127.5:127.5"]`."""

Layouts: TypeAlias = "Mapping[str, str] | Sequence[str] | str"
"""`"nhwc"` for every image, or by name: `{"image": "nhwc"}`, `["image=nhwc"]`."""


@dataclasses.dataclass(frozen=True)
class Opening:
    """What is asked of a source before any pass; the fields are those flags of the command line."""

    shape: ShapeSpec = dataclasses.field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    ends: Ends = dataclasses.field(default_factory=Ends)
    about: About = dataclasses.field(default_factory=About)
    labels: ClassNames | None = None

    @classmethod
    def of(
        cls,
        shape: ShapeSpec | Sequence[str] = (),
        inputs: Names = (),
        outputs: Names = (),
        image: Images = (),
        normalize: Scales = (),
        io_layout: Layouts = (),
        metadata: Texts = (),
        labels: LabelsSpec | None = None,
    ) -> Opening:
        """From what `graphrewrite.run` and the command line take.

        Raises:
            UsageError: something is not written as it should be.
        """
        if isinstance(normalize, Mapping):
            scales = {
                name: Normalization(_numbers(mean), _numbers(std)) for name, (mean, std) in normalize.items()
            }
        else:
            scales = dict(Normalization.parse(item) for item in normalize)
        if isinstance(io_layout, Mapping):
            io_layout = [f"{name}={layout}" for name, layout in io_layout.items()]
        layouts = parse_layouts([io_layout] if isinstance(io_layout, str) else io_layout)
        return cls(
            shape if isinstance(shape, Mapping) else parse_shapes(list(shape)),
            _names(inputs),
            _names(outputs),
            Ends(parse_images(image), scales, layouts),
            parse_metadata(metadata),
            None if labels is None else ClassNames.of(labels),
        )

    @property
    def flags(self) -> list[str]:
        """The flags of the command line that ask for the same; labels that no file holds can't be."""
        ends = self.ends
        found = [f"--shape={name}={_written(sizes)}" for name, sizes in self.shape.items()]
        found += [f"--inputs={','.join(self.inputs)}"] if self.inputs else []
        found += [f"--outputs={','.join(self.outputs)}"] if self.outputs else []
        found += [f"--image={name}={item}" for name, item in ends.images.items()]
        found += [f"--normalize={name}={item}" for name, item in ends.normalize.items()]
        found += [
            f"--io-layout={name}={layout}" if name else f"--io-layout={layout}"
            for name, layout in ends.layouts.items()
        ]
        found += [f"--metadata={key}={text}" for key, text in self.about.texts.items()]
        if self.labels is not None and self.labels.file:
            file = os.path.abspath(self.labels.file)
            found.append(
                f"--labels={self.labels.output}={file}" if self.labels.output else f"--labels={file}"
            )
        return found

    def begin(self, source: Source) -> tuple[Original, Model]:
        """The side to compare with, and the graph to convert: of `source`, or of the part of it that is asked for.

        Raises:
            InvalidModel, UsageError: it is no model, or does not have what is asked of it.
        """
        model, part, folder = load(source), None, None
        if self.inputs or self.outputs:
            part, folder = cut(read_proto(source), self.inputs, self.outputs), _folder(source)
            model = load(part, base_dir=folder)
        set_shapes(model, self.shape)
        ends = self.ends.placed(model)
        return Original(source, part=part, folder=folder, raw=ends.raw, prepare=ends.for_original), model

    def rewrite(
        self,
        model: Model,
        passes: Sequence[Pass],
        *,
        instruments: Sequence[Instrument] = (),
        debug: bool = False,
    ) -> list[PassRecord]:
        """Run the passes as a conversion does: the ends are arranged behind the import."""
        head = [item for item in passes if item.stage == Stage.IMPORT]
        records = run_pipeline(model, head, instruments=instruments, debug=debug)
        self.arrange(model)
        return records + run_pipeline(
            model, passes[len(head) :], instruments=instruments, debug=debug, first=len(head)
        )

    def arrange(self, model: Model) -> None:
        """Change the ends of the imported model, and note what it is to say of itself; see `sources.ends`.

        Raises:
            UsageError: it has no such ends.
        """
        labels = None if self.labels is None else self.labels.placed(model)
        self.ends.placed(model).arrange(model, Rewriter(model))
        set_about(model, dataclasses.replace(self.about, labels=labels))


def _folder(source: Source) -> str | None:
    """Where the external data of a path lies."""
    if isinstance(source, bytes | onnx.ModelProto):
        return None
    return os.path.dirname(os.path.abspath(os.fspath(source)))


def _names(given: Names) -> tuple[str, ...]:
    items = [given] if isinstance(given, str) else given
    return tuple(name.strip() for item in items for name in item.split(",") if name.strip())


def _written(sizes: object) -> str:
    items = sizes if isinstance(sizes, Sequence) and not isinstance(sizes, str) else [sizes]
    return ",".join("?" if item is None else str(item) for item in items)


def _numbers(given: float | Sequence[float]) -> tuple[float, ...]:
    return tuple(map(float, given)) if isinstance(given, Sequence) else (float(given),)
