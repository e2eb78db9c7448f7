"""What becomes of random noise."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np

from graphrewrite.ir import (
    Array,
    DataType,
    Model,
    Node,
    TensorType,
    Value,
    constant_array,
    dims,
    static_dims,
)
from graphrewrite.numeric.noise import NOISE
from graphrewrite.pipeline import Pass, Stage
from graphrewrite.rewrite import Rewriter, RuleStatistics, all_nodes

POLICIES = ("keep", "zero", "freeze", "input")
_NOISE = frozenset({"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"})
_MOVES = frozenset({
    "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Slice", "Gather", "Split", "Expand", "Tile", "Identity", "Cast",
    "Neg", "Pad", "Concat",
})  # fmt: skip


@dataclasses.dataclass(frozen=True)
class NoisePolicy(Pass):
    """Decide what random nodes become: `noise-policy{policy=zero}`.

        %n = RandomNormal() {shape=[1, 1, 64, 64]}         --->   %y = Identity(%x)       zero
        %y = Add(%x, Mul(%strength, %n))                          %n = 4,096 numbers      freeze{seed=0}
                                                                  %n = an input           input

    `keep` leaves random nodes alone. `zero` replaces noise by its mean (0 for most) and removes the products
    and sums that it was for. `freeze` draws it once; its shape must be known. `input` makes it an input of
    the model, named after the random node's output, so that it can be fed from outside. Exact for `keep` and
    `input`; otherwise other samples of the same distribution, or none.
    """

    policy: str = "keep"
    seed: int = 0

    stage = Stage.CANONICALIZE

    def __post_init__(self) -> None:
        """Refuse unknown policies where the pass is made."""
        if self.policy not in POLICIES:
            raise ValueError(f"the policy is one of {', '.join(POLICIES)}, not '{self.policy}'")

    def run(self, model: Model, rewriter: Rewriter) -> dict[str, RuleStatistics]:
        """Treat the random nodes in graph order."""
        if self.policy == "keep":
            return {}
        count = 0
        for node in list(all_nodes(model.graph)):
            if node.domain != "" or node.op_type not in _NOISE or not rewriter.allowed():
                continue
            count += 1
            source = node.outputs[0].name or ""
            if self.policy == "input" and None not in (dims(node.outputs[0]) or (None,)):
                _record(model, source, None)
                _to_input(node, model, rewriter)
            elif self.policy == "zero":
                known = dims(node.outputs[0]) or ()
                _record(
                    model,
                    source,
                    np.full([n if isinstance(n, int) else 1 for n in known], _mean(node), _type(node)),
                )
                _to_mean(node, rewriter)
            elif static_dims(node.outputs[0]) is None:
                rewriter.note(
                    f"the noise of '{node.name}' is kept: its shape is not known; fix it with --shape"
                )
            else:
                self._to_constant(node, count, rewriter)
        return {}

    def _to_constant(self, node: Node, count: int, rewriter: Rewriter) -> None:
        shape = static_dims(node.outputs[0])
        assert shape is not None
        rng = np.random.default_rng([self.seed, count])
        if "Normal" in node.op_type:
            mean, scale = node.attributes.get_float("mean", 0.0), node.attributes.get_float("scale", 1.0)
            content = mean + scale * rng.standard_normal(shape)
        else:
            low, high = node.attributes.get_float("low", 0.0), node.attributes.get_float("high", 1.0)
            content = rng.uniform(low, high, shape)
        array = content.astype(_type(node))
        _record(rewriter.model, node.outputs[0].name or "", array)
        with rewriter.rewrite(self.name, node):
            rewriter.replace(node, rewriter.constant(array, node.outputs[0].name))


def _record(model: Model, name: str, content: Array | None) -> None:
    """Tell the check what the reference must be fed for this node; None where it is an input of both sides."""
    model.meta.setdefault(NOISE, {})[name] = content


def _type(node: Node) -> np.dtype[Any]:
    return _dtype(node).numpy()


def _dtype(node: Node) -> DataType:
    return node.outputs[0].dtype or DataType.FLOAT


def _mean(node: Node) -> float:
    if "Normal" in node.op_type:
        return node.attributes.get_float("mean", 0.0)
    return (node.attributes.get_float("low", 0.0) + node.attributes.get_float("high", 1.0)) / 2


def _to_mean(node: Node, rewriter: Rewriter) -> None:
    """The mean in the shape of the noise, spread at run time so that it takes no room; nothing where it is not needed."""
    if _mean(node) == 0:
        _drop_zeros(node.outputs[0], rewriter)
    if node.graph is None:
        return
    if not any(value.uses() or value.is_graph_output() for value in node.outputs):
        with rewriter.rewrite("noise-policy", node):
            rewriter.erase(node)
        return
    with rewriter.rewrite("noise-policy", node):
        mean = rewriter.constant(np.asarray(_mean(node)).astype(_dtype(node).numpy()))
        if node.inputs and node.inputs[0] is not None:
            shape = rewriter.op("Shape", node.inputs[0])
        else:
            shape = rewriter.constant(np.array(static_dims(node.outputs[0]) or (), np.int64))
        made = Node("", "Expand", [mean, shape], num_outputs=1)
        rewriter.insert(made)
        rewriter.replace(node, made.outputs[0])


def _to_input(node: Node, model: Model, rewriter: Rewriter) -> None:
    """The noise as an input; inside subgraphs too, since they see the inputs of the model."""
    out = node.outputs[0]
    is_output = out.is_graph_output()
    with rewriter.rewrite("noise-policy", node):
        name = out.name or "noise"
        value = Value(
            name=rewriter.unique_name(f"{name}/input"), type=TensorType(_dtype(node)), shape=out.shape
        )
        model.graph.inputs.append(value)
        rewriter.replace(node, value)
        if not is_output:
            value.name = name  # which nothing bears any more
    rewriter.note(f"the noise '{value.name}' is an input of the model now")


def _drop_zeros(zero: Value, rewriter: Rewriter) -> None:
    """Remove what is added where one term is all zeros, following the zeros through products and moves."""
    stack = [zero]
    seen: set[Value] = set()
    while stack:
        value = stack.pop()
        if value in seen:
            continue
        seen.add(value)
        for node in list(dict.fromkeys(use.node for use in value.uses())):
            if node.graph is None or node.domain != "":
                continue
            if _stays_zero(node, seen):
                stack.extend(node.outputs)
            elif node.op_type == "Add":
                rest: Iterable[Value | None] = [item for item in node.inputs if item is not value]
                other = next(iter(rest), None)
                if other is not None and other not in seen and _same(other, node.outputs[0]):
                    with rewriter.rewrite("noise-policy", node):
                        rewriter.replace(node, other)


def _stays_zero(node: Node, zeros: set[Value]) -> bool:
    """True where the node only moves zeros, or multiplies them by finite constants."""
    if node.op_type == "Mul":
        others = [item for item in node.inputs if item not in zeros]
        return all(_is_finite(item) for item in others)
    if node.op_type in ("Concat", "Add"):
        return all(item in zeros for item in node.inputs)
    first = node.inputs[0]
    return node.op_type in _MOVES and first in zeros and (node.op_type != "Pad" or len(node.inputs) < 3)


def _is_finite(value: Value | None) -> bool:
    array = constant_array(value)
    return array is not None and bool(np.isfinite(array).all())


def _same(a: Value, b: Value) -> bool:
    known = dims(a)
    return known is not None and known == dims(b) and a.dtype == b.dtype
