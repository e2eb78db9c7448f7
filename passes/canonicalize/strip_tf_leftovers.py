"""TensorFlow ops that a converter left in the graph become ONNX, or go."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np

from graphrewrite.ir import Array, DataType, Model, Node, Value, static_dims
from graphrewrite.pipeline import RewritePass, Stage
from graphrewrite.rewrite import Match, MatchFailure, Rewriter, RuleStatistics, all_nodes

from .tensorflow_cells import block_lstm, gru_block_cell, lstm_block_cell
from .tensorflow_images import image_projective_transform, resampler
from .tensorflow_maths import FORMULAS, formula

Build = Callable[[Rewriter], Sequence["Value | None"]]
"""Makes the values for a node's outputs."""

_PYTHON = ("EagerPyFunc", "PyFunc", "PyFuncStateless")


@dataclasses.dataclass
class _Leftover(Match):
    build: Build | None = None


@dataclasses.dataclass(frozen=True)
class StripTfLeftovers(RewritePass):
    """Replace TensorFlow ops that tf2onnx does not know and leaves as they are, in subgraphs too.

        %a = Print(%x, %text)                              --->   %y = Mul(%x, ...)
        %y = BatchNormWithGlobalNormalization(%a, ...)

    Print, PreventGradient, Snapshot, DebugIdentity, CheckNumerics, NcclAllReduce and their kin pass their
    operand on. BatchNormWithGlobalNormalization, BlockLSTM(V2), LSTMBlockCell, GRUBlockCell,
    ImageProjectiveTransformV2/V3, Resampler, PeriodicResample and AdjustHsvInYiq are written out, and functions such as Erfc,
    Expm1, Log1p, Xlogy and Xdivy. Calls of
    Python functions (EagerPyFunc, PyFunc) stay and are named in the report: their code is not in the file.
    Exact.
    """

    stage = Stage.CANONICALIZE

    @property
    def roots(self) -> tuple[str, ...]:
        """Every op that has a translation."""
        return tuple(_TRANSLATIONS)

    def run(self, model: Model, rewriter: Rewriter) -> dict[str, RuleStatistics]:
        """Translate, and name what can't be."""
        for node in all_nodes(model.graph):
            if node.op_type in _PYTHON:
                token = node.attributes.get("token")
                rewriter.note(
                    f"{node.op_type} '{node.name}' calls a Python function"
                    + (f" (token '{token.value}')" if token is not None else "")
                    + " that is not in the file: write it in TensorFlow ops and export again, "
                    "or replace the node with a pass of your own"
                )
        statistics = super().run(model, rewriter)
        if rewriter.count:
            rewriter.collect_garbage()
        return statistics

    def match(self, node: Node) -> Match:
        """What builds the node's outputs; fails with the reason where the translation does not hold."""
        return _Leftover(node, {}, {}, (node,), build=_TRANSLATIONS[node.op_type](node))

    def rewrite(self, match: Match, rewriter: Rewriter) -> Sequence[Value | None]:
        """The outputs in ONNX ops."""
        assert isinstance(match, _Leftover)
        assert match.build is not None
        values = list(match.build(rewriter))
        return [
            value if out.uses() or out.is_graph_output() else None
            for out, value in zip(match.root.outputs, values, strict=False)
        ]


def _pass_on(node: Node) -> Build:
    """Every output is the operand of the same number."""
    if any(
        index >= len(node.inputs)
        for index, out in enumerate(node.outputs)
        if out.uses() or out.is_graph_output()
    ):
        raise MatchFailure("it has more outputs than operands", node)
    return lambda rewriter: list(node.inputs[: len(node.outputs)])


def _global_normalization(node: Node) -> Build:
    """(t - mean) * rsqrt(variance + epsilon) [* gamma] + beta along the last axis."""
    if len(node.inputs) != 5 or any(item is None for item in node.inputs):
        raise MatchFailure("it has five operands", node)
    epsilon = node.attributes.get_float("variance_epsilon", 0.001)
    scaled = node.attributes.get_int("scale_after_normalization", 1) != 0

    def build(b: Rewriter) -> list[Value]:
        x, mean, variance, beta, gamma = node.inputs
        inverse = b.op("Reciprocal", b.op("Sqrt", b.op("Add", variance, b.constant(np.float32(epsilon)))))
        factor = b.op("Mul", inverse, gamma) if scaled else inverse
        offset = b.op("Sub", beta, b.op("Mul", mean, factor))
        return [b.op("Add", b.op("Mul", x, factor), offset)]

    return build


_YIQ = np.array([[0.299, 0.596, 0.211], [0.587, -0.274, -0.523], [0.114, -0.322, 0.312]])
_RGB = np.array([[1.0, 1.0, 1.0], [0.95617069, -0.2726886, -1.103744], [0.62143257, -0.64681324, 1.70062309]])


def _adjust_hsv_in_yiq(node: Node) -> Build:
    """Rotate hue by delta_h, scale saturation by scale_s and value by scale_v, in YIQ; RGB on the last axis."""
    if len(node.inputs) != 4 or node.inputs[0] is None or node.inputs[0].dtype not in (None, DataType.FLOAT):
        raise MatchFailure("the image is not float, or an operand is missing", node)

    def build(b: Rewriter) -> list[Value]:
        x, hue, saturation, value = node.inputs
        u = b.op("Mul", b.op("Mul", value, saturation), b.op("Cos", hue))
        w = b.op("Mul", b.op("Mul", value, saturation), b.op("Sin", hue))
        flat = b.constant(np.array([1], np.int64))
        # Row-vector colours: rgb @ yiq @ transform @ back, transform = v, u and w times these three.
        parts = []
        for factor, places in (
            (value, [(0, 0, 1)]),
            (u, [(1, 1, 1), (2, 2, 1)]),
            (w, [(1, 2, 1), (2, 1, -1)]),
        ):
            unit = np.zeros((3, 3))
            for row, column, sign in places:
                unit[row, column] = sign
            matrix = b.constant((_YIQ @ unit @ _RGB).astype(np.float32))
            parts.append(b.op("Mul", b.op("Reshape", factor, flat), matrix))
        return [b.op("MatMul", x, b.op("Add", b.op("Add", parts[0], parts[1]), parts[2]))]

    return build


def _periodic_resample(node: Node) -> Build:
    """Sub-pixel rearrangement: the adjustable axis gives its elements to the others, first axis fastest."""
    x = node.inputs[0] if node.inputs else None
    before = static_dims(x)
    wanted = node.attributes.get_ints("shape", None)
    if (
        before is None
        or wanted is None
        or len(wanted) != len(before)
        or sum(item < 1 for item in wanted) != 1
    ):
        raise MatchFailure("the operand's shape is not known, or the attribute 'shape' does not fit it", node)
    index = periodic_index(before, wanted)

    def build(b: Rewriter) -> list[Value]:
        flat = b.op("Reshape", x, b.constant(np.array([-1], np.int64)))
        return [b.op("Gather", flat, b.constant(index), axis=0)]

    return build


def periodic_index(before: Sequence[int], wanted: Sequence[int]) -> Array:
    """For every element of the result, the flat index of the operand's element that it is."""
    adjustable = next(axis for axis, size in enumerate(wanted) if size < 1)
    after = list(wanted)
    after[adjustable] = math.prod(before) // math.prod(size for size in wanted if size >= 1)
    times = [-(-size // old) for size, old in zip(after, before, strict=True)]
    grid = np.indices(after)
    moved = sum(
        math.prod(times[:axis]) * (grid[axis] % times[axis])
        for axis in range(len(after))
        if axis != adjustable
    )
    coordinates = [
        moved * after[axis] + grid[axis] if axis == adjustable else grid[axis] // times[axis]
        for axis in range(len(after))
    ]
    return np.asarray(np.ravel_multi_index(tuple(coordinates), before), np.int64)


_TRANSLATIONS: dict[str, Callable[[Node], Build]] = {
    **dict.fromkeys(
        (
            "Print",
            "PreventGradient",
            "StopGradient",
            "Snapshot",
            "DebugIdentity",
            "DebugIdentityV2",
            "DebugIdentityV3",
            "DebugGradientIdentity",
            "CheckNumerics",
            "CheckNumericsV2",
            "EnsureShape",
            "IdentityN",
            "PlaceholderWithDefault",
            "NcclAllReduce",
            "NcclBroadcast",
            "CollectiveReduce",
            "CrossReplicaSum",
        ),
        _pass_on,
    ),
    **dict.fromkeys(FORMULAS, formula),
    "BatchNormWithGlobalNormalization": _global_normalization,
    "AdjustHsvInYiq": _adjust_hsv_in_yiq,
    "PeriodicResample": _periodic_resample,
    "BlockLSTM": block_lstm,
    "BlockLSTMV2": block_lstm,
    "LSTMBlockCell": lstm_block_cell,
    "GRUBlockCell": gru_block_cell,
    "ImageProjectiveTransformV2": image_projective_transform,
    "ImageProjectiveTransformV3": image_projective_transform,
    "Resampler": resampler,
}
