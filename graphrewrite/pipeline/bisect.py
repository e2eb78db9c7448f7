"""Which pass, and which of its rewrites, made a graph wrong: a search over states of the graph, every one of which runs."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence

from graphrewrite.ir import Model, Node, Value, is_constant, origin
from graphrewrite.pipeline.instruments import Listening, StopAfter
from graphrewrite.pipeline.manager import run_pipeline
from graphrewrite.pipeline.passes import Pass
from graphrewrite.rewrite import BaseListener, Rewriter, RewriteRecord


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What running a state of the graph has shown; `right` is None where it can't be run."""

    right: bool | None
    problem: str = ""


Judge = Callable[[Model], Verdict]


@dataclasses.dataclass(frozen=True)
class Step:
    """The last right and the first wrong of some numbered states; what lies between can't be judged."""

    right: int
    wrong: int
    verdict: Verdict


def first_wrong(right: int, wrong: int, verdict: Verdict, judge: Callable[[int], Verdict]) -> Step:
    """Halve the distance between a right and a wrong state until they are neighbours.

    A state that can't be judged is passed over in favour of the nearest one that can.
    """
    unknown: set[int] = set()
    while True:
        between = [number for number in range(right + 1, wrong) if number not in unknown]
        if not between:
            return Step(right, wrong, verdict)
        middle = (right + wrong) // 2
        number = min(between, key=lambda item: abs(item - middle))
        found = judge(number)
        if found.right is None:
            unknown.add(number)
        elif found.right:
            right = number
        else:
            wrong, verdict = number, found


def copied(model: Model) -> Model:
    """A copy that shares nothing but weights; what passes have noted about the model comes along."""
    copy = model.clone()
    copy.meta.update(model.meta)
    return copy


@dataclasses.dataclass(frozen=True)
class GuiltyPasses:
    """Between `before`, which is right, and the state after all of `passes`, the graph went wrong.

    One pass, unless the states between several can't be run.
    """

    passes: tuple[Pass, ...]
    before: Model
    verdict: Verdict


def guilty_passes(start: Model, passes: Sequence[Pass], verdict: Verdict, judge: Judge) -> GuiltyPasses:
    """The pass that turns a right state into a wrong one.

    Args:
        start: the model before all `passes`, which is right; left as it is.
        passes: the pipeline.
        verdict: what was found after all of them.
        judge: runs a state.
    """
    last: tuple[int, Model] = (0, start)

    def probe(number: int) -> Verdict:
        nonlocal last
        reached, state = last
        model = copied(state)
        run_pipeline(model, passes[reached:number])
        found = judge(model)
        if found.right:
            last = number, model
        return found

    step = first_wrong(0, len(passes), verdict, probe)
    return GuiltyPasses(tuple(passes[step.right : step.wrong]), last[1], step.verdict)


class Journal(BaseListener):
    """The rewrites of one run of one pass, and the nodes that each one made or changed."""

    def __init__(self) -> None:
        self.records: list[RewriteRecord] = []
        self._touched: dict[Node, int] = {}

    def rewrite_started(self, record: RewriteRecord) -> None:
        """Note it."""
        self.records.append(record)

    def node_added(self, node: Node) -> None:
        """It belongs to the last rewrite."""
        self._touched[node] = len(self.records) - 1

    def node_changed(self, node: Node) -> None:
        """It belongs to the last rewrite."""
        self._touched[node] = len(self.records) - 1

    def groups(self) -> list[list[RewriteRecord]]:
        """The rewrites in order, those that are done together in one list."""
        found: dict[int, list[RewriteRecord]] = defaultdict(list)
        for record in self.records:
            found[record.group].append(record)
        return list(found.values())

    def behind(self, value: Value, right: Collection[str]) -> RewriteRecord | None:
        """The rewrite that computes `value`: of the node that writes it, else the last one that touched what lies between
        it and constants, inputs or the values named in `right`.
        """
        producer = value.producer()
        names = origin(producer) if producer is not None else ()
        for record in reversed(self.records):
            if record.root in names:
                return record
        latest = -1
        seen: set[Node] = set()
        stack = [value.producer()]
        while stack:
            node = stack.pop()
            if node is None or node in seen:
                continue
            seen.add(node)
            latest = max(latest, self._touched.get(node, -1))
            stack += [
                item.producer()
                for item in node.inputs
                if item is not None and not is_constant(item) and item.name not in right
            ]
        return self.records[latest] if latest >= 0 else None


@dataclasses.dataclass(frozen=True)
class GuiltyRewrite:
    """The rewrite that turned a right state into a wrong one.

    Attributes:
        records: the rewrite, or all of those that leave a whole graph only together.
        number: how many of the pass's rewrites lead to the first wrong state: the limit that reproduces it.
        before: how many lead to the last right one.
        total: all rewrites of the pass.
        after: the first wrong state.
        journal: of the run that led there.
        verdict: what is wrong with it.
    """

    records: tuple[RewriteRecord, ...]
    number: int
    before: int
    total: int
    after: Model
    journal: Journal
    verdict: Verdict


def guilty_rewrite(before: Model, item: Pass, verdict: Verdict, judge: Judge) -> GuiltyRewrite | None:
    """The rewrite of pass `item`, run on `before`, that makes it wrong; None where it makes none that are counted."""
    _, journal, total = _limited(before, item, None)
    groups = journal.groups()
    if not groups:
        return None
    limits = [*(group[0].index for group in groups), total]

    def probe(number: int) -> Verdict:
        return judge(_limited(before, item, limits[number])[0])

    step = first_wrong(0, len(groups), verdict, probe)
    after, journal, _ = _limited(before, item, limits[step.wrong])
    guilty = tuple(entry for group in groups[step.right : step.wrong] for entry in group)
    return GuiltyRewrite(guilty, limits[step.wrong], limits[step.right], total, after, journal, step.verdict)


def _limited(before: Model, item: Pass, limit: int | None) -> tuple[Model, Journal, int]:
    """The state after the first `limit` rewrites of `item`, what they did, and how many there were."""
    model, journal = copied(before), Journal()
    stop = StopAfter(item.name, limit)
    (record,) = run_pipeline(model, [item], instruments=[stop, Listening(journal)])
    Rewriter(model).collect_garbage()  # what an attempt that was given up has left behind need not run
    return model, journal, record.rewrites
