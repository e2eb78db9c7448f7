"""float16 safety: what is found, which nodes are marked, and that marking them is enough."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from half_program import as_half_program

import graphrewrite
from graphrewrite import ir
from graphrewrite.numeric import ranges
from graphrewrite.numeric.half import misfit
from graphrewrite.numeric.metrics import FP16, compare
from graphrewrite.numeric.original import Original
from graphrewrite.numeric.ranges import HalfReport, examine
from graphrewrite.numeric.reference import create_session
from graphrewrite.pipeline import Stage, build, run_pipeline

MODELS = Path(__file__).resolve().parent.parent / "golden" / "models"


def examined(
    source: onnx.ModelProto | str, sample: dict[str, np.ndarray], *, lowered: bool = False
) -> tuple[ir.Model, HalfReport]:
    """The graph before or after lowering, and the report on `sample`."""
    proto = onnx.parser.parse_model(source) if isinstance(source, str) else source
    model = ir.load(proto)
    passes = build("default" if lowered else "none", "tflite")
    run_pipeline(
        model, [item for item in passes if item.stage < (Stage.STORE if lowered else Stage.LEGALIZE)]
    )
    return model, examine(model, Original(proto, [sample]))


def text(body: str, inputs: str = "float[2,3] x", outputs: str = "float[2,3] y", constants: str = "") -> str:
    return f'<ir_version: 10, opset_import: ["" : 20]> g ({inputs}) => ({outputs}) <{constants}> {{ {body} }}'


ONES = {"x": np.ones((2, 3), np.float32)}


class TestValues:
    @pytest.mark.parametrize("lowered", [False, True])
    def test_a_large_value_marks_what_makes_and_what_reads_it(self, lowered: bool) -> None:
        body = "[one] a = Mul(x, k) [two] b = Exp(x) [three] c = Div(a, b) [four] y = Sqrt(c)"
        model, report = examined(text(body, constants="float k = {100000.0}"), ONES, lowered=lowered)
        kinds = {(item.kind, item.node) for item in report.hazards}
        assert ("value", "one") in kinds
        assert ("value", "three") in kinds, "it is within a factor of 4"
        assert [ir.source_name(node) for node in model.graph if ir.keeps_float(node)] == [
            "one",
            "three",
            "four",
        ]
        assert report.kept == ("one", "three", "four")
        first = report.hazards[0]
        assert (first.value, first.size, first.kept) == ("a", 1e5, True) or first.kind == "constant"

    @pytest.mark.parametrize(
        ("size", "kind"),
        [
            (16000.0, None),
            (16400.0, "value"),
            (-70000.0, "value"),
            (7e-5, None),
            (5e-5, "underflow"),
            (-5e-5, "underflow"),
            (0.0, None),
            (np.inf, None),
            (np.nan, None),
        ],
    )
    def test_limits(self, size: float, kind: str | None) -> None:
        _, report = examined(
            text("y = Neg(x)"),
            {"x": np.full((2, 3), size, np.float32)},
        )
        assert {item.kind for item in report.hazards} == ({kind} if kind else set())

    def test_beside_infinities_the_others_count(self) -> None:
        x = np.array([[np.inf, 1e6, 1], [-np.inf, 0, 1]], np.float32)
        _, report = examined(text("y = Neg(x)"), {"x": x})
        assert [(item.kind, item.size) for item in report.hazards] == [("value", 1e6)] * 2
        x[0, 1] = 1
        assert examined(text("y = Neg(x)"), {"x": x})[1].hazards == ()

    def test_every_sample_counts(self) -> None:
        proto = onnx.parser.parse_model(text("y = Neg(x)"))
        model = ir.load(proto)
        samples = [{"x": np.full((2, 3), size, np.float32)} for size in (1, 1e5, 2)]
        report = examine(model, Original(proto, samples))
        assert report.samples == 3
        assert {item.size for item in report.hazards} == {1e5}

    def test_other_types_and_empty_tensors(self) -> None:
        inputs = "float[0,3] x, int64[2] n, double[2] d, bool[2] b, float16[2] h"
        outputs = "float[0,3] y, int64[2] m, double[2] e, bool[2] c, float16[2] g"
        sample = {
            "x": np.ones((0, 3), np.float32),
            "n": np.array([10**6, 1]),
            "d": np.array([1e6, 1.0]),
            "b": np.array([True, False]),
            "h": np.array([60000, 1], np.float16),
        }
        body = "y = Relu(x) m = Neg(n) [big] e = Abs(d) c = Not(b) [near] g = Abs(h)"
        _, report = examined(text(body, inputs, outputs), sample)
        assert {item.node for item in report.hazards} == {"big", "near"}


class TestSums:
    @pytest.mark.parametrize("lowered", [False, True])
    @pytest.mark.parametrize(
        ("body", "shape", "wanted"),
        [
            ("[op] y = ReduceMean<keepdims = 0>(x)", (1, 4, 100, 200), 80_000),
            ("[op] y = GlobalAveragePool(x)", (1, 1, 300, 300), 90_000),
            ("[op] y = AveragePool<kernel_shape = [300, 300]>(x)", (1, 1, 300, 300), 90_000),
            ("[op] y = ReduceL2<keepdims = 0>(x)", (1, 1, 300, 300), 90_000),
            ("[op] y = InstanceNormalization(x, one, one)", (1, 1, 300, 300), 90_000),
            ("[op] y = LayerNormalization<axis = 1>(x, s)", (1, 1, 300, 300), 90_000),
        ],
    )
    def test_reductions(self, body: str, shape: tuple[int, ...], wanted: float, lowered: bool) -> None:
        dims = ",".join(map(str, shape))
        x = np.where(np.arange(np.prod(shape)) % 2, 1, -1).reshape(shape).astype(np.float32)
        outputs = "float y" if "keepdims = 0" in body else "float[a,b,c,d] y"
        model = onnx.parser.parse_model(text(body, f"float[{dims}] x", outputs, "float[1] one = {1.0}"))
        if "LayerNorm" in body:
            model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(shape[1:], np.float32), "s"))
        _, report = examined(model, {"x": x}, lowered=lowered)
        sums = [item for item in report.hazards if item.kind == "sum" and item.kept]
        assert sums, report.hazards
        assert max(item.size for item in sums) >= 0.99 * wanted
        assert {item.node for item in sums} == {"op"}

    def test_a_convolution_s_terms_cancel(self) -> None:
        """The result is 0, but on the way there 70,000 are added up."""
        body = "[op] y = Conv(x, w)"
        weights = "float[1,2,1,1] w = {1.0, -1.0}"
        x = np.full((1, 2, 4, 4), 35_000, np.float32)
        x /= 2
        _, near = examined(text(body, "float[1,2,4,4] x", "float[1,1,4,4] y", weights), {"x": x})
        assert [(item.kept, item.size) for item in near.hazards if item.kind == "sum"] == [(False, 35_000)]
        model, over = examined(text(body, "float[1,2,4,4] x", "float[1,1,4,4] y", weights), {"x": x * 2})
        assert [(item.kept, item.size) for item in over.hazards if item.kind == "sum"] == [(True, 70_000)]
        assert ir.keeps_float(next(iter(model.graph)))

    def test_products(self) -> None:
        for body in (
            "[op] y = MatMul(x, t)",
            "[op] y = Gemm(x, t)",
            '[op] y = Einsum<equation = "ij,jk->ik">(x, t)',
        ):
            sample = {"x": np.full((2, 3), 200, np.float32), "t": np.full((3, 2), -200, np.float32)}
            _, report = examined(text(body, "float[2,3] x, float[3,2] t", "float[2,2] y"), sample)
            (found,) = [item for item in report.hazards if item.kind == "sum"]
            assert found.size == 120_000

    @pytest.mark.parametrize("lowered", [False, True])
    @pytest.mark.parametrize(
        "body",
        [
            "y = Conv<pads = [1, 1, 1, 1]>(x, w4, b4)",
            "y = Conv<group = 2>(x, w42)",
            "y = ConvTranspose<group = 2>(x, w42)",
            "y = ConvTranspose<strides = [2, 2]>(x, w4)",
            "f = Flatten(x) y = Gemm<transB = 1, alpha = -3.0, beta = 2.0>(f, w24, b4)",
            "f = Flatten(x) g = Transpose<perm = [1, 0]>(f) y = MatMul(w24, g)",
            "f = Flatten(x) g = MatMul(f, v) y = Unsqueeze(g, k)",
            "f = Flatten(x) p = Sigmoid(f) q = Transpose<perm = [1, 0]>(f) y = MatMul(q, p)",
            "y = ReduceMean<keepdims = 0>(x, k)",
            "y = ReduceSumSquare<keepdims = 0>(x)",
            "y = InstanceNormalization(x, b4, b4)",
            "y = GroupNormalization<num_groups = 2>(x, b4, b4)",
            "y = LpNormalization<axis = 1>(x)",
            "y = AveragePool<kernel_shape = [2, 2]>(x)",
            "y = GlobalAveragePool(x)",
            "y = CumSum(x, one)",
        ],
    )
    def test_leaving_nodes_out_loses_no_sum(
        self, body: str, lowered: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The bound that spares a node its estimate is no smaller than the estimate."""
        rng = np.random.default_rng(0)
        model = onnx.parser.parse_model(text(body, "float[2,4,2,3] x", "float y"))
        model.graph.output[0].type.tensor_type.ClearField("shape")
        shapes = {"w4": (4, 4, 2, 2), "w42": (4, 2, 2, 2), "w24": (5, 24), "v": (24,), "b4": (4,)}
        if "Gemm" in body:
            shapes["b4"] = (5,)
        if "GroupN" in body:  # one number a group up to opset 20
            shapes["b4"] = (2,)
        arrays = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
        arrays |= {"k": np.array([1]), "one": np.array(1)}
        model.graph.initializer.extend(
            onnx.numpy_helper.from_array(item, name) for name, item in arrays.items() if name in body
        )
        for factor in (300, 3e3, 3e4):
            sample = {"x": rng.standard_normal((2, 4, 2, 3)).astype(np.float32) * factor}
            found = examined(model, sample, lowered=lowered)[1].hazards
            with monkeypatch.context() as patch:
                patch.setattr(
                    ranges,
                    "suspects",
                    lambda flat, largest, limit: {item.output[0] for item in flat.proto.graph.node},
                )
                assert examined(model, sample, lowered=lowered)[1].hazards == found


class TestConstants:
    def test_an_epsilon_counts_only_beside_small_values(self) -> None:
        body = "[sum] a = Add(x, e) [root] y = Sqrt(a)"
        model = text(body, constants="float e = {0.00000001}")
        assert examined(model, ONES)[1].hazards == ()
        _, report = examined(model, {"x": np.array([[0, 1, 2], [3, 4, 5]], np.float32)})
        assert [(item.kind, item.node, item.size) for item in report.hazards] == [
            ("constant", "sum", pytest.approx(1e-8))
        ]

    @pytest.mark.parametrize("lowered", [False, True])
    def test_scales_and_masks(self, lowered: bool) -> None:
        body = "[scaled] a = Mul(x, tiny) b = Mul(a, big) [masked] y = Add(b, mask)"
        constants = (
            "float tiny = {0.0000001}, float big = {30000.0}, float[3] mask = {0.0, -1000000000.0, 0.0}"
        )
        x = np.full((2, 3), 1e3, np.float32)
        model, report = examined(text(body, constants=constants), {"x": x}, lowered=lowered)
        assert {item.kind for item in report.hazards} >= {"constant"}
        marked = {ir.source_name(node) for node in model.graph if ir.keeps_float(node)}
        assert "masked" in marked


class TestWhole:
    def test_what_cannot_run_is_said(self) -> None:
        model = '<ir_version: 10, opset_import: ["" : 20, "lab" : 1]> g (float[2] x) => (float[2] y) { y = lab.Odd (x) }'
        proto = onnx.parser.parse_model(model)
        report = examine(ir.load(proto), Original(proto, [{"x": np.ones(2, np.float32)}]))
        assert "ONNX Runtime can't load the model" in report.problem
        assert report.hazards == ()

    def test_control_flow_is_told_of(self) -> None:
        body = onnx.parser.parse_graph(
            "b (int64 i, bool c, float[2,3] s) => (bool d, float[2,3] t) { d = Identity(c) t = Add(s, s) }"
        )
        proto = onnx.parser.parse_model(text("y = Neg(x)", "float[2,3] x, int64 n"))
        proto.graph.node.append(onnx.helper.make_node("Loop", ["n", "", "y"], ["z"], "loop", body=body))
        proto.graph.output.append(onnx.helper.make_tensor_value_info("z", 1, [2, 3]))
        for lowered in (False, True):
            sample = {"x": ONES["x"], "n": np.array(20)}
            _, report = examined(proto, sample, lowered=lowered)
            assert report.unmeasured == ("loop",)
            assert {item.value for item in report.hazards if item.kind == "value"} >= {"z"}

    @pytest.mark.parametrize("name", ["stylegan2_kept_fused.ts17", "stylegan2_moved_unfused.ts17"])
    def test_stylegan2_with_large_styles_stays_right_in_mixed_precision(self, name: str) -> None:
        """Demodulation divides the styles out again, but their squares are beyond float16 on the way."""
        proto = onnx.load(MODELS / f"{name}.onnx")
        weights = {item.name: item for item in proto.graph.initializer}
        scaled = 0
        for node in proto.graph.node:
            if node.op_type == "Gemm" and "conv" in node.name + node.output[0]:
                for key in node.input[1:]:
                    weights[key].CopyFrom(
                        onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weights[key]) * 3000, key)
                    )
                scaled += 1
        assert scaled >= 4
        model = ir.load(proto)
        passes = [item for item in build("default", "tflite") if item.stage < Stage.LEGALIZE]
        original = Original(proto)
        run_pipeline(model, [item for item in passes if item.stage == Stage.IMPORT])
        original.draw(model, None, 0)
        run_pipeline(model, [item for item in passes if item.stage != Stage.IMPORT])
        report = examine(model, original)
        assert 0 < len(report.kept) < 0.8 * len(model.graph)
        (wanted,) = original.open().run(original.samples[1]).values()

        def found(*, mixed: bool) -> np.ndarray:
            session = create_session(as_half_program(model, mixed=mixed))
            image: np.ndarray = session.run(None, original.samples[1])[0]
            return image

        assert not compare("image", wanted, found(mixed=False), FP16).passed
        assert compare("image", wanted, found(mixed=True), FP16).passed

    def test_the_report_of_a_run(self, tmp_path: Path) -> None:
        proto = onnx.parser.parse_model(
            text("[big] a = Mul(x, k) y = Sigmoid(a)", constants="float k = {90000.0}")
        )
        run = graphrewrite.run(proto, "tflite{precision=fp16}", output=tmp_path / "a.tflite")
        half = json.loads(json.dumps(run.report))["half"]
        assert half["samples"] == 3
        assert "big" in half["kept"]
        assert {"kind", "value", "node", "op", "size", "kept", "reason"} == half["hazards"][0].keys()
        from graphrewrite.report.text import report_lines

        assert any("nodes must compute in float32" in line for line in report_lines(run))
        assert graphrewrite.run(proto, output=tmp_path / "a.tflite").report["half"] is None

    def test_the_memory_of_a_run_is_that_of_its_values(self) -> None:
        """A chain of 300 values of 4 MB runs in far less than 1.2 GB: each is reduced where it arises."""
        import resource

        steps = " ".join(f"v{k + 1} = Neg(v{k})" for k in range(300))
        model = text(f"v0 = Abs(x) {steps} y = Neg(v300)", "float[1000,1000] x", "float[1000,1000] y")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        examined(model, {"x": np.ones((1000, 1000), np.float32)})
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000


def test_misfits() -> None:
    def of(*values: float) -> str:
        return misfit(np.array(values, np.float32))

    assert of(1, -65504, 0.1) == of(0) == of() == of(np.inf, 1) == of(np.nan, -np.inf) == ""
    assert "beyond" in of(1, 65520)
    assert "below" in of(1e-6, 2e-6)
    assert of(1, 1e-9) == "", "beside a large value a small one does not matter"
