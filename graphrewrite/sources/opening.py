"""How a source model is taken in: which part of it, in which shapes, and with which ends."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import onnx

from graphrewrite.ir import Model, Source, load
from graphrewrite.ir.inputs import ShapeSpec, parse_shapes, set_shapes
from graphrewrite.numeric.inputs import Sample
from graphrewrite.numeric.original import Original
from graphrewrite.pipeline import Instrument, Pass, PassRecord, Stage, run_pipeline
from graphrewrite.rewrite import Rewriter
from graphrewrite.sources.cut import cut, read_proto
from graphrewrite.sources.ends import Normalization, arrange, check_ends, parse_layouts

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
    normalize: Mapping[str, Normalization] = dataclasses.field(default_factory=dict)
    layouts: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(
        cls,
        shape: ShapeSpec | Sequence[str] = (),
        inputs: Names = (),
        outputs: Names = (),
        normalize: Scales = (),
        io_layout: Layouts = (),
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
        return cls(
            shape if isinstance(shape, Mapping) else parse_shapes(list(shape)),
            _names(inputs),
            _names(outputs),
            scales,
            parse_layouts([io_layout] if isinstance(io_layout, str) else io_layout),
        )

    @property
    def flags(self) -> list[str]:
        """The flags of the command line that ask for the same."""
        found = [f"--shape={name}={_written(sizes)}" for name, sizes in self.shape.items()]
        found += [f"--inputs={','.join(self.inputs)}"] if self.inputs else []
        found += [f"--outputs={','.join(self.outputs)}"] if self.outputs else []
        found += [f"--normalize={name}={item}" for name, item in self.normalize.items()]
        found += [
            f"--io-layout={name}={layout}" if name else f"--io-layout={layout}"
            for name, layout in self.layouts.items()
        ]
        return found

    def begin(self, source: Source) -> tuple[Original, Model]:
        """The side to compare with, and the graph to convert: of `source`, or of the part of it that is asked for.

        Raises:
            InvalidModel, UsageError: it is no model, or does not have what is asked of it.
        """
        original = Original(source, raw=self.raw, prepare=self.for_original)
        model = load(source)
        if self.inputs or self.outputs:
            original.part = cut(read_proto(source), self.inputs, self.outputs)
            original.folder = _folder(source)
            model = load(original.part, base_dir=original.folder)
        set_shapes(model, self.shape)
        check_ends(model, self.normalize, self.layouts)
        return original, model

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
        """Change the ends of the imported model; see `sources.ends`."""
        if self.normalize or self.layouts:
            arrange(model, Rewriter(model), self.normalize, self.layouts)

    def for_original(self, sample: Sample) -> Sample:
        """A raw sample as the original takes it."""
        return sample | {
            name: item.apply(sample[name]) for name, item in self.normalize.items() if name in sample
        }

    def raw(self, sample: Sample) -> Sample:
        """What is drawn for the original as raw input."""
        return sample | {
            name: item.undo(sample[name]) for name, item in self.normalize.items() if name in sample
        }


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
