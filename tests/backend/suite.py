"""The ONNX project's conformance suite as cases for a target, in two modes.

`shipped`: all inputs at run time. `constants`: every input but the first baked in as an initializer, how real models look;
cases with one input are the same in both. Eligible, for every target alike, is a case whose every declared type is a tensor
of a type that TFLite holds, and whose expected outputs ONNX Runtime itself meets.
"""

from __future__ import annotations

import dataclasses
import functools
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx.numpy_helper

import graphrewrite
from graphrewrite.errors import GraphRewriteError, InvalidModel, NotChecked, NotExpressible, OutputsDiffer
from graphrewrite.numeric.reference import open_reference
from graphrewrite.targets.base import target as find_target
from graphrewrite.targets.failures import LoadFailed

Array = npt.NDArray[Any]

MODES = ("shipped", "constants")
KINDS = ("node", "simple", "pytorch-converted", "pytorch-operator")
TYPES = frozenset(
    getattr(onnx.TensorProto, name)
    for name in ("FLOAT", "FLOAT16", "INT8", "UINT8", "INT16", "INT32", "INT64", "BOOL")
)
RIGHT = "right"


@dataclasses.dataclass(frozen=True)
class Case:
    """One case with its data sets: (inputs by position, expected outputs by position)."""

    name: str
    model: onnx.ModelProto
    data: tuple[tuple[tuple[Array, ...], tuple[Array, ...]], ...]
    rtol: float
    atol: float

    @property
    def op(self) -> str:
        """The operator that the case is about: the first non-trivial one."""
        return next((node.op_type for node in self.model.graph.node if node.op_type != "Constant"), "?")

    def in_mode(self, mode: str) -> tuple[onnx.ModelProto, list[dict[str, Array]]] | None:
        """The model and its run-time feeds; None where the mode does not apply to this case."""
        names = [value.name for value in self.model.graph.input]
        if mode == "shipped":
            return self.model, [dict(zip(names, inputs)) for inputs, _ in self.data]
        if len(names) < 2:
            return self.model, [dict(zip(names, inputs)) for inputs, _ in self.data]
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        del model.graph.input[1:]
        inputs = self.data[0][0]
        model.graph.initializer.extend(
            onnx.numpy_helper.from_array(np.asarray(array), name)
            for name, array in zip(names[1:], inputs[1:])
        )
        model.ir_version = max(model.ir_version, 4)
        return model, [{names[0]: inputs[0]}]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a case: `right`, a reason code with why, a refusal of the check or a fault (see `outcomes.py`)."""

    kind: str
    why: str
    seconds: float


@functools.lru_cache(maxsize=1)
def eligible() -> dict[str, Case]:
    """Every eligible case by name."""
    return {case.name: case for case in _all_cases() if _types_fit(case.model) and _reference_meets(case)}


def _all_cases() -> Iterator[Case]:
    from onnx.backend.test.loader import load_model_tests

    for kind in KINDS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = load_model_tests(kind=kind)
        for item in found:
            case = _in_memory(item) if item.model is not None else _from_folder(item)
            if case is not None:
                yield case


def _in_memory(item: Any) -> Case | None:
    data = []
    for inputs, outputs in item.data_sets or ():
        if not all(isinstance(array, np.ndarray | np.generic) for array in (*inputs, *outputs)):
            return None
        data.append((tuple(map(np.asarray, inputs)), tuple(map(np.asarray, outputs))))
    return Case(item.name, item.model, tuple(data), item.rtol, item.atol) if data else None


def _from_folder(item: Any) -> Case | None:
    folder = Path(item.model_dir or "")
    if not (folder / "model.onnx").is_file():
        return None
    model = onnx.load(folder / "model.onnx")
    if not _types_fit(model):
        return None
    data = []
    for entry in sorted(folder.glob("test_data_set_*")):
        data.append(tuple(_tensors(entry, stem) for stem in ("input", "output")))
    return Case(item.name, model, tuple(data), item.rtol, item.atol) if data else None  # type: ignore[arg-type]


def _tensors(folder: Path, stem: str) -> tuple[Array, ...]:
    files = sorted(folder.glob(f"{stem}_*.pb"), key=lambda path: int(path.stem.split("_")[-1]))
    return tuple(onnx.numpy_helper.to_array(onnx.TensorProto.FromString(path.read_bytes())) for path in files)


def _types_fit(model: onnx.ModelProto) -> bool:
    graph = model.graph
    values = [*graph.input, *graph.output, *graph.value_info]
    return (
        all(
            v.type.WhichOneof("value") == "tensor_type" and v.type.tensor_type.elem_type in TYPES
            for v in values
        )
        and all(tensor.data_type in TYPES for tensor in graph.initializer)
        and all(node.domain in ("", "ai.onnx") for node in graph.node)
    )


def _reference_meets(case: Case) -> bool:
    try:
        reference = open_reference(case.model, threads=1)
        if reference.noise:
            return False
        names = [value.name for value in case.model.graph.input]
        for inputs, outputs in case.data:
            found = reference.run(dict(zip(names, inputs)))
            if not _meets(case, outputs, list(found.values())):
                return False
    except NotChecked:
        return False
    return True


def _meets(case: Case, expected: tuple[Array, ...], found: list[Array]) -> bool:
    if len(expected) != len(found):
        return False
    for wanted, got in zip(expected, found):
        if wanted.shape != got.shape or wanted.dtype != got.dtype:
            return False
        if not np.allclose(
            got.astype(np.float64), wanted.astype(np.float64), case.rtol, case.atol, equal_nan=True
        ):
            return False
    return True


def run_case(case: Case, mode: str, target: str) -> Outcome:
    """Convert, check and judge one case in one mode."""
    prepared = case.in_mode(mode)
    assert prepared is not None
    model, feeds = prepared
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        kind, why = _convert(case, model, feeds, target, Path(folder))
    return Outcome(kind, why, time.perf_counter() - started)


def _convert(
    case: Case, model: onnx.ModelProto, feeds: list[dict[str, Array]], target: str, folder: Path
) -> tuple[str, str]:
    found = find_target(target)
    path = folder / f"case{found.suffix}"
    try:
        graphrewrite.run(model, target, output=path, samples=feeds)
    except NotExpressible as error:
        first = error.blockers[0]
        return first.code.value, f"{first.op}: {first.reason}"
    except InvalidModel as error:
        return "INVALID_MODEL", _line(error)
    except OutputsDiffer as error:
        return "differs", " ".join(line.strip() for line in str(error).splitlines()[:2])
    except LoadFailed as error:
        return "unloadable", _line(error)
    except NotChecked as error:
        return "unchecked", _line(error)
    except GraphRewriteError as error:
        return "internal", _line(error)
    except Exception as error:  # the point of the suite is to count these
        return "internal", f"{type(error).__name__}: {_line(error)}"
    run = next(iter(found.runners(path).values()))
    for sample, (_, expected) in zip(feeds, case.data):
        outputs = run(sample)
        if not _meets(case, expected, [outputs[item.name] for item in model.graph.output]):
            return "wrong", "the written file misses the suite's expected outputs"
    return RIGHT, ""


def _line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0][:200] if lines else type(error).__name__
