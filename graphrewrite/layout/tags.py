"""Which dimension of a value is the batch, which are spatial, which are channels; and so what channels-last means for it.

Known for the operators that want channels last, and carried from there to every value around, nearest operator first: through
elementwise operators, transposes, and reshapes that split or merge. A value's channels-last order is its dimensions sorted
as N, S, C, dimensions of one kind in the order they have. Tags only propose orders: whether an order is right for an
operator is decided by its rule, and whether it pays by the cut.
"""

from __future__ import annotations

from collections.abc import Iterator

from graphrewrite.ir import Graph, Node, Value, is_constant, rank
from graphrewrite.layout.facts import neighbours
from graphrewrite.layout.perms import Perm, is_identity, permute
from graphrewrite.layout.regroup import Regroup
from graphrewrite.layout.rules import Signatures

N, S, C = 0, 1, 2
Tags = tuple[int, ...]
_Guess = tuple[int | None, ...]

Forms = dict[Value, Perm]
"""For some values another order in which they could be stored."""

_RANKS = range(3, 7)


def channels_last_forms(graph: Graph, signatures: Signatures) -> Forms:
    """The channels-last order of every value of `graph` for which it is not the order it has."""
    forms = {}
    for value, tags in value_tags(graph, signatures).items():
        perm = tuple(sorted(range(len(tags)), key=tags.__getitem__))
        if len(tags) in _RANKS and not is_identity(perm):
            forms[value] = perm
    return forms


def value_tags(graph: Graph, signatures: Signatures) -> dict[Value, Tags]:
    """Tags of every value that the operators which want channels last reach.

    Breadth first and a whole level at a time, the smallest of several proposals winning, so that the result does not
    depend on the order of nodes.
    """
    tags: dict[Value, Tags] = {}
    for node in graph:
        for value in signatures.dialect.channels_last(node):
            size = rank(value)
            if size is not None and size >= 3 and not is_constant(value):
                tags[value] = (N, *[S] * (size - 2), C)
    level = list(tags)
    while level:
        proposals: dict[Value, tuple[int, Tags]] = {}
        for value in level:
            for node in neighbours(value, graph):
                for other, guess in _carry(node, value, tags[value], signatures):
                    if other in tags or is_constant(other):
                        continue
                    proposal = (guess.count(None), _fill(guess))
                    if other not in proposals or proposal < proposals[other]:
                        proposals[other] = proposal
        level = list(proposals)
        tags.update({value: found for value, (_, found) in proposals.items()})
    return tags


def _fill(guess: _Guess) -> Tags:
    """A dimension nothing is known of is taken for one like the dimension before it."""
    filled: list[int] = []
    for tag in guess:
        filled.append(tag if tag is not None else filled[-1] if filled else N)
    return tuple(filled)


def _carry(node: Node, value: Value, tags: Tags, signatures: Signatures) -> Iterator[tuple[Value, _Guess]]:
    """What the tags of `value` say of the other operands and results of `node`."""
    dialect = signatures.dialect
    perm = dialect.transpose_perm(node)
    if perm is not None:
        source, result = node.inputs[0], node.outputs[0]
        if value is source:
            yield result, permute(tags, perm)
        elif source is not None:
            yield source, tuple(tags[perm.index(axis)] for axis in range(len(perm)))
        return
    if dialect.is_reshape(node):
        groups = dialect.regrouping(node)
        if groups is None:
            return
        source, result = node.inputs[0], node.outputs[0]
        other = result if value is source else source
        guess = _regrouped(groups, tags, forwards=value is source)
        if guess is not None and other is not None:
            yield other, guess
        return
    signature = signatures.of(node)
    if signature is None:
        return
    ports = [
        (node.outputs[index] if is_output else node.inputs[index], classes)
        for is_output, index, classes in signature.ports()
    ]
    known: dict[int, int] = {}
    for item, classes in ports:
        if item is value:
            known.update(zip(classes, tags, strict=True))
    for item, classes in ports:
        if item is not None and item is not value:
            yield item, tuple(known.get(entry) for entry in classes)


def _regrouped(groups: Regroup, tags: Tags, *, forwards: bool) -> _Guess | None:
    here, there = (groups.before, groups.after) if forwards else (groups.after, groups.before)
    atoms = {atom: tag for dimension, tag in zip(here, tags, strict=True) for atom in dimension}
    out: list[int | None] = []
    for dimension in there:
        found = {atoms[atom] for atom in dimension}
        if len(found) > 1 and N not in found:
            return None  # channels merged with space: whoever knows better may say what the rest is
        # Windows merged into the batch are a batch.
        out.append(N if N in found else found.pop() if found else None)
    return tuple(out)
