"""Running a saved model on OpenVINO's CPU plugin, in float32."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from graphrewrite.ir import Array
from graphrewrite.targets.failures import InputRefused, LoadFailed, RunFailed
from graphrewrite.targets.openvino.package import core, openvino

_GIVEN = frozenset({"Constant", "Parameter", "Result"})
"""Operations that compute nothing."""


class CpuPlugin:
    """A Runner: loads the files when first called, and keeps them loaded.

    By default the plugin computes in bfloat16 where the processor has it, 0.7 % off, and rounds what is multiplied with
    compressed weights to 8 bits, up to 2 % off; here float32 is asked for, without that rounding.
    """

    def __init__(self, path: Path, *, threads: int = 0, extra_outputs: Sequence[str] = ()) -> None:
        self.path = path
        self.extra_outputs = extra_outputs
        self.threads = threads
        self._compiled: Any = None

    def __call__(self, sample: Mapping[str, Array]) -> Mapping[str, Array]:
        """Outputs by name.

        Raises:
            LoadFailed, InputRefused, RunFailed: see there.
        """
        compiled = self.compiled()
        request = compiled.create_infer_request()
        feeds = {}
        for port in compiled.inputs:
            name = next((item for item in port.get_names() if item in sample), None)
            if name is None:
                raise InputRefused(
                    f"the file takes the input {sorted(port.get_names())}, which was not given"
                )
            array = np.asarray(sample[name], order="C")
            wanted = port.get_element_type().to_dtype()
            if array.dtype != wanted:
                raise InputRefused(f"the input '{name}' is {np.dtype(wanted).name}, not {array.dtype.name}")
            shape = port.get_partial_shape()
            if not shape.compatible(openvino().PartialShape(list(array.shape))):
                raise InputRefused(f"the input '{name}' has shape {shape}, not {list(array.shape)}")
            feeds[port] = array
        try:
            request.infer(feeds, share_inputs=False)
            return {
                name: request.get_tensor(port).data.copy()
                for port in compiled.outputs
                for name in sorted(port.get_names())
            }
        except RuntimeError as error:
            raise RunFailed(_first_line(error)) from error

    def _model(self) -> Any:
        if not self.extra_outputs:
            return self.path
        model = core().read_model(self.path)
        there = {name for port in model.outputs for name in port.get_names()}
        model.add_outputs([name for name in self.extra_outputs if name not in there])
        return model

    def compiled(self) -> Any:
        """The model, compiled for float32.

        Raises:
            LoadFailed: the files can't be read, or hold what the plugin can't run.
        """
        if self._compiled is None:
            config: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0}
            if self.threads:
                config["INFERENCE_NUM_THREADS"] = self.threads
            try:
                self._compiled = core().compile_model(self._model(), "CPU", config)
            except RuntimeError as error:
                raise LoadFailed(_first_line(error)) from error
        return self._compiled


def tensor_names(path: Path) -> list[str]:
    """Names of what the main graph of a saved model computes, in the order in which it does.

    Raises:
        LoadFailed: it can't be read.
    """
    try:
        model = core().read_model(path)
    except RuntimeError as error:
        raise LoadFailed(_first_line(error)) from error
    computed = (op for op in model.get_ordered_ops() if op.get_type_name() not in _GIVEN)
    return [name for op in computed for port in op.outputs() for name in sorted(port.get_names())]


def _first_line(error: Exception) -> str:
    lines = [
        line for line in str(error).splitlines() if line.strip() and not line.startswith("Exception from")
    ]
    return lines[0][:300] if lines else type(error).__name__
