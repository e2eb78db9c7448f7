"""Python's garbage collector during a run."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

_FULL_EVERY = 100
"""Full collections come after this many of the middle generation (Python's default is 10), about 700,000 new objects."""


@contextlib.contextmanager
def settled_heap() -> Iterator[None]:
    """Spare the collector the objects that exist already (modules, the model as loaded), and full collections.

    Looking through all of them again and again took a quarter of the time of a model of 10,000 nodes. A process that has
    frozen objects of its own is left as it is.
    """
    if gc.get_freeze_count():
        yield
        return
    first, second, third = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(first, second, max(third, _FULL_EVERY))
    try:
        yield
    finally:
        gc.set_threshold(first, second, third)
        gc.unfreeze()
