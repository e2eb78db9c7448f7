"""Sums of squares of modulated weights become one matrix product with a constant."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from graphrewrite.ir import Array, DataType, Node, Value, constant_ints, dims, is_constant
from graphrewrite.rewrite import Match, MatchFailure, Rewriter

from .factors import Factor, factors
from .movement import UNKNOWN, Indices, Sizes, concrete

_BATCH = 3
"""Stands for a symbolic dimension while element maps are compared."""
_SAMPLE = 2048
"""Random places, besides the ends, at which two element maps must agree. Chains of views are linear in pieces that are large
parts of the tensor, so maps that differ do so at many of these."""
_WEIGHT_LIMIT = 1 << 26
"""Elements of a weight that is looked at as a whole: 256 MB, 28 times the largest convolution of StyleGAN2."""


@dataclasses.dataclass
class _SumOfSquares(Match):
    """`root` = sum over `reduced` axes of (constants * styles)^2."""

    weights: list[Factor] = dataclasses.field(default_factory=list)
    styles: list[Factor] = dataclasses.field(default_factory=list)
    sizes: Sizes = ()
    """Dimensions of what is summed."""
    rows: tuple[int, ...] = ()
    """Kept axes that the styles depend on."""
    summed: tuple[int, ...] = ()
    """Reduced axes that the styles depend on."""
    columns: tuple[int, ...] = ()
    """Kept axes that only the weights depend on."""
    matrix: Array | None = None
    """Sums of squared weights, [summed, columns]."""


class FoldDemodulation:
    """The rule: sum((w * s)^2) over inputs and kernel = (s * s) @ sum(w * w)."""

    name = "fold-demodulation"
    roots = ("ReduceSum", "ReduceMean", "ReduceSumSquare", "ReduceL2")

    def match(self, node: Node) -> Match:
        """The factors of what is squared and summed."""
        product = _squared(node)
        if product.dtype not in (DataType.FLOAT, DataType.DOUBLE):
            raise MatchFailure("not float", product)
        known = dims(product)
        axes = constant_ints(node.inputs[1]) if len(node.inputs) > 1 else None
        if known is None or axes is None:
            raise MatchFailure("the shape or the axes are not known", product)
        symbols = {dim or UNKNOWN: _BATCH for dim in known if not isinstance(dim, int)}
        sizes = concrete(product, symbols)
        if len(symbols) > 1 or sizes is None or math.prod(sizes) > _WEIGHT_LIMIT:
            raise MatchFailure("too many unknown dimensions, or too large", product)
        found = factors(product, symbols)
        if found is None:
            raise MatchFailure("it is no product of tensors of known shape", product)
        match = _SumOfSquares(node, {}, {}, (node,), sizes=sizes)
        match.weights = [factor for factor in found if factor.constant]
        match.styles = [factor for factor in found if not factor.constant]
        self._axes(match, {axis % len(sizes) for axis in axes})
        self._matrix(match)
        return match

    def _axes(self, match: _SumOfSquares, reduced: set[int]) -> None:
        """Sort the axes by what depends on them."""
        if len(match.styles) != 1 or not match.weights:
            raise MatchFailure("not the product of constants and one run-time factor", match.root)
        style = _dependencies(match.styles[0], match.sizes)
        weight: set[int] = set().union(*(_dependencies(factor, match.sizes) for factor in match.weights))
        kept = [axis for axis in range(len(match.sizes)) if axis not in reduced]
        match.rows = tuple(axis for axis in kept if axis in style)
        match.columns = tuple(axis for axis in kept if axis in weight)
        match.summed = tuple(sorted(reduced & style))
        if not match.summed or not (match.columns or reduced - style):
            raise MatchFailure(
                "nothing is broadcast: the sum is no larger than the product would be", match.root
            )
        if set(match.rows) & set(match.columns) or set(match.rows) & weight:
            raise MatchFailure("weights and styles share an axis of the result", match.root)
        order = [axis for axis in kept if axis in (*match.rows, *match.columns)]
        if order != [*match.rows, *match.columns]:
            raise MatchFailure("the result has its axes in another order", match.root)
        index = match.styles[0].source(_grid(match.sizes, (*match.rows, *match.summed)))
        leaf = match.styles[0].leaf
        if not np.array_equal(index, np.arange(index.size)) or math.prod(
            concrete(leaf, {dim or UNKNOWN: _BATCH for dim in dims(leaf) or () if not isinstance(dim, int)})
            or (0,)
        ) != len(index):
            raise MatchFailure("the run-time factor has its elements in another order", leaf)

    def _matrix(self, match: _SumOfSquares) -> None:
        reduced = [axis for axis in range(len(match.sizes)) if axis not in (*match.rows, *match.columns)]
        rest = tuple(axis for axis in reduced if axis not in match.summed)
        order = (*match.summed, *match.columns, *rest)
        flat = _grid(match.sizes, order)
        product = np.ones(flat.size)
        for factor in match.weights:
            product *= factor.content(flat)
        inner = math.prod(match.sizes[axis] for axis in match.summed)
        outer = math.prod(match.sizes[axis] for axis in match.columns)
        matrix = (product * product).reshape(inner, outer, -1).sum(axis=-1)
        if match.root.op_type == "ReduceMean":
            matrix /= math.prod(match.sizes[axis] for axis in _reduced_axes(match.root, len(match.sizes)))
        if not np.isfinite(matrix).all():
            raise MatchFailure("the squared weights are not finite", match.root)
        match.matrix = matrix

    def rewrite(self, match: Match, rewriter: Rewriter) -> Value:
        """(s * s) @ matrix, in the shape of the result."""
        assert isinstance(match, _SumOfSquares)
        assert match.matrix is not None
        leaf = match.styles[0].leaf
        if match.styles[0].inverse:
            leaf = rewriter.op("Reciprocal", leaf)
        if len(dims(leaf) or ()) != 2 or (dims(leaf) or ())[1] != match.matrix.shape[0]:
            target = np.array([-1, match.matrix.shape[0]], np.int64)
            leaf = rewriter.op("Reshape", leaf, rewriter.constant(target))
        dtype = leaf.dtype or DataType.FLOAT
        matrix = rewriter.constant(match.matrix.astype(dtype.numpy()))
        result = rewriter.op("MatMul", rewriter.op("Mul", leaf, leaf), matrix)
        if match.root.op_type == "ReduceL2":
            result = rewriter.op("Sqrt", result)
        wanted = dims(match.root.outputs[0])
        if wanted is not None and wanted != dims(result):
            target = np.array([dim if isinstance(dim, int) else -1 for dim in wanted], np.int64)
            result = rewriter.op("Reshape", result, rewriter.constant(target))
        return result


def _reduced_axes(node: Node, size: int) -> list[int]:
    return [axis % size for axis in constant_ints(node.inputs[1]) or []]


def _squared(node: Node) -> Value:
    """What is squared and summed."""
    value = node.inputs[0]
    if value is None:
        raise MatchFailure("the operand is absent", node)
    if node.op_type in ("ReduceSumSquare", "ReduceL2"):
        return value
    square = value.producer()
    if square is not None and square.domain == "" and square.inputs[0] is not None:
        if square.op_type == "Mul" and square.inputs[0] is square.inputs[1]:
            return square.inputs[0]
        if square.op_type == "Pow" and is_constant(square.inputs[1]):
            exponent = square.inputs[1]
            content = (
                exponent.const_value.numpy()
                if exponent is not None and exponent.const_value is not None
                else None
            )
            if content is not None and content.size == 1 and content.reshape(-1)[0] == 2:
                return square.inputs[0]
    raise MatchFailure("the operand is no square", value)


def _grid(sizes: Sizes, axes: tuple[int, ...]) -> Indices:
    """Flat indices of all combinations along `axes` in that order, the other coordinates being 0."""
    strides = [math.prod(sizes[axis + 1 :]) for axis in range(len(sizes))]
    flat = np.zeros(1, np.int64)
    for axis in axes:
        flat = (flat[:, None] + np.arange(sizes[axis], dtype=np.int64) * strides[axis]).reshape(-1)
    return flat


def _dependencies(factor: Factor, sizes: Sizes) -> set[int]:
    """Axes along which the factor moves to another element of its leaf."""
    rng = np.random.default_rng(0)
    points = [np.concatenate([[0, size - 1], rng.integers(0, size, _SAMPLE)]) for size in sizes]
    here = factor.source(np.ravel_multi_index(tuple(points), sizes).astype(np.int64))
    found = set()
    for axis, size in enumerate(sizes):
        moved = [(point + 1) % size if index == axis else point for index, point in enumerate(points)]
        if not np.array_equal(
            here, factor.source(np.ravel_multi_index(tuple(moved), sizes).astype(np.int64))
        ):
            found.add(axis)
    return found
