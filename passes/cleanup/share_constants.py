"""Equal small constants become one."""

from __future__ import annotations

import dataclasses

from graphrewrite.ir import Model, Value
from graphrewrite.pipeline import Pass, Stage
from graphrewrite.rewrite import Rewriter, RuleStatistics


@dataclasses.dataclass(frozen=True)
class ShareConstants(Pass):
    """Share the shape vectors, axes, permutations and small biases that lowering wrote once a node.

        %y = tflite.RESHAPE(%x, %s1:[1, 64])    %z = tflite.RESHAPE(%v, %s2:[1, 64])
        --->
        %y = tflite.RESHAPE(%x, %s1:[1, 64])    %z = tflite.RESHAPE(%v, %s1)

    Constants above `limit` bytes are left to `deduplicate-constants`, which compares weights before lowering.
    Exact.
    """

    stage = Stage.FINISH
    targets = frozenset({"tflite"})
    limit: int = 4096

    def run(self, model: Model, rewriter: Rewriter) -> dict[str, RuleStatistics]:
        """One dictionary over all small constants."""
        first: dict[tuple[object, ...], Value] = {}
        for value in list(model.graph.initializers.values()):
            tensor = value.const_value
            if tensor is None or tensor.nbytes > self.limit or value.is_graph_output():
                continue
            array = tensor.numpy()
            key = (int(tensor.dtype), array.shape, array.tobytes())
            kept = first.setdefault(key, value)
            if kept is not value:
                rewriter.merge_constants(value, kept)
        return {}
