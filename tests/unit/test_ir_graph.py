"""The standing invariants, the fingerprint, origins and the printer."""

from __future__ import annotations

import numpy as np
import onnx.parser
import onnx_ir
import pytest

from graphrewrite import ir
from graphrewrite.errors import InternalError
from graphrewrite.ir.edges import release_operands, replace_uses, set_operand
from graphrewrite.pipeline import Stage, as_pass, run_pipeline
from graphrewrite.rewrite import Rewriter

TEXT = """
<ir_version: 10, opset_import: ["" : 26]>
g (float[2] x, bool c) => (float[2] y) <float[2] w = {1.0, 2.0}>
{
  a = Mul (x, w)
  b = If (c) <
    then_branch = t () => (float[2] p) { p = Relu (a) },
    else_branch = e () => (float[2] q) { q = LeakyRelu <alpha = 0.5> (a) }
  >
  y = Add (b, w)
}
"""


@pytest.fixture
def model() -> ir.Model:
    return ir.load(onnx.parser.parse_model(TEXT))


def node(model: ir.Model, op_type: str) -> ir.Node:
    return next(item for item in ir.all_nodes(model.graph) if item.op_type == op_type)


def test_a_sound_model_passes(model: ir.Model) -> None:
    ir.verify(model)


def test_nodes_of_subgraphs_come_before_their_owner(model: ir.Model) -> None:
    assert [item.op_type for item in ir.all_nodes(model.graph)] == ["Mul", "Relu", "LeakyRelu", "If", "Add"]
    assert len(list(ir.all_graphs(model.graph))) == 3


class TestVerify:
    def test_two_values_of_one_name(self, model: ir.Model) -> None:
        node(model, "Relu").outputs[0].name = "a"
        with pytest.raises(InternalError, match="two values are named 'a' after my-pass"):
            ir.verify(model, "my-pass")

    def test_no_name(self, model: ir.Model) -> None:
        node(model, "Mul").outputs[0].name = ""
        with pytest.raises(InternalError, match="a value has no name"):
            ir.verify(model)

    def test_used_before_defined(self, model: ir.Model) -> None:
        first = node(model, "Mul")
        model.graph.remove(first)
        model.graph.append(first)
        with pytest.raises(InternalError, match="'a' is used before it is defined"):
            ir.verify(model)

    def test_a_body_sees_only_what_is_defined_before_its_owner(self, model: ir.Model) -> None:
        node(model, "Relu").replace_input_with(0, node(model, "Add").outputs[0])
        with pytest.raises(InternalError, match="'y' is used before it is defined"):
            ir.verify(model)

    def test_wrong_number_of_inputs(self, model: ir.Model) -> None:
        node(model, "Add").resize_inputs(1)
        with pytest.raises(InternalError, match=r"1 inputs where 2\.\.2 are allowed"):
            ir.verify(model)

    def test_an_output_that_nothing_defines(self, model: ir.Model) -> None:
        model.graph.outputs[0] = onnx_ir.Value(name="other")
        with pytest.raises(InternalError, match="output 'other' is not defined"):
            ir.verify(model)


class TestFingerprint:
    def test_is_stable(self, model: ir.Model) -> None:
        assert ir.fingerprint(model) == ir.fingerprint(model)

    @pytest.mark.parametrize("change", ["operand", "attribute", "inner", "constant", "output", "op"])
    def test_sees_every_change(self, model: ir.Model, change: str) -> None:
        before = ir.fingerprint(model)
        if change == "operand":
            add = node(model, "Add")
            add.replace_input_with(0, node(model, "Mul").outputs[0])
        elif change == "attribute":
            node(model, "LeakyRelu").attributes["alpha"] = onnx_ir.AttrFloat32("alpha", 0.25)
        elif change == "inner":
            node(model, "Relu").replace_input_with(0, model.graph.inputs[0])
        elif change == "constant":
            model.graph.initializers["w"].const_value = onnx_ir.tensor(np.ones(2, np.float32))
        elif change == "output":
            node(model, "Add").outputs[0].name = "z"
        else:
            node(model, "Relu").op_type = "Abs"
        assert ir.fingerprint(model) != before

    def test_a_pass_behind_the_rewriters_back_is_caught(self, model: ir.Model) -> None:
        @as_pass(stage=Stage.CANONICALIZE)
        def sly(model: ir.Model, rewriter: Rewriter) -> None:
            node(model, "Add").replace_input_with(0, node(model, "Mul").outputs[0])

        with pytest.raises(InternalError, match="pass 'sly' changed the graph without the rewriter"):
            run_pipeline(model, [sly()], debug=True)

    def test_a_pass_that_breaks_the_graph_is_named(self, model: ir.Model) -> None:
        @as_pass
        def clumsy(model: ir.Model, rewriter: Rewriter) -> None:
            node(model, "Mul").outputs[0].name = "y"

        with pytest.raises(InternalError, match="two values are named 'y' after clumsy"):
            run_pipeline(model, [clumsy()], debug=True)


class TestPrinter:
    def test_lines(self, model: ir.Model) -> None:
        assert list(ir.graph_lines(model.graph)) == [
            "input %x:float[2]",
            "input %c:bool[]",
            "%a:?[*] = Mul(%x, [1.0, 2.0])",
            "%b:?[*] = If(%c) {else_branch=<graph of 1 nodes>, then_branch=<graph of 1 nodes>}",
            "%y:float[2] = Add(%b, [1.0, 2.0])",
            "output %y:float[2]",
        ]

    def test_big_constants_by_name_and_absent_operands(self) -> None:
        graph = onnx_ir.Graph([], [], nodes=[], name="g")
        big = onnx_ir.Value(
            name="big",
            const_value=onnx_ir.tensor(np.zeros((3, 4), np.float32)),
            type=onnx_ir.TensorType(onnx_ir.DataType.FLOAT),
            shape=onnx_ir.Shape([3, 4]),
        )
        graph.register_initializer(big)
        made = onnx_ir.Node("tflite", "PAD", [big, None], [onnx_ir.AttrInt64s("k", [1, 2])])
        made.outputs[0].name = "o"
        assert ir.node_line(made) == "%o:?[*] = tflite.PAD(%big:float[3,4], -) {k=[1, 2]}"


@pytest.mark.parametrize("size", [3, 40])
class TestEdges:
    """Wide nodes take another way than narrow ones; both must keep onnx_ir's books."""

    def made(self, size: int) -> tuple[ir.Graph, list[ir.Value], ir.Node]:
        values = [onnx_ir.Value(name=f"v{i}") for i in range(size)]
        concat = onnx_ir.Node("", "Concat", values, [onnx_ir.AttrInt64("axis", 0)])
        concat.outputs[0].name = "y"
        return onnx_ir.Graph(values, concat.outputs, nodes=[concat], name="g"), values, concat

    def test_set_operand(self, size: int) -> None:
        _, values, concat = self.made(size)
        set_operand(concat, 1, values[0])
        set_operand(concat, 2, None)
        assert list(concat.inputs) == [values[0], values[0], None, *values[3:]]
        assert [tuple(use) for use in values[0].uses()] == [(concat, 0), (concat, 1)]
        assert not values[1].uses()
        assert not values[2].uses()

    def test_release_operands(self, size: int) -> None:
        graph, values, concat = self.made(size)
        graph.outputs.clear()
        assert release_operands(concat) == values
        assert list(concat.inputs) == [None] * size
        assert not any(ir.is_used(value) for value in values)
        graph.remove(concat, safe=True)

    def test_replace_uses(self, size: int) -> None:
        graph, values, concat = self.made(size)
        graph.outputs.append(values[0])
        replace_uses(values[0], values[-1])
        assert concat.inputs[0] is values[-1]
        assert graph.outputs[1] is values[-1]
        assert not ir.is_used(values[0])
