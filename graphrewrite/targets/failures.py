"""How a target's runtime can fail to give an answer. All of them mean that a file could not be checked."""

from __future__ import annotations

from graphrewrite.errors import NotChecked


class RuntimeFailure(NotChecked):
    """The runtime did not give an answer; the subclasses say how."""


class LoadFailed(RuntimeFailure):
    """The file can't be loaded or prepared: an unregistered operator or version, refused operands."""


class InputRefused(RuntimeFailure):
    """The given inputs are not those of the file: another name, dtype or fixed dimension."""


class RunFailed(RuntimeFailure):
    """The file loaded, and an operator refused to run."""


class RuntimeAborted(RuntimeFailure):
    """The process that ran the file died. The next call starts another one."""


class TimedOut(RuntimeFailure):
    """The call took longer than its time limit and was killed."""
