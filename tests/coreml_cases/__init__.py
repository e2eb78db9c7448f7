"""What MIL ops compute: cases for each op of the `mil` dialect, one module a family, all found by being here.

A module holds `CASES`, a list of `Case`. `test_coreml_meanings` compares the meaning of each with what coremltools computes at
conversion time (`value_inference`), or with the case's own closed form where coremltools has none.
"""

from __future__ import annotations

import importlib
import pkgutil

from coreml_cases.case import Case, meaning, value_inference

__all__ = ["Case", "all_cases", "meaning", "value_inference"]


def all_cases() -> list[Case]:
    """The cases of every module here."""
    found: list[Case] = []
    for module in pkgutil.iter_modules(__path__):
        if module.name != "case":
            found += importlib.import_module(f"{__name__}.{module.name}").CASES
    return found
