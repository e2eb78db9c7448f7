"""Chains of views (TRANSPOSE and reshapes) in their shortest form: at most reshape, TRANSPOSE, reshape."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from graphrewrite.ir import Dim, Dims, Graph, Node, Value, dims, is_constant, use_count
from graphrewrite.layout.perms import Perm, is_identity, permute
from graphrewrite.layout.regroup import regroup
from graphrewrite.layout.rules import Dialect
from graphrewrite.rewrite import Match, MatchFailure, Rewriter

_LONGEST = 16
"""Views in a row that are looked at together; a longer chain is cut in two."""
HIGHEST_RANK = 6
"""XNNPACK's highest rank for a TRANSPOSE; a composed one is not made of a higher rank."""


@dataclasses.dataclass(frozen=True)
class Form:
    """A view chain in normal form: reshape to `split`, transpose by `perm`, reshape to `result` (each step where needed)."""

    source: Dims
    split: Dims
    perm: Perm
    result: Dims

    @property
    def transposes(self) -> int:
        """0 or 1."""
        return 0 if is_identity(self.perm) else 1

    @property
    def reshapes(self) -> int:
        """0 to 2."""
        if not self.transposes:
            return int(self.source != self.result)
        return int(self.source != self.split) + int(permute(self.split, self.perm) != self.result)


class ViewTrace:
    """A value during a chain: pieces of the source's dimensions, in the source's order and in the value's."""

    def __init__(self, source: Dims) -> None:
        self.sizes: list[Dim] = list(source)
        self.source = list(range(len(source)))
        self.dims: list[list[int]] = [[axis] for axis in range(len(source))]

    def follow(self, node: Node, dialect: Dialect) -> bool:
        """Follow a view; False where the pieces can't be told."""
        perm, target = dialect.transpose_perm(node), dims(node.outputs[0])
        if perm is None:
            return target is not None and self.reshape(target)
        self.transpose(perm)
        return True

    def transpose(self, perm: Perm) -> None:
        """Follow a transpose."""
        self.dims = [self.dims[axis] for axis in perm]

    def reshape(self, target: Dims) -> bool:
        """Follow a reshape to `target`; False where the pieces can't be told."""
        flat = [atom for group in self.dims for atom in group]
        groups = regroup(tuple([self.sizes[atom] for atom in flat]), target)
        if groups is None:
            return False
        start = len(self.sizes)
        self.sizes += groups.sizes
        pieces = {
            atom: [start + item for item in inner] for atom, inner in zip(flat, groups.before, strict=True)
        }
        self.source = [item for atom in self.source for item in pieces[atom]]
        self.dims = [[start + item for item in inner] for inner in groups.after]
        return True

    def form(self, source: Dims, result: Dims) -> Form:
        """The normal form, with pieces that move together merged."""
        flat = [atom for group in self.dims for atom in group if self.sizes[atom] != 1]
        order = [atom for atom in self.source if self.sizes[atom] != 1]
        place = {atom: index for index, atom in enumerate(flat)}
        runs: list[list[int]] = []
        for atom in order:
            if runs and place[atom] == place[runs[-1][-1]] + 1:
                runs[-1].append(atom)
            else:
                runs.append([atom])
        first = {run[0]: index for index, run in enumerate(runs)}
        perm = tuple(first[atom] for atom in flat if atom in first)
        split = tuple(self._product(run) for run in runs)
        if is_identity(perm):
            return Form(source, source, tuple(range(len(source))), result)
        return Form(source, split, perm, result)

    def _product(self, run: list[int]) -> Dim:
        total = 1
        for atom in run:
            size = self.sizes[atom]
            if not isinstance(size, int):
                return size if len(run) == 1 else None
            total *= size
        return total


def build(form: Form, source: Value, dialect: Dialect, rewriter: Rewriter) -> Value:
    """The views of `form` on `source`."""
    value = source
    if form.transposes:
        if form.split != form.source:
            value = dialect.reshape(rewriter, value, form.split)
        value = dialect.transpose(rewriter, value, form.perm)
    if dims(value) != form.result:
        value = dialect.reshape(rewriter, value, form.result)
    return value


@dataclasses.dataclass(frozen=True)
class Chain:
    """Views from `source` to the root, and the shorter form of them."""

    source: Value
    nodes: tuple[Node, ...]
    form: Form


class ComposeViewsRule:
    """A rewrite rule: the views that end in one node become their normal form where that is shorter."""

    def __init__(self, name: str, dialect: Dialect, roots: tuple[str, ...]) -> None:
        self.name = name
        self.roots = tuple(f"{dialect.domain}.{op_type}" for op_type in roots)
        self.dialect = dialect
        self._found: dict[Node, Chain] = {}

    def match(self, node: Node) -> Match:
        """The longest chain that ends in `node` and gets shorter."""
        if self._is_short(node):
            raise MatchFailure("it is a view on its own", node)
        best = None
        for chain in self._chains(node):
            if self._shorter(chain):
                best = chain
        if best is None:
            raise MatchFailure("the views before it have no shorter form", node)
        self._found[node] = best
        return Match(node, {"source": best.source}, {}, best.nodes)

    def rewrite(self, match: Match, rewriter: Rewriter) -> Value:
        """Build the normal form."""
        chain = self._found.pop(match.root)
        return build(chain.form, chain.source, self.dialect, rewriter)

    def _is_short(self, node: Node) -> bool:
        """True for a view that is not behind another and does something. Nearly all are: told without looking further."""
        source = node.inputs[0]
        if source is None or self._is_view(source.producer()):
            return False
        perm = self.dialect.transpose_perm(node)
        if perm is not None:
            return not is_identity(perm)
        return self.dialect.is_general_reshape(node) and dims(source) != dims(node.outputs[0])

    def _is_view(self, node: Node | None) -> bool:
        return node is not None and (
            self.dialect.transpose_perm(node) is not None or self.dialect.is_reshape(node)
        )

    def _chains(self, root: Node) -> Iterator[Chain]:
        """The chains that end in `root`, shortest first."""
        nodes: list[Node] = []
        node: Node | None = root
        while node is not None and self._is_view(node) and len(nodes) < _LONGEST:
            nodes.append(node)
            source = node.inputs[0]
            if source is None or is_constant(source):
                return
            form = self._form(source, nodes)
            if form is not None:
                yield Chain(source, tuple(nodes), form)
            node = source.producer()
            if node is not None and node.graph is not root.graph:
                return

    def _form(self, source: Value, nodes: list[Node]) -> Form | None:
        known, result = dims(source), dims(nodes[0].outputs[0])
        if known is None or result is None:
            return None
        trace = ViewTrace(known)
        if not all(trace.follow(node, self.dialect) for node in reversed(nodes)):
            return self._only_reshapes(known, result, nodes)
        form = trace.form(known, result)
        return form if expressible(form) else None

    def _only_reshapes(self, source: Dims, result: Dims, nodes: list[Node]) -> Form | None:
        if any(self.dialect.transpose_perm(node) is not None for node in nodes):
            return None
        form = Form(source, source, tuple(range(len(source))), result)
        return form if expressible(form) else None

    def _shorter(self, chain: Chain) -> bool:
        transposes = sum(self.dialect.transpose_perm(node) is not None for node in chain.nodes)
        reshapes = len(chain.nodes) - transposes
        form = chain.form
        root, *inner = chain.nodes
        kept = any(use_count(n.outputs[0]) > 1 or n.outputs[0].is_graph_output() for n in inner)
        if kept:  # what is used elsewhere stays: only the root's own work counts
            own = (1, 0) if self.dialect.transpose_perm(root) is not None else (0, 1)
            return len(inner) > 0 and (form.transposes, form.reshapes) < own
        highest = max(
            (len(p) for n in chain.nodes if (p := self.dialect.transpose_perm(n)) is not None), default=0
        )
        if form.transposes and len(form.perm) > max(HIGHEST_RANK, highest):
            return False
        if len(chain.nodes) == 1 and transposes and form.reshapes:
            return False  # a TRANSPOSE that is a RESHAPE in truth still says which dimension is which
        if (form.transposes, form.reshapes) < (transposes, reshapes):
            return True
        # The other reshapes become RESHAPE, which every order suits.
        alone = len(chain.nodes) == 1 and not transposes
        return alone and not self.dialect.is_general_reshape(root)


def expressible(form: Form) -> bool:
    """True where each reshape leaves at most one dimension to run time."""
    shapes = [form.split, form.result] if form.transposes else [form.result]
    return all(sum(not isinstance(dim, int) for dim in shape) <= 1 for shape in shapes)


def share_views(graph: Graph, dialect: Dialect, rewriter: Rewriter, name: str) -> None:
    """Equal TRANSPOSEs and reshapes of one value of `graph` become one."""
    first: dict[tuple[Value, str, object], Node] = {}
    for node in list(graph):
        perm = dialect.transpose_perm(node)
        key: object = perm
        if perm is None:
            result = dims(node.outputs[0])
            if not dialect.is_reshape(node) or result is None or None in result:
                continue
            key = result
        source = node.inputs[0]
        if source is None or node.outputs[0].is_graph_output():
            continue
        kept = first.setdefault((source, "T" if perm is not None else "R", key), node)
        if kept is not node and rewriter.allowed():
            with rewriter.rewrite(name, node, [kept]):
                rewriter.replace(node, kept.outputs[0])
