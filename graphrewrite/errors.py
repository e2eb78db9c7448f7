"""Every error that a user can meet, one type a cause, with the exit code of the command line.

Exit codes: 0 written, loaded and matched; 1 internal error; 2 usage or unreadable input; 3 not expressible in
the target; 4 outputs differ; 5 could not be checked. Of several targets the worst one counts, in the order 1, 4, 5, 3, 2, 0: a
defect, then a wrong file, then one that may be wrong, then none.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable, Sequence


class Code(str, enum.Enum):
    """Why something can't be converted. The value is what reports and `--json` print."""

    INVALID_MODEL = "INVALID_MODEL"
    """The source itself is wrong; no converter could take it."""
    NOT_EXPRESSIBLE = "NOT_EXPRESSIBLE"
    """The target has no exact form for this, whatever we wrote."""
    NOT_IMPLEMENTED = "NOT_IMPLEMENTED"
    """The target could hold it, graphrewrite can't write it yet."""


@dataclasses.dataclass(frozen=True)
class Blocker:
    """One reason why a model can't be converted, written for the person who has to act on it."""

    code: Code
    op: str
    node: str
    """Source name of the node."""
    reason: str
    hint: str = ""

    def __str__(self) -> str:
        text = f"{self.code.value}: {self.op} '{self.node}': {self.reason}"
        return f"{text}\n    try: {self.hint}" if self.hint else text


class GraphRewriteError(Exception):
    """Base of all errors raised on purpose. `exit_code` is the command line's exit status."""

    exit_code = 1


class InternalError(GraphRewriteError):
    """A broken invariant of graphrewrite itself: a defect to report, never the user's fault."""


class UsageError(GraphRewriteError):
    """A flag, pass specification or option that can't be understood."""

    exit_code = 2


class InvalidModel(GraphRewriteError):
    """The input can't be read as a valid ONNX model."""

    exit_code = 2

    def __init__(self, message: str, blockers: Sequence[Blocker] = ()) -> None:
        self.blockers = tuple(blockers)
        super().__init__("\n".join([message, *(f"  {blocker}" for blocker in self.blockers)]))


class NotExpressible(GraphRewriteError):
    """The model holds something that the target can't; `blockers` lists everything found, not only the first."""

    exit_code = 3

    def __init__(self, target: str, blockers: Sequence[Blocker]) -> None:
        self.target = target
        self.blockers = tuple(blockers)
        count = len(self.blockers)
        head = f"{count} thing{'s' if count != 1 else ''} in this model can't be converted to {target}:"
        super().__init__("\n".join([head, *(f"  {blocker}" for blocker in self.blockers)]))


class OutputsDiffer(GraphRewriteError):
    """The written file ran, and its outputs are not the original's within the tolerance."""

    exit_code = 4


class NotChecked(GraphRewriteError):
    """The file could not be run against the original, so nothing was left under the final name."""

    exit_code = 5


class MissingExtra(UsageError):
    """A target's runtime packages are not installed."""

    def __init__(self, extra: str, module: str) -> None:
        super().__init__(
            f"the {extra} target needs the package '{module}', which is not installed; "
            f"install it with: pip install 'graphrewrite[{extra}]'"
        )


_WORST_FIRST = (1, 4, 5, 3, 2, 0)


def exit_code(error: BaseException) -> int:
    """The exit code that stands for `error`: 1, a defect, for everything that was not raised on purpose."""
    return error.exit_code if isinstance(error, GraphRewriteError) else 1


def worst_exit_code(codes: Iterable[int]) -> int:
    """The one that counts of several targets; see the module's docstring."""
    return min(codes, key=_WORST_FIRST.index, default=0)
