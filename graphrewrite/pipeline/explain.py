"""Why a pass does, or does not, act on a node of the source, and what became of nodes that are not there any more."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from graphrewrite.errors import NotExpressible, UsageError
from graphrewrite.ir import Model, Node, Value, is_constant, node_line, origin
from graphrewrite.pipeline.manager import BaseInstrument, run_pipeline
from graphrewrite.pipeline.passes import Pass, RewritePass, Stage
from graphrewrite.rewrite import BaseListener, Listener, MatchFailure, RewriteRecord, all_nodes, operator


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What a pass makes of one node.

    Attributes:
        line: the node as it is before the pass.
        acts: whether the pass changes it.
        reason: what it does, or the condition that is not met.
        culprit: the value or node that does not meet it.
    """

    line: str
    acts: bool
    reason: str
    culprit: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As in `graphrewrite explain --json`."""
        verdict = self.reason if self.acts else f"no match: {self.reason}"
        return {"line": self.line, "matches": self.acts, "verdict": verdict, "culprit": self.culprit}


@dataclasses.dataclass(frozen=True)
class Explanation:
    """`verdicts` of the pass on all nodes that come from the source's; `history` is what earlier passes did to them."""

    verdicts: tuple[Verdict, ...]
    history: tuple[str, ...]


def explain(
    model: Model,
    passes: Sequence[Pass],
    name: str,
    node: str,
    arrange: Callable[[Model], None] = lambda model: None,
) -> Explanation:
    """Run `passes` up to the one called `name` on `model`, and try that one on what has become of `node`.

    Args:
        model: as loaded; it is changed.
        passes: the whole pipeline.
        name: of the pass.
        node: name of a node of the source, or of a value that one writes.
        arrange: what else is done to the model when it has been imported.

    Raises:
        UsageError: there is no such pass or node.
    """
    names = [item.name for item in passes]
    if name not in names:
        raise UsageError(f"'{name}' is not in this pipeline, which is {', '.join(names)}")
    item = passes[names.index(name)]
    trail = _Trail(_node_name(model, node))
    before = passes[: names.index(name)]
    head = [step for step in before if step.stage == Stage.IMPORT]
    run_pipeline(model, head, instruments=[trail])
    if head:
        arrange(model)
    run_pipeline(model, before[len(head) :], instruments=[trail])
    here = [found for found in all_nodes(model.graph) if trail.source in origin(found)]
    if not here:
        return Explanation((), tuple(trail.lines(gone_before=name)))
    lines = [node_line(found) for found in here]
    tried = [_tried(item, found) for found in here] if isinstance(item, RewritePass) else []
    if any(verdict.acts for verdict in tried) or type(item).run is RewritePass.run:
        return Explanation(tuple(tried), tuple(trail.lines()))
    seen = _watched(item, model, trail.source, lines)  # it has other rules, or none that look at one node
    return Explanation(tuple(seen if not tried or seen[0].acts else tried), tuple(trail.lines()))


def _node_name(model: Model, name: str) -> str:
    """The node called `name`, or that writes a value of that name."""
    written = {}
    for node in all_nodes(model.graph):
        if node.name == name:
            return name
        written.update({value.name: node.name or "" for value in node.outputs if value.name})
    if name in written:
        return written[name]
    known = [*written.values(), *(value for value in written if value)]
    close = difflib.get_close_matches(name, known, n=3)
    hint = f"; did you mean {' or '.join(repr(item) for item in close)}?" if close else ""
    raise UsageError(f"the model has no node and no value called '{name}'{hint}")


def _tried(item: RewritePass, node: Node) -> Verdict:
    line = node_line(node)
    if operator(node) not in item.roots:
        return Verdict(line, False, f"the pass starts at {', '.join(item.roots)} only")
    try:
        match = item.match(node)
    except MatchFailure as failure:
        return Verdict(line, False, failure.reason, getattr(failure.culprit, "name", None))
    lines = [node_line(other) for other in match.nodes] or [line]
    return Verdict(line, True, f"matches with {'; '.join(lines)}")


def _watched(item: Pass, model: Model, source: str, before: Sequence[str]) -> list[Verdict]:
    """What a pass that looks at the whole graph does to the nodes from `source`: it is run, and watched."""
    trail = _Trail(source)
    first = before[0] if len(before) == 1 else f"{before[0]} and {len(before) - 1} more"
    try:
        run_pipeline(model, [item], instruments=[trail])
    except NotExpressible as error:
        mine = [blocker for blocker in error.blockers if blocker.node == source]
        if mine:
            return [Verdict(first, False, f"refused: {blocker.reason}", blocker.node) for blocker in mine]
        return [
            Verdict(
                first,
                False,
                f"the pass ends for {len(error.blockers)} reasons at other nodes",
                error.blockers[0].node,
            )
        ]
    rules = trail.rules()
    if not rules:
        return [Verdict(first, False, "the pass, which looks at the whole graph, finds nothing to do here")]
    now = [node_line(found) for found in all_nodes(model.graph) if source in origin(found)]
    return [Verdict(first, True, f"{', '.join(rules)} makes it {'; '.join(now) or 'vanish'}")]


@dataclasses.dataclass
class _Event:
    """One rewrite that touched the node: in which pass, and what it left."""

    item: str
    record: RewriteRecord
    removed: bool = False
    replacement: Value | None = None


class _Trail(BaseInstrument, BaseListener):
    """What happens to the nodes that come from one node of the source."""

    def __init__(self, source: str) -> None:
        self.source = source
        self._item = ""
        self._record = RewriteRecord(0, "", source, 0)
        self._events: list[_Event] = []

    def before_pass(self, item: Pass, model: Model) -> None:
        """Its rewrites come now."""
        self._item = item.name
        self._record = RewriteRecord(0, item.name, self.source, 0)

    def listeners(self, item: Pass) -> Sequence[Listener]:
        """Itself."""
        return (self,)

    def rewrite_started(self, record: RewriteRecord) -> None:
        """What happens next is its doing."""
        self._record = record

    def node_removed(self, node: Node) -> None:
        """It may be the one."""
        if self.source in origin(node):
            self._event().removed = True

    def node_added(self, node: Node) -> None:
        """It may come from the one."""
        if self.source in origin(node):
            self._event()

    def value_replaced(self, old: Value, new: Value, users: Sequence[Node]) -> None:
        """It may be the one's."""
        producer = old.producer()
        if producer is not None and self.source in origin(producer):
            self._event().replacement = new

    def _event(self) -> _Event:
        last = self._events[-1] if self._events else None
        if last is None or last.record is not self._record:
            last = _Event(self._item, self._record)
            self._events.append(last)
        return last

    def rules(self) -> list[str]:
        """The rules that touched it, in order."""
        return list(dict.fromkeys(event.record.rule for event in self._events))

    def lines(self, gone_before: str = "") -> Iterable[str]:
        """One line a pass and rule; `gone_before` is the pass before which nothing of the node was left."""
        told: dict[tuple[str, str, str], None] = {}
        for event in self._events:
            told[event.item, event.record.rule, event.record.root] = None
        lines = [
            f"{item} rewrote it"
            + (f" by {rule}" if rule != item else "")
            + (f" at '{root}'" if root != self.source else "")
            for item, rule, root in told
        ]
        if not gone_before:
            return lines
        last = next((event for event in reversed(self._events) if event.removed), None)
        if last is None:
            return [*lines, f"before {gone_before} it was dropped: no output needs it"]
        where = f" at '{last.record.root}'" if last.record.root != self.source else ""
        rule = f" by {last.record.rule}" if last.record.rule != last.item else ""
        return [*lines[:-1], f"{last.item} removed it{rule}{where}: {_heir(last.replacement)}"]


def _heir(value: Value | None) -> str:
    """What is read where the node's value was."""
    if value is None:
        return "no output needs it any more"
    if is_constant(value):
        return f"its value is the constant '{value.name}' now"
    producer = value.producer()
    if producer is None:
        return f"its value is the input '{value.name}'"
    return f"its value is '{value.name}' now, from {producer.op_type} '{origin(producer)[-1]}'"
