"""The OpenVINO target: the rewritten graph through OpenVINO's own ONNX front end, saved, reloaded, run on its CPU plugin."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from graphrewrite.errors import MissingExtra, UsageError
from graphrewrite.ir import Model, about
from graphrewrite.ir.about import TEXTS
from graphrewrite.numeric.check import Runner
from graphrewrite.targets.base import Target, Written, check_precision


@dataclasses.dataclass(frozen=True)
class OpenVINOTarget(Target):
    """See `graphrewrite.targets.base.Target`.

    Attributes:
        precision: how large weights are stored, `fp32` or `fp16`; the device chooses what it computes in.
    """

    name = "openvino"
    suffix = ".xml"
    reads_onnx = True
    precision: str = "fp32"

    def __post_init__(self) -> None:
        check_precision(self.precision)

    def require(self) -> None:
        """Raise MissingExtra where OpenVINO is not installed."""
        if importlib.util.find_spec("openvino") is None:
            raise MissingExtra("openvino", "openvino")

    def files(self, path: Path) -> tuple[Path, ...]:
        """The graph, and the weights beside it.

        Raises:
            UsageError: the name is none that OpenVINO writes to.
        """
        if path.suffix != self.suffix:
            raise UsageError(
                f"'{path}' can't be a model of OpenVINO, whose names end with {self.suffix}: write to "
                f"'{path.with_suffix(self.suffix)}'"
            )
        return path, path.with_suffix(".bin")

    def write(self, model: Model, path: Path) -> Written:
        """Convert and save."""
        from graphrewrite.targets.openvino.emit import write

        operators = write(model, path)
        sizes = [file.stat().st_size for file in self.files(path)]
        details = {
            "operators": operators,
            "operator_count": sum(operators.values()),
            "weight_bytes": sizes[1],
            "precision": self.precision,
        }
        content = about(model)
        kept = content.kept([*TEXTS, *content.custom, "labels"])
        return Written(path, sum(sizes), details | ({"metadata": kept} if kept else {}))

    def runners(self, path: Path) -> Mapping[str, Runner]:
        """The CPU plugin, computing in float32."""
        from graphrewrite.targets.openvino.runtime import CpuPlugin

        return {"openvino-cpu": CpuPlugin(path)}

    def values(self, path: Path, names: Collection[str]) -> tuple[str, ...]:
        """The tensors of the main graph that bear these names."""
        from graphrewrite.targets.openvino.runtime import tensor_names

        return tuple(name for name in tensor_names(path) if name in names)

    def probes(self, path: Path, names: Sequence[str]) -> Mapping[str, Runner]:
        """The CPU plugin, on the model with these outputs in addition."""
        from graphrewrite.targets.openvino.runtime import CpuPlugin

        return {"openvino-cpu": CpuPlugin(path, extra_outputs=names)}


TARGET = OpenVINOTarget()
