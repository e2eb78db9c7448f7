"""The original model in ONNX Runtime: graph optimisation off, random ops fed from outside, extra outputs on demand."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import onnx

from graphrewrite.errors import NotChecked
from graphrewrite.ir import OPSET, Array, Source
from graphrewrite.ir.evaluate import IMPURE

_NEWEST_IR = 13
"""Newest IR version that ONNX Runtime loads; newer ones only add what models of OPSET do not use."""

_PROTO_LIMIT = (1 << 31) - (1 << 20)
"""protobuf's 2 GiB, less what ONNX Runtime may add while it copies the message."""


@dataclasses.dataclass
class Reference:
    """A session of the source model.

    `noise` names the outputs of random nodes; they are inputs of the session, so that both sides can be fed the same noise.
    """

    session: Any
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    noise: tuple[str, ...]
    memory: dict[bytes, dict[str, Array]] | None = None
    """What it has answered before, where it is to remember: for samples that are asked for again and again."""

    def run(self, feeds: Mapping[str, Array], outputs: Iterable[str] | None = None) -> dict[str, Array]:
        """Outputs by name.

        Raises:
            NotChecked: ONNX Runtime fails on these inputs.
        """
        names = list(outputs) if outputs is not None else list(self.outputs)
        key = _digest(names, feeds) if self.memory is not None else b""
        if self.memory is not None and key in self.memory:
            return dict(self.memory[key])
        try:
            arrays = self.session.run(names, dict(feeds))
        except Exception as error:  # ONNX Runtime raises many types; each means that there is no reference
            raise NotChecked(f"ONNX Runtime fails on the original model: {_first_line(error)}") from error
        found = dict(zip(names, arrays, strict=True))
        if self.memory is not None:
            self.memory[key] = found
        return dict(found)


def open_reference(
    source: Source, *, extra_outputs: Iterable[str] = (), base_dir: str | None = None, threads: int = 0
) -> Reference:
    """Open the source model for running.

    Raises:
        NotChecked: ONNX Runtime can't load it.
    """
    extra = list(extra_outputs)
    proto = _proto(source)
    noise = _externalise_noise(proto)
    declared = {value.name for value in proto.graph.output}
    for name in extra:
        if name not in declared:
            proto.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    proto.ir_version = min(proto.ir_version, _NEWEST_IR)
    for entry in proto.opset_import:
        if entry.domain in ("", "ai.onnx"):
            entry.version = min(entry.version, OPSET)
    folder = base_dir
    if folder is None and isinstance(source, str | os.PathLike):
        folder = os.path.dirname(os.path.abspath(os.fspath(source)))
    session = create_session(proto, folder=folder, threads=threads)
    inputs = tuple(item.name for item in session.get_inputs() if item.name not in noise)
    outputs = tuple(value.name for value in proto.graph.output if value.name in declared)
    return Reference(session, inputs, outputs, tuple(noise))


def create_session(
    proto: onnx.ModelProto, *, folder: str | None = None, threads: int = 0, strict: bool = False
) -> Any:
    """An ONNX Runtime CPU session without graph optimisation; external data is read from `folder`.

    With `strict`, shapes that the model declares must be those that follow from its nodes; else they are overruled.

    Raises:
        NotChecked: ONNX Runtime can't load the model.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    # As the nodes stand: what is reduced to a scalar right behind its node then needs no memory until the end.
    options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if strict:
        options.add_session_config_entry("session.strict_shape_type_inference", "1")
    if folder is not None:
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
    try:
        if proto.ByteSize() > _PROTO_LIMIT:
            raise ValueError("the model holds more than 2 GiB inline; save its weights as external data")
        return onnxruntime.InferenceSession(
            proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # ONNX Runtime raises many types; each means that there is no reference
        raise NotChecked(f"ONNX Runtime can't load the model: {_first_line(error)}") from error


def _proto(source: Source) -> onnx.ModelProto:
    proto = onnx.ModelProto()
    if isinstance(source, onnx.ModelProto):
        proto.CopyFrom(source)
    elif isinstance(source, bytes):
        proto.ParseFromString(source)
    else:
        return onnx.load(os.fspath(source), load_external_data=False)
    return proto


def _externalise_noise(proto: onnx.ModelProto) -> list[str]:
    """Turn the outputs of random nodes into inputs; the names."""
    noise: list[str] = []
    keep = []
    for node in proto.graph.node:
        if node.op_type in IMPURE and node.domain in ("", "ai.onnx"):
            noise.append(node.output[0])
            dtype = next((a.i for a in node.attribute if a.name == "dtype"), onnx.TensorProto.FLOAT)
            proto.graph.input.append(onnx.helper.make_tensor_value_info(node.output[0], dtype or 1, None))
        else:
            keep.append(node)
    if noise:
        del proto.graph.node[:]
        proto.graph.node.extend(keep)
    return noise


def _digest(names: Iterable[str], feeds: Mapping[str, Array]) -> bytes:
    digest = hashlib.blake2b("\n".join(names).encode(), digest_size=16)
    for name, array in feeds.items():
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data if array.dtype.kind != "O" else repr(array).encode())
    return digest.digest()


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__
