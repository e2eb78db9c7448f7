"""Where each value's dimensions lie: layout rules, the minimum cut over them, and what is left of transposes."""

from __future__ import annotations

from graphrewrite.ir import Model
from graphrewrite.layout.report import TransposeLeft, transposes_of
from graphrewrite.layout.report import transposes_left as _transposes_left

__all__ = ["TransposeLeft", "transposes_left", "transposes_of"]


def transposes_left(model: Model) -> list[TransposeLeft]:
    """Every TRANSPOSE of a model of the `tflite` dialect, biggest first, with the reason why it is there."""
    from graphrewrite.targets.tflite.layout_dialect import TFLiteLayout

    return _transposes_left(model, TFLiteLayout())
