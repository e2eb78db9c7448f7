"""Patterns: order of operands, alternatives, repeated names, uses outside, and the best reason why not."""

from __future__ import annotations

import onnx.parser
import pytest

from graphrewrite import ir
from graphrewrite.registry.importing import import_model
from graphrewrite.rewrite import (
    Match,
    MatchFailure,
    OpPattern,
    Pattern,
    Rewriter,
    constant,
    match,
    op,
    optional,
    scalar,
    value,
)


def root(body: str, inputs: str = "float[2,3] x, float[2,3] z") -> ir.Node:
    """The node that writes y."""
    proto = onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["" : 20]> g ({inputs}) => (float[2,3] y) {{ {body} }}'
    )
    model = ir.load(proto)
    import_model(model, Rewriter(model))
    found = model.graph.outputs[0].producer()
    assert found is not None
    return found


def failure(pattern: OpPattern, node: ir.Node) -> str:
    with pytest.raises(MatchFailure) as caught:
        match(pattern, node)
    return caught.value.reason


def names(found: Match) -> dict[str, str | None]:
    return {key: item.name for key, item in found.values.items() if item is not None}


SILU = op("Mul", value("x"), op("Sigmoid", value("x")))


class TestCommutativity:
    @pytest.mark.parametrize("body", ["s = Sigmoid (x) y = Mul (x, s)", "s = Sigmoid (x) y = Mul (s, x)"])
    def test_either_order(self, body: str) -> None:
        assert names(match(SILU, root(body))) == {"x": "x"}

    def test_orders_are_tried_at_every_level(self) -> None:
        pattern = op("Add", op("Mul", constant("a"), value("x")), constant("b"))
        body = "c = Constant <value_float = 2.0> () d = Constant <value_float = 3.0> () "
        for mul in ("Mul (c, x)", "Mul (x, c)"):
            for add in ("Add (m, d)", "Add (d, m)"):
                found = match(pattern, root(f"{body} m = {mul} y = {add}"))
                assert float(found.array("a")) == 2.0
                assert float(found.array("b")) == 3.0

    def test_a_wrong_first_order_is_taken_back(self) -> None:
        pattern = op("Add", value("p"), op("Neg", value("p")))
        assert names(match(pattern, root("n = Neg (x) y = Add (n, x)"))) == {"p": "x"}

    def test_others_keep_their_order(self) -> None:
        pattern = op("Sub", op("Neg", value("a")), value("b"))
        match(pattern, root("n = Neg (x) y = Sub (n, z)"))
        assert "comes from an input, not from Neg" in failure(pattern, root("n = Neg (x) y = Sub (z, n)"))


class TestAlternatives:
    PATTERN = op("Mul", value("x"), op("Relu", value("x")) | op("Sigmoid", value("x"), name="s"))

    def test_any_of(self) -> None:
        assert "s" not in match(self.PATTERN, root("r = Relu (x) y = Mul (x, r)")).named
        found = match(self.PATTERN, root("r = Sigmoid (x) y = Mul (x, r)"))
        assert found.node("s").op_type == "Sigmoid"

    def test_the_next_is_tried_when_the_rest_fails(self) -> None:
        either: Pattern = value("a") | op("Neg", value("a"))
        pattern = op("Sub", either, op("Relu", value("a")))
        assert names(match(pattern, root("n = Neg (x) r = Relu (x) y = Sub (n, r)"))) == {"a": "x"}

    def test_several_op_types(self) -> None:
        pattern = op(("Relu", "Sigmoid"), value("x"))
        match(pattern, root("y = Sigmoid (x)"))
        assert "not from Relu/Sigmoid" in failure(pattern, root("y = Neg (x)"))


class TestNames:
    def test_a_repeated_name_is_the_same_value(self) -> None:
        reason = failure(SILU, root("s = Sigmoid (z) y = Mul (x, s)"))
        assert reason == "'z' is not the same value as 'x' elsewhere in the match"

    def test_or_an_equal_constant(self) -> None:
        pattern = op("Add", op("Mul", value("x"), constant("c")), constant("c"))
        body = "c = Constant <value_float = {}> () d = Constant <value_float = 2.0> () m = Mul (x, c) y = Add (m, d)"
        match(pattern, root(body.format("2.0")))
        assert "is not the same value as 'c'" in failure(pattern, root(body.format("2.5")))

    def test_optional_operands(self) -> None:
        pattern = op("Clip", value("x"), optional("low"), optional("high"))
        body = "c = Constant <value_float = 1.0> () y = Clip "
        assert match(pattern, root(f"{body} (x, , c)")).get("low") is None
        assert match(pattern, root(f"{body} (x, , c)"))["high"] is not None
        found = match(pattern, root(f"{body} (x, c)"))
        assert found.get("high") is None
        with pytest.raises(KeyError):
            found["high"]

    def test_an_operand_that_must_be_there(self) -> None:
        assert (
            failure(op("Clip", value("x"), value("low")), root("y = Clip (x)")) == "operand 'low' is absent"
        )

    def test_captured_outputs_and_nodes(self) -> None:
        pattern = op("Mul", value("x"), op("Sigmoid", value("x"), name="gate", output="g"))
        found = match(pattern, root("s = Sigmoid (x) y = Mul (x, s)"))
        assert found["g"].name == "s"
        assert found.node("gate") is found["g"].producer()
        assert {node.op_type for node in found.nodes} == {"Mul", "Sigmoid"}


class TestConditions:
    def test_scalars(self) -> None:
        body = "c = Constant <value_float = {}> () y = Mul (x, c)"
        pattern = op("Mul", value("x"), scalar(0.5))
        match(pattern, root(body.format("0.5")))
        match(pattern, root(body.format("0.5000001")))
        assert failure(pattern, root(body.format("0.6"))) == "the operand is not the constant 0.5"
        assert failure(op("Mul", value("x"), scalar()), root("y = Mul (x, z)")) == "'z' is not a constant"

    def test_attributes(self) -> None:
        node = root("y = Softmax <axis = 1> (x)")
        match(op("Softmax", value("x"), attributes={"axis": 1}), node)
        match(op("Softmax", value("x"), attributes={"axis": lambda found: found in (1, -1)}), node)
        assert failure(op("Softmax", value("x"), attributes={"axis": 0}), node).startswith(
            "attribute axis of"
        )
        perm = root("t = Transpose <perm = [1, 0]> (x) y = Transpose (t)").inputs[0].producer()
        match(op("Transpose", value("x"), attributes={"perm": (1, 0)}), perm)

    def test_a_test_with_its_own_words(self) -> None:
        pattern = op("Relu", value("x", test=lambda v: ir.rank(v) == 4, describe="only images"))
        assert failure(pattern, root("y = Relu (x)")) == "only images"

    def test_more_inputs_than_the_pattern(self) -> None:
        node = root("y = Sum (x, z, x)")
        assert "has more inputs than the pattern" in failure(op("Sum", value("a")), node)
        match(op("Sum", value("a"), variadic=True), node)

    def test_another_output(self) -> None:
        body = "a, b = Split <num_outputs = 2, axis = 0> (d) y = Relu (b)"
        node = root(body, inputs="float[4,3] d")
        match(op("Relu", op("Split", value("d"), variadic=True, index=1)), node)
        assert "is not output 0 of Split" in failure(op("Relu", op("Split", value("d"), variadic=True)), node)


class TestUses:
    BODY = "s = Sigmoid (x) m = Mul (x, s) o = Neg (s) y = Add (m, o)"

    def mul(self) -> ir.Node:
        found = root(self.BODY).inputs[0].producer()
        assert found is not None
        return found

    def test_an_inner_value_that_others_read(self) -> None:
        assert failure(SILU, self.mul()) == "'s' is also used outside the match"

    def test_unless_it_is_shared(self) -> None:
        match(op("Mul", value("x"), op("Sigmoid", value("x"), shared=True)), self.mul())

    def test_a_graph_output_is_a_use(self) -> None:
        proto = onnx.parser.parse_model(
            '<ir_version: 10, opset_import: ["" : 20]> g (float[2] x) => (float[2] y, float[2] s) '
            "{ s = Sigmoid (x) y = Mul (x, s) }"
        )
        model = ir.load(proto)
        found = model.graph.outputs[0].producer()
        assert found is not None
        assert failure(SILU, found) == "'s' is also used outside the match"

    def test_a_value_with_thousands_of_readers(self) -> None:
        readers = " ".join(f"o{i} = Neg (s)" for i in range(2000))
        node = root(
            f"s = Sigmoid (x) {readers} m = Mul (x, s) y = Sum (m, {', '.join(f'o{i}' for i in range(2000))})"
        )
        found = node.inputs[0].producer()
        assert found is not None
        assert failure(SILU, found) == "'s' is also used outside the match"


class TestReasons:
    def test_the_attempt_that_came_furthest_is_told(self) -> None:
        pattern = op("Add", op("Mul", op("Exp", value("x")), scalar(2.0)), value("b"))
        body = "e = Exp (x) c = Constant <value_float = 3.0> () m = Mul (e, c) n = Neg (z) y = Add ({})"
        for order in ("m, n", "n, m"):
            assert failure(pattern, root(body.format(order))) == "the operand is not the constant 2.0"

    def test_the_culprit(self) -> None:
        with pytest.raises(MatchFailure) as caught:
            match(SILU, root("s = Sigmoid (z) y = Mul (x, s)"))
        culprit = caught.value.culprit
        assert isinstance(culprit, ir.Value)
        assert culprit.name in ("x", "z")
