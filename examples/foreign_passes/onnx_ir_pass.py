"""A pass of onnx_ir: adding a negated value is a subtraction."""

from __future__ import annotations

import onnx_ir
from onnx_ir.passes import InPlacePass, PassResult


class SubtractInPlace(InPlacePass):
    """Subtract where a negated value was added on the right."""

    def call(self, model: onnx_ir.Model) -> PassResult:
        """Change the nodes of the main graph."""
        modified = False
        for node in model.graph:
            negation = node.inputs[1].producer() if node.op_type == "Add" and node.inputs[1] else None
            if negation is not None and negation.op_type == "Neg":
                node.op_type = "Sub"
                node.replace_input_with(1, negation.inputs[0])
                modified = True
        return PassResult(model, modified)
