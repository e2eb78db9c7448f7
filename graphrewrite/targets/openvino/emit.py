"""Writing: the front end reads the graph, the source's names are put back, and the model is saved."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from graphrewrite.errors import InternalError
from graphrewrite.ir import About, DataType, Graph, Model, Value, about
from graphrewrite.targets.openvino.package import core, openvino
from graphrewrite.targets.openvino.proto import readable


def write(model: Model, path: Path) -> dict[str, int]:
    """Save `model` at `path` (.xml) and beside it (.bin); the count of operations by type.

    Equal models give equal bytes.

    Raises:
        InternalError: the front end refuses what the lowering left, or loses an input or output.
    """
    source = readable(model)
    try:
        converted = core().read_model(io.BytesIO(source.data))
    except RuntimeError as error:
        raise InternalError(f"OpenVINO's front end refuses the lowered graph: {error}") from error
    converted = _with_all_inputs(converted, model.graph)
    _name_ports(converted.inputs, model.graph.inputs, "inputs")
    _name_ports(converted.outputs, model.graph.outputs, "outputs")
    _settle_ties(converted)
    _number_names(converted)
    _describe(converted, about(model))
    openvino().save_model(converted, path, compress_to_fp16=False)
    return dict(sorted(Counter(op.get_type_name() for op in all_ops(converted)).items()))


def _with_all_inputs(model: Any, graph: Graph) -> Any:
    """`model` with the inputs in the source's order, those that nothing reads included: the front end drops them."""
    ov = openvino()
    known = {_input_of(parameter, graph): parameter for parameter in model.get_parameters()}
    parameters = []
    for value in graph.inputs:
        parameter = known.get(value)
        if parameter is None:
            shape = ov.PartialShape([dim if isinstance(dim, int) else -1 for dim in value.shape or ()])
            parameter = ov.op.Parameter(ov.Type((value.dtype or DataType.FLOAT).numpy()), shape)
        parameter.set_friendly_name(value.name)
        parameters.append(parameter)
    if parameters == model.get_parameters():
        return model
    return ov.Model(model.get_results(), parameters, model.get_friendly_name())


def _input_of(parameter: Any, graph: Graph) -> Value | None:
    """The graph's input that a parameter stands for.

    Where an output of the model is an input passed through, the front end knows both by the output's name only.
    """
    names = {*parameter.output(0).get_names(), parameter.get_friendly_name()}
    for value in graph.inputs:
        if value.name in names:
            return value
    passed: Value | None = next((value for value in graph.outputs if value.name in names), None)
    while passed is not None and (producer := passed.producer()) is not None:
        passed = producer.inputs[0]
    return passed


def _name_ports(ports: Sequence[Any], values: Sequence[Value], what: str) -> None:
    """Give each port its source name. The front end keeps the order, and loses names where it drops or merges nodes."""
    if len(ports) != len(values):
        raise InternalError(f"OpenVINO's front end made {len(ports)} {what} of {len(values)}")
    for port, value in zip(ports, values, strict=True):
        tensor = port.get_tensor()
        tensor.set_names({*tensor.get_names(), value.name})


def all_ops(model: Any) -> Iterator[Any]:
    """Every operation, those of bodies included, in an order that depends on the graph alone."""
    for op in model.get_ordered_ops():
        yield op
        for body in bodies(op):
            yield from all_ops(body)


def bodies(op: Any) -> Iterable[Any]:
    """The graphs that an operation runs."""
    kind = op.get_type_name()
    if kind == "If":
        return op.get_function(0), op.get_function(1)
    return (op.get_function(),) if kind in ("Loop", "TensorIterator") else ()


def _settle_ties(model: Any) -> None:
    """Of equal elements TopK takes the first in ONNX; its OpenVINO form leaves that open unless told."""
    for op in all_ops(model):
        if op.get_type_name() == "TopK" and op.get_attributes()["sort"] != "none":
            op.set_attribute("stable", True)


def _describe(model: Any, content: About) -> None:
    """Texts and labels under `model_info`, where OpenVINO's own tools keep and look for them: labels in one text, split at
    blanks."""
    texts = content.texts
    if content.labels is not None:
        texts["labels"] = " ".join("_".join(name.split()) for name in content.labels.names)
    for key, text in texts.items():
        model.set_rt_info(text, ["model_info", key])


def _number_names(model: Any) -> None:
    """Names that the front end drew from a counter of the process are drawn from one of the model."""
    counts: Counter[str] = Counter()
    for op in all_ops(model):
        kind = op.get_type_name()
        if re.fullmatch(rf"{re.escape(kind)}_\d+", op.get_friendly_name()):
            op.set_friendly_name(f"{kind}_{counts[kind]}")
            counts[kind] += 1
