"""Fixing, keeping and naming the dimensions of a model's inputs before anything else runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir

from graphrewrite.errors import UsageError

ShapeSpec = Mapping[str, Sequence[int | str | None]]
"""Input name to dimensions: a number fixes one, a name or None keeps it dynamic."""


def parse_shapes(items: Sequence[str]) -> dict[str, list[int | str | None]]:
    """`["x=1,3,512,512", "ids=1,?"]` as a ShapeSpec; `?` or -1 keeps a dimension dynamic.

    Raises:
        UsageError: an item is not NAME=D,D,...
    """
    found: dict[str, list[int | str | None]] = {}
    for item in items:
        name, equals, text = item.rpartition("=")
        if not equals or not name:
            raise UsageError(f"--shape is written NAME=1,3,512,512, not '{item}'")
        parts = [part.strip() for part in text.split(",")] if text.strip() else []
        found[name] = [_dimension(part, item) for part in parts]
    return found


def _dimension(text: str, item: str) -> int | str | None:
    if text in ("?", "-1", ""):
        return None
    if text.isdigit():
        return int(text)
    if text.isidentifier():
        return text
    raise UsageError(
        f"'{text}' in --shape {item} is no dimension: use a number, a name, or ? to keep it dynamic"
    )


def set_shapes(model: onnx_ir.Model, shapes: ShapeSpec) -> None:
    """Apply `shapes` to the inputs of `model`.

    Raises:
        UsageError: an input does not exist, its rank differs, or a fixed dimension would change.
    """
    inputs = {value.name: value for value in model.graph.inputs}
    for name, wanted in shapes.items():
        value = inputs.get(name)
        if value is None:
            raise UsageError(
                f"there is no input '{name}'; the model has {', '.join(str(key) for key in inputs)}"
            )
        old = [None] * len(wanted) if value.shape is None else list(value.shape.dims)
        if len(old) != len(wanted):
            raise UsageError(
                f"input '{name}' has rank {len(old)}, and --shape gives {len(wanted)} dimensions"
            )
        new: list[int | str | None] = []
        for axis, (before, after) in enumerate(zip(old, wanted, strict=True)):
            fixed = before if isinstance(before, int) and before > 0 else None
            if fixed is not None and isinstance(after, int) and after != fixed:
                raise UsageError(
                    f"dimension {axis} of input '{name}' is {fixed} in the model and can't become {after}: the weights fit one "
                    "size only; export the model again with that dimension dynamic"
                )
            symbol = getattr(before, "value", None)
            new.append(fixed if fixed is not None else after if after is not None else symbol)
        value.shape = onnx_ir.Shape(new)
