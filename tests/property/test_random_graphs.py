"""Random graphs, converted to every target: each is written and right, or refused for a reason that is known here."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from random_graphs import draw

import graphrewrite
from graphrewrite.errors import Blocker, NotExpressible
from graphrewrite.targets.base import BUNDLED

SAMPLE = range(25)
ALL = range(600)

REFUSALS: Mapping[str, str] = {"coreml": "at most 5 dimensions"}
"""{target: what each of its reasons for a refusal says}. Other targets take every graph."""
MOST_REFUSED = 0.02
"""Share of the graphs that a target may refuse; one more graph where there are few."""

TARGETS = pytest.mark.parametrize("target", BUNDLED)

drawn = functools.cache(draw)


def _judge(target: str, seeds: range, folder: Path) -> list[str]:
    """Convert the graph of each seed; what is wrong, with how to see it."""
    problems, refused = [], 0
    for seed in seeds:
        what = ""
        try:
            result = graphrewrite.run(
                drawn(seed), target, output=folder / f"{seed}{{suffix}}", repro=folder / "repro"
            )
            assert result.report["check"]["passed"]
        except NotExpressible as error:
            refused += 1
            what = _unexpected(target, error.blockers)
        except Exception as error:  # whatever it is, it is a defect, and the other seeds are to be seen, too
            what = f"{type(error).__name__}: {error}"
        if what:
            problems.append(
                f"seed {seed}: {what}\n"
                f"  to see it: python tests/property/random_graphs.py {seed} seed{seed}.onnx && "
                f"graphrewrite reduce seed{seed}.onnx --target {target}"
            )
    if refused > 1 + MOST_REFUSED * len(seeds):
        problems.append(f"{refused} of {len(seeds)} graphs are refused")
    return problems


def _unexpected(target: str, blockers: Sequence[Blocker]) -> str:
    """The reasons that are not expected of the target."""
    expected = REFUSALS.get(target)
    return "\n".join(str(item) for item in blockers if expected is None or expected not in item.reason)


def test_a_seed_is_a_graph() -> None:
    assert draw(7).SerializeToString() == draw(7).SerializeToString()
    assert draw(7).SerializeToString() != draw(8).SerializeToString()


def test_graphs_hold_many_operators() -> None:
    assert len({node.op_type for seed in SAMPLE for node in drawn(seed).graph.node}) >= 60


@TARGETS
def test_sample(target: str, tmp_path: Path) -> None:
    assert _judge(target, SAMPLE, tmp_path) == []


@pytest.mark.full
@TARGETS
def test_all(target: str, tmp_path: Path) -> None:
    assert _judge(target, ALL, tmp_path) == []
