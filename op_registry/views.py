"""Views and cuts that the spatial rows share: dimensions of size 1 in and out, dimensions merged, borders cropped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from graphrewrite.ir import Value, constant_ints, dims, refine, static_dims

if TYPE_CHECKING:
    from graphrewrite.targets.tflite.builder import TFLite


def insert_axis(t: TFLite, x: Value, axis: int) -> Value:
    """`x` with a dimension of size 1 at `axis`."""
    known = dims(x)
    if known is not None:
        shape = [*known[:axis], 1, *known[axis:]]
        if sum(not isinstance(dim, int) for dim in shape) <= (0 if 0 in shape else 1):
            return t.reshape(x, [dim if isinstance(dim, int) else -1 for dim in shape])
    return t.op("EXPAND_DIMS", x, t.i32(axis))


def remove_axis(t: TFLite, x: Value, axis: int) -> Value:
    """`x` without its dimension `axis`, which must be 1."""
    known = dims(x)
    if known is not None:
        shape = [*known[:axis], *known[axis + 1 :]]
        if sum(not isinstance(dim, int) for dim in shape) <= (0 if 0 in shape else 1):
            return t.reshape(x, [dim if isinstance(dim, int) else -1 for dim in shape])
    return t.op("SQUEEZE", x, squeeze_dims=[axis])


def dim_value(t: TFLite, x: Value, axis: int) -> Value:
    """Size of dimension `axis` as an int32 vector of one element; a constant where it is known."""
    size = (dims(x) or ())[axis]
    if isinstance(size, int):
        return t.i32([size])
    return t.op("SLICE", t.shape_of(x), t.i32([axis]), t.i32([1]))


def known_dim(value: Value) -> int | None:
    """The number in an int32 vector of one element, None where it is computed at run time."""
    content = constant_ints(value)
    return content[0] if content is not None else None


def reshape_to(t: TFLite, x: Value, shape: Sequence[int | Value]) -> Value:
    """`x` with a shape whose dimensions are numbers or one-element int32 vectors."""
    plain = [dim if isinstance(dim, int) else known_dim(dim) for dim in shape]
    numbers = [dim if isinstance(dim, int) else -1 for dim in plain]
    if numbers.count(-1) <= (0 if 0 in numbers else 1):
        return t.reshape(x, numbers)
    parts = [t.i32([dim]) if isinstance(dim, int) else dim for dim in shape]
    out = t.op("RESHAPE", x, t.op("CONCATENATION", *parts, axis=0))
    refine(out, None, tuple(None if dim == -1 else dim for dim in numbers))
    return out


def merge(t: TFLite, x: Value, groups: Sequence[Sequence[int]]) -> Value:
    """`x` with neighbouring dimensions merged: `groups` lists the axes that each new dimension holds."""
    return reshape_to(t, x, [product(t, *(dim_value(t, x, axis) for axis in group)) for group in groups])


def crop(t: TFLite, x: Value, amounts: Mapping[int, tuple[int, int]]) -> Value:
    """`x` without the first and last elements of some axes: {axis: (in front, behind)}."""
    cuts = {axis: amount for axis, amount in amounts.items() if any(amount)}
    if not cuts:
        return x
    known = static_dims(x)
    size = len(dims(x) or ())
    begin = [cuts.get(axis, (0, 0))[0] for axis in range(size)]
    behind = [cuts.get(axis, (0, 0))[1] for axis in range(size)]
    if known is not None:
        return t.op("SLICE", x, t.i32(begin), t.i32([n - b - e for n, b, e in zip(known, begin, behind)]))
    return strided_slice(t, x, {axis: (b, -e if e else None, 1) for axis, (b, e) in cuts.items()})


def strided_slice(t: TFLite, x: Value, ranges: Mapping[int, tuple[int, int | None, int]]) -> Value:
    """`x[begin:end:step]` along some axes, `end` None for the whole rest."""
    size = len(dims(x) or ())
    whole = (0, None, 1)
    begin = [ranges.get(axis, whole)[0] for axis in range(size)]
    end = [ranges.get(axis, whole)[1] for axis in range(size)]
    step = [ranges.get(axis, whole)[2] for axis in range(size)]
    return t.op(
        "STRIDED_SLICE",
        x,
        t.i32(begin),
        t.i32([0 if stop is None else stop for stop in end]),
        t.i32(step),
        begin_mask=sum(1 << axis for axis in range(size) if axis not in ranges),
        end_mask=sum(1 << axis for axis, stop in enumerate(end) if stop is None),
        ellipsis_mask=0,
        new_axis_mask=0,
        shrink_axis_mask=0,
    )


def pad_zeros(t: TFLite, x: Value, amounts: Mapping[int, tuple[int, int]]) -> Value:
    """`x` with zeros in front of and behind some axes: {axis: (in front, behind)}."""
    if not any(any(amount) for amount in amounts.values()):
        return x
    return t.op("PAD", x, t.i32([list(amounts.get(axis, (0, 0))) for axis in range(len(dims(x) or ()))]))


def zeros_between(t: TFLite, x: Value, axis: int, step: int) -> Value:
    """`x` with step - 1 zeros between the elements of `axis`."""
    sizes = [dim_value(t, x, index) for index in range(len(dims(x) or ()))]
    long = product(t, sizes[axis], step)
    x = reshape_to(t, x, [product(t, *sizes[:axis]), sizes[axis], 1, product(t, *sizes[axis + 1 :])])
    x = pad_zeros(t, x, {2: (0, step - 1)})
    x = reshape_to(t, x, [*sizes[:axis], long, *sizes[axis + 1 :]])
    return crop(t, x, {axis: (0, step - 1)})


def product(t: TFLite, *sizes: int | Value) -> int | Value:
    """Product of dimensions: a number where all are known, else a one-element int32 vector."""
    number, rest = 1, []
    for size in sizes:
        known = size if isinstance(size, int) else known_dim(size)
        if isinstance(known, int):
            number *= known
        else:
            rest.append(size)
    total: int | Value = number
    for size in rest:
        assert not isinstance(size, int)
        total = size if total == 1 else t.op("MUL", size, t.i32([total]) if isinstance(total, int) else total)
    return total


def weighted_gathers(t: TFLite, x: Value, axis: int, taps: Sequence[tuple[Value, Value]]) -> Value:
    """Sum over (index, weight) of the elements that `index` picks along `axis`, times `weight`."""
    total: Value | None = None
    for index, weight in taps:
        piece = t.op("GATHER", x, index, axis=axis, batch_dims=0)
        part = t.op("MUL", piece, weight, fused_activation_function="NONE")
        total = part if total is None else t.op("ADD", total, part, fused_activation_function="NONE")
    assert total is not None
    return total
