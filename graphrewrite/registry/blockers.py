"""What besides its ops stands between a model and a target: types at its ends, other domains; and which reasons are causes."""

from __future__ import annotations

from collections.abc import Mapping

from graphrewrite.errors import Blocker, Code
from graphrewrite.ir import Graph, Node, SequenceType, TensorType, Value, rank, source_name
from graphrewrite.registry.opnode import Refusal

_ML = (
    "the op belongs to ai.onnx.ml, ONNX's domain of classical machine learning, which no target holds",
    "convert the estimator into tensor operators (Hummingbird does) and export that; without ZipMap "
    "(options={'zipmap': False}) where it is skl2onnx's",
)
_ORT = (
    "the op is one of ONNX Runtime's own, whose meaning the file does not hold",
    "convert the model as it was before ONNX Runtime's optimiser or quantiser saved it, or save it with "
    "ORT_ENABLE_BASIC; else rewrite the op with a pass of your own (--passes default,my.py)",
)
_BY_VALUES = (
    "cut the model before it with --outputs; --shape can't fix it, because all inputs have known sizes and this one follows from "
    "what is computed, such as how many boxes pass a threshold"
)


def blocked_by(node: Node, refusal: Refusal, graph: Graph) -> Blocker:
    """The blocker that a row's refusal of `node` is; sizes that --shape can't fix in `graph` are not said to be its business."""
    hint = refusal.hint
    if "--shape" in hint and all(
        value.shape is not None and value.shape.is_static() for value in graph.inputs
    ):
        hint = _BY_VALUES
    return Blocker(refusal.code, node.op_type, source_name(node), refusal.reason, hint)


def ends(graph: Graph) -> list[Blocker]:
    """Why inputs and outputs of `graph` can be none of any target's: text, sequences, optionals, and inputs of any rank."""
    return [
        Blocker(
            Code.NOT_EXPRESSIBLE,
            "input",
            value.name or "",
            "its rank is unknown, and a file's inputs have one",
            f"give its sizes: --shape {value.name}=1,3,224,224",
        )
        for value in graph.inputs
        if isinstance(value.type, TensorType) and rank(value) is None
    ] + [
        Blocker(Code.NOT_EXPRESSIBLE, kind, value.name or "", *why)
        for kind, values in (("input", graph.inputs), ("output", graph.outputs))
        for value in values
        if (why := _no_tensor(value)) is not None
    ]


def _no_tensor(value: Value) -> tuple[str, str] | None:
    if isinstance(value.type, TensorType):
        if value.dtype is None or not value.dtype.is_string():
            return None
        return (
            "it holds text, and no target computes with text",
            "handle text outside of the model: --inputs and --outputs cut it where numbers begin and end",
        )
    if value.type is None:
        return None
    kind = "a sequence" if isinstance(value.type, SequenceType) else "an optional"
    return (
        f"it is {kind}, and targets have tensors only",
        "give the model one tensor for each element, or cut it with --inputs and --outputs",
    )


def foreign(node: Node) -> Blocker:
    """Why an op of a domain that is no target's stays."""
    if node.domain == "ai.onnx.ml":
        reason, hint = _ML
    elif node.domain.split(".")[:2] == ["com", "microsoft"]:
        reason, hint = _ORT
    else:
        reason = f"the op belongs to the custom domain '{node.domain}', whose meaning the file does not hold"
        hint = (
            "rewrite it with a pass of your own (--passes default,my.py), or export it as standard ONNX ops"
        )
    return Blocker(Code.NOT_EXPRESSIBLE, f"{node.domain}.{node.op_type}", source_name(node), reason, hint)


def causes(blockers: Mapping[Node, Blocker]) -> list[Blocker]:
    """Each of `blockers` once, without those of ONNX ops with an operand whose type or rank is unknown because of another one."""
    doubtful: dict[Value, bool] = {}
    found = [
        item
        for node, item in blockers.items()
        if node.domain != ""
        or not any(value is not None and _follows(value, blockers, doubtful) for value in node.inputs)
    ]
    return list(dict.fromkeys(found))


def _follows(value: Value, blockers: Mapping[Node, Blocker], known: dict[Value, bool]) -> bool:
    """True where `value` is of unknown type or rank for the sake of a blocked node."""
    stack = [value]
    while stack:
        item = stack[-1]
        producer = item.producer()
        if item in known:
            stack.pop()
        elif producer is None or (item.dtype is not None and rank(item) is not None):
            known[item] = False
        elif producer in blockers:
            known[item] = True
        else:
            sources = [operand for operand in producer.inputs if operand is not None]
            waiting = [operand for operand in sources if operand not in known]
            if waiting:
                stack += waiting
            else:
                known[item] = any(known[operand] for operand in sources)
    return known[value]
