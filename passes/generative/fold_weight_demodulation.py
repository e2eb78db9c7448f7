"""Convolutions whose weights are modulated at run time become constant-weight convolutions between two scales."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphrewrite.ir import Array, DataType, Model, Node, Value, is_constant, rank, static_dims
from graphrewrite.pipeline import Pass, Stage
from graphrewrite.rewrite import Match, MatchFailure, Rewriter, RuleStatistics, apply_rules

from .demodulation import FoldDemodulation
from .factors import Factor, factors
from .movement import Indices, Sizes

_SAMPLE = 4096
"""Random places, besides the ends, at which two element maps must agree. Chains of views are linear in pieces that are large
parts of the tensor, so maps that differ do so at many of these."""
_WEIGHT_LIMIT = 1 << 26
"""Elements of a weight that is looked at as a whole: 256 MB, 28 times the largest convolution of StyleGAN2."""


@dataclasses.dataclass(frozen=True)
class FoldWeightDemodulation(Pass):
    """Give modulated convolutions constant weights.

        %wm = Mul(%w:float[1,Co,Ci,k,k], %s:float[N,1,Ci,1,1])
        %d = Reciprocal(Sqrt(ReduceSum(Pow(%wm, 2), [2, 3, 4])))
        %wd = Reshape(Mul(%wm, %d), [N*Co, Ci, k, k])
        %y = Conv(Reshape(%x, [1, N*Ci, H, W]), %wd) {group=N}
        --->
        %d = Reciprocal(Sqrt(MatMul(Mul(%s, %s), %w2:float[Ci,Co])))       w2 = sum over k of w * w
        %y = Mul(Conv(Mul(%x, %s), %w) {group=1}, %d)

    Any weight that is a product of constants and of factors that depend on the image and the input channel,
    or on the image and the output channel, in any spelling: fused with the batch in the groups or not,
    transposed, without demodulation, with or without epsilon. Sums of squares of such products become one
    matrix product. Float and double only, since half precision would overflow in another place. Exact.
    """

    stage = Stage.GENERATIVE

    def run(self, model: Model, rewriter: Rewriter) -> dict[str, RuleStatistics]:
        """Convolutions and demodulation sums alike."""
        return apply_rules(model, [_FoldModulation(), FoldDemodulation()], rewriter)


@dataclasses.dataclass(frozen=True)
class _Layout:
    """Axes of a convolution weight: groups, output channels a group, input channels a group, and the kernel."""

    transposed: bool
    groups: int
    shape: Sizes

    @property
    def outputs(self) -> int:
        return self.shape[1] if self.transposed else self.shape[0] // self.groups

    @property
    def inputs(self) -> int:
        return self.shape[0] // self.groups if self.transposed else self.shape[1]

    @property
    def kernel(self) -> int:
        return math.prod(self.shape[2:])

    def flat(self, g: Indices, o: Indices, i: Indices, k: Indices) -> Indices:
        """Flat index in the weight."""
        first, second, size = (i, o, self.outputs) if self.transposed else (o, i, self.inputs)
        per_group = self.inputs if self.transposed else self.outputs
        return ((g * per_group + first) * size + second) * self.kernel + k


@dataclasses.dataclass
class _Modulation(Match):
    """Factors of the weight by what they depend on."""

    weight: list[Factor] = dataclasses.field(default_factory=list)
    inputs: list[Factor] = dataclasses.field(default_factory=list)
    outputs: list[Factor] = dataclasses.field(default_factory=list)
    layout: _Layout = dataclasses.field(default_factory=lambda: _Layout(False, 1, ()))
    batch: int = 1
    """Images in the groups; 1 where the groups are real ones."""


class _FoldModulation:
    """The rule for the convolutions."""

    name = "fold-modulation"
    roots = ("Conv", "ConvTranspose")

    def match(self, node: Node) -> Match:
        """The factors of a run-time weight."""
        x, weight = node.inputs[0], node.inputs[1]
        if x is None or weight is None or is_constant(weight):
            raise MatchFailure("the weight is a constant", node)
        shape = static_dims(weight)
        if shape is None or weight.dtype not in (DataType.FLOAT, DataType.DOUBLE) or rank(x) != len(shape):
            raise MatchFailure("the weight's shape or type is not known, or not float", weight)
        if math.prod(shape) > _WEIGHT_LIMIT:
            raise MatchFailure("the weight is too large to be stored", weight)
        found = factors(weight)
        if found is None:
            raise MatchFailure("the weight is no product of tensors of known shape", weight)
        layout = _Layout(node.op_type == "ConvTranspose", node.attributes.get_int("group", 1), shape)
        match = _Modulation(node, {"x": x}, {}, (node,), layout=layout)
        for factor in found:
            depends = _dependencies(factor, layout)
            if factor.constant:
                match.weight.append(factor)
            elif not depends & {"o", "k"}:
                (match.inputs if "i" in depends else match.outputs).append(factor)
            elif not depends & {"i", "k"}:
                match.outputs.append(factor)
            else:
                raise MatchFailure(
                    f"'{factor.leaf.name}' depends on more than one side of the weight", factor.leaf
                )
        if not match.weight:
            raise MatchFailure("no factor of the weight is a constant", weight)
        shared = all("g" not in _dependencies(factor, layout) for factor in match.weight)
        match.batch = (
            layout.groups
            if shared and static_dims(x) is not None and x.shape is not None and x.shape[0] == 1
            else 1
        )
        return match

    def rewrite(self, match: Match, rewriter: Rewriter) -> Value:
        """Scale, convolve, scale."""
        assert isinstance(match, _Modulation)
        node, layout, batch = match.root, match.layout, match.batch
        x = match["x"]
        spatial = len(layout.shape) - 2
        groups = layout.groups // batch
        if batch > 1:
            x = reshape(rewriter, x, [batch, layout.inputs, *static_tail(x)])
        scale = _vector(match.inputs, match, "i", spatial, rewriter)
        if scale is not None:
            x = rewriter.op("Mul", x, scale)
        demodulation = _vector(match.outputs, match, "o", spatial, rewriter)
        weight = rewriter.constant(_constant_weight(match, groups).astype(_dtype(node)))
        bias = node.inputs[2] if len(node.inputs) > 2 else None
        keeps_bias = bias is not None and demodulation is None and batch == 1
        attributes: dict[str, Any] = {name: item for name, item in node.attributes.items() if name != "group"}
        y = rewriter.op(node.op_type, x, weight, bias if keeps_bias else None, group=groups, **attributes)
        if demodulation is not None:
            y = rewriter.op("Mul", y, demodulation)
        if bias is not None and not keeps_bias:
            y = rewriter.op("Add", y, reshape(rewriter, bias, [batch, -1, *[1] * spatial]))
        return reshape(rewriter, y, [1, batch * layout.outputs, *static_tail(y)]) if batch > 1 else y


def static_tail(value: Value) -> list[int]:
    """Spatial dimensions as a Reshape target: numbers, or 0 to copy them."""
    shape = value.shape
    assert shape is not None
    return [dim if isinstance(dim, int) else 0 for dim in shape.dims[2:]]


def reshape(rewriter: Rewriter, value: Value, target: Sequence[int]) -> Value:
    """A Reshape; the value before an earlier Reshape where that has the wanted shape already."""
    producer = value.producer()
    if producer is not None and producer.op_type == "Reshape" and producer.domain == "":
        inner = producer.inputs[0]
        if inner is not None and static_dims(inner) == tuple(target):
            return inner
    return rewriter.op("Reshape", value, rewriter.constant(np.array(target, np.int64)))


@functools.lru_cache(maxsize=8)
def _samples(layout: _Layout) -> tuple[Indices, Indices, Indices, Indices]:
    """Points of the weight at which the factors are compared: corners and a seeded sample."""
    rng = np.random.default_rng(0)
    sizes = (layout.groups, layout.outputs, layout.inputs, layout.kernel)
    corners = np.array(
        [[0 if bit >> axis & 1 else size - 1 for axis, size in enumerate(sizes)] for bit in range(16)]
    )
    drawn = np.stack([rng.integers(0, size, _SAMPLE) for size in sizes], axis=1)
    points = np.concatenate([corners, drawn]).astype(np.int64)
    return points[:, 0], points[:, 1], points[:, 2], points[:, 3]


def _dependencies(factor: Factor, layout: _Layout) -> set[str]:
    """Which of the axes g, o, i, k move the factor to another element of its leaf."""
    sampled = dict(zip("goik", _samples(layout), strict=True))
    here = factor.source(layout.flat(**sampled))
    found = set()
    for axis, size in zip("goik", (layout.groups, layout.outputs, layout.inputs, layout.kernel), strict=True):
        for other in ((sampled[axis] + 1) % size, np.zeros_like(here)):
            if not np.array_equal(here, factor.source(layout.flat(**{**sampled, axis: other}))):
                found.add(axis)
                break
    return found


def _vector(
    found: Sequence[Factor], match: _Modulation, axis: str, spatial: int, rewriter: Rewriter
) -> Value | None:
    """The product of the factors of one side as `[N, C, 1, 1]` (N and C may be 1), or None without any."""
    layout = match.layout
    size = layout.inputs if axis == "i" else layout.outputs
    product: Value | None = None
    for factor in found:
        g, c = (part.reshape(-1) for part in np.indices((layout.groups, size)))
        zero = np.zeros_like(g)
        flat = layout.flat(g, zero, c, zero) if axis == "i" else layout.flat(g, c, zero, zero)
        index = factor.source(flat).reshape(layout.groups, size)
        value = _arranged(factor.leaf, index, match.batch, spatial, rewriter)
        if factor.inverse:
            value = rewriter.op("Reciprocal", value)
        product = value if product is None else rewriter.op("Mul", product, value)
    return product


def _arranged(leaf: Value, index: Indices, batch: int, spatial: int, rewriter: Rewriter) -> Value:
    """The elements `index` [groups, channels] of the leaf as `[batch, channels, 1, ...]`."""
    ones = [1] * spatial
    rows = index if batch > 1 else index.reshape(1, -1)
    if (rows == rows[:1]).all():
        rows = rows[:1]
    if (rows == rows[:, :1]).all():
        rows = rows[:, :1]
    size = math.prod(static_dims(leaf) or (0,))
    if size != rows.size or not np.array_equal(rows.reshape(-1), np.arange(size)):
        flat = reshape(rewriter, leaf, [-1])
        leaf = rewriter.op("Gather", flat, rewriter.constant(rows.reshape(-1)), axis=0)
    return reshape(rewriter, leaf, [*rows.shape, *ones])


def _constant_weight(match: _Modulation, groups: int) -> Array:
    """The product of the constant factors, for `groups` of the weight's groups."""
    layout = match.layout
    shape = layout.shape
    flat = np.arange(math.prod(shape) // layout.groups * groups, dtype=np.int64)
    product = np.ones(flat.size)
    for factor in match.weight:
        product *= factor.content(flat)
    return product.reshape(shape[0] // layout.groups * groups, *shape[1:])


def _dtype(node: Node) -> np.dtype[np.floating]:
    value = node.inputs[1]
    assert value is not None
    assert value.dtype is not None
    found: np.dtype[np.floating] = value.dtype.numpy()
    return found
