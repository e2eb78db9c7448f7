"""The rewriter keeps names, origins and types right, and collects what nothing needs."""

from __future__ import annotations

import numpy as np
import onnx.parser
import pytest

from graphrewrite import ir
from graphrewrite.errors import InternalError
from graphrewrite.registry.importing import import_model
from graphrewrite.rewrite import BaseListener, Rewriter, RewriteRecord


def made(body: str, inputs: str = "float[2,3] x", outputs: str = "float[2,3] y", inits: str = "") -> ir.Model:
    proto = onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["" : 20]> g ({inputs}) => ({outputs}) {inits} {{ {body} }}'
    )
    model = ir.load(proto)
    import_model(model, Rewriter(model))
    return model


def node(model: ir.Model, output: str) -> ir.Node:
    return next(n for n in ir.all_nodes(model.graph) for v in n.outputs if v.name == output)


def lines(model: ir.Model) -> list[str]:
    ir.verify(model)
    return [line.replace(":float[2,3]", "") for line in ir.graph_lines(model.graph) if " = " in line]


class TestNames:
    def test_the_new_value_takes_the_source_name(self) -> None:
        model = made("a = Relu (x) y = Neg (a)")
        rewriter = Rewriter(model)
        relu = node(model, "a")
        with rewriter.rewrite("swap", relu):
            rewriter.replace(relu, rewriter.op("Abs", relu.inputs[0]))
        assert lines(model) == ["%a = Abs(%x)", "%y = Neg(%a)"]

    def test_a_graph_output_keeps_its_name(self) -> None:
        model = made("a = Relu (x) y = Neg (a)")
        rewriter = Rewriter(model)
        neg = node(model, "y")
        with rewriter.rewrite("swap", neg):
            rewriter.replace(neg, rewriter.op("Abs", neg.inputs[0]))
        assert lines(model) == ["%a = Relu(%x)", "%y = Abs(%a)"]
        assert [v.name for v in model.graph.outputs] == ["y"]

    def test_an_output_that_becomes_an_inner_value(self) -> None:
        model = made("a = Relu (x) b = Neg (a) y = Identity (a)", outputs="float[2,3] y, float[2,3] b")
        rewriter = Rewriter(model)
        identity = node(model, "y")
        with rewriter.rewrite("drop", identity):
            rewriter.replace(identity, identity.inputs[0])
        assert lines(model) == ["%y = Relu(%x)", "%b = Neg(%y)"]
        assert [v.name for v in model.graph.outputs] == ["y", "b"]

    def test_an_output_that_becomes_an_input(self) -> None:
        model = made("y = Relu (x)")
        rewriter = Rewriter(model)
        with rewriter.rewrite("drop", node(model, "y")):
            rewriter.replace(node(model, "y"), model.graph.inputs[0])
        assert lines(model) == ["%y = Identity(%x)"]

    def test_an_output_that_becomes_a_constant(self) -> None:
        model = made("y = Relu (x)")
        rewriter = Rewriter(model)
        with rewriter.rewrite("fold", node(model, "y")):
            rewriter.replace(node(model, "y"), rewriter.constant(np.zeros((2, 3), np.float32)))
        assert len(lines(model)) == 1
        assert node(model, "y").op_type == "Identity"

    def test_two_outputs_that_become_one_value(self) -> None:
        model = made("y = Relu (x) z = Relu (x)", outputs="float[2,3] y, float[2,3] z")
        rewriter = Rewriter(model)
        with rewriter.rewrite("merge", node(model, "z")):
            rewriter.replace(node(model, "z"), node(model, "y").outputs[0])
        assert lines(model) == ["%y = Relu(%x)", "%z = Identity(%y)"]

    def test_a_replacement_with_a_source_name_keeps_it(self) -> None:
        model = made("a = Relu (x) b = Identity (a) c = Neg (a) d = Neg (b) y = Add (c, d)")
        rewriter = Rewriter(model)
        with rewriter.rewrite("drop", node(model, "b")):
            rewriter.replace(node(model, "b"), node(model, "a").outputs[0])
        assert "%d = Neg(%a)" in lines(model)

    def test_new_names_avoid_those_in_use(self) -> None:
        model = made("a = Relu (x) y = Neg (a)")
        rewriter = Rewriter(model)
        names = [rewriter.unique_name(hint) for hint in ("a", "a", "x", "new", "new")]
        assert names == ["a_1", "a_2", "x_1", "new", "new_1"]

    def test_an_output_without_replacement(self) -> None:
        model = made("a = Relu (x) y = Neg (a)")
        rewriter = Rewriter(model)
        with (
            rewriter.rewrite("bad", node(model, "a")),
            pytest.raises(InternalError, match="'a' is still used"),
        ):
            rewriter.replace(node(model, "a"), None)


class TestOrigins:
    def test_new_nodes_come_from_what_was_matched(self) -> None:
        model = made("[first] a = Relu (x) [second] b = Neg (a) [third] y = Abs (b)")
        rewriter = Rewriter(model)
        root = node(model, "b")
        with rewriter.rewrite("fuse", root, [node(model, "a")]):
            new = rewriter.op("LeakyRelu", model.graph.inputs[0])
            rewriter.replace(root, new)
        made_by = new.producer()
        assert made_by is not None
        assert ir.origin(made_by) == ("first", "second")
        assert ir.source_name(made_by) == "second"
        assert lines(model) == ["%b = LeakyRelu(%x)", "%y = Abs(%b)"]

    def test_through_two_rewrites(self) -> None:
        model = made("[first] a = Relu (x) [second] y = Neg (a)")
        rewriter = Rewriter(model)
        with rewriter.rewrite("one", node(model, "a")):
            rewriter.replace(node(model, "a"), rewriter.op("Abs", model.graph.inputs[0]))
        root = node(model, "y")
        with rewriter.rewrite("two", root, [node(model, "a")]):
            rewriter.replace(root, rewriter.op("Exp", model.graph.inputs[0]))
        assert ir.origin(node(model, "y")) == ("first", "second")


class TestBuilding:
    def test_nodes_of_constants_are_folded(self) -> None:
        model = made("y = Relu (x)")
        rewriter = Rewriter(model)
        with rewriter.rewrite("build", node(model, "y")):
            total = rewriter.op("Add", rewriter.constant(np.float32(2)), rewriter.constant(np.float32(3)))
        assert ir.constant_scalar(total) == 5.0
        assert len(list(model.graph)) == 1

    def test_random_ops_are_not(self) -> None:
        model = made("y = Relu (x)")
        rewriter = Rewriter(model)
        with rewriter.rewrite("build", node(model, "y")):
            noise = rewriter.op("RandomNormalLike", rewriter.constant(np.zeros(3, np.float32)))
        assert not ir.is_constant(noise)

    def test_results_above_the_limit_are_not(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("graphrewrite.rewrite.maker.FOLD_LIMIT", 100)
        model = made("y = Relu (x)")
        rewriter = Rewriter(model)
        with rewriter.rewrite("build", node(model, "y")):
            shape = rewriter.constant(np.array([64], np.int64))
            assert not ir.is_constant(rewriter.op("ConstantOfShape", shape))

    def test_types_are_inferred_and_attributes_kept(self) -> None:
        model = made("y = Relu (x)")
        rewriter = Rewriter(model)
        with rewriter.rewrite("build", node(model, "y")):
            out = rewriter.op("Transpose", model.graph.inputs[0], None, perm=[1, 0], nothing=None)
        assert ir.static_dims(out) == (3, 2)
        made_by = out.producer()
        assert made_by is not None
        assert list(made_by.attributes) == ["perm"]
        assert len(made_by.inputs) == 1

    def test_shared_constants(self) -> None:
        model = made("y = Relu (x)")
        rewriter = Rewriter(model)
        one = rewriter.shared_constant(np.array([1, 2], np.int32))
        assert rewriter.shared_constant(np.array([1, 2], np.int32)) is one
        assert rewriter.shared_constant(np.array([1, 2], np.int64)) is not one
        assert rewriter.shared_constant(np.array([[1, 2]], np.int32)) is not one
        rewriter.collect_garbage()
        again = rewriter.shared_constant(np.array([1, 2], np.int32))
        assert again is not one
        assert again.graph is model.graph

    def test_in_a_subgraph(self) -> None:
        model = made(
            """y = If (c) < then_branch = t () => (p) { p = Relu (x) },
                            else_branch = e () => (q) { q = Neg (x) } >""",
            inputs="float[2,3] x, bool c",
        )
        rewriter = Rewriter(model)
        relu = node(model, "p")
        with rewriter.rewrite("swap", relu):
            rewriter.replace(relu, rewriter.op("Mul", relu.inputs[0], rewriter.constant(np.float32(2))))
        ir.verify(model)
        assert node(model, "p").op_type == "Mul"
        assert node(model, "p").graph is not model.graph
        assert len(model.graph.initializers) == 1, "constants live in the main graph"


class TestGarbage:
    def test_what_only_the_old_node_needed_goes(self) -> None:
        model = made(
            "a = Exp (x) b = Mul (a, w) y = Add (b, w2)",
            inits="<float[3] w = {1.0, 2.0, 3.0}, float[3] w2 = {1.0, 1.0, 1.0}>",
        )
        rewriter = Rewriter(model)
        with rewriter.rewrite("swap", node(model, "b")):
            rewriter.replace(node(model, "b"), model.graph.inputs[0])
        assert [n.op_type for n in model.graph] == ["Add"]
        assert list(model.graph.initializers) == ["w2"]

    def test_what_others_need_stays(self) -> None:
        model = made("a = Exp (x) b = Neg (a) c = Abs (a) y = Add (b, c)")
        rewriter = Rewriter(model)
        with rewriter.rewrite("swap", node(model, "b")):
            rewriter.replace(node(model, "b"), model.graph.inputs[0])
        assert [n.op_type for n in model.graph] == ["Exp", "Abs", "Add"]

    def test_what_only_a_subgraph_read_goes_with_it(self) -> None:
        model = made(
            """a = Exp (x) k = Sqrt (x)
            b = If (c) < then_branch = t () => (p) { p = Mul (a, w) },
                         else_branch = e () => (q) { q = Neg (k) } >
            y = Relu (b)""",
            inputs="float[2,3] x, bool c",
            inits="<float[3] w = {1.0, 2.0, 3.0}>",
        )
        rewriter = Rewriter(model)
        with rewriter.rewrite("swap", node(model, "b")):
            rewriter.replace(node(model, "b"), model.graph.inputs[0])
        assert [n.op_type for n in model.graph] == ["Relu"]
        assert not model.graph.initializers

    def test_dead_nodes_and_dead_constants(self) -> None:
        model = made("y = Relu (x)")
        rewriter = Rewriter(model)
        rewriter.op("Neg", rewriter.op("Abs", model.graph.inputs[0]))
        rewriter.constant(np.zeros(3))
        before = rewriter.count
        rewriter.collect_garbage()
        assert [n.op_type for n in model.graph] == ["Relu"]
        assert not model.graph.initializers
        assert rewriter.count == before + 1, "it changed the graph"
        rewriter.collect_garbage()
        assert rewriter.count == before + 1

    def test_set_input_collects_the_old_operand(self) -> None:
        model = made("a = Exp (x) y = Neg (a)")
        rewriter = Rewriter(model)
        rewriter.set_input(node(model, "y"), 0, model.graph.inputs[0])
        assert [n.op_type for n in model.graph] == ["Neg"]

    def test_long_chains_and_wide_nodes(self) -> None:
        """Three thousand dead nodes feeding one Sum, and one behind the other: no recursion, no quadratic walk."""
        model = made("y = Relu (x)")
        rewriter = Rewriter(model)
        value = model.graph.inputs[0]
        parts = []
        for _ in range(3000):
            value = rewriter.op("Neg", value)
            parts.append(value)
        total = rewriter.op("Sum", *parts)
        producer = total.producer()
        assert producer is not None
        rewriter.erase(producer)
        assert [n.op_type for n in model.graph] == ["Relu"]


class TestEvents:
    def test_listeners_hear_of_everything(self) -> None:
        class Log(BaseListener):
            def __init__(self) -> None:
                self.seen: list[str] = []

            def rewrite_started(self, record: RewriteRecord) -> None:
                self.seen.append(f"{record.index} {record.rule} at {record.root}")

            def node_added(self, node: ir.Node) -> None:
                self.seen.append(f"+{node.op_type}")

            def node_removed(self, node: ir.Node) -> None:
                self.seen.append(f"-{node.op_type} of {[v.name for v in node.inputs if v is not None]}")

            def node_changed(self, node: ir.Node) -> None:
                self.seen.append(f"~{node.op_type}")

            def value_replaced(self, old: ir.Value, new: ir.Value, users: object) -> None:
                self.seen.append("=")

        model = made("a = Exp (x) [n] b = Neg (a) y = Relu (b)")
        log = Log()
        rewriter = Rewriter(model, listeners=[log])
        root = node(model, "b")
        with rewriter.rewrite("swap", root):
            rewriter.replace(root, rewriter.op("Abs", model.graph.inputs[0]))
        rewriter.set_attribute(node(model, "y"), "alpha", 2)
        assert log.seen == ["0 swap at n", "+Abs", "=", "-Neg of ['a']", "-Exp of ['x']", "~Relu"]

    def test_limit(self) -> None:
        model = made("a = Exp (x) y = Neg (a)")
        rewriter = Rewriter(model, limit=1)
        assert rewriter.allowed()
        with rewriter.rewrite("one", node(model, "a")):
            pass
        assert not rewriter.allowed()
