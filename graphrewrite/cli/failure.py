"""An error as text for people and as JSON for scripts."""

from __future__ import annotations

import dataclasses
import os
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from graphrewrite import __version__
from graphrewrite.errors import Blocker, GraphRewriteError, InternalError, exit_code

if TYPE_CHECKING:
    from graphrewrite.api import Outcome


def message(error: Exception, *, debug: bool) -> str:
    """What to print of it; `debug` where the traceback has been printed."""
    if isinstance(error, GraphRewriteError) and not isinstance(error, InternalError):
        return str(error)
    text = str(error) if isinstance(error, InternalError) else _where(error)
    again = "" if debug else "; run the command again with --debug for the traceback"
    return (
        f"internal error: {text}\n"
        f"This is a defect of graphrewrite {__version__}, not of your model: please report it with the model and the "
        f"command{again}."
    )


def error_json(error: Exception) -> dict[str, Any]:
    """Stable schema of `--json`."""
    blockers: Sequence[Blocker] = getattr(error, "blockers", ())
    return {
        "type": type(error).__name__.lstrip("_"),
        "exit_code": exit_code(error),
        "message": str(error),
        "blockers": [dataclasses.asdict(item) | {"code": item.code.value} for item in blockers],
    }


def outcome_json(outcome: Outcome) -> dict[str, Any]:
    """The report of one of several targets, or its error in the place of one."""
    if outcome.result is not None:
        return outcome.result.report
    assert outcome.error is not None
    target = outcome.target
    return {"schema": 1, "target": target.name, "options": target.options, "error": error_json(outcome.error)}


def _where(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({os.path.basename(frames[-1].filename)}:{frames[-1].lineno})" if frames else ""
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first}{place}" if first else f"{type(error).__name__}{place}"
