"""Python's garbage collector during a run."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator

_YOUNG = 5000
"""New objects between two collections of the youngest generation (Python's default is 700). Nodes and values live long:
looking at them earlier finds nothing."""
_FULL_EVERY = 20
"""Full collections come after this many of the middle generation (Python's default is 10), a million new objects."""


@contextlib.contextmanager
def settled_heap() -> Iterator[Callable[[], None]]:
    """Spare the collector the objects that exist already (modules), and full collections.

    Looking through all of them again and again took a quarter of the time of a model of 10,000 nodes, and a single look at
    what the imports left behind, a third of that of a small one. What is given is to be called when more has come that stays
    (the model as loaded). A process that has frozen objects of its own is left as it is.
    """
    if gc.get_freeze_count():
        yield lambda: None
        return
    first, second, third = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(first and max(first, _YOUNG), second, max(third, _FULL_EVERY))
    try:
        yield gc.freeze
    finally:
        gc.set_threshold(first, second, third)
        gc.unfreeze()
