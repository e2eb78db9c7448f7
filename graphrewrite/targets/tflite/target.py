"""The TFLite target: written directly, validated, and run in LiteRT with XNNPACK and without."""

from __future__ import annotations

import dataclasses
import importlib.util
import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphrewrite.errors import InternalError, MissingExtra
from graphrewrite.ir import Array, Model, about
from graphrewrite.layout import TransposeLeft, transposes_left
from graphrewrite.numeric.check import Runner
from graphrewrite.targets.base import Target, Written, check_precision

if TYPE_CHECKING:
    from graphrewrite.targets.tflite.runtime import RunResult


@dataclasses.dataclass(frozen=True)
class TFLiteTarget(Target):
    """See `graphrewrite.targets.base.Target`.

    Attributes:
        precision: how weights are stored, `fp32` or `fp16`; everything is computed in float32.
    """

    name = "tflite"
    suffix = ".tflite"
    precision: str = "fp32"

    def __post_init__(self) -> None:
        check_precision(self.precision)

    def transposes_left(self, model: Model) -> list[TransposeLeft]:
        """See the base class."""
        from graphrewrite.targets.tflite.layout_dialect import TFLiteLayout

        return transposes_left(model, TFLiteLayout())

    def require(self) -> None:
        """Raise MissingExtra where LiteRT is not installed."""
        for module in ("ai_edge_litert", "flatbuffers"):
            if importlib.util.find_spec(module) is None:
                raise MissingExtra("tflite", module)

    def write(self, model: Model, path: Path) -> Written:
        """Write and validate; a finding of the validator is graphrewrite's own fault."""
        from graphrewrite.targets.tflite.emit import write
        from graphrewrite.targets.tflite.validate import validate

        report = write(model, path)
        findings = validate(path)
        if findings:
            raise InternalError(
                "the written file breaks TFLite's rules:\n"
                + "\n".join(f"  {finding}" for finding in findings)
            )
        details = {
            "operators": dict(sorted(report.operators.items())),
            "operator_count": sum(report.operators.values()),
            "tensors": report.tensors,
            "weight_bytes": report.weight_bytes,
            "weights_behind": report.weights_behind,
        }
        kept = about(model).kept(["description"])
        return Written(path, report.size, details | ({"metadata": kept} if kept else {}))

    def runners(self, path: Path) -> Mapping[str, Runner]:
        """LiteRT with XNNPACK, and with its own kernels as an independent second opinion."""
        return {"litert-xnnpack": LiteRT(path, xnnpack=True), "litert-kernels": LiteRT(path, xnnpack=False)}

    def values(self, path: Path, names: Collection[str]) -> tuple[str, ...]:
        """What the operators of the main graph write under these names."""
        from graphrewrite.targets.tflite.read import read

        graph = read(path).subgraphs[0]
        written = (graph.tensors[index].name for item in graph.operators for index in item.outputs)
        return tuple(name for name in written if name in names)

    def probes(self, path: Path, names: Sequence[str]) -> Mapping[str, Runner]:
        """LiteRT with XNNPACK on a copy of the file whose outputs are these, and its own kernels on the file itself."""
        from graphrewrite.targets.tflite.emit import INLINE_LIMIT

        found: dict[str, Runner] = {}
        if path.stat().st_size < INLINE_LIMIT:
            found["litert-xnnpack"] = Exposed(path, tuple(names))
        found["litert-kernels"] = LiteRT(path, xnnpack=False, outputs=tuple(names))
        return found

    def facts(self, runners: Mapping[str, Runner]) -> dict[str, Any]:
        """XNNPACK partitions and the operators left outside them, as the last run saw them."""
        main = runners.get("litert-xnnpack")
        if not isinstance(main, LiteRT) or main.result is None:
            return {}
        outside = dict(sorted(main.result.outside.items()))
        return {"partitions": main.result.partitions, "outside_xnnpack": outside}


class LiteRT:
    """A Runner that keeps what the runtime said of its last run."""

    def __init__(self, path: Path, *, xnnpack: bool, outputs: Sequence[str] | None = None) -> None:
        self.path = path
        self.xnnpack = xnnpack
        self.outputs = outputs
        self.result: RunResult | None = None

    def __call__(self, sample: Mapping[str, Array]) -> Mapping[str, Array]:
        """Outputs by name."""
        from graphrewrite.targets.tflite.runtime import runner

        self.result = runner.run(self.path, sample, xnnpack=self.xnnpack, outputs=self.outputs)
        return self.result.outputs


class Exposed:
    """A Runner of inner values with XNNPACK, which forgets what is no output: it runs a copy of the file that has more."""

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        self.path = path
        self.names = names

    def __call__(self, sample: Mapping[str, Array]) -> Mapping[str, Array]:
        """The values by name."""
        from graphrewrite.targets.tflite.expose import expose

        with tempfile.TemporaryDirectory() as folder:
            twin = Path(folder) / self.path.name
            expose(self.path, twin, self.names)
            return LiteRT(twin, xnnpack=True, outputs=self.names)(sample)


TARGET = TFLiteTarget()
