"""What the layout stage has to know of a target's operators.

The stage itself knows none. A `Dialect` tells it which operators move dimensions around (views), which of them want channels
last, and gives each of the others a rule: which dimensions of its operands and results are the same dimension
(`Signature`), and what changes in the operator when these are stored in another order (`rewrite`).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from graphrewrite.ir import Dims, Node, Value
from graphrewrite.layout.perms import Perm, identity
from graphrewrite.layout.regroup import Regroup
from graphrewrite.rewrite import Rewriter

Classes = tuple[int, ...]
Order = tuple[int, ...]
"""All classes of a signature in the order in which they are stored."""


@dataclasses.dataclass(frozen=True)
class Signature:
    """Dimensions of a node's ports as classes: equal numbers are the same dimension. Every port lists them ascending.

    Attributes:
        size: number of classes.
        inputs: data operand -> class of each of its dimensions. Operands not listed are not about dimensions.
        outputs: for each output; None where it is not about dimensions.
        last: classes that must stay last, in this order.
        block: classes that must lie side by side, in this order.
        broadcast: operands of lower rank are aligned with the last dimensions.
        cost: of the operator in any order but the plain one.
    """

    size: int
    inputs: Mapping[int, Classes]
    outputs: tuple[Classes | None, ...]
    last: Classes = ()
    block: Classes = ()
    broadcast: bool = False
    cost: int = 0

    def ports(self) -> tuple[tuple[bool, int, Classes], ...]:
        """(is output, index, classes), outputs first."""
        return self._ports

    @functools.cached_property
    def _ports(self) -> tuple[tuple[bool, int, Classes], ...]:
        results = [(True, index, found) for index, found in enumerate(self.outputs) if found is not None]
        return (*results, *((False, index, found) for index, found in self.inputs.items()))

    def order(self, classes: Classes, perm: Perm) -> Order | None:
        """The order of all classes that stores a port with `classes` as `perm`; None where the operator can't do it."""
        stored = [classes[axis] for axis in perm]
        tail = [item for item in self.last if item in classes]
        if tail and stored[-len(tail) :] != tail:
            return None
        known = [item for item in stored if item not in tail]
        present = {*known, *self.last}
        for item in range(self.size):
            if item not in present:
                known.insert(self._place(item, known), item)
        at = known.index(self.block[0]) if self.block else 0
        if tuple(known[at : at + len(self.block)]) != self.block:
            return None
        return (*known, *self.last)

    def _place(self, item: int, known: list[int]) -> int:
        """Where a class that the port lacks goes: beside the rest of its block, else behind the class before it."""
        if item in self.block and item + 1 in self.block and item + 1 in known:
            return known.index(item + 1)
        return known.index(item - 1) + 1 if item else 0


@functools.lru_cache(maxsize=4096)
def form(classes: Classes, order: Order) -> Perm:
    """How a port with `classes` is stored where all classes are stored in `order`."""
    place = {item: axis for axis, item in enumerate(classes)}
    return tuple(place[item] for item in order if item in place)


class Edit:
    """What a rule may change of its node. Everything is applied at once, when the rule is done."""

    def __init__(self, node: Node, rewriter: Rewriter, order: Order, signature: Signature) -> None:
        self.node = node
        self.rewriter = rewriter
        self.order = order
        self.signature = signature
        self.inputs: dict[int, Value | None] = {}
        self.attributes: dict[str, Any] = {}

    def input_perm(self, index: int) -> Perm:
        """Order in which operand `index` is stored from now on."""
        return form(self.signature.inputs[index], self.order)

    def output_perm(self, index: int = 0) -> Perm:
        """Order in which output `index` is stored from now on."""
        classes = self.signature.outputs[index]
        return identity(0) if classes is None else form(classes, self.order)

    def operand(self, index: int, value: Value | None) -> None:
        """Read `value` as operand `index`."""
        self.inputs[index] = value

    def attribute(self, name: str, content: Any) -> None:
        """Set an attribute."""
        self.attributes[name] = content


Rewrite = Callable[[Node, Edit], None]


def unchanged(node: Node, edit: Edit) -> None:
    """The rewrite of an operator that only its operands' order concerns."""


@dataclasses.dataclass(frozen=True)
class Rule:
    """How one operator follows its operands' order."""

    signature: Callable[[Node], Signature | None]
    rewrite: Rewrite = unchanged


@dataclasses.dataclass(frozen=True)
class FlagRule:
    """An operator that reads and writes some orders by itself, each port on its own (BATCH_MATMUL and its adj flags).

    `accepts(node, is output, index, perm)`; `rewrite(node, edit, ports)` gets the ports, as (is output, index), that are stored
    permuted.
    """

    signature: Callable[[Node], Signature | None]
    accepts: Callable[[Node, bool, int, Perm], bool]
    rewrite: Callable[[Node, Rewriter, frozenset[tuple[bool, int]]], None]


class Dialect(Protocol):
    """The operators of one target, as the layout stage sees them."""

    @property
    def domain(self) -> str:
        """Domain of its nodes."""

    @property
    def rules(self) -> Mapping[str, Rule | FlagRule]:
        """Rule by op type. Operators without one read and write everything in the plain order."""

    def channels_last(self, node: Node) -> Sequence[Value]:
        """Operands and results of `node` that are [N, spatial..., C] by the definition of the operator."""

    def is_transpose(self, node: Node) -> bool:
        """True for a TRANSPOSE."""

    def transpose_perm(self, node: Node) -> Perm | None:
        """The order of a TRANSPOSE node, None for any other (or where it is known only at run time)."""

    def is_reshape(self, node: Node) -> bool:
        """True for an operator that leaves memory as it is and changes the shape alone."""

    def is_general_reshape(self, node: Node) -> bool:
        """True for the reshape operator that `reshape` makes."""

    def regrouping(self, node: Node) -> Regroup | None:
        """What a reshape does to dimensions, None where that is not known."""

    def is_row_wise(self, node: Node) -> bool:
        """True where `node` has one run-time operand, and computes each of its rows (the last dimension) by itself."""

    def transpose(self, rewriter: Rewriter, value: Value, perm: Perm) -> Value:
        """A TRANSPOSE of `value`."""

    def reshape(self, rewriter: Rewriter, value: Value, dims: Dims) -> Value:
        """A RESHAPE of `value`; at most one of `dims` is not a number."""

    def set_transpose(self, rewriter: Rewriter, node: Node, perm: Perm) -> None:
        """Give a TRANSPOSE node another order."""

    def set_reshape(self, rewriter: Rewriter, node: Node, before: Perm, after: Perm) -> None:
        """Make a reshape right for an operand stored as `before` and a result stored as `after`."""

    def why_held(self, node: Node) -> str | None:
        """What holds `node` to the order it has ("SOFTMAX works on the last dimension"), None where it follows."""


class Signatures:
    """Signatures of nodes that do not change meanwhile, each asked for once."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self._known: dict[Node, Signature | None] = {}

    def of(self, node: Node) -> Signature | None:
        """The signature of `node`, None where it has none."""
        if node not in self._known:
            rule = self.dialect.rules.get(node.op_type) if node.domain == self.dialect.domain else None
            self._known[node] = rule.signature(node) if rule is not None else None
        return self._known[node]
