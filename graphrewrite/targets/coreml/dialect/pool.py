"""Pools over windows, channels first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphrewrite.errors import InternalError
from graphrewrite.ir import Node
from graphrewrite.targets.coreml.dialect.conv import padding
from graphrewrite.targets.coreml.dialect.op import MilBody, define


@define("avg_pool", operands="x")
def avg_pool(node: Node, body: MilBody) -> Sequence[str]:
    """The mean under each window; `exclude_padding_from_average` counts what lies in the data, else padding is zeros."""
    include = 1 - body.int_("exclude_padding_from_average", 0)
    return [body.op("AveragePool", body.inputs[0], count_include_pad=include, **_window(body))]


@define("max_pool", operands="x")
def max_pool(node: Node, body: MilBody) -> Sequence[str]:
    """The largest element under each window; padding is left out of account."""
    return [body.op("MaxPool", body.inputs[0], **_window(body))]


def _window(body: MilBody) -> dict[str, Any]:
    kernel = body.ints("kernel_sizes")
    ones = [1] * len(kernel)
    strides, ceil = body.ints("strides", ones), body.int_("ceil_mode", 0)
    if ceil and body.text("pad_type", "valid").startswith("same"):
        raise InternalError(f"{body.node.op_type} '{body.node.name}': ceil_mode together with 'same'")
    return {
        "kernel_shape": kernel,
        "strides": strides,
        "ceil_mode": ceil,
        **padding(body, kernel, strides, ones),
    }
