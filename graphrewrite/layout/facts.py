"""Facts about values that the layout stage needs again and again."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from graphrewrite.ir import DataType, Dims, Graph, Node, Value, dims, is_constant
from graphrewrite.layout.perms import Perm, is_identity, moves_only_ones

TRANSPOSE_COST = 4096
"""What a TRANSPOSE costs beside the bytes that it moves: the price of a kernel call, in bytes."""
RESHAPE_COST = 16
"""What a RESHAPE costs. Next to nothing, but not nothing: of two equal layouts the one without it is taken."""

_UNKNOWN_BATCH = 1
_UNKNOWN_SIZE = 32
"""What dimensions that only run time tells are taken for: only how costs compare depends on it."""


def nbytes(value: Value) -> int:
    """Bytes of `value`; dimensions that only run time tells are guessed (1 for the batch, 32 for others)."""
    return _nbytes(dims(value) or (), value.dtype)


@functools.lru_cache(maxsize=4096)
def _nbytes(known: Dims, dtype: DataType | None) -> int:
    size = dtype.itemsize if dtype is not None else 4.0
    for axis, dim in enumerate(known):
        size *= dim if isinstance(dim, int) else _UNKNOWN_SIZE if axis else _UNKNOWN_BATCH
    return int(size)


def transpose_cost(value: Value, perm: Perm) -> int:
    """What it costs to store `value` in another order."""
    return _transpose_cost(dims(value), value.dtype, perm)


@functools.lru_cache(maxsize=4096)
def _transpose_cost(known: Dims | None, dtype: DataType | None, perm: Perm) -> int:
    if is_identity(perm):
        return 0
    return RESHAPE_COST if moves_only_ones(known, perm) else _nbytes(known or (), dtype) + TRANSPOSE_COST


def run_time_values(graph: Graph) -> Iterator[Value]:
    """Every value of `graph` itself that is known only at run time, inputs first."""
    for value in graph.inputs:
        if not is_constant(value):
            yield value
    for node in graph:
        yield from node.outputs


def neighbours(value: Value, graph: Graph) -> Iterator[Node]:
    """The producer and the readers of `value` in `graph`, each once."""
    producer = value.producer()
    seen: set[Node] = set()
    if producer is not None and producer.graph is graph:
        seen.add(producer)
        yield producer
    for use in value.uses():
        if use.node not in seen and use.node.graph is graph:
            seen.add(use.node)
            yield use.node
