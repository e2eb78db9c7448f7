"""Equal constants are kept once."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import defaultdict
from collections.abc import Hashable

from graphrewrite.ir import Array, Model, Value, constant_array
from graphrewrite.pipeline import Pass, Stage
from graphrewrite.rewrite import Rewriter, RuleStatistics


@dataclasses.dataclass(frozen=True)
class DeduplicateConstants(Pass):
    """Share equal constants, as tied weights are.

        %y = Conv(%x, %w)                                  --->   %y = Conv(%x, %w)
        %z = Conv(%x, %copy_of_w)                                 %z = Conv(%x, %w)

    Equal means type, shape and every byte (so -0 is not 0). Only constants that share type and shape are
    read. Exact.
    """

    stage = Stage.CANONICALIZE
    after = ("fold-constants",)

    def run(self, model: Model, rewriter: Rewriter) -> dict[str, RuleStatistics]:
        """Group by type and shape, then by a digest of the content."""
        groups: dict[Hashable, list[Value]] = defaultdict(list)
        for value in model.graph.initializers.values():
            if value.const_value is not None and not value.is_graph_output():
                groups[value.const_value.dtype, tuple(value.const_value.shape)].append(value)
        for values in groups.values():
            if len(values) > 1:
                self._merge(values, rewriter)
        return {}

    def _merge(self, values: list[Value], rewriter: Rewriter) -> None:
        first: dict[Hashable, Value] = {}
        for value in values:
            array = constant_array(value)
            if array is None or array.dtype.hasobject:
                continue
            kept = first.setdefault(_digest(array), value)
            if kept is value:
                continue
            for use in list(value.uses()):
                if not rewriter.allowed():
                    return
                with rewriter.rewrite(self.name, use.node):
                    rewriter.set_input(use.node, use.idx, kept)


def _digest(array: Array) -> bytes:
    return hashlib.blake2b(array.tobytes(), digest_size=16).digest()
