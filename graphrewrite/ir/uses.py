"""Whether and how often a value is used."""

from __future__ import annotations

import onnx_ir


def is_used(value: onnx_ir.Value) -> bool:
    """True where a node reads `value` or a graph gives it out.

    `bool(value.uses())` copies all uses first, and a constant may have thousands: asked once a removed node, that is quadratic.
    """
    return bool(value._uses) or value.is_graph_output()


def use_count(value: onnx_ir.Value) -> int:
    """How many operands `value` is, all nodes together; without the copy that `len(value.uses())` makes."""
    return len(value._uses)


def sole_reader(value: onnx_ir.Value) -> onnx_ir.Node | None:
    """The only node that reads `value`; None where several operands do, or a graph gives it out."""
    if len(value._uses) != 1 or value.is_graph_output():
        return None
    return next(iter(value.uses())).node
