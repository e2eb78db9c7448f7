"""A target of the tests' own: the graph as it is, in a folder and a file beside it, run in ONNX Runtime."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from pathlib import Path

from graphrewrite.errors import MissingExtra, NotChecked
from graphrewrite.ir import Array, Model, save
from graphrewrite.numeric.check import Runner
from graphrewrite.numeric.reference import open_reference
from graphrewrite.targets.base import Target, Written


@dataclasses.dataclass(frozen=True)
class FolderTarget(Target):
    """Writes `x.folder/graph.onnx` and `x.txt`.

    Attributes:
        fault: "write", "run", "extra" or "outputs": what goes wrong.
        precision: an option that several targets have.
    """

    name = "folder"
    suffix = ".folder"
    fault: str = ""
    precision: str = "fp32"

    def __post_init__(self) -> None:
        if self.fault not in ("", "write", "run", "extra", "outputs"):
            raise ValueError(f"there is no fault '{self.fault}'")

    def require(self) -> None:
        if self.fault == "extra":
            raise MissingExtra("folder", "foldertools")

    def files(self, path: Path) -> tuple[Path, ...]:
        return path, path.with_suffix(".txt")

    def write(self, model: Model, path: Path) -> Written:
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir()
        save(model, path / "graph.onnx")
        if self.fault == "write":
            raise ZeroDivisionError("division by zero")
        path.with_suffix(".txt").write_text(self.precision)
        return Written(path, (path / "graph.onnx").stat().st_size, {"operators": {"Any": len(model.graph)}})

    def runners(self, path: Path) -> Mapping[str, Runner]:
        if self.fault == "run":
            raise NotChecked("the runtime is not here")
        session = open_reference(path / "graph.onnx")

        def run(sample: Mapping[str, Array]) -> Mapping[str, Array]:
            found = session.run({name: sample[name] for name in session.inputs})
            return {name: array + 1 for name, array in found.items()} if self.fault == "outputs" else found

        return {"onnxruntime": run}


TARGET = FolderTarget()
