"""Chains of operations on values larger than a cache are computed a band of rows at a time."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any

import numpy as np

from graphrewrite.ir import (
    DataType,
    Node,
    Value,
    constant_array,
    constant_ints,
    dims,
    is_constant,
    sole_reader,
    static_dims,
)
from graphrewrite.pipeline import RewritePass, Stage
from graphrewrite.rewrite import Match, MatchFailure, Rewriter

_ELEMENTWISE = frozenset(
    {
        "LeakyRelu",
        "Relu",
        "Sigmoid",
        "Tanh",
        "Clip",
        "Elu",
        "Softplus",
        "HardSwish",
        "Gelu",
        "Sqrt",
        "Neg",
        "Abs",
    }
)
_BROADCAST = frozenset({"Add", "Sub", "Mul", "Div"})
_ROWS = 2
"""The axis of the rows of [N, C, H, W]."""


@dataclasses.dataclass
class _Chain(Match):
    """`steps` compute the root's result from `source`, one after the other."""

    source: Value | None = None
    steps: tuple[Node, ...] = ()


@dataclasses.dataclass(frozen=True)
class ComputeInBands(RewritePass):
    """Run a chain of convolutions and elementwise operations on one band of rows after the other.

        %a = Conv(%x, %w)                                [1, 64, 512, 512]
        %b = Add(%a, %noise:[1, 1, 512, 512])
        ...
        %y = Conv(%p, %v)                                [1, 12, 512, 512]
        --->
        %x0 = Slice(%x, rows 0 to 172)                   a row more than the band for each row that a kernel reaches
        %y0 = Slice(Conv(...), rows 0 to 171)
        ...
        %y = Concat(%y0, %y1, %y2) {axis=2}

    An interpreter runs an operator over the whole value before it begins with the next: what is larger than the cache is
    read from memory and written to it by each of them, and elementwise ones take twice the time and more (9.8 ms for a
    LEAKY_RELU of 64 MB, 1.2 ms for one of 16 MB). Only chains with a value of at least `smallest` bytes between smaller ones
    are cut, in so many bands as bring it down to `band` bytes, but no more than `most`: each one is a set of operators of its
    own. Rows beside a cut are computed twice. Also lowers the peak memory. Exact.
    """

    stage = Stage.GENERATIVE
    after = ("fold-weight-demodulation", "decompose-upfirdn2d", "lower-idwt", "merge-channel-scales")
    targets = frozenset({"tflite"})
    smallest: int = 48 << 20
    band: int = 24 << 20
    most: int = 3

    @property
    def roots(self) -> tuple[str, ...]:
        """The last operation of the chain."""
        return ("Conv", *sorted(_ELEMENTWISE | _BROADCAST))

    def match(self, node: Node) -> Match:
        """The longest chain of large values that ends here."""
        steps = self._chain(node)
        source = steps[0].inputs[_data(steps[0])]
        maker = source.producer() if source is not None else None
        if source is None or len(steps) < 3:
            raise MatchFailure("the chain is too short to gain from it", node)
        if maker is not None and maker.op_type == "Slice" and constant_ints(maker.inputs[3]) == [_ROWS]:
            raise MatchFailure("it is a band already", maker)
        if _bytes(source) + _bytes(node.outputs[0]) > max(_bytes(item.outputs[0]) for item in steps):
            raise MatchFailure("as much would be cut and put together as is gained", node)
        reach = sum(map(_reach, steps))
        if _height(node.outputs[0]) // self._count(steps) <= 4 * reach:
            raise MatchFailure("the kernels reach over so many rows that many would be computed twice", node)
        return _Chain(node, {}, {}, steps, source=source, steps=steps)

    def _chain(self, last: Node) -> tuple[Node, ...]:
        """The operations up to `last` that work on rows alone, joined by large values that nothing else reads."""
        if not _fits(last):
            raise MatchFailure(f"{last.op_type} is no operation on rows of a constant size here", last)
        reader = sole_reader(last.outputs[0])
        if reader is not None and self._large(last.outputs[0]) and _fits(reader):
            raise MatchFailure("the chain goes on", reader)
        steps = [last]
        while True:
            value = steps[-1].inputs[_data(steps[-1])]
            node = value.producer() if value is not None else None
            if value is None or node is None or not self._large(value) or not _fits(node):
                break
            if sole_reader(value) is None or value.is_graph_output():
                break
            steps.append(node)
        if len(steps) == 1:
            raise MatchFailure(
                f"it reads no value of {self.smallest} bytes that such an operation makes", last
            )
        return tuple(reversed(steps))

    def _large(self, value: Value) -> bool:
        return _bytes(value) >= self.smallest

    def _count(self, steps: tuple[Node, ...]) -> int:
        largest = max(_bytes(item.outputs[0]) for item in steps)
        return max(2, min(self.most, -(-largest // self.band)))

    def rewrite(self, match: Match, rewriter: Rewriter) -> Value:
        """The chain once a band, and the bands put together."""
        assert isinstance(match, _Chain)
        assert match.source is not None
        height, count = _height(match.root.outputs[0]), self._count(match.steps)
        reach = sum(map(_reach, match.steps))
        cuts = [height * index // count for index in range(count + 1)]
        parts = []
        for first, last in itertools.pairwise(cuts):
            start, stop = max(first - reach, 0), min(last + reach, height)
            value = _rows(match.source, start, stop, rewriter)
            for node in match.steps:
                value = _step(node, value, start, stop, rewriter)
            parts.append(_rows(value, first - start, last - start, rewriter))
        return rewriter.op("Concat", *parts, axis=_ROWS)


def _data(node: Node) -> int:
    """Which operand of a node is the value that is cut."""
    if node.op_type in _BROADCAST and len(dims(node.inputs[0]) or ()) < 4:
        return 1
    if node.op_type in _BROADCAST and static_dims(node.inputs[0]) != static_dims(node.outputs[0]):
        return 1
    return 0


def _fits(node: Node) -> bool:
    """True where rows of the result depend on the same rows of one operand, and on those that a kernel reaches."""
    data = node.inputs[_data(node)] if node.inputs else None
    known, result = static_dims(data), static_dims(node.outputs[0])
    if node.domain != "" or known is None or result is None or len(known) != 4 or len(result) != 4:
        return False
    if data is None or data.dtype != DataType.FLOAT or known[0] != result[0] or known[2:] != result[2:]:
        return False
    if node.op_type in _ELEMENTWISE:
        return all(item is None or is_constant(item) for item in node.inputs[1:])
    if node.op_type in _BROADCAST:
        return known == result and _side(node.inputs[1 - _data(node)]) is not None
    return node.op_type == "Conv" and _keeps_rows(node)


def _side(value: Value | None) -> bool | None:
    """Whether the other operand of a sum or product has rows of its own, which must then be constant; None where they are not."""
    known = dims(value)
    if known is None or len(known) > 4:
        return None
    if len(known) < 2 or known[-2] == 1:
        return False
    return True if is_constant(value) else None


def _keeps_rows(node: Node) -> bool:
    weight = constant_array(node.inputs[1])
    if weight is None or weight.ndim != 4 or node.attributes.get_string("auto_pad", "NOTSET") != "NOTSET":
        return False
    if any(step != 1 for step in node.attributes.get_ints("strides", ())):
        return False
    pads = node.attributes.get_ints("pads", (0, 0, 0, 0))
    reach = (weight.shape[2] - 1) * node.attributes.get_ints("dilations", (1, 1))[0]
    return (2 * pads[0], 2 * pads[2]) == (reach, reach)


def _reach(node: Node) -> int:
    """Rows above, and as many below, that a row of the result depends on."""
    return node.attributes.get_ints("pads", (0,))[0] if node.op_type == "Conv" else 0


def _bytes(value: Value | None) -> int:
    known = static_dims(value)
    return 4 * math.prod(known) if known is not None else 0


def _height(value: Value) -> int:
    known = static_dims(value)
    assert known is not None
    return known[_ROWS]


def _rows(value: Value, start: int, stop: int, rewriter: Rewriter) -> Value:
    if (start, stop) == (0, _height(value)):
        return value
    bounds = (rewriter.shared_constant(np.array([item], np.int64)) for item in (start, stop, _ROWS))
    return rewriter.op("Slice", value, *bounds)


def _step(node: Node, value: Value, start: int, stop: int, rewriter: Rewriter) -> Value:
    """One operation on a band. A convolution pads it at a cut as at the border: those rows are cut off in the end."""
    data = _data(node)
    operands = list(node.inputs)
    operands[data] = value
    if node.op_type in _BROADCAST and _side(node.inputs[1 - data]):
        content = constant_array(node.inputs[1 - data])
        assert content is not None
        operands[1 - data] = rewriter.constant(content[..., start:stop, :])
    attributes: dict[str, Any] = dict(node.attributes.items())
    return rewriter.op(node.op_type, *operands, **attributes)
