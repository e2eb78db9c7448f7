"""Orders that would spare a TRANSPOSE that is there: its result stored like its operand, or its operand like its result.

From the TRANSPOSE the order is carried to every value around, nearest TRANSPOSE first, so that the cut can move it along
operators to where it meets another one, or costs less. This is what sinks a TRANSPOSE through elementwise operators, as one
exact choice over the whole graph.
"""

from __future__ import annotations

from collections.abc import Iterator

from graphrewrite.ir import Graph, Node, Value, is_constant
from graphrewrite.layout.facts import neighbours
from graphrewrite.layout.perms import Perm, inverse, is_identity
from graphrewrite.layout.regroup import Atoms, in_memory
from graphrewrite.layout.rules import FlagRule, Signatures, form
from graphrewrite.layout.tags import Forms

_RANKS = range(2, 7)


def push_forms(graph: Graph, signatures: Signatures) -> Forms:
    """The result of each TRANSPOSE stored like its operand, and what follows from that."""
    return _spread(graph, signatures, push=True)


def pull_forms(graph: Graph, signatures: Signatures) -> Forms:
    """The operand of each TRANSPOSE stored like its result, and what follows from that."""
    return _spread(graph, signatures, push=False)


def _spread(graph: Graph, signatures: Signatures, *, push: bool) -> Forms:
    forms: dict[Value, Perm] = {}
    proposals: dict[Value, Perm] = {}
    dialect = signatures.dialect
    for node in graph:
        perm = dialect.transpose_perm(node)
        source = node.inputs[0] if perm is not None else None
        if perm is None or source is None or is_constant(source) or is_identity(perm):
            continue
        value, wanted = (node.outputs[0], inverse(perm)) if push else (source, perm)
        proposals[value] = min(proposals.get(value, wanted), wanted)
    while proposals:
        level = list(proposals)
        forms.update(proposals)
        proposals = {}
        for value in level:
            for node in neighbours(value, graph):
                for other, perm in _carry(node, value, forms[value], signatures):
                    if other not in forms and not is_constant(other):
                        proposals[other] = min(proposals.get(other, perm), perm)
    return {v: perm for v, perm in forms.items() if len(perm) in _RANKS and not is_identity(perm)}


def _carry(node: Node, value: Value, perm: Perm, signatures: Signatures) -> Iterator[tuple[Value, Perm]]:
    """Orders of the other operands and results of `node` that go with `value` stored as `perm`."""
    dialect = signatures.dialect
    if node.domain != dialect.domain or dialect.transpose_perm(node) is not None:
        return
    if dialect.is_reshape(node):
        groups = dialect.regrouping(node)
        source, result = node.inputs[0], node.outputs[0]
        if groups is None or source is None:
            return
        if value is source:
            other, here, there = result, groups.before, groups.after
        else:
            other, here, there = source, groups.after, groups.before
        found = _regrouped(in_memory(here, perm), there)
        if found is not None:
            yield other, found
        return
    signature = signatures.of(node)
    if signature is None or isinstance(dialect.rules[node.op_type], FlagRule):
        return
    ports = [
        (node.outputs[index] if is_output else node.inputs[index], classes)
        for is_output, index, classes in signature.ports()
    ]
    order = next((signature.order(classes, perm) for item, classes in ports if item is value), None)
    if order is None:
        return
    for item, classes in ports:
        if item is not None and item is not value:
            yield item, form(classes, order)


def _regrouped(memory: Atoms, groups: tuple[Atoms, ...]) -> Perm | None:
    """The order of dimensions whose atoms lie in memory as `memory`, None where there is none."""
    place = {atom: index for index, atom in enumerate(memory)}
    keys: list[tuple[int, int]] = []
    for axis, atoms in enumerate(groups):
        keys.append((place[atoms[0]], axis) if atoms else (keys[-1][0] if keys else -1, axis))
    perm = tuple(sorted(range(len(groups)), key=keys.__getitem__))
    return perm if in_memory(groups, perm) == memory else None
