"""Watching a pipeline: what changed, the graph after each pass, time, and an early end."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path

from graphrewrite.errors import UsageError
from graphrewrite.ir import Model, graph_lines, save
from graphrewrite.pipeline.diff import GraphDiff, Snapshot, Touched, diff
from graphrewrite.pipeline.manager import BaseInstrument, PassRecord
from graphrewrite.pipeline.passes import Pass, Stage
from graphrewrite.rewrite import Listener


class Changes(BaseInstrument):
    """Computes the diff of each pass and hands it to `changed`, where it is not empty."""

    def __init__(self) -> None:
        self._snapshot: Snapshot | None = None
        self._touched = Touched()
        self._anew = False
        self._target = ""

    def pipeline_started(self, model: Model, passes: Sequence[Pass]) -> None:
        """What became of the model since the last pipeline, nobody told us: the next look is at all of it."""
        self._anew = True

    def before_pass(self, item: Pass, model: Model) -> None:
        """Take the first snapshot: later ones are carried on from pass to pass."""
        if self._snapshot is None:
            self._snapshot = Snapshot.of(model)
            self._anew = False

    def listeners(self, item: Pass) -> Sequence[Listener]:
        """What notes the nodes to look at again."""
        return (self._touched,)

    def after_pass(self, item: Pass, model: Model, record: PassRecord) -> None:
        """Compare with the last snapshot; a pass that made no rewrite and did not import has changed nothing."""
        assert self._snapshot is not None
        if record.rewrites == 0 and record.nodes_before == record.nodes_after and item.stage != Stage.IMPORT:
            return
        # The import corrects types and names as it reads, without a word.
        touched = None if self._anew or item.stage == Stage.IMPORT else self._touched.nodes
        current = Snapshot.of(model, self._snapshot, touched)
        self._anew, self._touched = False, Touched()
        found = diff(self._snapshot, current)
        self._snapshot = current
        if found:
            self.changed(found, model, record)

    @property
    def state(self) -> Snapshot:
        """The model after the last pass."""
        assert self._snapshot is not None
        return self._snapshot

    def fork(self, target: str) -> Changes:
        """One that compares with the last snapshot so far; what it collects goes where this one's goes."""
        forked = copy.copy(self)
        forked._target = target
        return forked

    def changed(self, found: GraphDiff, model: Model, record: PassRecord) -> None:
        """The pass of `record` made the changes `found`."""


Watcher = Callable[[GraphDiff, Model, PassRecord], None]
"""Is told of each pass that changed something, with the model as it is then."""


class CollectDiffs(Changes):
    """Keeps every diff, for reports, and tells `watchers` of each as it is made."""

    def __init__(self, watchers: Sequence[Watcher] = ()) -> None:
        super().__init__()
        self.diffs: list[tuple[PassRecord, GraphDiff]] = []
        self.records: list[PassRecord] = []
        """Of every pass, also of those that changed nothing."""
        self._watchers = watchers

    def after_pass(self, item: Pass, model: Model, record: PassRecord) -> None:
        """Note the pass."""
        super().after_pass(item, model, record)
        self.records.append(record)

    def changed(self, found: GraphDiff, model: Model, record: PassRecord) -> None:
        """Keep it, without the states: they would hold the whole graph once a pass."""
        for watcher in self._watchers:
            watcher(found, model, record)
        self.diffs.append((record, found.alone()))


class PrintChanged(Changes):
    """Prints the graph, or with `diff` only what changed, after each pass that changed something."""

    def __init__(self, emit: Callable[[str], None], *, diff: bool = False) -> None:
        super().__init__()
        self._emit = emit
        self._diff = diff

    def changed(self, found: GraphDiff, model: Model, record: PassRecord) -> None:
        """Print it."""
        where = f"{self._target}: " if self._target else ""
        self._emit(f"*** {where}{headline(record)}")
        for line in found.unified() if self._diff else graph_lines(model.graph):
            self._emit(line)


class DumpIR(Changes):
    """Writes `007_fuse-leaky-relu.onnx` and `.diff` for each pass that changed something."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def fork(self, target: str) -> DumpIR:
        """One that writes into a folder of the target's own."""
        forked = copy.copy(self)
        forked._folder = self._folder / target
        return forked

    def changed(self, found: GraphDiff, model: Model, record: PassRecord) -> None:
        """Write both files."""
        self._folder.mkdir(parents=True, exist_ok=True)
        stem = self._folder / f"{record.index:03}_{record.name}"
        save(model, f"{stem}.onnx")
        Path(f"{stem}.diff").write_text(
            "".join(f"{line}\n" for line in [f"*** {headline(record)}", *found.unified()])
        )


class TimePasses(BaseInstrument):
    """Collects what each pass took."""

    def __init__(self) -> None:
        self._records: list[PassRecord] = []

    def after_pass(self, item: Pass, model: Model, record: PassRecord) -> None:
        """Note it."""
        self._records.append(record)

    def lines(self) -> list[str]:
        """A table, slowest pass first; under each pass its rules where it has several."""
        total = sum(record.seconds for record in self._records)
        lines = [f"{total:8.3f} s  {len(self._records)} passes"]
        for record in sorted(self._records, key=lambda item: -item.seconds):
            lines.append(f"{record.seconds:8.3f} s  {record.name}: {record.rewrites} rewrites")
            if len(record.rules) > 1:
                for name, rule in sorted(record.rules.items(), key=lambda item: -item[1].seconds):
                    lines.append(
                        f"{rule.seconds:10.3f} s  {name}: applied {rule.applied} of {rule.tried} times"
                    )
        return lines


class Listening(BaseInstrument):
    """Tells a listener of every change that any pass makes."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    def listeners(self, item: Pass) -> Sequence[Listener]:
        """The one."""
        return (self._listener,)


class StopAfter(BaseInstrument):
    """Ends the pipeline after a pass, or after the first `rewrites` rewrites of it."""

    def __init__(self, name: str, rewrites: int | None = None) -> None:
        self._name = name
        self._rewrites = rewrites

    @classmethod
    def checked(cls, text: str, passes: Sequence[Pass]) -> StopAfter:
        """One for `PASS` or `PASS:N` of `passes`.

        Raises:
            UsageError: the pass is not among them, or N is no number.
        """
        name, colon, number = text.partition(":")
        names = [item.name for item in passes]
        if name not in names:
            raise UsageError(
                f"--stop-after {text}: that pass is not in this pipeline, which is {', '.join(names)}"
            )
        if colon and not number.isdigit():
            raise UsageError(f"--stop-after is PASS, or PASS:N for N rewrites of it, not '{text}'")
        return cls(name, int(number) if colon else None)

    def limit(self, item: Pass) -> int | None:
        """That of the pass."""
        return self._rewrites if item.name == self._name else None

    def should_stop(self, item: Pass) -> bool:
        """True after the pass."""
        return item.name == self._name


def headline(record: PassRecord) -> str:
    """`007 fuse-leaky-relu: 12 rewrites, 340 -> 316 nodes`."""
    plural = "" if record.rewrites == 1 else "s"
    undone = f", rolled back: {record.rolled_back}" if record.rolled_back else ""
    return (
        f"{record.index:03} {record.spec}: {record.rewrites} rewrite{plural}, "
        f"{record.nodes_before} -> {record.nodes_after} nodes{undone}"
    )
