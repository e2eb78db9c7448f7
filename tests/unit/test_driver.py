"""The worklist driver: every place that a rewrite opens is visited, budgets hold, limits stop."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx.parser
import pytest

from graphrewrite import ir
from graphrewrite.errors import InternalError
from graphrewrite.pipeline import PatternPass, Stage, build, run_pipeline
from graphrewrite.registry.importing import import_model
from graphrewrite.rewrite import Match, Rewriter, Rule, apply_rules, constant, op, value


def loaded(body: str, inputs: str = "float[2] x") -> ir.Model:
    model = ir.load(
        onnx.parser.parse_model(
            f'<ir_version: 10, opset_import: ["" : 20]> g ({inputs}) => (float[2] y) {{ {body} }}'
        )
    )
    import_model(model, Rewriter(model))
    return model


@dataclasses.dataclass(frozen=True)
class DoubleNeg(PatternPass):
    """-(-x) is x."""

    stage = Stage.CANONICALIZE
    patterns = (op("Neg", op("Neg", value("x"), shared=True)),)

    def rewrite(self, match: Match, rewriter: Rewriter) -> ir.Value:
        return match["x"]


@dataclasses.dataclass(frozen=True)
class MergeAdds(PatternPass):
    """(x + a) + b is x + (a + b)."""

    patterns = (op("Add", op("Add", value("x"), constant("a")), constant("b")),)

    def rewrite(self, match: Match, rewriter: Rewriter) -> ir.Value:
        return rewriter.op("Add", match["x"], rewriter.op("Add", match["a"], match["b"]))


@dataclasses.dataclass(frozen=True)
class Swap(PatternPass):
    """Relu becomes Abs."""

    patterns = (op("Relu", value("x")),)

    def rewrite(self, match: Match, rewriter: Rewriter) -> ir.Value:
        return rewriter.op("Abs", match["x"])


@dataclasses.dataclass(frozen=True)
class SwapBack(PatternPass):
    """Abs becomes Relu: the two never end."""

    patterns = (op("Abs", value("x")),)

    def rewrite(self, match: Match, rewriter: Rewriter) -> ir.Value:
        return rewriter.op("Relu", match["x"])


def chain(op_type: str, count: int) -> str:
    return " ".join(f"v{i + 1} = {op_type} (v{i})" for i in range(count))


@pytest.mark.parametrize(("count", "left"), [(1, 1), (2, 0), (7, 1), (200, 0)])
def test_to_the_end_with_the_least_rewrites(count: int, left: int) -> None:
    model = loaded(f"v0 = Exp (x) {chain('Neg', count)} y = Relu (v{count})")
    rewriter = Rewriter(model)
    statistics = apply_rules(model, [DoubleNeg()], rewriter)
    assert rewriter.count == count // 2
    assert statistics["double-neg"].applied == count // 2
    assert sum(node.op_type == "Neg" for node in model.graph) == left
    ir.verify(model)


def test_what_a_rewrite_makes_is_visited() -> None:
    consts = " ".join(f"c{i} = Constant <value_float = {i}.0> ()" for i in range(10))
    adds = " ".join(f"v{i + 1} = Add (v{i}, c{i})" for i in range(10))
    model = loaded(f"{consts} v0 = Exp (x) {adds} y = Relu (v10)")
    rewriter = Rewriter(model)
    apply_rules(model, [MergeAdds()], rewriter)
    assert rewriter.count == 9
    (add,) = [node for node in model.graph if node.op_type == "Add"]
    assert ir.constant_scalar(add.inputs[1]) == sum(range(10))


def test_a_second_run_changes_nothing() -> None:
    model = loaded(f"v0 = Exp (x) {chain('Neg', 5)} y = Relu (v5)")
    apply_rules(model, [DoubleNeg()], Rewriter(model))
    again = Rewriter(model)
    before = ir.fingerprint(model)
    apply_rules(model, [DoubleNeg()], again)
    assert again.count == 0
    assert ir.fingerprint(model) == before


def test_subgraphs_are_rewritten_too() -> None:
    model = loaded(
        """y = If (c) < then_branch = t () => (p) { a = Neg (x) b = Neg (a) p = Exp (b) },
                        else_branch = e () => (q) { q = Relu (x) } >""",
        inputs="float[2] x, bool c",
    )
    rewriter = Rewriter(model)
    apply_rules(model, [DoubleNeg()], rewriter)
    assert rewriter.count == 1
    assert [node.op_type for node in ir.all_nodes(model.graph)] == ["Exp", "Relu", "If"]
    ir.verify(model)


def test_only_roots_of_the_rules_are_tried() -> None:
    model = loaded(f"v0 = Exp (x) {chain('Neg', 3)} r = Relu (v3) y = Abs (r)")
    statistics = apply_rules(model, [DoubleNeg(), MergeAdds()], Rewriter(model))
    assert statistics["merge-adds"].tried == 0
    assert 0 < statistics["double-neg"].tried <= 6


def test_the_first_rule_that_matches_wins() -> None:
    model = loaded("a = Relu (x) y = Exp (a)")

    class Other(Swap):
        """Never reached."""

    statistics = apply_rules(model, [Swap(), Other()], Rewriter(model))
    assert (statistics["swap"].applied, statistics["other"].applied) == (1, 0)


def test_rules_without_an_end_are_named() -> None:
    model = loaded("a = Relu (x) y = Exp (a)")
    rules: list[Rule] = [Swap(), SwapBack()]
    with pytest.raises(
        InternalError, match=r"rule 'swap(-back)?' was applied \d+ times on 2 nodes without an end"
    ):
        apply_rules(model, rules, Rewriter(model))


class TestLimit:
    BODY = f"v0 = Exp (x) {chain('Neg', 20)} y = Relu (v20)"

    def test_of_the_driver(self) -> None:
        model = loaded(self.BODY)
        rewriter = Rewriter(model, limit=3)
        apply_rules(model, [DoubleNeg()], rewriter)
        assert rewriter.count == 3
        assert sum(node.op_type == "Neg" for node in model.graph) == 14

    def test_of_a_pipeline_is_shared_by_its_passes(self) -> None:
        model = loaded(f"{self.BODY.replace('y =', 'z =')} y = Abs (z)")
        records = run_pipeline(model, [DoubleNeg(), Swap()], rewrite_limit=10)
        assert [record.rewrites for record in records] == [10, 0]
        records = run_pipeline(model, [Swap()], rewrite_limit=1)
        assert [record.rewrites for record in records] == [1]

    def test_mandatory_passes_are_not_limited(self) -> None:
        model = ir.load(
            onnx.parser.parse_model(
                '<ir_version: 10, opset_import: ["" : 20]> g (float[2] x) => (float[2] y) { y = Relu (x) }'
            )
        )
        records = run_pipeline(model, build("default", "tflite"), rewrite_limit=0)
        assert {node.domain for node in model.graph} == {"tflite"}
        optional = {item.name for item in build("default", "tflite") if not item.mandatory}
        assert all(record.rewrites == 0 for record in records if record.name in optional)

    def test_rewrites_have_the_same_numbers_each_time(self) -> None:
        def after(limit: int) -> list[str]:
            model = loaded(self.BODY)
            apply_rules(model, [DoubleNeg()], Rewriter(model, limit=limit))
            return list(ir.graph_lines(model.graph))

        assert after(4) == after(4)
        assert after(4) != after(5)


def test_records() -> None:
    model = loaded(f"v0 = Exp (x) {chain('Neg', 4)} y = Relu (v4)")
    records = run_pipeline(model, [DoubleNeg(), Swap()], first=5)
    assert [(r.index, r.name, r.rewrites, r.nodes_before, r.nodes_after) for r in records] == [
        (5, "double-neg", 2, 6, 2),
        (6, "swap", 1, 2, 2),
    ]
    assert records[0].rules["double-neg"].applied == 2


class TestGuard:
    """A pass that the guard finds guilty is rolled back and told; what follows runs on the sound graph."""

    def test_rolled_back(self) -> None:
        model = loaded("a = Relu (x) n = Neg (a) m = Neg (n) y = Exp (m)")
        records = run_pipeline(
            model,
            [Swap(), DoubleNeg()],
            guard=lambda item, model: "output 'y' differs" if item.name == "swap" else "",
            debug=True,
        )
        assert records[0].rolled_back == "output 'y' differs"
        assert records[0].notes == ["swap: output 'y' differs"]
        assert (records[0].nodes_before, records[0].nodes_after, records[1].nodes_before) == (4, 4, 4)
        assert [node.op_type for node in model.graph] == ["Relu", "Exp"]
        assert ir.origin(next(iter(model.graph))) == ("a",)
        assert [v.name for v in model.graph.outputs] == ["y"]

    def test_notes_of_the_model_are_rolled_back_too(self) -> None:
        model = loaded("a = Relu (x) y = Exp (a)")

        @dataclasses.dataclass(frozen=True)
        class Noting(Swap):
            """Writes into the model's metadata."""

            def rewrite(self, match: Match, rewriter: Rewriter) -> ir.Value:
                rewriter.model.meta["note"] = np.zeros(1)
                return super().rewrite(match, rewriter)

        run_pipeline(model, [Noting()], guard=lambda item, model: "no")
        assert "note" not in model.meta

    def test_passes_that_change_nothing_are_not_run(self) -> None:
        model = loaded("a = Relu (x) y = Exp (a)")
        asked: list[str] = []
        run_pipeline(model, [DoubleNeg(), Swap()], guard=lambda item, model: asked.append(item.name) or "")
        assert asked == ["swap"]
