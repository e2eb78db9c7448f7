"""Where each value's dimensions lie: layout rules, the minimum cut over them, and what is left of transposes."""

from __future__ import annotations

from graphrewrite.layout.report import TransposeLeft, transposes_left, transposes_of

__all__ = ["TransposeLeft", "transposes_left", "transposes_of"]
