"""Any ONNX model becomes one graph of current ops whose constants are initializers and whose shapes are inferred."""

from __future__ import annotations

import dataclasses

from graphrewrite.ir import Model
from graphrewrite.pipeline import Pass, Stage
from graphrewrite.registry.importing import import_model
from graphrewrite.rewrite import Rewriter, RuleStatistics


@dataclasses.dataclass(frozen=True)
class ImportModel(Pass):
    """Normalise a model as read.

        opset 9, functions, Constant nodes, stale shapes
        --->
        opset 26, no functions, initializers, inferred shapes

    Model-local functions are inlined, `Constant` nodes become initializers, initializers that are also inputs (IR < 4) stop being
    inputs, nodes of older opsets get today's spelling by the `upgrade` entries of the op rows, and every shape is inferred anew:
    shapes that an exporter wrote down are not believed where inference knows better. Exact.
    """

    stage = Stage.IMPORT
    mandatory = True

    def run(self, model: Model, rewriter: Rewriter) -> dict[str, RuleStatistics]:
        """Normalise in place; raises InvalidModel where the model contradicts itself."""
        import_model(model, rewriter)
        return {}
