"""Random small ONNX graphs, one a seed: operators of many families one behind the other, with random shapes and attributes.

The graph of a seed is always the same, and is one that says something of a converter: ONNX Runtime runs it, and its outputs
are finite and do not hang on how sums are rounded. Where the first graph of a seed is not so, the next is drawn.

python tests/property/random_graphs.py 45 seed45.onnx    writes the graph of a seed
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
from random_nodes import MAKERS
from random_sketch import Array, NoFit, Sketch

from graphrewrite import ir
from graphrewrite.errors import NotChecked
from graphrewrite.numeric.inputs import make_samples
from graphrewrite.numeric.reference import open_reference

INPUTS = (
    *((1, 4, 8, 8), (2, 3, 7, 9), (1, 8, 6, 6), (1, 1, 10, 10), (2, 8, 4, 4)),
    *((1, 2, 4, 5, 6), (1, 6, 12), (3, 5)),
)
ATTEMPTS = 20
NUDGE = 3e-7
"""Every value is moved by up to this much of itself, about as much as rounding does, to see what comes of it."""
MOVED = 3e-5
"""Outputs may then move by this much of their root mean square: the check of a file asks for 1e-4."""


def draw(seed: int) -> onnx.ModelProto:
    """The graph of a seed."""
    for attempt in range(ATTEMPTS):
        sketch = _sketch(seed, attempt)
        if _is_sound(sketch):
            return sketch.model()
    raise AssertionError(f"seed {seed}: none of {ATTEMPTS} graphs is sound")


def _sketch(seed: int, attempt: int) -> Sketch:
    sketch = Sketch(seed, attempt)
    for _ in range(sketch.random.choice([1, 1, 2])):
        sketch.input(sketch.random.choice(INPUTS))
    size = sketch.random.randint(5, 25)
    while len(sketch.nodes) < size:
        (make,) = sketch.random.choices(list(MAKERS), list(MAKERS.values()))
        try:
            sketch.values += make(sketch)
        except NoFit:
            continue
    return sketch


def _is_sound(sketch: Sketch) -> bool:
    """Whether ONNX Runtime runs the graph on the samples of the check, with outputs that another runtime can have, too."""
    model = sketch.model()
    try:
        exact, nudged = (open_reference(item, threads=1) for item in (model, sketch.nudged(NUDGE)))
        return all(
            np.isfinite(y).all() and _power(moved - y) <= MOVED**2 * _power(y)
            for sample in make_samples(ir.load(model).graph)
            for y, moved in zip(exact.run(sample).values(), nudged.run(sample).values(), strict=True)
        )
    except NotChecked:
        return False


def _power(array: Array) -> float:
    return float(np.mean(np.square(array, dtype=np.float64)))


if __name__ == "__main__":
    onnx.save(draw(int(sys.argv[1])), Path(sys.argv[2]))
