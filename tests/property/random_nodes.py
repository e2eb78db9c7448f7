"""Random nodes, one function an operator family: each reads values of a sketch and returns those that it adds.

`MAKERS` is the table of them. To add an operator, add a name to its family or a function to the table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto
from random_sketch import Array, NoFit, Sketch, Value

Maker = Callable[[Sketch], Sequence[Value]]


def _ints(*numbers: int) -> npt.NDArray[np.int64]:
    return np.array(numbers, np.int64)


def _float(number: float) -> npt.NDArray[np.float32]:
    return np.array(number, np.float32)


def _is_image(x: Value) -> bool:
    return x.rank in (3, 4, 5) and min(x.shape[2:]) >= 2


UNARY = (
    *("Abs", "Neg", "Relu", "Sigmoid", "Tanh", "Erf", "Elu", "Selu", "Celu", "LeakyRelu", "ThresholdedRelu"),
    *("Softplus", "Softsign", "HardSigmoid", "HardSwish", "Mish", "Gelu"),
    *("Exp", "Sin", "Cos", "Atan", "Identity"),
)


def unary(s: Sketch) -> Sequence[Value]:
    return s.node(s.random.choice(UNARY), s.pick())


def root(s: Sketch) -> Sequence[Value]:
    (positive,) = s.node("Abs", s.pick())
    (shifted,) = s.node("Add", positive, _float(0.5))
    return s.node(s.random.choice(["Sqrt", "Log", "Reciprocal"]), shifted)


def whole_part(s: Sketch) -> Sequence[Value]:
    return s.node(s.random.choice(["Floor", "Ceil", "Round"]), s.pick(lambda x: x.distinct))


def clip(s: Sketch) -> Sequence[Value]:
    low = s.random.choice([None, _float(-0.5), _float(0)])
    return s.node("Clip", s.pick(), low, _float(s.random.choice([0.5, 6])))


def prelu(s: Sketch) -> Sequence[Value]:
    x = s.pick(lambda x: x.rank >= 2)
    return s.node("PRelu", x, s.floats(x.shape[1], *[1] * (x.rank - 2)))


def binary(s: Sketch) -> Sequence[Value]:
    """Two values, of which one may broadcast to the other, and may be the other."""
    x = s.pick()

    def broadcasts(y: Value) -> bool:
        return y.rank <= x.rank and all(a in (b, 1) for a, b in zip(y.shape[::-1], x.shape[::-1]))

    operands = [x, s.pick(broadcasts)]
    s.random.shuffle(operands)
    return s.node(s.random.choice(["Add", "Sub", "Mul", "Max", "Min", "Sum", "Mean"]), *operands)


def binary_with_constant(s: Sketch) -> Sequence[Value]:
    x = s.pick()
    constant = s.floats(*s.some_of(x.shape)) + _float(3)
    if s.chance(0.3):
        return s.node("Div", x, constant)
    operands: list[Value | Array] = [x, constant]
    s.random.shuffle(operands)
    return s.node(s.random.choice(["Add", "Sub", "Mul"]), *operands)


def where(s: Sketch) -> Sequence[Value]:
    x = s.pick()
    (above,) = s.node("Greater", x, _float(0.1))
    if s.chance(0.3):
        (above,) = s.node("Not", above)
    return s.node("Where", above, x, s.floats(*s.some_of(x.shape)))


def conv(s: Sketch) -> Sequence[Value]:
    x = s.pick(_is_image)
    channels, spatial = x.shape[1], x.rank - 2
    depthwise = channels < 9 and s.chance(0.3)
    group = channels if depthwise else s.random.choice([1, 1, 2 if channels % 2 == 0 else 1])
    out = group * s.random.choice([1, 2]) if group > 1 else s.random.randint(1, 8)
    kernel = [s.random.choice([1, 2, 3]) for _ in range(spatial)]
    attributes: dict[str, Any] = {"kernel_shape": kernel, "group": group}
    attributes["strides"] = [s.random.choice([1, 1, 2]) for _ in kernel]
    padding = s.random.choice(["pads", "pads", "SAME_UPPER", "SAME_LOWER", "VALID"])
    if padding == "pads":
        attributes["pads"] = [s.random.choice([0, 1]) for _ in range(2 * spatial)]
    else:
        attributes["auto_pad"] = padding
    if not padding.startswith("SAME"):  # with which ONNX Runtime takes no dilation
        attributes["dilations"] = [s.random.choice([1, 1, 2]) if taps > 1 else 1 for taps in kernel]
    weight = s.floats(out, channels // group, *kernel)
    return s.node("Conv", x, weight, *([s.floats(out)] if s.chance(0.6) else []), **attributes)


def conv_transpose(s: Sketch) -> Sequence[Value]:
    x = s.pick(lambda x: x.rank == 4 and min(x.shape[2:]) >= 2 and max(x.shape[2:]) < 12)
    group = s.random.choice([1, 1, 2 if x.shape[1] % 2 == 0 else 1])
    kernel, stride = s.random.choice([2, 3, 4]), s.random.choice([1, 2])
    weight = s.floats(x.shape[1], s.random.randint(1, 4), kernel, kernel)
    bias = [s.floats(weight.shape[1] * group)] if s.chance(0.5) else []
    return s.node(
        "ConvTranspose",
        x,
        weight,
        *bias,
        group=group,
        kernel_shape=[kernel, kernel],
        strides=[stride, stride],
        pads=[s.random.choice([0, 0, 1]) for _ in range(4)],
        output_padding=[s.random.randrange(stride) for _ in range(2)],
    )


def pool(s: Sketch) -> Sequence[Value]:
    x = s.pick(lambda x: x.rank in (3, 4) and _is_image(x))
    kernel = [s.random.randint(2, min(dim, 3)) for dim in x.shape[2:]]
    attributes: dict[str, Any] = {"kernel_shape": kernel}
    attributes["strides"] = [s.random.choice([1, 2]) for _ in kernel]
    attributes["pads"] = [s.random.choice([0, 1])] * 2 * len(kernel)
    attributes["ceil_mode"] = int(s.chance(0.2))
    if s.chance(0.5):
        return s.node("MaxPool", x, **attributes)
    return s.node("AveragePool", x, count_include_pad=s.random.choice([0, 1]), **attributes)


def global_pool(s: Sketch) -> Sequence[Value]:
    op_type = s.random.choice(["GlobalAveragePool", "GlobalMaxPool"])
    return s.node(op_type, s.pick(lambda x: x.rank >= 3))


def resize(s: Sketch) -> Sequence[Value]:
    x = s.pick(lambda x: x.rank == 4 and max(x.shape[2:]) <= 12)
    scale = s.random.choice([2, 2, 3])
    return s.node(
        "Resize",
        x,
        None,
        np.array([1, 1, scale, scale], np.float32),
        mode=s.random.choice(["nearest", "linear"]),
        coordinate_transformation_mode=s.random.choice(
            ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"]
        ),
        nearest_mode=s.random.choice(["floor", "round_prefer_floor"]),
    )


def matmul(s: Sketch) -> Sequence[Value]:
    x = s.pick(lambda x: x.rank > 0)
    return s.node("MatMul", x, s.floats(x.shape[-1], s.random.randint(1, 9)))


def matmul_of_two(s: Sketch) -> Sequence[Value]:
    """A value times its transpose, as in attention."""
    x = s.pick(lambda x: x.rank > 1)
    axes = list(range(x.rank))
    (transposed,) = s.node("Transpose", x, perm=[*axes[:-2], axes[-1], axes[-2]])
    return s.node("MatMul", x, transposed)


def gemm(s: Sketch) -> Sequence[Value]:
    x = s.pick_of_rank(2)
    out, transposed = s.random.randint(1, 9), s.random.choice([0, 1])
    weight = s.floats(out, x.shape[1]) if transposed else s.floats(x.shape[1], out)
    return s.node("Gemm", x, weight, s.floats(out), transB=transposed, alpha=s.random.choice([1.0, 0.5]))


def einsum(s: Sketch) -> Sequence[Value]:
    x = s.pick_of_rank(4)
    equation, axis = s.random.choice([("nchw,oc->nohw", 1), ("nhwc,oc->nohw", 3), ("nhwc,oc->nhwo", 3)])
    return s.node("Einsum", x, s.floats(s.random.randint(1, 5), x.shape[axis]), equation=equation)


def layer_normalization(s: Sketch) -> Sequence[Value]:
    x, axis = s.pick_with_axis()
    scale, bias = s.floats(*x.shape[axis:]), s.floats(*x.shape[axis:])
    return s.node("LayerNormalization", x, scale, bias, axis=axis)


def instance_normalization(s: Sketch) -> Sequence[Value]:
    """Over more than one element: of a single one ONNX Runtime gives the bias with the rounding of all else."""
    x = s.pick(lambda x: x.rank >= 3 and x.size > x.shape[0] * x.shape[1])
    return s.node("InstanceNormalization", x, s.floats(x.shape[1]), s.floats(x.shape[1]))


def batch_normalization(s: Sketch) -> Sequence[Value]:
    x = s.pick(lambda x: x.rank >= 2)
    scale, bias, mean, variance = (s.floats(x.shape[1]) for _ in range(4))
    return s.node("BatchNormalization", x, scale, bias, mean, np.abs(variance) + _float(0.5))


def lp_normalization(s: Sketch) -> Sequence[Value]:
    x, axis = s.pick_with_axis()
    return s.node("LpNormalization", x, axis=axis, p=s.random.choice([1, 2]))


def local_response_normalization(s: Sketch) -> Sequence[Value]:
    return s.node("LRN", s.pick_of_rank(4), size=s.random.choice([3, 5]), alpha=s.random.choice([1e-4, 0.5]))


def softmax(s: Sketch) -> Sequence[Value]:
    x, axis = s.pick_with_axis()
    return s.node(s.random.choice(["Softmax", "LogSoftmax"]), x, axis=axis)


REDUCTIONS = ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceSumSquare")


def reduce(s: Sketch) -> Sequence[Value]:
    x = s.pick(lambda x: x.rank > 0)
    axes = s.random.sample(range(x.rank), s.random.randint(1, x.rank))
    return s.node(s.random.choice(REDUCTIONS), x, _ints(*sorted(axes)), keepdims=s.random.choice([0, 1]))


def cumulative_sum(s: Sketch) -> Sequence[Value]:
    x, axis = s.pick_with_axis()
    exclusive, reverse = s.random.choice([0, 1]), s.random.choice([0, 1])
    return s.node("CumSum", x, np.array(axis, np.int64), exclusive=exclusive, reverse=reverse)


def arg_max(s: Sketch) -> Sequence[Value]:
    x = s.pick(lambda x: x.distinct)
    op_type, axis = s.random.choice(["ArgMax", "ArgMin"]), s.random.randrange(x.rank)
    (labels,) = s.node(op_type, x, axis=axis, keepdims=s.random.choice([0, 1]))
    return s.node("Cast", labels, to=TensorProto.FLOAT)


def top_k(s: Sketch) -> Sequence[Value]:
    x = s.pick(lambda x: x.distinct)
    axis = s.random.randrange(x.rank)
    count = s.random.randint(1, x.shape[axis])
    return s.node("TopK", x, _ints(count), outputs=2, axis=axis, largest=s.random.choice([0, 1]))[:1]


def transpose(s: Sketch) -> Sequence[Value]:
    x = s.pick(lambda x: x.rank > 1)
    if x.rank == 4 and s.chance(0.5):
        return s.node("Transpose", x, perm=s.random.choice([[0, 2, 3, 1], [0, 3, 1, 2], [0, 1, 3, 2]]))
    return s.node("Transpose", x, perm=s.random.sample(range(x.rank), x.rank))


def reshape(s: Sketch) -> Sequence[Value]:
    """Any factors of the size in any order, up to four, and some ones."""
    x = s.pick()
    factors: list[int] = []
    left = x.size
    while left > 1 and len(factors) < 3:
        divisors = [number for number in range(2, left + 1) if left % number == 0]
        factors.append(s.random.choice([*divisors[:6], left]))
        left //= factors[-1]
    shape = [*factors, left] if left > 1 or not factors else factors
    s.random.shuffle(shape)
    while len(shape) < 3 and s.chance(0.5):
        shape.insert(s.random.randint(0, len(shape)), 1)
    if s.chance(0.4):
        shape[s.random.randrange(len(shape))] = -1
    return s.node("Reshape", x, _ints(*shape))


def flatten(s: Sketch) -> Sequence[Value]:
    x = s.pick()
    return s.node("Flatten", x, axis=s.random.randint(0, x.rank))


def squeeze(s: Sketch) -> Sequence[Value]:
    x = s.pick(lambda x: 1 in x.shape)
    axis = s.random.choice([axis for axis, dim in enumerate(x.shape) if dim == 1])
    return s.node("Squeeze", x, _ints(axis))


def unsqueeze(s: Sketch) -> Sequence[Value]:
    x = s.pick(lambda x: x.rank < 5)
    return s.node("Unsqueeze", x, _ints(s.random.randint(-x.rank - 1, x.rank)))


def shuffle_channels(s: Sketch) -> Sequence[Value]:
    x = s.pick(lambda x: x.rank == 4 and x.shape[1] % 2 == 0)
    batch, channels, *image = x.shape
    (split,) = s.node("Reshape", x, _ints(batch, 2, channels // 2, *image))
    (shuffled,) = s.node("Transpose", split, perm=[0, 2, 1, 3, 4])
    return s.node("Reshape", shuffled, _ints(*x.shape))


def depth_to_space(s: Sketch) -> Sequence[Value]:
    x = s.pick(lambda x: x.rank == 4 and x.shape[1] % 4 == 0)
    return s.node("DepthToSpace", x, blocksize=2, mode=s.random.choice(["DCR", "CRD"]))


def space_to_depth(s: Sketch) -> Sequence[Value]:
    x = s.pick(lambda x: x.rank == 4 and x.shape[2] % 2 == 0 and x.shape[3] % 2 == 0)
    return s.node("SpaceToDepth", x, blocksize=2)


def concat(s: Sketch) -> Sequence[Value]:
    """Up to four values that differ in one dimension at most; the same one may come several times."""
    x, axis = s.pick_with_axis()

    def elsewhere(y: Value) -> list[int]:
        return [dim for index, dim in enumerate(y.shape) if index != axis % x.rank]

    def joins(y: Value) -> bool:
        return y.rank == x.rank and elsewhere(y) == elsewhere(x)

    others = [s.pick(joins) for _ in range(s.random.randint(1, 3))]
    return s.node("Concat", *others, x, axis=axis)


def split(s: Sketch) -> Sequence[Value]:
    x, axis = s.pick_with_axis()
    if x.shape[axis] < 2:
        raise NoFit
    first = s.random.randint(1, x.shape[axis] - 1)
    return s.node("Split", x, _ints(first, x.shape[axis] - first), outputs=2, axis=axis)


def slice_(s: Sketch) -> Sequence[Value]:
    x, axis = s.pick_with_axis()
    dim, step = x.shape[axis], s.random.choice([1, 1, 2, -1, -2])
    low, high = sorted(s.random.choices(range(dim), k=2))
    start, end = (low, high + 1) if step > 0 else (high, low - 1 if low else -dim - 1)
    return s.node("Slice", x, _ints(start), _ints(end), _ints(axis), _ints(step))


def pad(s: Sketch) -> Sequence[Value]:
    x = s.pick(lambda x: x.rank > 0)
    before = [s.random.choice([0, 0, 1]) if dim > 1 else 0 for dim in x.shape]
    after = [s.random.choice([0, 1]) if dim > 1 else 0 for dim in x.shape]
    mode = s.random.choice(["constant", "constant", "reflect", "edge", "wrap"])
    return s.node("Pad", x, _ints(*before, *after), mode=mode)


def gather(s: Sketch) -> Sequence[Value]:
    x, axis = s.pick_with_axis()
    dim = x.shape[axis]
    indices = s.numbers.integers(-dim, dim, s.random.choice([(), (2,), (3,), (2, 2)]))
    return s.node("Gather", x, np.asarray(indices, np.int64), axis=axis)


def expand(s: Sketch) -> Sequence[Value]:
    x = s.pick(lambda x: 1 in x.shape)
    return s.node("Expand", x, _ints(*(s.random.choice([1, 3]) if dim == 1 else dim for dim in x.shape)))


def tile(s: Sketch) -> Sequence[Value]:
    x = s.pick(lambda x: x.rank > 0)
    return s.node("Tile", x, _ints(*(s.random.choice([1, 1, 2]) for _ in x.shape)))


def triangle(s: Sketch) -> Sequence[Value]:
    return s.node("Trilu", s.pick(lambda x: x.rank >= 2), upper=s.random.choice([0, 1]))


MAKERS: Mapping[Maker, int] = {
    **dict.fromkeys((conv, unary, binary), 3),
    **dict.fromkeys((transpose, binary_with_constant), 2),
    **dict.fromkeys((root, whole_part, clip, prelu, where), 1),
    **dict.fromkeys((conv_transpose, pool, global_pool, resize), 1),
    **dict.fromkeys((matmul, matmul_of_two, gemm, einsum), 1),
    **dict.fromkeys((layer_normalization, instance_normalization, batch_normalization), 1),
    **dict.fromkeys((lp_normalization, local_response_normalization, softmax), 1),
    **dict.fromkeys((reduce, cumulative_sum, arg_max, top_k), 1),
    **dict.fromkeys((reshape, flatten, squeeze, unsqueeze, shuffle_channels), 1),
    **dict.fromkeys((depth_to_space, space_to_depth, concat, split, slice_, pad), 1),
    **dict.fromkeys((gather, expand, tile, triangle), 1),
}
"""Every maker, and how often it is drawn beside the others."""
