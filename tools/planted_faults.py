"""Plants a fault in one rewrite of one pass, and looks whether `bisect` and `reduce` find it: python -m tools.planted_faults

A fault is planted at run time: the pass runs as it is, but in one chosen rewrite the rewriter does something else than it is
told.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from graphrewrite.bisection import Bisection, Guilt, bisect
from graphrewrite.ir import Value, constant_array, load, static_dims
from graphrewrite.pipeline import build, known_passes, run_pipeline
from graphrewrite.pipeline.bisect import Journal
from graphrewrite.pipeline.instruments import Listening
from graphrewrite.reduction import Reduction, reduce
from graphrewrite.rewrite import BaseListener, Rewriter, RewriteRecord

MODELS = Path(__file__).resolve().parent.parent / "tests" / "golden" / "models"

Patch = Callable[[Rewriter, "_Trigger"], None]


@dataclasses.dataclass(frozen=True)
class Case:
    """One fault: in which pass (and under which rule) of the default pipeline, on which golden model, and what goes wrong.

    `at` says which of the pass's rewrites under that rule, as a share of them; `nodes` how many the smallest model has at most in
    which the fault can show. `everywhere` plants it, for `reduce`, in all rewrites of the rule: where the nodes of the pattern
    are not the source's, they have other names in a smaller model.
    """

    item: str
    model: str
    fault: str
    rule: str = ""
    at: float = 0.5
    nodes: int = 8
    everywhere: bool = False

    @property
    def name(self) -> str:
        """For tests and tables."""
        return f"{self.rule or self.item}-{self.fault}"

    @property
    def path(self) -> Path:
        """The model's file."""
        return MODELS / f"{self.model}.ts17.onnx"


CASES = (
    Case("fold-constants", "mobilestylegan_synthesis", "constant"),
    Case("fold-affine-into-conv", "stylegan2_kept_unfused", "constant"),
    Case("fold-weight-demodulation", "stylegan2_kept_unfused", "constant"),
    Case("decompose-upfirdn2d", "stylegan2_kept_unfused", "constant"),
    Case("fuse-leaky-relu", "stylegan2_kept_unfused", "result"),
    Case("lower-idwt", "wavelet_unpool", "swapped"),
    Case("merge-channel-scales", "mobilestylegan_synthesis", "result", everywhere=True),
    Case("fuse-slices", "swin", "result"),
    Case("fuse-gelu", "segformer", "result"),
    Case("assign-layout", "stylegan2_kept_unfused", "constant"),
    Case("fuse-activations", "mobilenet_v2", "result"),
    Case("lower-to-tflite", "mobilenet_v2", "constant", "lower-Conv"),
    Case("lower-to-tflite", "stylegan2_kept_unfused", "axis", "lower-ConvTranspose"),
    Case("lower-to-tflite", "bert", "result", "lower-LayerNormalization"),
    Case("lower-to-tflite", "segformer", "result", "lower-Softmax"),
    Case("lower-to-tflite", "mobilestylegan_synthesis", "swapped", "lower-Sub", everywhere=True),
    Case("lower-to-tflite", "bert", "result", "lower-Gather"),
    Case("lower-to-tflite", "bisenet", "result", "lower-AveragePool"),
    Case("lower-to-tflite", "bisenet", "result", "lower-Resize"),
    Case("lower-to-tflite", "swin", "swapped", "lower-Concat"),
    Case("lower-to-tflite", "lstm_states", "result", "lower-Sigmoid"),
)


@dataclasses.dataclass(frozen=True)
class Place:
    """One rewrite: its number in the pass, its rule and root, and how many of that rule and root came before."""

    index: int
    rule: str
    root: str
    occurrence: int


class _Trigger(BaseListener):
    """True while the chosen rewrite runs, until the fault has struck."""

    def __init__(self, rule: str, root: str | None, occurrence: int | None) -> None:
        self._rule, self._root = rule, root
        self._left = occurrence
        self.armed = False
        self._last: RewriteRecord | None = None

    def rewrite_started(self, record: RewriteRecord) -> None:
        if _continues(self._last, record):
            return
        self._last = record
        hit = record.rule == self._rule and self._root in (None, record.root)
        self.armed = hit and self._left in (0, None)
        if self._left is not None:
            self._left -= hit

    def strike(self) -> None:
        self.armed = False


def _continues(last: RewriteRecord | None, record: RewriteRecord) -> bool:
    """Whether a rewrite is part of the last one: of the same rule and root, and done together with it."""
    return last is not None and dataclasses.replace(record, index=last.index) == last


def _wrong_constant(rewriter: Rewriter, trigger: _Trigger) -> None:
    """The first float constant that is made is a quarter too large."""
    real = rewriter.constant

    def constant(content: Any, hint: str | None = None) -> Value:
        if trigger.armed:
            array = np.asarray(content.numpy() if hasattr(content, "numpy") else content)
            if array.dtype == np.float32 and np.any(array):
                trigger.strike()
                content = array * np.float32(1.25)
        return real(content, hint)

    rewriter.constant = constant  # type: ignore[method-assign]


def _swapped_operands(rewriter: Rewriter, trigger: _Trigger) -> None:
    """The first node of two operands of one shape that do not commute gets them the other way round."""
    real = rewriter.ops

    def ops(op_type: str, *inputs: Value | None, **others: Any) -> tuple[Value, ...]:
        shapes = {static_dims(value) for value in inputs[:2]}
        commutes = op_type.upper() in ("ADD", "MUL", "MAXIMUM", "MINIMUM", "SUM")
        if trigger.armed and len(inputs) >= 2 and len(shapes) == 1 and not commutes:
            trigger.strike()
            inputs = (inputs[1], inputs[0], *inputs[2:])
        return real(op_type, *inputs, **others)

    rewriter.ops = ops  # type: ignore[method-assign]


def _wrong_axis(rewriter: Rewriter, trigger: _Trigger) -> None:
    """The first transpose of a square image swaps its rows and columns."""
    real = rewriter.ops

    def ops(op_type: str, *inputs: Value | None, **others: Any) -> tuple[Value, ...]:
        if trigger.armed and op_type == "TRANSPOSE":
            shape, perm = static_dims(inputs[0]), [int(axis) for axis in constant_array(inputs[1])]  # type: ignore[union-attr]
            alike = [i for i in range(len(perm)) if shape and shape[perm[i]] > 1]
            pair = next(
                ((i, j) for i in alike for j in alike if i < j and shape[perm[i]] == shape[perm[j]]), None
            )
            if pair is not None:
                trigger.strike()
                perm[pair[0]], perm[pair[1]] = perm[pair[1]], perm[pair[0]]
                inputs = (inputs[0], rewriter.constant(np.asarray(perm, np.int32)), *inputs[2:])
        return real(op_type, *inputs, **others)

    rewriter.ops = ops  # type: ignore[method-assign]


def _wrong_result(rewriter: Rewriter, trigger: _Trigger) -> None:
    """What takes the place of the node is a quarter too large."""
    real = rewriter.replace

    def replace(node: Any, values: Any) -> None:
        new = [values] if values is None or isinstance(values, Value) else list(values)
        if (
            trigger.armed
            and new
            and new[0] is not None
            and new[0].dtype is not None
            and new[0].dtype.numpy() == np.float32
        ):
            trigger.strike()
            factor = rewriter.constant(np.float32(1.25))
            dialect = getattr(new[0].producer(), "domain", "") or ""
            made = (
                rewriter.op("MUL", new[0], factor, domain=dialect, fused_activation_function="NONE")
                if dialect
                else rewriter.op("Mul", new[0], factor)
            )
            new[0] = made
        real(node, new)

    rewriter.replace = replace  # type: ignore[method-assign]


FAULTS: dict[str, Patch] = {
    "constant": _wrong_constant,
    "swapped": _swapped_operands,
    "axis": _wrong_axis,
    "result": _wrong_result,
}


def rewrites(case: Case) -> list[Place]:
    """The rewrites of the case's pass under its rule."""
    model, journal = load(case.path), Journal()
    for item in build("default", "tflite"):
        if item.name == case.item:
            run_pipeline(model, [item], instruments=[Listening(journal)])
            break
        run_pipeline(model, [item])
    seen: Counter[tuple[str, str]] = Counter()
    found = []
    last: RewriteRecord | None = None
    for record in journal.records:
        if _continues(last, record):
            continue
        last = record
        key = record.rule, record.root
        if case.rule in ("", record.rule):
            found.append(Place(record.index, *key, seen[key]))
        seen[key] += 1
    return found


@contextlib.contextmanager
def planted(case: Case, rule: str, root: str | None, occurrence: int | None) -> Iterator[None]:
    """While it is open, the pass goes wrong in that rewrite (at every root, every time, for None), whenever it runs."""
    cls = known_passes()[case.item]
    real = cls.run

    def run(self: Any, model: Any, rewriter: Rewriter) -> Any:
        trigger = _Trigger(rule, root, occurrence)
        rewriter.listeners.append(trigger)
        FAULTS[case.fault](rewriter, trigger)
        return real(self, model, rewriter)

    own = "run" in vars(cls)
    cls.run = run  # type: ignore[method-assign]
    try:
        yield
    finally:
        if own:
            cls.run = real  # type: ignore[method-assign]
        else:
            del cls.run  # type: ignore[misc]


def places(case: Case) -> list[Place]:
    """Where to plant the fault: the rewrites, nearest to the wanted one first."""
    every = rewrites(case)
    order = sorted(range(len(every)), key=lambda index: abs(index - case.at * len(every)))
    return [every[index] for index in order]


def find(case: Case) -> tuple[Place, Bisection]:
    """Plant the fault where it shows, and bisect: where it was, and the answer.

    A place where the fault changes no output (nothing to swap, a constant that is not read) is passed over.
    """
    for place in places(case):
        with planted(case, place.rule, place.root, place.occurrence):
            found = bisect(case.path)
        if found.guilt is not Guilt.NOTHING:
            return place, found
    raise AssertionError(f"{case.name}: the fault shows nowhere")


def named(case: Case, place: Place, found: Bisection) -> bool:
    """Whether the answer names the pass and the rewrite in which the fault was planted, and them only."""
    rewrites = [(item.index, item.rule, item.root) for item in found.rewrites]
    return found.passes == (case.item,) and rewrites == [(place.index, place.rule, place.root)]


def reduced(case: Case, place: Place, folder: Path) -> Reduction:
    """The smallest model in which the fault still shows.

    Where it was not planted at the first rewrite of that rule and root, it is at all of them: they are counted anew there.
    """
    everywhere = case.everywhere or place.occurrence > 0
    with planted(case, place.rule, None if case.everywhere else place.root, None if everywhere else 0):
        return reduce(case.path, output=folder / f"{case.name}.onnx")


def main() -> None:
    """Print one line a case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="cases whose name holds this")
    arguments = parser.parse_args()
    for case in CASES:
        if arguments.only not in case.name:
            continue
        started = time.perf_counter()
        try:
            place, found = find(case)
        except AssertionError as error:
            print(error, flush=True)
            continue
        verdict = "named" if named(case, place, found) else "MISSED"
        bisected = time.perf_counter() - started
        with tempfile.TemporaryDirectory() as folder:
            small = reduced(case, place, Path(folder))
        print(
            f"{case.name:<36} {case.model:<26} {place.index} {place.rule} at '{place.root}': {verdict}, {found.states} states, "
            f"{bisected:.1f} s; {small.source_nodes} -> {small.nodes} nodes, {small.checks} checks, "
            f"{time.perf_counter() - started - bisected:.1f} s",
            flush=True,
        )
        if verdict == "MISSED":
            print(
                "   ",
                found.guilt,
                found.passes,
                found.rewrites[:3],
                found.problem,
                found.value and found.value.name,
            )


if __name__ == "__main__":
    main()
