"""Transposes on both sides of operators that compute each row (the last dimension) on its own: one is enough.

    TRANSPOSE, RESHAPE, FULLY_CONNECTED, RESHAPE, TRANSPOSE  --->  RESHAPE, TRANSPOSE, RESHAPE, FULLY_CONNECTED

Rows may be computed in any order, so views that only arrange rows can move from behind such an operator to before it, where
they meet the views that are there. A value's order can't say this (the rows are merged into one dimension in between), so
it is a rule of its own. Windowed attention is full of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from graphrewrite.ir import Dim, Dims, Node, Value, dims, is_constant, use_count
from graphrewrite.layout.rules import Dialect
from graphrewrite.layout.views import HIGHEST_RANK, Form, ViewTrace, build, expressible
from graphrewrite.rewrite import Match, MatchFailure, Rewriter


@dataclasses.dataclass(frozen=True)
class Crossing:
    """Views, row-wise operators and views again, in the order of the graph."""

    source: Value
    rows: tuple[Node, ...]
    form: Form


class MergeAcrossRowsRule:
    """A rewrite rule at the last view behind row-wise operators."""

    def __init__(self, name: str, dialect: Dialect, roots: tuple[str, ...]) -> None:
        self.name = name
        self.roots = tuple(f"{dialect.domain}.{op_type}" for op_type in roots)
        self.dialect = dialect
        self._found: dict[Node, Crossing] = {}

    def match(self, node: Node) -> Match:
        """The views before and after row-wise operators, where one TRANSPOSE can do for both sides."""
        behind, middle = self._run(node, self._is_view)
        rows, before = self._run(middle, self.dialect.is_row_wise)
        front, _ = self._run(before, self._is_view)
        if not rows or not front:
            raise MatchFailure("there are no row-wise operators between views before it", node)
        if not all(any(map(self.dialect.transpose_perm, side)) for side in (front, behind)):
            raise MatchFailure("only one side has a TRANSPOSE", node)
        source = front[-1].inputs[0]
        if source is None or is_constant(source):
            raise MatchFailure("the views read a constant", node)
        form = self._form(source, front, rows, behind)
        if form is None:
            raise MatchFailure(
                "the views behind do not keep rows whole, or it would take too high a rank", node
            )
        self._found[node] = Crossing(source, tuple(reversed(rows)), form)
        return Match(node, {"source": source}, {}, (*behind, *rows, *front))

    def rewrite(self, match: Match, rewriter: Rewriter) -> Value:
        """All views first, then the row-wise operators on the shape that they end in."""
        found = self._found.pop(match.root)
        value = build(found.form, found.source, self.dialect, rewriter)
        for node in found.rows:
            at = next(i for i, item in enumerate(node.inputs) if item is not None and not is_constant(item))
            operands = [value if i == at else item for i, item in enumerate(node.inputs)]
            value = rewriter.op(node.op_type, *operands, domain=node.domain, **dict(node.attributes))
        return value

    def _is_view(self, node: Node) -> bool:
        return self.dialect.transpose_perm(node) is not None or self.dialect.is_reshape(node)

    def _run(self, node: Node | None, test: Callable[[Node], bool]) -> tuple[list[Node], Node | None]:
        """Nodes from `node` upwards that pass `test`, and the one above them."""
        found = []
        while node is not None and test(node):
            found.append(node)
            node = self._before(node)
        return found, node

    def _form(self, source: Value, front: list[Node], rows: list[Node], behind: list[Node]) -> Form | None:
        """All views on both sides as one, None where that can't be.

        The views behind are followed with the row as it is before the row-wise operators: as one piece that stays last.
        """
        known, inner = dims(source), dims(front[0].outputs[0])
        outer, result = dims(rows[0].outputs[0]), dims(behind[0].outputs[0])
        if not known or not inner or not outer or not result or outer[-1] != result[-1]:
            return None
        if not _keep_rows(outer, behind, self.dialect):
            return None
        trace = ViewTrace(known)
        if not all(trace.follow(node, self.dialect) for node in reversed(front)):
            return None
        for node in reversed(behind):
            perm, target = self.dialect.transpose_perm(node), dims(node.outputs[0])
            if perm is not None:
                trace.transpose(perm)
            elif target is None or not trace.reshape((*target[:-1], inner[-1])):
                return None
        form = trace.form(known, (*result[:-1], inner[-1]))
        return form if expressible(form) and len(form.perm) <= HIGHEST_RANK else None

    def _before(self, node: Node) -> Node | None:
        """The producer of the one run-time operand of `node`, where nothing else reads it."""
        moving = [value for value in node.inputs if value is not None and not is_constant(value)]
        if len(moving) != 1 or use_count(moving[0]) != 1 or moving[0].is_graph_output():
            return None
        producer = moving[0].producer()
        return producer if producer is not None and producer.graph is node.graph else None


def _keep_rows(outer: Dims, behind: list[Node], dialect: Dialect) -> bool:
    """True where every one of the views leaves the last dimension whole and last."""
    row: Dim = outer[-1]
    for node in behind:
        perm, shape = dialect.transpose_perm(node), dims(node.outputs[0])
        if not shape or shape[-1] != row or row == 1 or (perm is not None and perm[-1] != len(perm) - 1):
            return False
    return True
