"""Large float32 constants are stored as float16 and widened when the file is loaded."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir

from graphrewrite.ir import (
    Array,
    Attr,
    AttributeType,
    DataType,
    LazyTensor,
    Model,
    Node,
    Shape,
    Tensor,
    Value,
    all_nodes,
    is_constant,
    source_name,
)
from graphrewrite.numeric.half import misfit
from graphrewrite.pipeline import Label, Pass, Stage
from graphrewrite.rewrite import Rewriter, RuleStatistics
from graphrewrite.targets.base import check_precision

_NAMED = 5
"""Tensors that a note names before it counts the rest."""


@dataclasses.dataclass(frozen=True)
class StoreWeightsInHalf(Pass):
    """Store weights as float16; they are computed with in float32.

        %y = CONV_2D(%x, %w:float[32,3,3,16], %b)
        --->
        %a = DEQUANTIZE(%w:float16[32,3,3,16])
        %y = CONV_2D(%x, %a, %b)

    XNNPACK, and LiteRT's own kernel of DEQUANTIZE, widen a constant once, when the file is loaded; OpenVINO does so with the Cast
    that stands in its place there. A tensor with a value beyond
    float16's range, or whose values are too small for it, stays as it is and is reported.

    Approximate: each stored value is within 2^-11 of its size.

    Attributes:
        precision: `fp16` to do it, `fp32` to leave everything as it is; the target's option of that name by default.
        minimum: elements from which on a constant is stored so. Smaller ones (depthwise filters, biases) are at most 1.5 % of a
            file and cost most of the accuracy: MobileNetV2 has 53 dB with 4096 and 40 dB with 64.
    """

    precision: str = "fp32"
    minimum: int = 4096

    stage = Stage.STORE
    label = Label.APPROXIMATE
    mandatory = True
    targets = frozenset({"tflite", "openvino"})

    def __post_init__(self) -> None:
        check_precision(self.precision)

    def run(self, model: Model, rewriter: Rewriter) -> dict[str, RuleStatistics]:
        """One walk over the constants; one node that widens it in each graph that reads one."""
        if self.precision == "fp32":
            return {}
        readers: dict[Value, list[Node]] = {}
        for node in all_nodes(model.graph):
            # An Identity only gives the constant an output's name, and XNNPACK can't give a widened one as an output.
            for value in dict.fromkeys(() if node.op_type == "Identity" else node.inputs):
                if value is not None and self._is_large(value):
                    readers.setdefault(value, []).append(node)
        kept: list[str] = []
        for value, nodes in readers.items():
            tensor = value.const_value
            assert tensor is not None
            problem = misfit(tensor.numpy())
            if problem:
                kept.append(f"'{value.name}' of '{source_name(nodes[0])}' ({problem})")
            else:
                self._store(value, nodes, rewriter)
        if kept:
            more = f", and {len(kept) - _NAMED} more" if len(kept) > _NAMED else ""
            rewriter.note(f"stored as float32, since float16 can't hold it: {', '.join(kept[:_NAMED])}{more}")
        return {}

    def _is_large(self, value: Value) -> bool:
        tensor = value.const_value if is_constant(value) else None
        return tensor is not None and tensor.dtype == DataType.FLOAT and tensor.size >= self.minimum

    def _store(self, value: Value, readers: list[Node], rewriter: Rewriter) -> None:
        tensor = value.const_value
        assert tensor is not None
        half = rewriter.constant(_rounded(tensor), f"{value.name}/half")
        wide: dict[int, Value] = {}
        for node in readers:
            with rewriter.rewrite(self.name, node):
                if id(node.graph) not in wide:
                    made = _widened(half, node.domain)
                    rewriter.insert(made)  # as a node of its own: an operator of constants would be folded
                    wide[id(node.graph)] = made.outputs[0]
                places = [index for index, item in enumerate(node.inputs) if item is value]
                rewriter.update(node, dict.fromkeys(places, wide[id(node.graph)]), {})


def _widened(half: Value, domain: str) -> Node:
    """The node that makes float32 of `half` in the dialect `domain`."""
    if domain:
        return Node(domain, "DEQUANTIZE", [half], num_outputs=1)
    return Node(domain, "Cast", [half], [Attr("to", AttributeType.INT, int(DataType.FLOAT))], num_outputs=1)


def _rounded(tensor: onnx_ir.TensorProtocol) -> LazyTensor:
    """The tensor as float16, rounded when the file is written."""

    def round_off() -> Tensor[Array]:
        return Tensor(tensor.numpy().astype(np.float16))

    return LazyTensor(round_off, dtype=DataType.FLOAT16, shape=Shape(tensor.shape.numpy()))
