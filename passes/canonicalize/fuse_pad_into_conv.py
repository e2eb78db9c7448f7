"""Zero padding moves into the convolution or pooling behind it."""

from __future__ import annotations

import dataclasses

import numpy as np

from graphrewrite.ir import Value, constant_array, constant_ints, rank
from graphrewrite.pipeline import PatternPass, Stage
from graphrewrite.rewrite import Match, Rewriter, op, optional, value

_NOT_NEGATIVE = frozenset(
    {"Relu", "Sigmoid", "Softmax", "Abs", "Sqrt", "Exp", "Softplus", "HardSigmoid", "ReduceL2"}
)


def _is_constant_mode(mode: object) -> bool:
    return mode in (None, "constant")


@dataclasses.dataclass(frozen=True)
class FusePadIntoConv(PatternPass):
    """Let Conv, AveragePool and MaxPool do the padding.

        %a = Pad(%x, [0, 0, 1, 1, 0, 0, 0, 0])             --->   %y = Conv(%x, %w) {pads=[1, 1, 0, 0]}
        %y = Conv(%a, %w) {pads=[0, 0, 0, 0]}

    Constant padding of the spatial dimensions, by no negative amounts: zeros before Conv and AveragePool
    (which then counts the padding), minus infinity before MaxPool, or zeros where its operand is never
    negative and every window keeps an element. Exact.
    """

    stage = Stage.CANONICALIZE
    after = ("eliminate-no-ops",)
    patterns = (
        op(
            ("Conv", "AveragePool", "MaxPool"),
            op(
                "Pad",
                value("x"),
                value("pads"),
                optional("fill"),
                optional("axes"),
                attributes={"mode": _is_constant_mode},
            ),
            variadic=True,
        ),
    )

    def check(self, match: Match) -> None:
        """Padding and op must be such that the op's own padding does the same."""
        node = match.root
        if node.attributes.get_string("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
            match.fail("auto_pad depends on the padded size", node)
        pads = _pads(match)
        if pads is None:
            match.fail("the padding is computed at run time", match["pads"])
        elif any(any(side[:2]) for side in pads) or any(item < 0 for side in pads for item in side):
            match.fail("batch or channels are padded, or something is cropped", match["pads"])
        fill = _fill(match)
        if fill is None:
            match.fail("the fill value is computed at run time", match.get("fill"))
        if node.op_type == "MaxPool":
            self._check_max(match, fill, pads)
        elif fill != 0:
            match.fail("the padding is not zero", match.get("fill"))
        if node.op_type != "Conv" and node.attributes.get_int("ceil_mode", 0) != 0:
            match.fail("the last window of ceil_mode counts differently", node)
        if node.op_type == "AveragePool" and (
            any(node.attributes.get_ints("pads", ())) and node.attributes.get_int("count_include_pad", 0) == 0
        ):
            match.fail("the pool does not count its own padding", node)

    def _check_max(self, match: Match, fill: float | None, pads: list[list[int]] | None) -> None:
        producer = match["x"].producer()
        if len(match.root.outputs) > 1:
            match.fail("the indices of the maxima count the padding", match.root)
        if fill == -np.inf:
            return
        if fill != 0 or producer is None or producer.op_type not in _NOT_NEGATIVE:
            match.fail("the padding may be the maximum", match["x"])
        kernel = match.root.attributes.get_ints("kernel_shape", None) or []
        dilations = match.root.attributes.get_ints("dilations", None) or [1] * len(kernel)
        own = match.root.attributes.get_ints("pads", None) or [0] * 2 * len(kernel)
        for axis, size in enumerate(kernel):
            for side in (0, 1):
                padded = (pads or [[], []])[side][2 + axis] + own[side * len(kernel) + axis]
                if padded > dilations[axis] * (size - 1) or any(own):
                    match.fail("a window may hold nothing but padding", match.root)

    def rewrite(self, match: Match, rewriter: Rewriter) -> None:
        """Widen the op's own padding."""
        node, pads = match.root, _pads(match)
        assert pads is not None
        spatial = len(pads[0]) - 2
        own = node.attributes.get_ints("pads", None) or [0] * (2 * spatial)
        wide = [a + b for a, b in zip(own, pads[0][2:] + pads[1][2:], strict=True)]
        rewriter.set_attribute(node, "auto_pad", None)
        rewriter.set_attribute(node, "pads", wide)
        if node.op_type == "AveragePool":
            rewriter.set_attribute(node, "count_include_pad", 1)
        rewriter.set_input(node, 0, match["x"])


def _pads(match: Match) -> list[list[int]] | None:
    """[before, after], one number an axis."""
    pads, size = constant_ints(match["pads"]), rank(match["x"])
    axes_value = match.get("axes")
    axes = constant_ints(axes_value) if axes_value is not None else list(range(size or 0))
    if pads is None or size is None or axes is None:
        return None
    out = [[0] * size, [0] * size]
    for index, axis in enumerate(axes):
        out[0][axis], out[1][axis] = pads[index], pads[len(axes) + index]
    return out


def _fill(match: Match) -> float | None:
    fill: Value | None = match.get("fill")
    if fill is None:
        return 0.0
    array = constant_array(fill)
    return None if array is None else float(array.reshape(-1)[0])
