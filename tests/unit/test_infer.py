"""Shape inference: partly known shapes, control flow, news that travels, and equal nodes inferred once."""

from __future__ import annotations

import numpy as np
import onnx.parser
import pytest

import graphrewrite.ir.infer as infer
from graphrewrite import ir
from graphrewrite.errors import InternalError, InvalidModel
from graphrewrite.ir.shapes import broadcast, resolve_reshape
from graphrewrite.registry.importing import import_model
from graphrewrite.rewrite import Rewriter


def imported(body: str, inputs: str = "float[N,4,6] x", outputs: str = "y", opset: int = 20) -> ir.Model:
    """A model with all shapes inferred; outputs are declared without shape."""
    declared = ", ".join(f"float[] {name}" if " " not in name else name for name in outputs.split(","))
    text = f'<ir_version: 10, opset_import: ["" : {opset}]> g ({inputs}) => ({declared}) {{ {body} }}'
    proto = onnx.parser.parse_model(text)
    for value in proto.graph.output:
        value.type.tensor_type.ClearField("shape")
    model = ir.load(proto)
    import_model(model, Rewriter(model))
    return model


def value(model: ir.Model, name: str) -> ir.Value:
    return next(v for node in ir.all_nodes(model.graph) for v in node.outputs if v.name == name)


class TestPartialShapes:
    def test_a_reshape_built_from_the_shape_of_its_operand(self) -> None:
        model = imported(
            """s = Shape (x)
            i0 = Constant <value_int = 0> ()  i1 = Constant <value_int = 1> ()
            d0 = Gather <axis = 0> (s, i0)    d1 = Gather <axis = 0> (s, i1)
            zero = Constant <value_ints = [0]> ()
            u0 = Unsqueeze (d0, zero)         u1 = Unsqueeze (d1, zero)
            tail = Constant <value_ints = [2, 3]> ()
            target = Concat <axis = 0> (u0, u1, tail)
            y = Reshape (x, target)"""
        )
        assert ir.dims(value(model, "y")) == ("N", 4, 2, 3)
        assert ir.shape_data(value(model, "target")) == ["N", 4, 2, 3]

    def test_minus_one_keeps_the_batch(self) -> None:
        model = imported("t = Constant <value_ints = [-1, 24]> ()  y = Reshape (x, t)")
        assert ir.dims(value(model, "y")) == ("N", 24)

    def test_arithmetic_on_shapes(self) -> None:
        model = imported(
            """s = Shape <start = 1, end = 3> (x)
            two = Constant <value_ints = [2]> ()
            halves = Div (s, two)
            batch = Shape <end = 1> (x)
            t = Concat <axis = 0> (batch, two, halves, two)
            y = Reshape (x, t)"""
        )
        assert ir.dims(value(model, "y")) == ("N", 2, 2, 3, 2)

    def test_expand_tile_and_constant_of_shape(self) -> None:
        model = imported(
            """s = Shape (x)
            e = Expand (one, s)
            z = ConstantOfShape (s)
            r = Constant <value_ints = [1, 2, 3]> ()
            t = Tile (x, r)
            a = Add (e, z)
            y = Identity (t)""",
            inputs="float[N,4,6] x, float[1] one",
            outputs="y,a",
        )
        assert ir.dims(value(model, "e")) == ("N", 4, 6)
        assert ir.dims(value(model, "z")) == ("N", 4, 6)
        assert ir.dims(value(model, "t")) == ("N", 8, 18)

    def test_floats_are_no_shapes(self) -> None:
        model = imported(
            """s = Shape (x)  f = Cast <to = 1> (s)
            two = Constant <value_float = 4.0> ()  q = Div (f, two)  i = Cast <to = 7> (q)
            y = ConstantOfShape (i)"""
        )
        assert ir.dims(value(model, "y")) == (None, None, None), (
            "5 / 2 is 2.5: not to be computed in integers"
        )

    @pytest.mark.parametrize("content", ['value_string = "a"', 'value_strings = ["a", "b"]'])
    def test_constants_of_text(self, content: str) -> None:
        """Equal tells their shapes; of those that nothing reads nothing is left."""
        model = imported(f"t = Constant <{content}> ()  same = Equal (t, t)  y = Cast <to = 1> (same)")
        assert ir.dims(value(model, "y")) == ((2,) if "[" in content else ())
        model = imported(f"t = Constant <{content}> ()  y = Relu (x)")
        assert [node.op_type for node in model.graph] == ["Relu"]

    def test_unnamed_dimensions_get_symbols(self) -> None:
        model = imported("y = Relu (x)", inputs="float[?,4] x")
        assert ir.dims(value(model, "y")) == ("x_dim0", 4)

    def test_stale_shapes_of_the_exporter_are_forgotten(self) -> None:
        proto = onnx.parser.parse_model(
            '<ir_version: 10, opset_import: ["" : 20]> g (float[2,3] x) => (float[2,3] y) <float[9,9] a> '
            "{ a = Relu (x)  y = Neg (a) }"
        )
        model = ir.load(proto)
        import_model(model, Rewriter(model))
        assert ir.dims(value(model, "a")) == (2, 3)

    @pytest.mark.parametrize(
        ("left", "right", "result"),
        [
            ((2, 1), (3,), (2, 3)),
            (("N", 1), ("N", 4), ("N", 4)),
            (("N",), ("M",), (None,)),
            (("N",), (1,), ("N",)),
            (("N",), (5,), (5,)),
            ((None, 3), (3,), (None, 3)),
            ((), ("N", 2), ("N", 2)),
        ],
    )
    def test_broadcast(self, left: ir.Dims, right: ir.Dims, result: ir.Dims) -> None:
        assert broadcast(left, right) == result

    @pytest.mark.parametrize(
        ("source", "target", "allowzero", "result"),
        [
            ((2, 3, 4), [0, -1], False, (2, 12)),
            (("N", 3, 4), [0, -1], False, ("N", 12)),
            (("N", 3, 4), [-1, 12], False, ("N", 12)),
            (("N", "M", 4), [-1, 4], False, (None, 4)),
            (("N", "N"), ["N", -1], False, ("N", "N")),
            ((0, 3), [0, 3], True, (0, 3)),
            ((5, 3), [-1, 2], False, (None, 2)),
            (None, [0, 2], False, (None, 2)),
        ],
    )
    def test_reshape(self, source: ir.Dims, target: list[ir.Dim], allowzero: bool, result: ir.Dims) -> None:
        assert resolve_reshape(source, target, allowzero=allowzero) == result


class TestControlFlow:
    def test_if_keeps_what_both_branches_agree_on(self) -> None:
        model = imported(
            """y = If (c) < then_branch = t () => (p) { p = Concat <axis = 1> (x, x) },
                             else_branch = e () => (q) { q = Relu (x) } >""",
            inputs="float[N,4,6] x, bool c",
        )
        assert ir.dims(value(model, "y")) == ("N", None, 6)
        assert ir.dims(value(model, "p")) == ("N", 8, 6)

    def test_loop_states_that_keep_their_shape_and_those_that_grow(self) -> None:
        model = imported(
            """n = Constant <value_int = 3> ()  c = Constant <value = bool {1}> ()
            y, grown, all = Loop (n, c, x, x) < body = b (int64 i, bool k, s, g) => (k2, s2, g2, out) {
                k2 = Identity (k)  s2 = Relu (s)  g2 = Concat <axis = 1> (g, s)  out = Neg (s) } >""",
            outputs="y,grown,all",
        )
        assert ir.dims(value(model, "y")) == ("N", 4, 6)
        assert ir.dims(value(model, "grown")) in (None, ("N", None, 6))
        assert ir.dims(value(model, "all")) == (None, "N", 4, 6)

    def test_scan(self) -> None:
        model = imported(
            """y, ys = Scan <num_scan_inputs = 1, scan_input_axes = [1], body = b (s, e) => (s2, o) {
                s2 = Add (s, e)  o = Relu (s2) } > (h, x)""",
            inputs="float[N,4,6] x, float[N,6] h",
            outputs="y,ys",
        )
        assert ir.dims(value(model, "y")) == ("N", 6)
        assert ir.dims(value(model, "ys")) == (4, "N", 6)


class TestConflicts:
    def test_a_wrong_model_is_named(self) -> None:
        with pytest.raises(InvalidModel, match="contradicts itself at Add 'y'"):
            imported("y = Add (x, z)", inputs="float[2,3] x, float[2,4] z")

    def test_a_declared_output_shape_that_is_wrong(self) -> None:
        proto = onnx.parser.parse_model(
            '<ir_version: 10, opset_import: ["" : 20]> g (float[2,3] x) => (float[2,3] y) { y = Transpose (x) }'
        )
        model = ir.load(proto)
        import_model(model, Rewriter(model))
        assert ir.dims(model.graph.outputs[0]) == (3, 2), "what is computed wins over what is declared"

    def test_refine_merges_and_refuses(self) -> None:
        made = ir.Value(name="v", shape=ir.Shape(["N", 3, None]))
        assert ir.refine(made, 1, (2, None, "M"))
        assert ir.dims(made) == (2, 3, "M")
        assert not ir.refine(made, 1, (2, 3, None))
        with pytest.raises(
            ir.ShapeConflict, match=r"'v' has the shape \[2, 3, 'M'\] and is inferred as \[2, 4, 5\]"
        ):
            ir.refine(made, None, (2, 4, 5))
        with pytest.raises(ir.ShapeConflict, match="'v' is FLOAT and is inferred as INT64"):
            ir.refine(made, 7, None)


class TestIncremental:
    """What a rewrite teaches reaches everything that can learn from it."""

    def test_a_dimension_travels_through_shape_computations(self) -> None:
        model = imported(
            """n = NonZero (x)  f = Cast <to = 1> (n)
            s = Shape (f)  i = Constant <value_ints = [1]> ()  d = Gather <axis = 0> (s, i)
            one = Constant <value_ints = [1]> ()  t = Concat <axis = 0> (one, d)
            r = Reshape (x, t)  y = Relu (r)""",
            inputs="float[6] x",
        )
        assert ir.dims(value(model, "y")) == (1, None)
        rewriter = Rewriter(model)
        cast = value(model, "f").producer()
        assert cast is not None
        with rewriter.rewrite("test", cast):
            rewriter.replace(cast, rewriter.constant(np.zeros((1, 6), np.float32)))
        assert ir.dims(value(model, "y")) == (1, 6)

    def test_a_target_that_becomes_constant(self) -> None:
        model = imported(
            "d = Cast <to = 7> (t)  y0 = Reshape (x, d)  y = Relu (y0)",
            inputs="float[4,6] x, float[2] t",
        )
        assert ir.dims(value(model, "y")) == (None, None)
        rewriter = Rewriter(model)
        cast = value(model, "d").producer()
        assert cast is not None
        with rewriter.rewrite("test", cast):
            rewriter.replace(cast, rewriter.constant(np.array([3, 8], np.int64)))
        assert ir.dims(value(model, "y")) == (3, 8)

    def test_part_of_a_target_that_becomes_constant(self) -> None:
        model = imported(
            """d = Cast <to = 7> (t)  one = Constant <value_ints = [1]> ()
            c = Concat <axis = 0> (one, d)  m = Mul (c, c)  y0 = Reshape (x, m)  y = Relu (y0)""",
            inputs="float[4,9] x, float[2] t",
        )
        rewriter = Rewriter(model)
        cast = value(model, "d").producer()
        assert cast is not None
        with rewriter.rewrite("test", cast):
            rewriter.replace(cast, rewriter.constant(np.array([2, 3], np.int64)))
        assert ir.dims(value(model, "y")) == (1, 4, 9), (
            "Concat's own type stays; its content is news to the Reshape"
        )

    def test_a_rewrite_that_contradicts_is_an_internal_error(self) -> None:
        model = imported("a = Relu (x)  y = Neg (a)", inputs="float[2,3] x")
        rewriter = Rewriter(model)
        relu = value(model, "a").producer()
        assert relu is not None
        with pytest.raises(InternalError, match="changes what 'a' is"), rewriter.rewrite("bad-rule", relu):
            rewriter.replace(relu, rewriter.op("Transpose", relu.inputs[0], perm=[1, 0]))
        with (
            pytest.raises(InternalError, match="bad-rule at 'y' built a wrong node: Add"),
            rewriter.rewrite("bad-rule", value(model, "y").producer()),
        ):
            rewriter.op("Add", model.graph.inputs[0], rewriter.constant(np.zeros(5, np.float32)))


class TestRemembered:
    def test_equal_nodes_are_inferred_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        calls = []
        original = infer._call
        monkeypatch.setattr(infer, "_MEMO", {})
        monkeypatch.setattr(infer, "_call", lambda *a: calls.append(a[1].op_type) or original(*a))
        body = " ".join(f"v{i + 1} = Relu (v{i})" for i in range(50))
        model = imported(f"v0 = Neg (x) {body} y = Abs (v50)")
        assert sorted(calls) == ["Abs", "Neg", "Relu"]
        assert ir.dims(value(model, "v50")) == ("N", 4, 6)

    def test_what_inference_reads_tells_nodes_apart(self) -> None:
        model = imported(
            """p = Transpose <perm = [0, 1, 2]> (x)  q = Transpose <perm = [2, 1, 0]> (x)
            a0 = Constant <value_ints = [0]> ()  a2 = Constant <value_ints = [-1]> ()
            u = Unsqueeze (x, a0)  w = Unsqueeze (x, a2)
            i = Cast <to = 6> (x)  f = Cast <to = 11> (x)
            s2 = Constant <value_floats = [1.0, 1.0, 2.0]> ()  s3 = Constant <value_floats = [1.0, 1.0, 3.0]> ()
            r2 = Resize <mode = "nearest"> (x, , s2)  r3 = Resize <mode = "nearest"> (x, , s3)
            y = Identity (x)""",
            outputs="p,q,u,w,int32[] i,double[] f,r2,r3,y",
            inputs="float[2,4,6] x",
        )
        found = {name: ir.dims(value(model, name)) for name in ("p", "q", "u", "w", "r2", "r3")}
        assert found == {
            "p": (2, 4, 6),
            "q": (6, 4, 2),
            "u": (1, 2, 4, 6),
            "w": (2, 4, 6, 1),
            "r2": (2, 4, 12),
            "r3": (2, 4, 18),
        }
        assert value(model, "i").dtype == ir.DataType.INT32
        assert value(model, "f").dtype == ir.DataType.DOUBLE

    def test_the_memory_is_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        memo: dict[object, object] = {}
        monkeypatch.setattr(infer, "_MEMO", memo)
        monkeypatch.setattr(infer, "_MEMO_LIMIT", 8)
        body = " ".join(f"v{i + 1} = LeakyRelu <alpha = {i}.5> (v{i})" for i in range(30))
        imported(f"v0 = Neg (x) {body} y = Abs (v30)")
        assert 0 < len(memo) <= 8
