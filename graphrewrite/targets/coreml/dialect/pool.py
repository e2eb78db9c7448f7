"""Pools over windows, channels first."""

from __future__ import annotations

from collections.abc import Sequence

from graphrewrite.errors import InternalError
from graphrewrite.ir import Node
from graphrewrite.targets.coreml.dialect.conv import padding
from graphrewrite.targets.coreml.dialect.op import MilBody, define


@define("max_pool", operands="x")
def max_pool(node: Node, body: MilBody) -> Sequence[str]:
    """The largest element under each window; padding is left out of account."""
    kernel = body.ints("kernel_sizes")
    ones = [1] * len(kernel)
    strides = body.ints("strides", ones)
    if body.int_("ceil_mode", 0) and body.text("pad_type", "valid").startswith("same"):
        raise InternalError(f"max_pool '{node.name}': ceil_mode together with 'same'")
    return [
        body.op(
            "MaxPool",
            body.inputs[0],
            kernel_shape=kernel,
            strides=strides,
            ceil_mode=body.int_("ceil_mode", 0),
            **padding(body, kernel, strides, ones),
        )
    ]
