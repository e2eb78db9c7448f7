"""Python's garbage collector during a run."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator

_THRESHOLDS = (5000, 100, 10)
"""New objects between two collections of the youngest generation, those between two of the middle one, and so on (Python's
defaults are 700, 10 and 10). Nodes and values live long: of three million objects that a conversion of 10,000 nodes makes, a
few hundred are found to be garbage."""


@contextlib.contextmanager
def settled_heap() -> Iterator[Callable[[], None]]:
    """Spare the collector the objects that exist already (modules), and most of its looks at the others.

    Looking through all of them again and again took a quarter of the time of a model of 10,000 nodes, and a single look at
    what the imports left behind, a third of that of a small one. What is given is to be called when more has come that stays
    (the model as loaded). A process that has frozen objects of its own is left as it is.
    """
    if gc.get_freeze_count():
        yield lambda: None
        return
    before = gc.get_threshold()
    gc.freeze()
    if before[0]:  # 0 is how the collector is switched off
        gc.set_threshold(*map(max, before, _THRESHOLDS))
    try:
        yield gc.freeze
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
