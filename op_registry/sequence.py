"""Sequences and optionals: `resolve-sequences` reads through those of known length; no target holds the others."""

from __future__ import annotations

from graphrewrite.registry import refusal

_OPS = (
    "SequenceEmpty",
    "SequenceConstruct",
    "SequenceInsert",
    "SequenceErase",
    "SequenceAt",
    "SequenceLength",
    "SequenceMap",
    "SplitToSequence",
    "ConcatFromSequence",
    "Optional",
    "OptionalHasElement",
    "OptionalGetElement",
)

for _target, _name in (("tflite", "TFLite"), ("coreml", "Core ML")):
    refusal(
        _target,
        _OPS,
        f"{_name} has tensors only, and the sequence or optional here can't be resolved before run time",
        "make positions and split sizes constants and sequence outputs tensors (stack or concatenate them)",
    )
