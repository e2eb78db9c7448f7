"""Random nodes: both sides of a check are fed the same noise.

The `noise-policy` pass decides what becomes of a random node and records it in `model.meta[NOISE]` as
{output name in the source: its replacement array, or None where it became an input of that name}. Random nodes that are
kept are turned into inputs in a twin of the model that is made for the check only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir

from graphrewrite.errors import NotChecked
from graphrewrite.ir import Array, DataType, Model, Value, layout, static_dims
from graphrewrite.numeric.inputs import Sample
from graphrewrite.numeric.reference import Reference

NOISE = "graphrewrite.noise"


@dataclasses.dataclass(frozen=True)
class NoisePlan:
    """`inputs` are the random values still computed by the candidate, `fixed` those that a pass replaced.

    `shapes`, `perms` and `dtypes` are those of every value that is drawn: of `inputs`, and of what a pass has made an input.
    `unsized` are the random values of the source whose size is not known: no noise can be drawn for them.
    """

    inputs: tuple[str, ...]
    shapes: dict[str, tuple[int, ...]]
    perms: dict[str, tuple[int, ...]]
    fixed: dict[str, Array]
    dtypes: dict[str, DataType] = dataclasses.field(default_factory=dict)
    unsized: tuple[str, ...] = ()
    seed: int = 0

    @classmethod
    def of(cls, model: Model, reference: Reference, later: NoisePlan | None = None) -> NoisePlan:
        """What to feed for the random nodes of the source, given what the pipeline made of them.

        `later` is the plan of a later state of `model`: what a pass has fixed there is fed here, so that both compute the same.
        """
        ahead = later.fixed if later is not None else {}
        recorded: dict[str, Array | None] = model.meta.get(NOISE, {})
        fixed = {name: array for name, array in recorded.items() if array is not None}
        values = _values(model) if reference.noise else {}
        values |= {value.name: value for value in model.graph.inputs if value.name}
        inputs, shapes, perms, dtypes, unsized = [], {}, {}, {}, []
        for name in reference.noise:
            value = values.get(name)
            if name in fixed:
                continue
            shape = ahead[name].shape if name in ahead else static_dims(value)
            if value is None or shape is None:
                unsized.append(name)
                continue
            facet = layout(value)
            perms[name] = facet.perm if facet is not None else tuple(range(len(shape)))
            shapes[name] = tuple(shape[perms[name].index(axis)] for axis in range(len(shape)))
            dtypes[name] = value.dtype or DataType.FLOAT
            if value.producer() is not None:
                inputs.append(name)
        return cls(tuple(inputs), shapes, perms, ahead | fixed, dtypes, tuple(unsized))

    def _draw(self, name: str) -> Array:
        """In the source's dimension order; what is drawn as whole numbers or bools is 0 or 1, valid for every index."""
        if name in self.fixed:
            return self.fixed[name]
        rng = np.random.default_rng([self.seed, *name.encode()])
        dtype = self.dtypes.get(name, DataType.FLOAT)
        if dtype.is_floating_point():
            return rng.standard_normal(self.shapes[name]).astype(dtype.numpy())
        return rng.integers(0, 2, self.shapes[name]).astype(dtype.numpy())

    def reference_feeds(self, samples: Sequence[Sample]) -> Callable[[int], Sample]:
        """Extra inputs of the reference for sample k.

        Raises:
            NotChecked: the size of a random value depends on what is computed at run time.
        """
        if self.unsized:
            raise NotChecked(
                f"the noise '{self.unsized[0]}' has a size that depends on other values, so the original and the file can't be "
                "fed the same one\n    try: --passes 'default,noise-policy{policy=zero}', which is checked, or --no-check"
            )
        feeds = {name: self._draw(name) for name in self.shapes} | self.fixed
        return lambda index: feeds

    def candidate_feeds(self, sample: Sample) -> Sample:
        """Inputs of the candidate: the sample and the noise, permuted where the candidate stores it permuted."""
        return (
            sample
            | {name: self._draw(name).transpose(self.perms[name]) for name in self.inputs}
            | {name: self._draw(name) for name in self.shapes if name not in self.inputs}
        )

    def externalised(self, model: Model) -> Model:
        """A copy of `model` in which the random values are inputs; `model` itself where there are none."""
        if not self.inputs:
            return model
        copy = model.clone()
        values = _values(copy)
        for name in self.inputs:
            old = values[name]
            old.name = f"{name}/random"
            new = Value(name=name, type=old.type, shape=old.shape)
            old.replace_all_uses_with(new, replace_graph_outputs=True)
            copy.graph.inputs.append(new)
            _drop(copy.graph, old)
        return copy


def _values(model: Model) -> dict[str, Value]:
    return {value.name: value for node in model.graph for value in node.outputs if value.name}


def _drop(graph: onnx_ir.Graph, value: Value) -> None:
    """Remove the chain that computed `value` and nothing else."""
    node = value.producer()
    if node is None or any(output.uses() or output.is_graph_output() for output in node.outputs):
        return
    inputs = [item for item in node.inputs if item is not None]
    for index in range(len(node.inputs)):
        node.replace_input_with(index, None)
    graph.remove(node)
    for item in inputs:
        _drop(graph, item)
