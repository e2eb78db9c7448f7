"""The cut finds labels of least cost, the same whatever the order of variables, and plain ones where it is a draw."""

from __future__ import annotations

import itertools
import random

import pytest

from graphrewrite.layout.mincut import solve
from graphrewrite.layout.problem import FORBIDDEN, PERMUTED, PLAIN, Problem, Table, submodular


def random_table(r: random.Random) -> Table:
    while True:
        a, b, c, d = (r.choice([0, 5, r.randint(0, 20), FORBIDDEN]) for _ in range(4))
        if submodular((a, b, c, d)) and 0 in (a, b, c, d):
            return a, b, c, d


def random_problem(seed: int) -> Problem:
    r = random.Random(seed)
    problem = Problem()
    names = [problem.variable() for _ in range(r.randint(1, 9))]
    size = len(names)
    names += [PLAIN, PERMUTED]
    for _ in range(r.randint(0, size)):
        problem.add_unary(r.choice(names), r.randint(0, 20), r.randint(0, 20))
    for _ in range(r.randint(0, size)):
        a, b = r.choice(names), r.choice(names)
        if a != b:
            problem.add_pair(a, b, random_table(r))
    for _ in range(r.randint(0, 2 * size)):
        problem.add_fan(r.choice(names), r.choices(names, k=r.randint(1, 4)), r.randint(0, 20))
    return problem


@pytest.mark.parametrize("block", range(8))
def test_equals_brute_force(block: int) -> None:
    for seed in range(60 * block, 60 * (block + 1)):
        problem = random_problem(seed)
        best = min(problem.cost(labels) for labels in itertools.product((0, 1), repeat=problem.variables))
        assert problem.cost(solve(problem)) == best, seed


def test_labels_do_not_depend_on_the_order_of_variables() -> None:
    for seed in range(200):
        problem = random_problem(seed)
        places = list(range(problem.variables))
        random.Random(seed).shuffle(places)

        def moved(variable: int, places: list[int] = places) -> int:
            return places[variable] if variable >= 0 else variable

        other = Problem(problem.variables, problem.constant)
        other.unary = [(moved(v), a, b) for v, a, b in reversed(problem.unary)]
        other.pairs = [(moved(a), moved(b), table) for a, b, table in reversed(problem.pairs)]
        other.fans = [(moved(p), tuple(map(moved, reversed(c))), w) for p, c, w in reversed(problem.fans)]
        labels, found = solve(problem), solve(other)
        assert labels == [found[moved(v)] for v in range(problem.variables)], seed


def test_a_draw_stays_plain() -> None:
    problem = Problem()
    a, b = problem.variable(), problem.variable()
    problem.add_fan(PLAIN, [a], 7)
    problem.add_fan(a, [b], 7)
    problem.add_fan(b, [PERMUTED], 7)
    assert solve(problem) == [0, 0]


def test_one_transpose_serves_all_readers() -> None:
    problem = Problem()
    producer = problem.variable()
    problem.add_unary(producer, 10, 0)
    problem.add_fan(producer, [PLAIN] * 3, 9)
    assert solve(problem) == [1]
    assert problem.cost([1]) == 9


def test_long_chains_are_fast() -> None:
    problem = Problem()
    names = [problem.variable() for _ in range(20000)]
    for index, name in enumerate(names):
        problem.add_unary(name, 5 if index % 3 == 0 else 0, 3 if index % 7 == 0 else 0)
    for a, b in itertools.pairwise(names):
        problem.add_fan(a, [b], 4)
    labels = solve(problem)
    assert problem.cost(labels) <= min(problem.cost([0] * 20000), problem.cost([1] * 20000))
