"""Reshapes taken apart into atoms, and chains of views in their shortest form."""

from __future__ import annotations

import random

import numpy as np
import pytest
from layout_models import Sketch, count, run

from graphrewrite.ir import Value
from graphrewrite.layout.regroup import in_memory, regroup
from graphrewrite.layout.views import ComposeViewsRule
from graphrewrite.rewrite import Rewriter, apply_rules
from graphrewrite.targets.tflite.layout_dialect import TFLiteLayout


def compose(s: Sketch) -> None:
    rule = ComposeViewsRule("compose", TFLiteLayout(), ("TRANSPOSE", "RESHAPE", "EXPAND_DIMS", "SQUEEZE"))
    apply_rules(s.model, [rule], Rewriter(s.model))


def test_atoms() -> None:
    found = regroup(("n", 64, 7, 7), ("n", 8, 8, 49))
    assert found is not None
    assert found.sizes == ("n", 8, 8, 7, 7)
    assert found.before == ((0,), (1, 2), (3,), (4,))
    assert found.after == ((0,), (1,), (2,), (3, 4))
    assert in_memory(found.before, (0, 2, 3, 1)) == (0, 3, 4, 1, 2)


def test_ones_have_no_atom() -> None:
    found = regroup((1, 6, 1), (6,))
    assert found is not None
    assert found.before == ((), (0,), ())


@pytest.mark.parametrize(
    ("before", "after"), [((3, 2), (2, 3)), ((2, 0), (0,)), (("a", "b"), ("c", "d")), ((4, 3), (2, 3))]
)
def test_what_can_not_be_told(before: tuple[int | str, ...], after: tuple[int | str, ...]) -> None:
    assert regroup(before, after) is None


def test_a_merge_at_run_time() -> None:
    found = regroup(("n", "h", "w", 3), ("n", None, 3))
    assert found is not None
    assert found.after == ((0,), (1, 2), (3,))


def test_windows_of_pixels_take_one_transpose() -> None:
    """MobileViT's unfolding, as it is written: three reshapes and two transposes."""
    s = Sketch()
    x = s.t.reshape(s.op("EXP", s.input("x", [1, 6, 8, 8])), [24, 2, 4, 2])
    x = s.t.reshape(s.t.transpose(x, [0, 2, 1, 3]), [1, 6, 16, 4])
    x = s.t.reshape(s.t.transpose(x, [0, 3, 2, 1]), [4, 16, 6])
    s.output(s.op("EXP", x))
    feeds = s.feeds()
    expected = run(s.model, feeds)[0]
    compose(s)
    assert (count(s.model, "TRANSPOSE"), count(s.model, "RESHAPE")) == (1, 2)
    np.testing.assert_array_equal(run(s.model, feeds)[0], expected)


def test_a_view_that_others_read_stays() -> None:
    s = Sketch()
    x = s.t.transpose(s.op("EXP", s.input("x", [2, 3, 4])), [0, 2, 1])
    s.output(s.op("EXP", x), s.op("EXP", s.t.transpose(x, [1, 2, 0])))
    compose(s)
    assert count(s.model, "TRANSPOSE") == 2


def random_view(s: Sketch, r: random.Random, x: Value) -> Value:
    assert x.shape is not None
    shape = [int(dim) for dim in x.shape if isinstance(dim, int)]
    match r.randrange(4):
        case 0 | 1:
            return s.t.transpose(x, r.sample(range(len(shape)), len(shape)))
        case 2:
            return s.op("EXPAND_DIMS", x, s.t.i32(r.randint(0, len(shape)))) if len(shape) < 5 else x
        case _:
            at = r.randrange(len(shape))
            if shape[at] % 2 == 0 and len(shape) < 6:
                return s.t.reshape(x, [*shape[:at], 2, shape[at] // 2, *shape[at + 1 :]])
            at = r.randrange(max(len(shape) - 1, 1))
            return s.t.reshape(x, [*shape[:at], int(np.prod(shape[at : at + 2])), *shape[at + 2 :]])


@pytest.mark.parametrize("seed", range(20))
def test_random_chains(seed: int) -> None:
    """Equal before and after, never longer, and at most one TRANSPOSE between single readers."""
    s, r = Sketch(seed), random.Random(seed)
    x = s.op("EXP", s.input("x", [4, 6, 2, 1]))
    for _ in range(r.randint(2, 7)):
        x = random_view(s, r, x)
    s.output(s.op("EXP", x))
    feeds = s.feeds()
    expected = run(s.model, feeds)[0]
    before = len(s.model.graph)
    compose(s)
    assert len(s.model.graph) <= before
    np.testing.assert_array_equal(run(s.model, feeds)[0], expected)
