"""Passes written for something else: functions, onnx_ir passes, onnxscript rules, GraphSurgeon scripts."""

from __future__ import annotations

import textwrap
from pathlib import Path

import numpy as np
import onnx.parser
import pytest

import graphrewrite
from graphrewrite import ir
from graphrewrite.errors import UsageError
from graphrewrite.numeric.reference import create_session
from graphrewrite.pipeline import Stage, as_pass, build, describe, pass_name, run_pipeline
from graphrewrite.pipeline.discovery import user_passes
from graphrewrite.rewrite import Rewriter

MODEL = """
<ir_version: 10, opset_import: ["" : 20]>
g (float[2,3] x) => (float[2,3] y) <float[3] w = {1.0, 2.0, 3.0}>
{
  [named] a = Mul (x, w)
  b = Identity (a)
  c = Relu (b)
  y = Neg (c)
}
"""


def loaded(tmp_path: Path, code: str, name: str = "") -> tuple[ir.Model, list[str]]:
    """MODEL after import-model and the passes of a user's file; the passes' names."""
    file = tmp_path / "my.py"
    file.write_text(textwrap.dedent(code))
    passes = build(f"none,{file}{name}", "tflite")
    model = ir.load(onnx.parser.parse_model(MODEL))
    chosen = [item for item in passes if item.stage < Stage.LEGALIZE]
    run_pipeline(model, chosen, debug=True)
    return model, [item.name for item in chosen if not item.mandatory]


def outputs(model: ir.Model) -> np.ndarray:
    session = create_session(ir.to_runnable_proto(model))
    return session.run(["y"], {"x": np.arange(6, dtype=np.float32).reshape(2, 3) - 2})[0]


def ops(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph]


EXPECTED = -np.maximum((np.arange(6, dtype=np.float32).reshape(2, 3) - 2) * [1, 2, 3], 0)


def test_a_decorated_function_is_a_pass(tmp_path: Path) -> None:
    model, names = loaded(
        tmp_path,
        """
        from graphrewrite.pipeline import as_pass

        @as_pass
        def drop_identities(model, rewriter):
            "Identities go."
            for node in list(model.graph):
                if node.op_type == "Identity":
                    with rewriter.rewrite("drop", node):
                        rewriter.replace(node, node.inputs[0])
        """,
        ":drop_identities",
    )
    assert names == ["drop-identities"]
    assert ops(model) == ["Mul", "Relu", "Neg"]
    np.testing.assert_allclose(outputs(model), EXPECTED)


def test_keyword_parameters_are_options() -> None:
    seen = []

    @as_pass(name="look-around", stage=Stage.CANONICALIZE, after=("fold-constants",))
    def look(model: ir.Model, rewriter: Rewriter, *, times: int = 1) -> None:
        """Look."""
        seen.append(times)

    assert pass_name(look) == "look-around"
    assert (look.stage, look.after, look.__doc__) == (Stage.CANONICALIZE, ("fold-constants",), "Look.")
    model = ir.load(onnx.parser.parse_model(MODEL))
    run_pipeline(model, [look(), look(times=3)])
    assert seen == [1, 3]
    assert describe(look(times=3)) == "look-around{times=3}"
    assert describe(look()) == "look-around"


def test_an_option_on_the_command_line(tmp_path: Path) -> None:
    file = tmp_path / "opts.py"
    file.write_text(
        "from graphrewrite.pipeline import as_pass\n\n"
        "@as_pass\ndef shrink(model, rewriter, *, alpha=0.5):\n    pass\n"
    )
    item = next(
        item for item in build(f"none,{file}:shrink{{alpha=0.25}}", "tflite") if item.name == "shrink"
    )
    assert vars(item) == {"alpha": 0.25}
    with pytest.raises(UsageError, match="has no option 'beta'; it has alpha"):
        build(f"none,{file}:shrink{{beta=1}}", "tflite")


ONNX_IR_PASSES = """
    import onnx_ir
    from onnx_ir.passes import InPlacePass, FunctionalPass, PassResult
    from onnx_ir.passes.common import IdentityEliminationPass

    class NegToMul(InPlacePass):
        "y = -x becomes y = x * -1 with a Constant node and values without names."
        def call(self, model):
            modified = False
            for node in list(model.graph):
                if node.op_type == "Neg":
                    one = onnx_ir.Node("", "Constant", [], [onnx_ir.AttrFloat32("value_float", -1.0)])
                    mul = onnx_ir.Node("", "Mul", [node.inputs[0], one.outputs[0]])
                    old = node.outputs[0]
                    name, old.name = old.name, "gone"
                    model.graph.insert_before(node, [one, mul])
                    mul.outputs[0].name = name
                    old.replace_all_uses_with(mul.outputs[0], replace_graph_outputs=True)
                    model.graph.remove(node, safe=True)
                    modified = True
            return PassResult(model, modified)

    class Copy(FunctionalPass):
        def __init__(self, times=1):
            self.times = times
        def call(self, model):
            copy = model.clone()
            return PassResult(copy, True)

    remove_identities = IdentityEliminationPass()
"""


def test_onnx_ir_passes_are_passes(tmp_path: Path) -> None:
    model, names = loaded(tmp_path, ONNX_IR_PASSES)
    assert sorted(names) == ["copy", "neg-to-mul", "remove-identities"]
    assert ops(model) == ["Mul", "Relu", "Mul"]
    np.testing.assert_allclose(outputs(model), EXPECTED)


def test_foreign_nodes_are_brought_in_line(tmp_path: Path) -> None:
    model, _ = loaded(tmp_path, ONNX_IR_PASSES, ":NegToMul")
    ir.verify(model)
    (mul,) = [node for node in model.graph if node.outputs[0].name == "y"]
    assert mul.op_type == "Mul"
    assert ir.origin(mul) == ("y",)  # it writes what the source's node wrote
    assert ir.static_dims(mul.outputs[0]) == (2, 3)
    assert ir.constant_scalar(mul.inputs[1]) == -1.0
    assert ir.origin(next(iter(model.graph))) == ("named",)


def test_a_pass_that_renames_outputs_is_refused(tmp_path: Path) -> None:
    code = """
        from onnx_ir.passes import InPlacePass, PassResult

        class Rename(InPlacePass):
            def call(self, model):
                model.graph.outputs[0].name = "z"
                return PassResult(model, True)
        """
    with pytest.raises(
        UsageError, match=r"pass 'rename' changed the model's outputs from \['y'\] to \['z'\]"
    ):
        loaded(tmp_path, code)


def test_a_pass_that_raises_is_named(tmp_path: Path) -> None:
    code = """
        from onnx_ir.passes import InPlacePass

        class Broken(InPlacePass):
            def call(self, model):
                raise KeyError("lost")
        """
    with pytest.raises(UsageError, match="pass 'broken' failed: KeyError: 'lost'"):
        loaded(tmp_path, code)


def test_a_pass_that_leaves_wrong_shapes_is_refused(tmp_path: Path) -> None:
    code = """
        import numpy as np
        import onnx_ir
        from onnx_ir.passes import InPlacePass, PassResult

        class Wrong(InPlacePass):
            def call(self, model):
                model.graph.initializers["w"].const_value = onnx_ir.tensor(np.ones(7, np.float32))
                model.graph.initializers["w"].shape = onnx_ir.Shape([7])
                return PassResult(model, True)
        """
    with pytest.raises(UsageError, match="pass 'wrong' left a graph that is not valid"):
        loaded(tmp_path, code)


def test_onnxscript_rules_are_passes(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    model, names = loaded(
        tmp_path,
        """
        from onnxscript.rewriter import RewriteRule, RewriteRuleSet

        def pattern(op, x):
            return op.Neg(op.Relu(x))

        def replacement(op, x):
            return op.Min(op.Neg(x), op.Constant(value_float=0.0))

        my_rules = RewriteRuleSet([RewriteRule(pattern, replacement)])
        """,
    )
    assert names == ["my-rules"]
    assert ops(model) == ["Mul", "Identity", "Neg", "Min"]
    np.testing.assert_allclose(outputs(model), EXPECTED)


def test_graphsurgeon_functions_are_passes(tmp_path: Path) -> None:
    pytest.importorskip("onnx_graphsurgeon")
    model, names = loaded(
        tmp_path,
        """
        from __future__ import annotations
        import numpy as np
        import onnx_graphsurgeon as gs

        def drop_identity(graph: gs.Graph) -> None:
            node = next(node for node in graph.nodes if node.op == "Identity")
            node.outputs[0].outputs[0].inputs = list(node.inputs)
            node.outputs.clear()
            graph.tensors()["w"].values = graph.tensors()["w"].values * np.float32(2)
            graph.cleanup().toposort()

        def nothing(graph: gs.Graph):
            return graph

        def not_a_pass(text: str) -> None:
            raise AssertionError
        """,
    )
    assert sorted(names) == ["drop-identity", "nothing"]
    assert ops(model) == ["Mul", "Relu", "Neg"]
    assert ir.origin(next(iter(model.graph))) == ("named",)
    np.testing.assert_allclose(outputs(model), EXPECTED * 2)


def test_a_file_without_passes_says_what_is_wanted(tmp_path: Path) -> None:
    file = tmp_path / "empty.py"
    file.write_text("def shrink(model, rewriter):\n    pass\n")
    with pytest.raises(UsageError, match="a function under @graphrewrite"):
        user_passes(file)


EXAMPLES = Path(__file__).parent.parent.parent / "examples" / "foreign_passes"


@pytest.mark.parametrize(
    ("file", "package", "name"),
    [
        ("onnxscript_rules.py", "onnxscript", "use-subtraction-rules"),
        ("onnx_ir_pass.py", "onnx_ir", "subtract-in-place"),
        ("graphsurgeon_function.py", "onnx_graphsurgeon", "subtract-by-surgery"),
    ],
)
def test_the_examples_act(file: str, package: str, name: str, tmp_path: Path) -> None:
    pytest.importorskip(package)
    model = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["" : 20]>
        g (float[2,3] x, float[2,3] y) => (float[2,3] z) { a = Neg(y) z = Add(x, a) }"""
    )
    result = graphrewrite.run(model, passes=f"none,{EXAMPLES / file}", output=tmp_path / "model.tflite")
    assert [item.name for item in result.record if item.rewrites and item.name == name] == [name]
    assert result.report["details"]["operators"] == {"SUB": 1}


def test_the_examples_are_all_tried() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == {
        "onnxscript_rules.py",
        "onnx_ir_pass.py",
        "graphsurgeon_function.py",
    }
