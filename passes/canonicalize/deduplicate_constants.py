"""Equal constants are kept once."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator

import numpy as np

from graphrewrite.ir import Array, Model, Value, constant_array
from graphrewrite.pipeline import Pass, Stage
from graphrewrite.rewrite import Rewriter, RuleStatistics

_SAMPLES = 64
"""Elements by which constants are told apart before they are read as a whole."""


@dataclasses.dataclass(frozen=True)
class DeduplicateConstants(Pass):
    """Share equal constants, as tied weights are.

        %y = Conv(%x, %w)                                  --->   %y = Conv(%x, %w)
        %z = Conv(%x, %copy_of_w)                                 %z = Conv(%x, %w)

    Equal means type, shape and every byte (so -0 is not 0). Only constants that share type and shape are
    read, and whole only those that are equal where they are sampled. Exact.
    """

    stage = Stage.CANONICALIZE
    after = ("fold-constants",)

    def run(self, model: Model, rewriter: Rewriter) -> dict[str, RuleStatistics]:
        """Group by type and shape, then by samples of the content, then by all of it."""
        shapes: dict[Hashable, list[Value]] = defaultdict(list)
        for value in model.graph.initializers.values():
            tensor = value.const_value
            if tensor is not None and not value.is_graph_output():
                shapes[tensor.dtype, tuple(tensor.shape)].append(value)
        for alike in shapes.values():
            for values in _grouped(alike, _sample):
                for kept, *duplicates in _grouped(values, _digest):
                    for value in duplicates:
                        if rewriter.allowed():
                            rewriter.merge_constants(value, kept)
        return {}


def _grouped(values: list[Value], key: Callable[[Array], bytes]) -> Iterator[list[Value]]:
    """Values of equal `key`, in groups of two or more."""
    if len(values) < 2:
        return
    groups: dict[bytes, list[Value]] = defaultdict(list)
    for value in values:
        array = constant_array(value)
        if array is not None and not array.dtype.hasobject:
            groups[key(array)].append(value)
    yield from (group for group in groups.values() if len(group) > 1)


def _sample(array: Array) -> bytes:
    return array.reshape(-1)[:: max(1, array.size // _SAMPLES)].tobytes()


def _digest(array: Array) -> bytes:
    return hashlib.blake2b(
        np.ascontiguousarray(array).reshape(-1).view(np.uint8).data, digest_size=16
    ).digest()
