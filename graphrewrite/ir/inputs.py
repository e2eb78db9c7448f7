"""Fixing, bounding, keeping and naming the dimensions of a model's inputs before anything else runs."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import onnx_ir

from graphrewrite.errors import UsageError
from graphrewrite.ir.dimensions import DimensionRange, set_dimension_ranges
from graphrewrite.ir.shapes import Dim, dims

_ONE = (int, str, DimensionRange)

Size: TypeAlias = "int | str | DimensionRange | None"
"""A number fixes a dimension, a name or None keeps it dynamic, a range bounds it; `"1..8"` and `"224|256"` are ranges, too."""

ShapeSpec: TypeAlias = "Mapping[str, Sequence[Size] | Size]"
"""Input name to all of its dimensions, or name of a dimension to its size."""


def parse_shapes(items: Sequence[str]) -> dict[str, Sequence[Size] | Size]:
    """`["x=1,3,224|256,?", "batch=1..8"]` as a ShapeSpec.

    Each size is a number (fixed), `1..8` or `1..` (bounded), `224|256` (one of these), a name (dimensions of one name have one
    size), or `?` or -1 (dynamic).

    Raises:
        UsageError: an item is not NAME=SIZE,SIZE,...
    """
    found: dict[str, Sequence[Size] | Size] = {}
    for item in items:
        name, equals, text = item.rpartition("=")
        if not equals or not name:
            raise UsageError(f"--shape is written NAME=1,3,512,512, not '{item}'")
        found[name] = [_size(part) for part in text.split(",")] if text.strip() else []
    return found


def _size(given: Size) -> Size:
    if not isinstance(given, str):
        return given
    text = given.strip()
    if text in ("?", "-1", ""):
        return None
    if text.isdigit():
        return int(text)
    bounds = DimensionRange.parse(text)
    if bounds is not None:
        return bounds.only or bounds
    if text.isidentifier():
        return text
    raise UsageError(
        f"'{text}' is no size of a dimension: use a number, 1..8, 224|256, a name, or ? to keep it dynamic"
    )


def set_shapes(model: onnx_ir.Model, shapes: ShapeSpec) -> None:
    """Apply `shapes` to the inputs of `model`: those given by input first, then those by dimension name.

    Raises:
        UsageError: there is no such input or dimension, a rank differs, or a fixed dimension would change.
    """
    inputs = {value.name or "": value for value in model.graph.inputs}
    sizes = {
        name: [_size(item) for item in ([given] if given is None or isinstance(given, _ONE) else given)]
        for name, given in shapes.items()
    }
    known: dict[str, int | DimensionRange] = {}
    for name in [item for item in sizes if item in inputs]:
        _set_input(inputs[name], sizes[name], known)
    for name in [item for item in sizes if item not in inputs]:
        users = [value for value in inputs.values() if name in (dims(value) or ())]
        if not users or len(sizes[name]) != 1:
            raise _unknown(name, inputs)
        for value in users:
            wanted = [sizes[name][0] if dim == name else None for dim in dims(value) or ()]
            _set_input(value, wanted, known)
    for value in inputs.values():
        _apply(value, known)


def _apply(value: onnx_ir.Value, known: Mapping[str, int | DimensionRange]) -> None:
    """What is known of a dimension by its name holds wherever that name stands."""
    old = dims(value)
    if old is None:
        return
    named = {dim: known[dim] for dim in old if isinstance(dim, str) and dim in known}
    fixed = {dim: item for dim, item in named.items() if isinstance(item, int)}
    ranges = {dim: item for dim, item in named.items() if isinstance(item, DimensionRange)}
    if fixed:
        value.shape = onnx_ir.Shape([fixed.get(dim, dim) if isinstance(dim, str) else dim for dim in old])
    if ranges:
        set_dimension_ranges(value, ranges)


def _set_input(value: onnx_ir.Value, wanted: Sequence[Size], known: dict[str, int | DimensionRange]) -> None:
    """Set the dimensions of one input; what that says of dimensions by name goes into `known`. Ranges need a name and get one."""
    name = value.name or ""
    old: Sequence[Dim] = dims(value) or [None] * len(wanted)
    if value.shape is not None and len(old) != len(wanted):
        raise UsageError(f"input '{name}' has rank {len(old)}, and --shape gives {len(wanted)} dimensions")
    new: list[Dim] = []
    for axis, (before, after) in enumerate(zip(old, wanted, strict=True)):
        if isinstance(before, int) and before > 0:
            if (isinstance(after, int) and after != before) or isinstance(after, DimensionRange):
                raise UsageError(
                    f"dimension {axis} of input '{name}' is {before} in the model and can't become {after}: the weights fit one "
                    "size only; export the model again with that dimension dynamic"
                )
            new.append(before)
            continue
        symbol = before if isinstance(before, str) else None
        if isinstance(after, DimensionRange) and symbol is None:
            symbol = f"{re.sub(r'[^A-Za-z0-9_]', '_', name)}_{axis}"
        if symbol is not None and isinstance(after, int | DimensionRange):
            if known.setdefault(symbol, after) != after:
                raise UsageError(f"the dimension '{symbol}' is given as {known[symbol]} and as {after}")
            new.append(symbol)
        else:
            new.append(before if after is None or isinstance(after, DimensionRange) else after)
    value.shape = onnx_ir.Shape(new)


def _unknown(name: str, inputs: Mapping[str, onnx_ir.Value]) -> UsageError:
    symbols = dict.fromkeys(
        dim for value in inputs.values() for dim in dims(value) or () if isinstance(dim, str)
    )
    close = difflib.get_close_matches(name, [*inputs, *symbols], n=1)
    hint = f"; did you mean '{close[0]}'?" if close else ""
    named = f", and its dynamic dimensions are {', '.join(symbols)}" if symbols else ""
    return UsageError(
        f"there is no input '{name}' and no dimension of that name; the inputs are {', '.join(inputs)}{named}{hint}"
    )
