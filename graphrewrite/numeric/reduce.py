"""The smallest part of a model that still fails a check: cut from both ends, then delta debugging on single nodes."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from graphrewrite.numeric.submodel import Part, Submodel, Whole

Check = Callable[[Submodel], bool]
"""True where the model still fails."""


class Memory:
    """What has been tried, on disk: a search that was killed goes on where it was.

    Valid for one model and one check, which `subject` names; what is remembered of another is forgotten.
    """

    def __init__(self, path: Path | None, subject: str) -> None:
        self._path = path
        self._known: dict[str, bool] = {}
        lines = path.read_text().splitlines() if path is not None and path.exists() else []
        if lines[:1] == [json.dumps({"subject": subject})]:
            for line in lines[1:]:
                if line.endswith("}"):  # the last one may be cut off
                    entry = json.loads(line)
                    self._known[entry["part"]] = entry["fails"]
        elif path is not None:
            path.write_text(json.dumps({"subject": subject}) + "\n")

    def get(self, part: str) -> bool | None:
        """Whether the part of that key fails; None where it has not been tried."""
        return self._known.get(part)

    def put(self, part: str, fails: bool) -> None:
        """Remember it."""
        self._known[part] = fails
        if self._path is not None:
            with open(self._path, "a") as file:
                file.write(json.dumps({"part": part, "fails": fails}) + "\n")
                file.flush()
                os.fsync(file.fileno())


@dataclasses.dataclass
class Reducer:
    """The search.

    Attributes:
        whole: the model.
        check: what must go on failing.
        memory: of earlier tries.
        keep: called with each smaller model that fails.
        progress: called with a line for each of them.
        best: the smallest part so far that fails; at first all that is to be reduced.
        label: tells parts of this model from those of others in the memory.
        tried: checks that were run.
    """

    whole: Whole
    check: Check
    memory: Memory
    keep: Callable[[Submodel], None]
    progress: Callable[[str], None]
    best: Part
    label: str = ""
    tried: int = 0

    @property
    def left(self) -> int:
        """Nodes of the best part."""
        return len(self.best.nodes) - len(self.best.bypassed)

    def fails(self, part: Part) -> bool:
        """Whether `part` fails; it is the best one then."""
        key = self.label + part.key
        known = self.memory.get(key)
        if known is None:
            built = self.whole.build(part)
            self.tried += built is not None
            known = built is not None and self.check(built)
            if known and built is not None:
                self.keep(built)
            self.memory.put(key, known)
        if known:
            self.best = part
            self.progress(
                f"{self.left} node{'s' if self.left != 1 else ''} still fail after {self.tried} checks"
            )
        return known

    def run(self) -> None:
        """Reduce `best` as far as it goes."""
        if not self.best.static:
            self.fails(dataclasses.replace(self.best, static=True))
        self._one_output()
        self._cut(lambda nodes, count: nodes[:count])
        self._cut(lambda nodes, count: nodes[len(nodes) - count :])
        size = len(self.best.nodes) + 1
        while len(self.best.nodes) < size:
            size = len(self.best.nodes)
            self._drop_nodes()
            self._drop_outputs()
        self._bypass()

    def _one_output(self) -> None:
        """One of the model's outputs and what it needs, where that fails by itself."""
        if len(self.whole.outputs) > 1:
            any(
                self.fails(
                    dataclasses.replace(self.best, nodes=self.whole.ancestors([name]), outputs=(name,))
                )
                for name in self.whole.outputs
            )

    def _cut(self, take: Callable[[tuple[int, ...], int], tuple[int, ...]]) -> None:
        """The fewest nodes from one end that fail, found by halving."""
        nodes = self.best.nodes
        low, high = 0, len(nodes)
        while high - low > 1:
            middle = (low + high) // 2
            if self.fails(dataclasses.replace(self.best, nodes=take(nodes, middle), outputs=None)):
                high = middle
            else:
                low = middle

    def _drop_nodes(self) -> None:
        """Leave out ever smaller runs of nodes, until no single one can go (Zeller's ddmin, complements only)."""
        size = max(len(self.best.nodes) // 2, 1)
        while True:
            dropped = False
            for run in list(_runs(self.best.nodes, size)):
                rest = tuple(i for i in self.best.nodes if i not in run)
                if rest and len(rest) < len(self.best.nodes):
                    dropped |= self.fails(dataclasses.replace(self.best, nodes=rest, outputs=None))
            if size == 1 and not dropped:
                return
            size = max(size // 2, 1)

    def _drop_outputs(self) -> None:
        """Leave out outputs, and the nodes that nothing needs then."""
        for name in self.whole.outputs_of(self.best):
            left = tuple(item for item in self.whole.outputs_of(self.best) if item != name)
            if left:
                needed = set(self.whole.ancestors(left))
                nodes = tuple(i for i in self.best.nodes if i in needed)
                self.fails(dataclasses.replace(self.best, nodes=nodes, outputs=left))

    def _bypass(self) -> None:
        """Let the readers of a node read its input, where shape and type are the same."""
        for pair in list(self.whole.bypasses(self.best)):
            if pair[0] not in {node for node, _ in self.best.bypassed}:
                self.fails(dataclasses.replace(self.best, bypassed=(*self.best.bypassed, pair)))


def _runs(nodes: Sequence[int], size: int) -> Iterator[frozenset[int]]:
    """The last ones first: what nothing reads any more goes with the least harm."""
    for end in range(len(nodes), 0, -size):
        yield frozenset(nodes[max(end - size, 0) : end])
