"""Values of too many dimensions are computed in fewer."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from graphrewrite.ir import Dims, Model, Node, Value, constant_array, dims, is_constant, is_used, rank
from graphrewrite.pipeline import RewritePass, Stage
from graphrewrite.registry import Onnx, OpNode, Refusal, rows, try_row
from graphrewrite.rewrite import Match, MatchFailure, Rewriter, RuleStatistics, all_nodes, apply_rules

from ..canonicalize.simplify_reshapes import RESHAPES, target
from .axis_groups import Axes, Grouping, boundaries, merged, shape_target
from .axis_rules import RULED, axes_of, order
from .block_transposes import split_transpose


@dataclasses.dataclass(frozen=True)
class MergeAxes(RewritePass):
    """Compute values of more than `limit` dimensions with neighbouring axes merged.

        %a:[1,4,2,2,8,8] = Reshape(%x:[1,16,8,8])           %a:[4,2,2,8,8] = Reshape(%x)
        %b:[1,4,8,2,8,2] = Transpose(%a)             --->   %b:[4,8,2,8,2] = Transpose(%a)
        %y:[1,4,16,16] = Reshape(%b)                        %y = Reshape(%b)

    Each node gets the shape in which it needs fewest dimensions: axes of 1 go, and neighbours are one where every operand and
    result has them side by side and the node names neither. A transpose that is still too wide becomes several, and an
    op that has no such rule is expanded. What then reads or writes the wide shape is a reshape, and those that meet vanish.
    Exact.
    """

    limit: int = 5
    """Most dimensions of a tensor on the target."""

    stage = Stage.LEGALIZE
    after = ("widen-half",)
    mandatory = True
    targets = frozenset({"coreml"})
    roots = (*RESHAPES, *RULED)

    def run(self, model: Model, rewriter: Rewriter) -> dict[str, RuleStatistics]:
        """Apply the rule, and expand what it does not know, until neither changes anything."""
        statistics = apply_rules(model, [self], rewriter)
        while self._expand(model, rewriter):
            again = apply_rules(model, [self], rewriter)[self.name]
            total = statistics[self.name]
            total.tried, total.applied = total.tried + again.tried, total.applied + again.applied
            total.seconds += again.seconds
        return statistics

    def match(self, node: Node) -> Match:
        """Whether every wide operand is known in a narrower shape, and the node can be computed in one."""
        if not self._is_wide(node):
            raise MatchFailure("no operand or result has too many dimensions", node)
        for value in node.inputs:
            if value is not None and self._wide(value) and self._narrow(value) is None:
                raise MatchFailure("no narrower shape of an operand is known", value)
        if node.op_type in RESHAPES:
            x = node.inputs[0]
            if x is None or not self._wide(x) or is_constant(x):
                raise MatchFailure("it is where a wide value begins", node)
            wanted = target(node, self._source(x))
            if wanted is None:
                raise MatchFailure("more than one dimension is known only at run time", node)
            shape_target(wanted)
            return Match(node, {}, {}, (node,))
        self._plan(node)
        return Match(node, {}, {}, (node,))

    def rewrite(self, match: Match, rewriter: Rewriter) -> Value | Sequence[Value | None]:
        """The node in fewer dimensions, between reshapes."""
        node = match.root
        if node.op_type in RESHAPES:
            assert node.inputs[0] is not None
            return self._reshaped(node, self._source(node.inputs[0]), rewriter)
        axes, made = self._plan(node)
        if node.op_type == "Transpose":
            return self._transposed(node, axes, made, rewriter)
        operands = list(node.inputs)
        for index, frame in axes.operands.items():
            value = operands[index]
            assert value is not None
            operands[index] = self._shaped(value, made.shape(frame), axes.aligns, rewriter)
        attributes, written = axes.settle(made)
        for index, content in written.items():
            operands += [None] * (index + 1 - len(operands))
            operands[index] = None if content is None else rewriter.constant(np.array(content, np.int64))
        results = rewriter.ops(
            node.op_type,
            *operands,
            outputs=len(node.outputs),
            **{**dict(node.attributes.items()), **attributes},
        )
        return [
            _reshape(result, dims(old) or (), rewriter) if is_used(old) else None
            for result, old in zip(results, node.outputs, strict=True)
        ]

    # -- shapes --------------------------------------------------------------------------------------------------------

    def _wide(self, value: Value) -> bool:
        return (rank(value) or 0) > self.limit

    def _is_wide(self, node: Node) -> bool:
        return any(value is not None and self._wide(value) for value in (*node.inputs, *node.outputs))

    def _narrow(self, value: Value) -> Value | None:
        """A value with the same elements in the same order: a constant, or of no more than `limit` dimensions."""
        source = self._source(value)
        return None if self._wide(source) and not is_constant(source) else source

    def _source(self, value: Value) -> Value:
        """What a wide value was reshaped from."""
        while self._wide(value):
            producer = value.producer()
            if producer is None or producer.domain != "" or producer.op_type not in RESHAPES:
                break
            assert producer.inputs[0] is not None
            value = producer.inputs[0]
        return value

    def _shaped(self, value: Value, wanted: list[int], aligns: bool, rewriter: Rewriter) -> Value:
        """`value` in the shape `wanted`; where operands are aligned to the right, 1s in front make no difference."""
        source = self._source(value)
        known, target = dims(source) or (), tuple(wanted)
        if aligns and not self._wide(source) and _without_ones(known) == _without_ones(target):
            return source
        return _reshape(source, target, rewriter)

    # -- nodes ---------------------------------------------------------------------------------------------------------

    def _plan(self, node: Node) -> tuple[Axes, Grouping]:
        """What the node does with axes, and those that are merged: no more than it takes to keep an operand's shape."""
        try:
            axes = axes_of(OpNode(node))
        except Refusal as refusal:
            raise MatchFailure(refusal.reason, node) from None
        for index, value in enumerate(node.inputs):
            if index not in axes.operands and value is not None and self._wide(value):
                raise MatchFailure(
                    "an operand that only tells a type or a shape has too many dimensions", value
                )
        made = Grouping(axes)
        if node.op_type != "Transpose":
            if made.rank() > self.limit:
                raise MatchFailure(f"it needs {made.rank()} dimensions", node)
            kept = Grouping(axes, self._cuts(node, axes, made))
            made = kept if kept.rank() <= self.limit else made
        for frame in axes.frames():
            made.shape(frame)
        for value in filter(is_used, node.outputs):
            shape_target(dims(value) or ())
        return axes, made

    def _cuts(self, node: Node, axes: Axes, made: Grouping) -> list[tuple[int, int]]:
        """Neighbours to keep apart so that the first wide operand keeps the shape that it has already."""
        for index, frame in axes.operands.items():
            value = node.inputs[index]
            if value is None or not self._wide(value) or is_constant(source := self._source(value)):
                continue
            places = set(boundaries(dims(source) or ())) - {None}
            before = dict(zip(frame.labels, boundaries(frame.sizes), strict=True))
            return [pair for pair in made.neighbours(frame) if before[pair[1]] in places]
        return []

    def _reshaped(self, node: Node, source: Value, rewriter: Rewriter) -> Value:
        wanted = target(node, source)
        assert wanted is not None
        return _reshape(source, tuple(wanted), rewriter)

    def _transposed(self, node: Node, axes: Axes, made: Grouping, rewriter: Rewriter) -> Value:
        x, y = axes.operands[0], axes.results[0]
        operand, groups, sizes = node.inputs[0], made.groups(x), x.axes
        assert operand is not None
        value = self._source(operand)
        for move in split_transpose(order(made, x, y), self.limit):
            blocks = [[label for at in block for label in groups[at]] for block in move.blocks]
            value = _reshape(value, shape_target([merged(sizes, block) for block in blocks]), rewriter)
            value = rewriter.op("Transpose", value, perm=list(move.order))
        return _reshape(value, dims(node.outputs[0]) or (), rewriter)

    def _expand(self, model: Model, rewriter: Rewriter) -> bool:
        """Express nodes with wide values whose op has no rule in simpler ops; True where there were any."""
        changed = False
        for node in list(all_nodes(model.graph)):
            row = rows().get(node.op_type)
            if node.domain != "" or node.op_type in self.roots or row is None or row.expansion is None:
                continue
            if not (self._is_wide(node) or self._is_wide_inside(node)) or not rewriter.allowed():
                continue
            changed |= try_row(node, rewriter, row.expansion, Onnx(rewriter)) is None and node.graph is None
        return changed

    def _is_wide_inside(self, node: Node) -> bool:
        """An Einsum of more indices than `limit` may hold all of them in one value."""
        equation = node.attributes.get_string("equation", "") or ""
        left = max((rank(value) or 0 for value in node.inputs if value is not None), default=0)
        letters = {char for char in equation if char.isalpha()}
        return node.op_type == "Einsum" and len(letters) + (left if "..." in equation else 0) > self.limit


def _reshape(value: Value, wanted: Dims | Sequence[int], rewriter: Rewriter) -> Value:
    """`value` in the shape `wanted`; itself where it has that."""
    shape = shape_target(wanted)
    if [size if isinstance(size, int) else -1 for size in dims(value) or ()] == shape:
        return value  # where one is known only at run time, the others and the number of elements decide it
    array = constant_array(value) if is_constant(value) else None
    if array is not None:
        return rewriter.constant(array.reshape(shape))
    return rewriter.op("Reshape", value, rewriter.constant(np.array(shape, np.int64)))


def _without_ones(sizes: Dims | Sequence[int]) -> list[int]:
    found = [size if isinstance(size, int) else -1 for size in sizes]
    while found and found[0] == 1:
        del found[0]
    return found
