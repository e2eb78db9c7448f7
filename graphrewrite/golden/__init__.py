"""Goldens: models with recorded inputs and outputs, and what is expected of their conversion.

`graphrewrite.numeric.golden_file` describes the files, `docs/goldens.md` how to work with them.
"""

from __future__ import annotations

from graphrewrite.golden.checking import Checked, bless, check, check_one
from graphrewrite.golden.recording import record
from graphrewrite.numeric.golden_file import Golden, find

__all__ = ["Checked", "Golden", "bless", "check", "check_one", "find", "record"]
