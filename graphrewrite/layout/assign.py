"""Choosing for every value whether it is stored as it is or in its other order: the layout problem of one graph.

Every operator that has a rule for it gets a variable; what it reads and writes follows that variable. A view (TRANSPOSE,
RESHAPE) has one for its operand and one for its result, and a table of what each pair of labels costs it. A value costs
once, where any reader's label differs from the producer's.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable, Iterator

from graphrewrite.ir import Graph, Node, Value, dims, is_constant
from graphrewrite.layout.facts import RESHAPE_COST, run_time_values, transpose_cost
from graphrewrite.layout.mincut import solve
from graphrewrite.layout.perms import Perm, identity, inverse, is_identity, permute
from graphrewrite.layout.problem import FORBIDDEN, PERMUTED, PLAIN, Problem, Table, submodular
from graphrewrite.layout.regroup import in_memory
from graphrewrite.layout.rules import Classes, Dialect, FlagRule, Order, Rule, Signature, Signatures, form
from graphrewrite.layout.tags import Forms


class Boundary(enum.Enum):
    """The order of graph inputs and outputs."""

    KEEP = "keep"
    """As in the source."""
    LAST = "last"
    """Channels last."""
    FREE = "free"
    """Whatever is cheapest inside."""


class Pin(enum.Enum):
    """Which side of a view keeps the order it has, where no cut can hold the choice of both."""

    WORSE = enum.auto()
    """The one whose own change saves less."""
    BEFORE = enum.auto()
    AFTER = enum.auto()


@dataclasses.dataclass(frozen=True)
class Follower:
    """A node whose operands and results are all stored in `order` where `variable` is 1."""

    rule: Rule
    signature: Signature
    order: Order
    variable: int


@dataclasses.dataclass(frozen=True)
class View:
    """A TRANSPOSE or reshape: labels of what it reads and what it writes."""

    before: int
    after: int


@dataclasses.dataclass(frozen=True)
class Flagged:
    """A node that takes either order at some ports, (is output, index) -> variable."""

    rule: FlagRule
    ports: dict[tuple[bool, int], int]


@dataclasses.dataclass
class Assignment:
    """The problem of one graph, and its solution once `labels` is filled in.

    `reads` and `writes` hold variables; a port that is in neither is always plain.
    """

    forms: Forms
    problem: Problem = dataclasses.field(default_factory=Problem)
    reads: dict[tuple[Node, int], int] = dataclasses.field(default_factory=dict)
    writes: dict[Value, int] = dataclasses.field(default_factory=dict)
    results: dict[Value, int] = dataclasses.field(default_factory=dict)
    """Variables of graph outputs as the caller reads them."""
    nodes: dict[Node, Follower | View | Flagged] = dataclasses.field(default_factory=dict)
    labels: list[int] = dataclasses.field(default_factory=list)

    def copy(self) -> Assignment:
        """One that grows on its own."""
        return Assignment(
            self.forms,
            self.problem.copy(),
            dict(self.reads),
            dict(self.writes),
            dict(self.results),
            dict(self.nodes),
        )

    def label(self, variable: int) -> int:
        """The label of a variable (or of PLAIN, PERMUTED)."""
        return self.labels[variable] if variable >= 0 else -1 - variable

    def perm(self, value: Value, label: int) -> Perm:
        """The order that `label` means for `value`."""
        return self.forms[value] if label else identity(len(value.shape) if value.shape is not None else 0)

    def written(self, value: Value) -> int:
        """Label in which `value` is produced."""
        return self.label(self.writes.get(value, PLAIN))

    def read(self, node: Node, index: int) -> int:
        """Label in which `node` reads operand `index`."""
        return self.label(self.reads.get((node, index), PLAIN))

    def cost(self) -> int:
        """What the solution costs."""
        return self.problem.cost(self.labels)

    def saving(self) -> int:
        """How much less the solution costs than leaving everything as it is."""
        return self.problem.cost([0] * self.problem.variables) - self.cost()


_Undecided = list[tuple[Node, Table]]
"""Views with a table that no cut can hold."""


def assign(
    graph: Graph, signatures: Signatures, forms: Forms, boundary: Boundary = Boundary.KEEP
) -> Assignment | None:
    """The cheapest choice between the order that every value has and the one that `forms` proposes; None without any."""
    own = set(run_time_values(graph))
    forms = {
        v: perm for v, perm in forms.items() if v in own and all(u.node.graph is graph for u in v.uses())
    }
    if not forms:
        return None
    plan, undecided = Assignment(forms), _Undecided()
    for node in graph:
        _place(node, signatures, plan, undecided)
    _place_boundary(graph, plan, boundary)
    around = {value for node, _ in undecided for value in (node.inputs[0], node.outputs[0])}
    _add_fans(plan, (value for value in forms if value not in around))
    plans = [_pinned(plan.copy(), pin, undecided) for pin in Pin] if undecided else [plan]
    for item in plans:
        _add_fans(item, (value for value in forms if value in around))
        item.labels = solve(item.problem)
    return min(plans, key=Assignment.cost)


def _add_fans(plan: Assignment, values: Iterable[Value]) -> None:
    for value in values:
        readers = [plan.reads.get((use.node, use.idx), PLAIN) for use in value.uses()]
        if value.is_graph_output():
            readers.append(plan.results.get(value, PLAIN))
        cost = transpose_cost(value, plan.forms[value])
        plan.problem.add_fan(plan.writes.get(value, PLAIN), readers, cost)


def _pinned(plan: Assignment, pin: Pin, undecided: _Undecided) -> Assignment:
    """`plan` with the views that need `pin`."""
    for node, table in undecided:
        before_stays = pin is Pin.BEFORE or (pin is Pin.WORSE and table[2] > table[1])
        _choose(node, table, plan, before=not before_stays, after=before_stays)
    return plan


def _place_boundary(graph: Graph, plan: Assignment, boundary: Boundary) -> None:
    if boundary is Boundary.KEEP:
        return
    for values, table in ((graph.inputs, plan.writes), (graph.outputs, plan.results)):
        for value in values:
            if value in plan.forms and value not in table:
                table[value] = PERMUTED if boundary is Boundary.LAST else plan.problem.variable()


def _place(node: Node, signatures: Signatures, plan: Assignment, undecided: _Undecided) -> None:
    dialect, forms = signatures.dialect, plan.forms
    if node.domain != dialect.domain:
        return
    if not any(v in forms for v in node.outputs) and not any(v in forms for v in node.inputs):
        return
    perm = dialect.transpose_perm(node)
    if perm is not None:
        _place_transpose(node, perm, plan, undecided)
    elif dialect.is_reshape(node):
        _place_reshape(node, dialect, plan, undecided)
    else:
        rule, signature = dialect.rules.get(node.op_type), signatures.of(node)
        if signature is not None and isinstance(rule, Rule):
            _place_follower(node, rule, signature, plan)
        elif signature is not None and isinstance(rule, FlagRule):
            _place_flagged(node, rule, signature, plan)


# -- operators that follow their operands -------------------------------------------------------------------------------


def _place_follower(node: Node, rule: Rule, signature: Signature, plan: Assignment) -> None:
    forms = plan.forms
    best: tuple[int, Order] | None = None
    for order in _orders(node, signature, forms):
        if all(
            is_identity(perm := form(classes, order)) or forms.get(node.outputs[index]) == perm
            for index, classes in enumerate(signature.outputs)
            if classes is not None
        ):
            cost = _operand_cost(node, signature, order, forms)
            if cost is not None and (best is None or cost < best[0]):
                best = cost, order
                if cost == signature.cost:
                    break
    if best is not None:
        follower = Follower(rule, signature, best[1], plan.problem.variable())
        _add_follower(node, follower, best[0], plan)


def _orders(node: Node, signature: Signature, forms: Forms) -> Iterator[Order]:
    """Orders that some port proposes, results first."""
    for is_output, index, classes in signature.ports():
        value = node.outputs[index] if is_output else node.inputs[index]
        if value is not None and value in forms:
            order = signature.order(classes, forms[value])
            if order is not None and not is_identity(order):
                yield order


def _operand_cost(node: Node, signature: Signature, order: Order, forms: Forms) -> int | None:
    """Cost of `node` in `order`: its own, and of operands that nothing but this node would bring into that order."""
    cost = signature.cost
    for index, classes in signature.inputs.items():
        value = node.inputs[index]
        if value is None or is_constant(value):
            continue
        known = dims(value) or ()
        if needs_leading_ones(signature, classes, order):
            if sum(not isinstance(dim, int) for dim in known) > 1:
                return None
            cost += RESHAPE_COST
        perm = form(classes, order)
        if not is_identity(perm) and forms.get(value) != perm:
            cost += transpose_cost(value, perm)
    return cost


def needs_leading_ones(signature: Signature, classes: Classes, order: Order) -> bool:
    """True where an operand of lower rank no longer lines up with the last dimensions."""
    size = len(classes)
    return signature.broadcast and 0 < size < signature.size and set(order[-size:]) != set(classes)


def _add_follower(node: Node, follower: Follower, cost: int, plan: Assignment) -> None:
    plan.nodes[node] = follower
    plan.problem.add_unary(follower.variable, 0, cost)
    for is_output, index, classes in follower.signature.ports():
        value = node.outputs[index] if is_output else node.inputs[index]
        if value is not None and plan.forms.get(value) == form(classes, follower.order):
            if is_output:
                plan.writes[value] = follower.variable
            else:
                plan.reads[node, index] = follower.variable


def _place_flagged(node: Node, rule: FlagRule, signature: Signature, plan: Assignment) -> None:
    flagged = Flagged(rule, {})
    for is_output, index, _ in signature.ports():
        value = node.outputs[index] if is_output else node.inputs[index]
        if value is None or value not in plan.forms:
            continue
        if rule.accepts(node, is_output, index, plan.forms[value]):
            variable = flagged.ports[is_output, index] = plan.problem.variable()
            if is_output:
                plan.writes[value] = variable
            else:
                plan.reads[node, index] = variable
    if flagged.ports:
        plan.nodes[node] = flagged


# -- views --------------------------------------------------------------------------------------------------------------


def stored_transpose(perm: Perm, before: Perm, after: Perm) -> Perm:
    """What a transpose by `perm` does in memory, where it reads `before` and writes `after`."""
    return permute(inverse(before), permute(perm, after))


def _place_transpose(node: Node, perm: Perm, plan: Assignment, undecided: _Undecided) -> None:
    source, result = node.inputs[0], node.outputs[0]
    if source is None or is_constant(source):
        return
    costs = [
        transpose_cost(source, stored_transpose(perm, before, after))
        if before is not None and after is not None
        else FORBIDDEN
        for before in _choices(source, plan)
        for after in _choices(result, plan)
    ]
    _add_view(node, (costs[0], costs[1], costs[2], costs[3]), plan, undecided)


def _place_reshape(node: Node, dialect: Dialect, plan: Assignment, undecided: _Undecided) -> None:
    source, result = node.inputs[0], node.outputs[0]
    groups = dialect.regrouping(node)
    if groups is None or source is None:
        return
    shapes = dims(source) or (), dims(result) or ()

    def cost(before: Perm | None, after: Perm | None) -> int:
        if before is None or after is None:
            return FORBIDDEN
        if in_memory(groups.before, before) != in_memory(groups.after, after):
            return FORBIDDEN
        return 0 if permute(shapes[0], before) == permute(shapes[1], after) else RESHAPE_COST

    costs = [cost(before, after) for before in _choices(source, plan) for after in _choices(result, plan)]
    _add_view(node, (costs[0], costs[1], costs[2], costs[3]), plan, undecided)


def _choices(value: Value, plan: Assignment) -> tuple[Perm | None, Perm | None]:
    return plan.perm(value, 0), plan.forms.get(value)


def _add_view(node: Node, table: Table, plan: Assignment, undecided: _Undecided) -> None:
    """Variables for the operand and the result of a view, as far as they have a choice."""
    before, after = node.inputs[0] in plan.forms, node.outputs[0] in plan.forms
    if before and after and not submodular(table):
        undecided.append((node, table))
    else:
        _choose(node, table, plan, before=before, after=after)


def _choose(node: Node, table: Table, plan: Assignment, *, before: bool, after: bool) -> None:
    """Give a view variables for its operand and its result where they may change."""
    first = plan.problem.variable() if before and min(table[2], table[3]) < FORBIDDEN else PLAIN
    second = plan.problem.variable() if after and min(table[1], table[3]) < FORBIDDEN else PLAIN
    plan.problem.add_pair(first, second, table)
    if first == second == PLAIN:
        return
    plan.nodes[node] = View(first, second)
    plan.reads[node, 0] = first
    plan.writes[node.outputs[0]] = second
