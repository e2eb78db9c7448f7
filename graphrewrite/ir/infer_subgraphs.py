"""Type and shape inference of If, Loop and Scan: what their bodies agree on, in every branch and every round.

Each function of `CONTROL_FLOW` takes the node and what infers the nodes of a body, and says whether something was learned.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence

import onnx_ir

from graphrewrite.ir.refine import ShapeConflict, refine
from graphrewrite.ir.shapes import Dim, Dims, dims

InferGraph = Callable[[Iterable[onnx_ir.Node]], None]


def _merge(left: Dims | None, right: Dims | None) -> Dims | None:
    """What two control-flow paths agree on."""
    if left is None or right is None or len(left) != len(right):
        return None
    return tuple(a if a == b else None for a, b in zip(left, right, strict=True))


def _set_outputs(
    outputs: Sequence[onnx_ir.Value], sources: Sequence[tuple[onnx_ir.Value, Dims | None]]
) -> bool:
    changed = False
    for output, (source, known) in zip(outputs, sources, strict=False):
        if isinstance(source.type, onnx_ir.TensorType):
            changed |= refine(output, int(source.type.dtype), known)
        elif output.type is None:
            output.type = source.type
    return changed


def _infer_if(node: onnx_ir.Node, infer: InferGraph) -> bool:
    branches = [node.attributes[name].as_graph() for name in ("then_branch", "else_branch")]
    for branch in branches:
        # A branch that is never taken may contradict what is known by now.
        with contextlib.suppress(ShapeConflict):
            infer(branch)
    pairs = zip(branches[0].outputs, branches[1].outputs, strict=True)
    return _set_outputs(node.outputs, [(a, _merge(dims(a), dims(b))) for a, b in pairs])


def bind_subgraph_inputs(node: onnx_ir.Node) -> None:
    """Give the inputs of Loop and Scan bodies the types and shapes that the node's own inputs imply."""
    if node.op_type == "Loop":
        body = node.attributes["body"].as_graph()
        refine(body.inputs[0], int(onnx_ir.DataType.INT64), ())
        refine(body.inputs[1], int(onnx_ir.DataType.BOOL), ())
        for inner, outer in zip(body.inputs[2:], node.inputs[2:], strict=True):
            # A state may change its shape from one round to the next: only a declared shape is believed.
            if outer is not None and isinstance(outer.type, onnx_ir.TensorType) and inner.type is None:
                inner.type = onnx_ir.TensorType(outer.type.dtype)
    elif node.op_type == "Scan":
        _bind_scan(node)


def _stable_states(node: onnx_ir.Node, infer: InferGraph) -> list[Dims | None]:
    """For each state of a Loop the shape that it has in every round, None where it changes or is not known.

    Tried out on a copy of the body: the shapes at the start are assumed, and dropped where the round's end contradicts them.
    """
    body = node.attributes["body"].as_graph()
    assumed = [dims(value) for value in node.inputs[2:]]
    while any(known is not None for known in assumed):
        trial = body.clone(allow_outer_scope_values=True)
        try:
            for value, known in zip(trial.inputs[2:], assumed, strict=True):
                refine(value, None, known)
            infer(trial)
        except ShapeConflict:
            return [None] * len(assumed)
        found = [dims(value) for value in trial.outputs[1 : 1 + len(assumed)]]
        kept = [known if known == new else None for known, new in zip(assumed, found, strict=True)]
        if kept == assumed:
            break
        assumed = kept
    return assumed


def _infer_loop(node: onnx_ir.Node, infer: InferGraph) -> bool:
    bind_subgraph_inputs(node)
    body = node.attributes["body"].as_graph()
    states = len(node.inputs) - 2
    initial = list(node.inputs[2:])
    for inner, known in zip(body.inputs[2:], _stable_states(node, infer), strict=True):
        refine(inner, None, known)
    infer(body)
    sources: list[tuple[onnx_ir.Value, Dims | None]] = []
    for index, value in enumerate(body.outputs[1:]):
        known = dims(value)
        if index < states:
            sources.append((value, _merge(known, dims(initial[index]))))
        else:
            sources.append((value, None if known is None else (None, *known)))
    return _set_outputs(node.outputs, sources)


def _bind_scan(node: onnx_ir.Node) -> Dim:
    """Bind the body's inputs; the sequence length."""
    body = node.attributes["body"].as_graph()
    scans = node.attributes["num_scan_inputs"].as_int()
    states = len(node.inputs) - scans
    axes = node.attributes.get_ints("scan_input_axes", None) or [0] * scans
    length: Dim = None
    for index, (inner, outer) in enumerate(zip(body.inputs, node.inputs, strict=True)):
        if outer is None or not isinstance(outer.type, onnx_ir.TensorType):
            continue
        known = dims(outer)
        if index >= states and known is not None:
            axis = axes[index - states] % len(known)
            length = known[axis]
            known = known[:axis] + known[axis + 1 :]
        refine(inner, int(outer.type.dtype), known)
    return length


def _infer_scan(node: onnx_ir.Node, infer: InferGraph) -> bool:
    length = _bind_scan(node)
    body = node.attributes["body"].as_graph()
    states = len(node.inputs) - node.attributes["num_scan_inputs"].as_int()
    infer(body)
    out_axes = node.attributes.get_ints("scan_output_axes", None) or [0] * (len(node.outputs) - states)
    sources: list[tuple[onnx_ir.Value, Dims | None]] = []
    for index, value in enumerate(body.outputs):
        known = dims(value)
        if index >= states and known is not None:
            axis = out_axes[index - states] % (len(known) + 1)
            known = (*known[:axis], length, *known[axis:])
        sources.append((value, known))
    return _set_outputs(node.outputs, sources)


CONTROL_FLOW: Mapping[str, Callable[[onnx_ir.Node, InferGraph], bool]] = {
    "If": _infer_if,
    "Loop": _infer_loop,
    "Scan": _infer_scan,
}
