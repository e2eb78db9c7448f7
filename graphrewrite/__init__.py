"""graphrewrite: rewrites an ONNX model, pass by pass, into a target's model, and checks every file it writes."""

from __future__ import annotations

import os as _os
import typing as _typing

__version__ = "0.1.0"

if _typing.TYPE_CHECKING:
    from graphrewrite.api import Outcome as Outcome
    from graphrewrite.api import Result as Result
    from graphrewrite.api import preflight as preflight
    from graphrewrite.api import run as run
    from graphrewrite.api import run_all as run_all
    from graphrewrite.bisection import bisect as bisect
    from graphrewrite.reduction import reduce as reduce

_root = _os.path.dirname(_os.path.dirname(_os.path.abspath(__file__)))
if not _os.path.isdir(
    _os.path.join(_os.path.dirname(_os.path.abspath(__file__)), "passes")
) and _os.path.isdir(_os.path.join(_root, "passes")):
    # In a checkout, passes/ and op_registry/ lie beside the package; in a wheel they lie in it.
    __path__.append(_root)


def __getattr__(name: str) -> _typing.Any:
    """`graphrewrite.run` and its kin, imported when first used: `import graphrewrite` itself stays cheap."""
    if name in ("run", "run_all", "preflight", "Result", "Outcome"):
        from graphrewrite import api

        return getattr(api, name)
    if name == "bisect":
        from graphrewrite.bisection import bisect

        return bisect
    if name == "reduce":
        from graphrewrite.reduction import reduce

        return reduce
    raise AttributeError(f"module 'graphrewrite' has no attribute '{name}'")
