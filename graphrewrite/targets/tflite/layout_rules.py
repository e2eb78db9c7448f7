"""How every operator of the `tflite` dialect follows the order of its operands: the layout rules, by family.

An operator that is not listed reads and writes everything in the order that TFLite defines for it.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import numpy as np

from graphrewrite.ir import Node, Value, constant_ints, dims, is_constant, rank
from graphrewrite.layout.perms import Perm, inverse, swaps_last_two
from graphrewrite.layout.rules import Classes, Edit, FlagRule, Rule, Signature
from graphrewrite.rewrite import Rewriter
from graphrewrite.targets.tflite.dialect import DOMAIN

SHAPE_COST = 64
"""A GATHER on a vector of a few numbers."""

ELEMENTWISE = [
    "ABS",
    "ADD",
    "ADD_N",
    "ATAN2",
    "BITWISE_XOR",
    "CAST",
    "CEIL",
    "COS",
    "DEQUANTIZE",
    "DIV",
    "ELU",
    "EQUAL",
    "EXP",
    "FLOOR",
    "FLOOR_DIV",
    "FLOOR_MOD",
    "GELU",
    "GREATER",
    "GREATER_EQUAL",
    "HARD_SWISH",
    "LEAKY_RELU",
    "LESS",
    "LESS_EQUAL",
    "LOG",
    "LOGICAL_AND",
    "LOGICAL_NOT",
    "LOGICAL_OR",
    "LOGISTIC",
    "MAXIMUM",
    "MINIMUM",
    "MUL",
    "NEG",
    "NOT_EQUAL",
    "POW",
    "PRELU",
    "QUANTIZE",
    "RELU",
    "RELU6",
    "RELU_0_TO_1",
    "RELU_N1_TO_1",
    "RIGHT_SHIFT",
    "ROUND",
    "RSQRT",
    "SELECT_V2",
    "SIGN",
    "SIN",
    "SQRT",
    "SQUARE",
    "SQUARED_DIFFERENCE",
    "STABLEHLO_ADD",
    "STABLEHLO_AND",
    "STABLEHLO_MAXIMUM",
    "STABLEHLO_MINIMUM",
    "STABLEHLO_MULTIPLY",
    "STABLEHLO_SHIFT_LEFT",
    "SUB",
    "TANH",
    "ZEROS_LIKE",
]
_REDUCTIONS = ["MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD", "REDUCE_ANY", "REDUCE_ALL"]


# -- elementwise ---------------------------------------------------------------------------------------------------------


def _elementwise(node: Node) -> Signature | None:
    """Operands line up with the last dimensions of the result."""
    size = rank(node.outputs[0])
    ranks = tuple(-1 if value is None else rank(value) for value in node.inputs)
    return None if size is None or None in ranks else _lined_up(size, ranks)


@functools.cache
def _lined_up(size: int, ranks: tuple[int | None, ...]) -> Signature:
    """One signature for all operators with these ranks; -1 stands for an absent operand."""
    inputs = {
        index: tuple(range(size - count, size))
        for index, count in enumerate(ranks)
        if count is not None and count >= 0
    }
    return Signature(size, inputs, (tuple(range(size)),), broadcast=True)


# -- same dimensions in and out, with an axis, axes, or something for each dimension --------------------------------------


def _same(node: Node, *data: int) -> Signature | None:
    """Operands `data` and every output have the same dimensions."""
    ranks = {rank(node.inputs[index]) for index in data} | {rank(value) for value in node.outputs}
    size = ranks.pop()
    if size is None or ranks:
        return None
    every = tuple(range(size))
    return Signature(size, dict.fromkeys(data, every), (every,) * len(node.outputs))


def _same_first(node: Node) -> Signature | None:
    return _same(node, 0)


def _all_inputs(node: Node) -> Signature | None:
    return _same(node, *range(len(node.inputs)))


def _axis_attribute(node: Node, edit: Edit) -> None:
    perm = edit.output_perm()
    edit.attribute("axis", perm.index(node.attributes.get_int("axis", 0) % len(perm)))


def _constant_axes(node: Node, index: int) -> list[int] | None:
    """A constant axis operand, non-negative."""
    axes, size = constant_ints(node.inputs[index]), rank(node.inputs[0 if index else 1])
    return None if axes is None or size is None else [axis % size for axis in axes]


def _set_axes(edit: Edit, index: int, axes: Sequence[int]) -> None:
    """Replace an axis operand by other numbers of the same shape and type."""
    old = edit.node.inputs[index]
    assert old is not None
    assert old.const_value is not None
    shape, dtype = tuple(old.const_value.shape.numpy()), old.const_value.dtype.numpy()
    edit.operand(index, edit.rewriter.constant(np.asarray(list(axes), dtype=dtype).reshape(shape)))


def _axis_operand(node: Node, edit: Edit, index: int, data: int = 0) -> None:
    perm = edit.input_perm(data)
    _set_axes(edit, index, [perm.index(axis % len(perm)) for axis in constant_ints(node.inputs[index]) or []])


def _in_order(edit: Edit, index: int, perm: Perm) -> None:
    """Put an operand that has one entry (or row) for each dimension in the order `perm`."""
    value = edit.node.inputs[index]
    if value is not None:
        edit.operand(index, rows_in_order(edit.rewriter, value, perm))


def rows_in_order(rewriter: Rewriter, value: Value, perm: Perm) -> Value:
    """Entries of a vector (rows of a matrix) in another order: now where constant, by GATHER otherwise."""
    if is_constant(value) and value.const_value is not None:
        return rewriter.constant(np.ascontiguousarray(value.const_value.numpy()[list(perm)]))
    index = rewriter.constant(np.asarray(perm, np.int32))
    return rewriter.op("GATHER", value, index, domain=DOMAIN, axis=0, batch_dims=0)


def _split(node: Node) -> Signature | None:
    return None if constant_ints(node.inputs[0]) is None else _same(node, 1)


def _split_v(node: Node) -> Signature | None:
    return None if constant_ints(node.inputs[2]) is None else _same(node, 0)


def _per_dimension(node: Node) -> Signature | None:
    """One entry in operand 1 for each dimension."""
    size, entries = rank(node.inputs[0]), dims(node.inputs[1])
    return _same(node, 0) if entries is not None and size is not None and entries[0] == size else None


def _rewrite_slice(node: Node, edit: Edit) -> None:
    for index in (1, 2):
        _in_order(edit, index, edit.input_perm(0))


def _rewrite_rows(node: Node, edit: Edit) -> None:
    _in_order(edit, 1, edit.input_perm(0))


_MASKS = ("begin_mask", "end_mask", "shrink_axis_mask")


def _strided_slice(node: Node) -> Signature | None:
    """Dimensions with a bit in shrink_axis_mask are dropped."""
    size, entries = rank(node.inputs[0]), dims(node.inputs[1])
    if size is None or entries is None or entries[0] != size:
        return None
    if node.attributes.get_int("ellipsis_mask", 0) or node.attributes.get_int("new_axis_mask", 0):
        return None
    if node.attributes.get_int("offset", 0):
        return None
    shrink = node.attributes.get_int("shrink_axis_mask", 0)
    kept = tuple(axis for axis in range(size) if not shrink >> axis & 1)
    return Signature(size, {0: tuple(range(size))}, (kept,))


def _rewrite_strided_slice(node: Node, edit: Edit) -> None:
    perm = edit.input_perm(0)
    for index in (1, 2, 3):
        _in_order(edit, index, perm)
    for name in _MASKS:
        mask = node.attributes.get_int(name, 0)
        if mask:
            edit.attribute(name, sum((mask >> axis & 1) << place for place, axis in enumerate(perm)))


def _broadcast_to(node: Node) -> Signature | None:
    size, count = rank(node.outputs[0]), rank(node.inputs[0])
    if size is None or count is None or dims(node.inputs[1]) != (size,):
        return None
    return Signature(size, {0: tuple(range(size - count, size))}, (tuple(range(size)),), broadcast=True)


def _rewrite_target_shape(node: Node, edit: Edit) -> None:
    _in_order(edit, 1 if node.op_type == "BROADCAST_TO" else 0, edit.output_perm())


def _fill(node: Node) -> Signature | None:
    size = rank(node.outputs[0])
    return None if size is None else Signature(size, {}, (tuple(range(size)),))


def _axes_of_first(node: Node) -> Signature | None:
    return None if _constant_axes(node, 1) is None else _same(node, 0)


def _rewrite_axis_1(node: Node, edit: Edit) -> None:
    _axis_operand(node, edit, 1)


def _dynamic_update_slice(node: Node) -> Signature | None:
    return _same(node, 0, 1)


def _rewrite_dynamic_update_slice(node: Node, edit: Edit) -> None:
    _in_order(edit, 2, edit.input_perm(0))


def _rewrite_reverse_sequence(node: Node, edit: Edit) -> None:
    perm = edit.input_perm(0)
    for name in ("batch_dim", "seq_dim"):
        edit.attribute(name, perm.index(node.attributes.get_int(name, 0) % len(perm)))


# -- fewer or more dimensions out than in ---------------------------------------------------------------------------------


def _without(size: int, axes: Sequence[int]) -> Classes:
    return tuple(axis for axis in range(size) if axis not in axes)


def _reduction(node: Node) -> Signature | None:
    size, axes = rank(node.inputs[0]), _constant_axes(node, 1)
    if size is None or axes is None:
        return None
    every = tuple(range(size))
    kept = every if node.attributes.get_int("keep_dims", 0) else _without(size, axes)
    return Signature(size, {0: every}, (kept,))


def _arg(node: Node) -> Signature | None:
    size, axes = rank(node.inputs[0]), _constant_axes(node, 1)
    if size is None or axes is None:
        return None
    return Signature(size, {0: tuple(range(size))}, (_without(size, axes),))


def _pack(node: Node) -> Signature | None:
    size = rank(node.outputs[0])
    if size is None:
        return None
    parts = _without(size, [node.attributes.get_int("axis", 0) % size])
    return Signature(size, dict.fromkeys(range(len(node.inputs)), parts), (tuple(range(size)),))


def _unpack(node: Node) -> Signature | None:
    size = rank(node.inputs[0])
    if size is None:
        return None
    parts = _without(size, [node.attributes.get_int("axis", 0) % size])
    return Signature(size, {0: tuple(range(size))}, (parts,) * len(node.outputs))


def _rewrite_unpack(node: Node, edit: Edit) -> None:
    perm = edit.input_perm(0)
    edit.attribute("axis", perm.index(node.attributes.get_int("axis", 0) % len(perm)))


def _gather(node: Node) -> Signature | None:
    """The gathered dimension gives way to those of the index."""
    size, extra = rank(node.inputs[0]), rank(node.inputs[1])
    if (
        size is None
        or extra is None
        or node.attributes.get_int("batch_dims", 0) != 0
        or is_constant(node.inputs[0])
    ):
        return None
    axis = node.attributes.get_int("axis", 0) % size
    before, after = range(axis), range(axis + 1 + extra, size + extra)
    source = (*before, axis, *after)
    result = (*before, *range(axis + 1, axis + 1 + extra), *after)
    return Signature(size + extra, {0: source}, (result,), block=tuple(range(axis, axis + 1 + extra)))


def _rewrite_gather(node: Node, edit: Edit) -> None:
    perm = edit.input_perm(0)
    edit.attribute("axis", perm.index(node.attributes.get_int("axis", 0) % len(perm)))


def _one_hot(node: Node) -> Signature | None:
    size = rank(node.outputs[0])
    if size is None:
        return None
    axis = node.attributes.get_int("axis", -1) % size
    return Signature(size, {0: _without(size, [axis])}, (tuple(range(size)),))


def _rewrite_one_hot(node: Node, edit: Edit) -> None:
    perm = edit.output_perm()
    edit.attribute("axis", perm.index(node.attributes.get_int("axis", -1) % len(perm)))


def _shape(node: Node) -> Signature | None:
    size = rank(node.inputs[0])
    return None if size is None else Signature(size, {0: tuple(range(size))}, (None,), cost=SHAPE_COST)


def _rewrite_shape(node: Node, edit: Edit) -> None:
    """The dimensions are counted in the new order and put back into the old."""
    rewriter, perm = edit.rewriter, edit.input_perm(0)
    counted = rewriter.op(
        "SHAPE", node.inputs[0], domain=DOMAIN, out_type=node.attributes.get_string("out_type", "INT32")
    )
    rewriter.replace(node, rows_in_order(rewriter, counted, inverse(perm)))


# -- operators on the last dimension --------------------------------------------------------------------------------------


def _on_last(node: Node) -> Signature | None:
    size = rank(node.inputs[0])
    if not size:
        return None
    every = tuple(range(size))
    return Signature(size, {0: every}, (every,) * len(node.outputs), last=(size - 1,))


def _fully_connected(node: Node) -> Signature | None:
    size = rank(node.inputs[0])
    if not size or not node.attributes.get_int("keep_num_dims", 0):
        return None
    lead = tuple(range(size - 1))
    return Signature(size + 1, {0: (*lead, size - 1)}, ((*lead, size),), last=(size - 1, size))


# -- BATCH_MATMUL ---------------------------------------------------------------------------------------------------------


def _batch_matmul(node: Node) -> Signature | None:
    """Batch dimensions, then rows, what is summed, columns."""
    size = rank(node.outputs[0])
    left, right = rank(node.inputs[0]), rank(node.inputs[1])
    if size is None or left is None or right is None:
        return None
    batch = size - 2
    rows, inner, columns = batch, batch + 1, batch + 2
    x = (rows, inner) if not node.attributes.get_int("adj_x", 0) else (inner, rows)
    y = (inner, columns) if not node.attributes.get_int("adj_y", 0) else (columns, inner)
    return Signature(
        size + 1,
        {
            0: (*range(batch - (left - 2), batch), *x),
            1: (*range(batch - (right - 2), batch), *y),
        },
        ((*range(batch), rows, columns),),
    )


def _takes_swapped(node: Node, is_output: bool, index: int, perm: Perm) -> bool:
    return swaps_last_two(perm)


def _rewrite_batch_matmul(node: Node, rewriter: Rewriter, permuted: frozenset[tuple[bool, int]]) -> None:
    """A swapped operand flips its flag; a swapped result is (X Y)^T = Y^T X^T. Both flags are free (measured)."""
    flags = [node.attributes.get_int(name, 0) != 0 for name in ("adj_x", "adj_y")]
    flags = [flag != ((False, index) in permuted) for index, flag in enumerate(flags)]
    operands = list(node.inputs[:2])
    if (True, 0) in permuted:
        operands.reverse()
        flags = [not flag for flag in reversed(flags)]
    rewriter.update(node, dict(enumerate(operands)), {"adj_x": flags[0], "adj_y": flags[1]})


RULES: Mapping[str, Rule | FlagRule] = {
    **dict.fromkeys(ELEMENTWISE, Rule(_elementwise)),
    **dict.fromkeys(_REDUCTIONS, Rule(_reduction, _rewrite_axis_1)),
    **dict.fromkeys(("ARG_MAX", "ARG_MIN"), Rule(_arg, _rewrite_axis_1)),
    **dict.fromkeys(("REVERSE_V2", "CUMSUM"), Rule(_axes_of_first, _rewrite_axis_1)),
    **dict.fromkeys(("PAD", "PADV2", "MIRROR_PAD", "TILE"), Rule(_per_dimension, _rewrite_rows)),
    **dict.fromkeys(("SOFTMAX", "LOG_SOFTMAX", "L2_NORMALIZATION", "TOPK_V2"), Rule(_on_last)),
    "CONCATENATION": Rule(_all_inputs, _axis_attribute),
    "PACK": Rule(_pack, _axis_attribute),
    "UNPACK": Rule(_unpack, _rewrite_unpack),
    "SPLIT": Rule(_split, lambda node, edit: _axis_operand(node, edit, 0, data=1)),
    "SPLIT_V": Rule(_split_v, lambda node, edit: _axis_operand(node, edit, 2)),
    "SLICE": Rule(_per_dimension, _rewrite_slice),
    "STRIDED_SLICE": Rule(_strided_slice, _rewrite_strided_slice),
    "BROADCAST_TO": Rule(_broadcast_to, _rewrite_target_shape),
    "FILL": Rule(_fill, _rewrite_target_shape),
    "DYNAMIC_UPDATE_SLICE": Rule(_dynamic_update_slice, _rewrite_dynamic_update_slice),
    "REVERSE_SEQUENCE": Rule(_same_first, _rewrite_reverse_sequence),
    "GATHER": Rule(_gather, _rewrite_gather),
    "ONE_HOT": Rule(_one_hot, _rewrite_one_hot),
    "SHAPE": Rule(_shape, _rewrite_shape),
    "FULLY_CONNECTED": Rule(_fully_connected),
    "BATCH_MATMUL": FlagRule(_batch_matmul, _takes_swapped, _rewrite_batch_matmul),
}

CHANNELS_LAST: Mapping[str, tuple[int, ...]] = {
    **dict.fromkeys(("CONV_2D", "DEPTHWISE_CONV_2D", "CONV_3D"), (0,)),
    **dict.fromkeys(("AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D"), (0,)),
    **dict.fromkeys(("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "DEPTH_TO_SPACE", "SPACE_TO_DEPTH"), (0,)),
    **dict.fromkeys(
        ("SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND", "LOCAL_RESPONSE_NORMALIZATION", "DILATE"), (0,)
    ),
    **dict.fromkeys(("TRANSPOSE_CONV", "CONV_3D_TRANSPOSE"), (2,)),
}
"""Operands that are [N, spatial..., C] by definition, as the results of these operators are."""
