"""Einsum: every form of the grammar against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest

from op_check import check_op, single

RNG = np.random.default_rng(3)
EQUATIONS = [
    ("ij,jk->ik", [(3, 4), (4, 5)]),
    ("ij,jk", [(3, 4), (4, 5)]),
    ("bij,bjk->bik", [(2, 3, 4), (2, 4, 5)]),
    ("ij->ji", [(3, 4)]),
    ("ij->", [(3, 4)]),
    ("ij->i", [(3, 4)]),
    ("ii->i", [(4, 4)]),
    ("ii->", [(4, 4)]),
    ("bii->bi", [(2, 4, 4)]),
    ("iji->j", [(4, 3, 4)]),
    ("i,j->ij", [(3,), (4,)]),
    ("i,i->", [(3,), (3,)]),
    ("i,i->i", [(3,), (3,)]),
    ("bi,bi->b", [(2, 3), (2, 3)]),
    ("bhqd,bhkd->bhqk", [(2, 2, 3, 4), (2, 2, 5, 4)]),
    ("bqhd,bkhd->bhqk", [(2, 3, 2, 4), (2, 5, 2, 4)]),
    ("bhqk,bkhd->bqhd", [(2, 2, 3, 5), (2, 5, 2, 4)]),
    ("nchw,oc->nohw", [(2, 3, 4, 5), (6, 3)]),
    ("abc,cde->abde", [(2, 3, 4), (4, 5, 6)]),
    ("abcd,bcde->ae", [(2, 3, 4, 5), (3, 4, 5, 6)]),
    ("...ij,...jk->...ik", [(2, 1, 3, 4), (2, 5, 4, 6)]),
    ("...ij->...ji", [(2, 3, 4)]),
    ("...i,i", [(2, 3, 4), (4,)]),
    ("i...,i...->...", [(2, 3, 4), (2, 3, 4)]),
    ("ik,jkl,il->ij", [(2, 3), (4, 3, 5), (2, 5)]),
    ("ij,jk,kl->il", [(2, 3), (3, 4), (4, 5)]),
    ("bdi,di->bd", [(2, 3, 4), (3, 4)]),
    ("nchw,oc->nohw", [(2, 3, 4, 5), (1, 3)]),
    ("nhwc,co->nhwo", [(1, 4, 5, 1), (1, 1)]),
    (" i j , j k -> i k ", [(3, 4), (4, 5)]),
]


@pytest.mark.parametrize(("equation", "shapes"), EQUATIONS)
@pytest.mark.parametrize("constant", [False, True])
def test_einsum(equation: str, shapes: list[tuple[int, ...]], constant: bool) -> None:
    arrays = {f"x{i}": RNG.standard_normal(shape).astype(np.float32) for i, shape in enumerate(shapes)}
    fixed = {name: array for name, array in arrays.items() if constant and name != "x0"}
    if constant and not fixed:
        pytest.skip("one operand only")
    feeds = {name: array for name, array in arrays.items() if name not in fixed}
    check_op(single("Einsum", arrays, constants=fixed, equation=equation), feeds)
