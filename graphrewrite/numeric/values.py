"""Comparing values inside a model with the source's values of the same names, in the order in which the source computes them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx

from graphrewrite.errors import NotChecked
from graphrewrite.ir import Array, Model, TensorType, dims, layout, to_runnable_proto
from graphrewrite.numeric.check import Runner
from graphrewrite.numeric.inputs import Sample
from graphrewrite.numeric.metrics import FP32, Comparison, Tolerance, compare
from graphrewrite.numeric.original import Original, nbytes
from graphrewrite.numeric.reference import create_session

BATCH_BYTES = 256 << 20
"""Values compared in one run of both sides: their content is held in memory twice."""

_MOST_ORDERS = 48
"""Orders of dimensions that are tried where the file does not say which one a value has."""

Perm = tuple[int, ...]
Probe = Callable[[Sequence[str]], Runner]
"""Makes a runner that gives the named values of the candidate, as it stores them."""


def compare_values(
    original: Original,
    probe: Probe,
    names: Iterable[str],
    *,
    perms: Mapping[str, Perm] | None = None,
    tolerance: Tolerance = FP32,
    sample: Sample | None = None,
    feed: Callable[[Sample], Sample] = dict,
    noise: Sample | None = None,
) -> list[Comparison]:
    """Compare the values called `names`, those that the source does not compute left out, in the source's order.

    Args:
        original: the source, its samples drawn.
        probe: runs the candidate.
        names: of the candidate's values.
        perms: dimension i of a value is the source's dimension `perms[name][i]`. Where it is None, the candidate does not say how
            it stores its values: each one is taken in the order of dimensions that fits its shape and comes closest.
        tolerance: what each value is held to.
        sample: inputs; the first of the source's samples by default.
        feed: makes the candidate's inputs of a sample (see `graphrewrite.numeric.original.feeder`).
        noise: what the source's random nodes give.

    Raises:
        NotChecked: one side could not run.
    """
    given = original.samples[0] if sample is None else sample
    prepared = original.prepare(given)
    feeds = {name: prepared[name] for name in original.open().inputs} | (noise or {})
    found: list[Comparison] = []
    for batch in _batches(_comparable(original, names)):
        wanted = original.open_for(batch).run(feeds, batch)
        got = probe(batch)(feed(given))
        found += [_compared(name, wanted[name], got[name], perms, tolerance) for name in batch if name in got]
    return found


def compare_states(
    before: tuple[Model, Sample], after: tuple[Model, Sample], tolerance: Tolerance
) -> list[Comparison]:
    """Compare the values of equal name in two states of a graph, each given with its inputs, in the order of `after`.

    Raises:
        NotChecked: one of them can't run.
    """
    old, new = state_values(before[0]), state_values(after[0])
    sizes = {
        value.name: nbytes(value)
        for node in after[0].graph
        for value in node.outputs
        if value.name and value.name in old and value.name in new
    }
    found: list[Comparison] = []
    for batch in _batches(sizes):
        wanted = state_probe(before[0])(batch)(before[1])
        got = state_probe(after[0])(batch)(after[1])
        for name in batch:
            logical = wanted[name].transpose(np.argsort(old[name]))
            found.append(_compared(name, logical, got[name], new, tolerance))
    return found


def _comparable(original: Original, names: Iterable[str]) -> dict[str, int]:
    """The values that the source computes too, of `names`, by their bytes, in its order."""
    asked = original.computed().keys() & set(names)
    return {name: size for name, size in original.sizes.items() if name in asked}


def _batches(sizes: Mapping[str, int]) -> Iterator[list[str]]:
    batch: list[str] = []
    total = 0
    for name, size in sizes.items():
        if batch and total + size > BATCH_BYTES:
            yield batch
            batch, total = [], 0
        batch.append(name)
        total += size
    if batch:
        yield batch


def _compared(
    name: str, wanted: Array, found: Array, perms: Mapping[str, Perm] | None, tolerance: Tolerance
) -> Comparison:
    """An inner value may be stored in a wider or narrower type than the source's; that alone is no error."""
    if found.dtype != wanted.dtype and wanted.dtype.kind in "biuf" and found.dtype.kind in "biuf":
        found = found.astype(wanted.dtype)
    if perms is not None:
        if name in perms:
            found = found.transpose(np.argsort(perms[name]))
        return compare(name, wanted, found, tolerance)
    compared = [compare(name, wanted, item, tolerance) for item in _orders(found, wanted.shape)]
    return min(compared or [compare(name, wanted, found, tolerance)], key=lambda item: item.required)


def _orders(found: Array, shape: tuple[int, ...]) -> Iterator[Array]:
    """`found` in every order of dimensions that gives it `shape`, as it is first; dimensions of 1 may come and go."""
    if found.shape == shape:
        yield found
    if found.ndim == len(shape) and sorted(found.shape) == sorted(shape):
        fitting = (
            perm
            for perm in itertools.permutations(range(found.ndim))
            if perm != tuple(range(found.ndim)) and tuple(found.shape[axis] for axis in perm) == shape
        )
        for perm in itertools.islice(fitting, _MOST_ORDERS):
            yield found.transpose(perm)
    elif [dim for dim in found.shape if dim != 1] == [dim for dim in shape if dim != 1]:
        yield found.reshape(shape)


def state_values(model: Model) -> dict[str, Perm]:
    """The values that a state of the graph computes, by how they are stored."""
    found: dict[str, Perm] = {}
    for node in model.graph:
        for value in node.outputs:
            known = dims(value)
            if value.name and known is not None and isinstance(value.type, TensorType):
                facet = layout(value)
                found[value.name] = facet.perm if facet is not None else tuple(range(len(known)))
    return found


def state_probe(model: Model) -> Probe:
    """Runs a state of the graph, its random values fed from outside, in ONNX Runtime."""

    def probe(names: Sequence[str]) -> Runner:
        proto = to_runnable_proto(model)
        declared = {value.name for value in proto.graph.output}
        for name in names:
            if name not in declared:
                proto.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
        session = create_session(proto)

        def run(sample: Sample) -> Mapping[str, Array]:
            return dict(zip(names, _run(session, names, sample), strict=True))

        return run

    return probe


def _run(session: Any, names: Sequence[str], sample: Sample) -> list[Array]:
    try:
        found: list[Array] = session.run(list(names), dict(sample))
    except Exception as error:  # ONNX Runtime raises many types
        raise NotChecked(
            f"ONNX Runtime fails on the graph: {str(error).strip().splitlines()[0][:200]}"
        ) from error
    return found


def first_difference(found: Iterable[Comparison]) -> Comparison | None:
    """The first value that differs, in the order given."""
    return next((item for item in found if not item.passed), None)
