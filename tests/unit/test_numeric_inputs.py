"""Samples that suit a model, a user's samples, and noise that both sides share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx.numpy_helper
import onnx.parser
import pytest

from graphrewrite import ir
from graphrewrite.errors import NotChecked, UsageError
from graphrewrite.numeric.inputs import checked_sample, load_samples, make_samples
from graphrewrite.numeric.noise import NOISE, NoisePlan
from graphrewrite.numeric.original import Original
from graphrewrite.numeric.reference import create_session, open_reference
from graphrewrite.registry.importing import import_model
from graphrewrite.rewrite import Rewriter


def parsed(body: str, inputs: str, inits: str = "") -> onnx.ModelProto:
    proto = onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["" : 20]> g ({inputs}) => (float[] y) {inits} {{ {body} }}'
    )
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    return proto


def loaded(body: str, inputs: str, inits: str = "") -> ir.Model:
    model = ir.load(parsed(body, inputs, inits))
    import_model(model, Rewriter(model))
    return model


class TestMade:
    def test_floats_are_normal_and_seeded(self) -> None:
        graph = loaded("y = Relu (x)", "float[64,64] x").graph
        a, b, c = make_samples(graph)
        assert a["x"].dtype == np.float32
        assert abs(float(a["x"].mean())) < 0.1
        assert 0.9 < float(a["x"].std()) < 1.1
        assert not np.array_equal(a["x"], b["x"])
        assert not np.array_equal(b["x"], c["x"])
        np.testing.assert_array_equal(make_samples(graph)[1]["x"], b["x"])
        assert not np.array_equal(make_samples(graph, seed=1)[0]["x"], a["x"])

    @pytest.mark.parametrize("dtype", ["float", "bool", "int64"])
    def test_of_rank_0_they_are_arrays(self, dtype: str) -> None:
        """NumPy draws numbers there, and ONNX Runtime takes none of its bools."""
        graph = loaded("c = Cast <to = 1> (x) y = Exp (c)", f"{dtype} x").graph
        for sample in make_samples(graph):
            assert isinstance(sample["x"], np.ndarray)
            assert sample["x"].shape == ()

    def test_dynamic_dimensions_take_several_sizes_and_agree(self) -> None:
        graph = loaded("a = Relu (x) y = Exp (z)", "float[N,3,H,W] x, float[N,T] z").graph
        shapes = [(item["x"].shape, item["z"].shape) for item in make_samples(graph)]
        assert shapes == [
            ((1, 3, 64, 64), (1, 8)),
            ((2, 3, 96, 96), (2, 12)),
            ((3, 3, 128, 128), (3, 16)),
        ]

    @pytest.mark.parametrize(
        "body",
        [
            "c = Cast <to = 9> (i) n = Not (c) y = Cast <to = 1> (n)",
            "n = Constant <value_int = 1> () t = Transpose (i) c = CumSum (t, n) y = Cast <to = 1> (c)",
        ],
    )
    def test_flags_are_0_or_1(self, body: str) -> None:
        drawn = np.concatenate(
            [item["i"].ravel() for item in make_samples(loaded(body, "int64[2,9] i").graph)]
        )
        assert set(drawn) == {0, 1}

    @pytest.mark.parametrize(
        ("body", "size"),
        [
            ("y = Gather <axis = 0> (w, i)", 5),
            ("y = Gather <axis = -1> (w, i)", 7),
            ("r = Reshape (i, s) y = Gather (w, r)", 5),
            ("c = Cast <to = 7> (i) y = GatherElements (w, c)", 5),
            ("y = GatherND (w, i)", 5),
            (
                "d = Constant <value_int = 4> () v = Constant <value_floats = [0.0, 1.0]> () y = OneHot (i, d, v)",
                4,
            ),
        ],
    )
    def test_indices_stay_in_range(self, body: str, size: int) -> None:
        values = ", ".join(["0.0"] * 35)
        inits = f"<float[5,7] w = {{{values}}}, int64[2] s = {{2, 2}}>"
        graph = loaded(body, "int64[2,2] i", inits).graph
        drawn = np.concatenate([item["i"].ravel() for item in make_samples(graph, 20)])
        assert drawn.min() == 0
        assert drawn.max() == size - 1

    def test_every_row_is_used_before_one_is_used_again(self) -> None:
        values = ", ".join(["0.0"] * 70)
        inits = f"<float[10,7] w = {{{values}}}>"
        graph = loaded(
            "a = Gather (w, i) b = Gather (w, j) c = ReduceSum (a) d = ReduceSum (b) y = Add (c, d)",
            "int64[2,4] i, int32[4] j",
            inits,
        ).graph
        samples = make_samples(graph, 5)
        for name, dtype in (("i", np.int64), ("j", np.int32)):
            drawn = np.concatenate([item[name].ravel() for item in samples])
            assert drawn.dtype == dtype
            for start in range(0, drawn.size, 10):
                assert sorted(drawn[start : start + 10].tolist()) == list(range(10))
        assert not np.array_equal(samples[0]["i"], make_samples(graph, seed=1)[0]["i"])
        np.testing.assert_array_equal(samples[2]["i"], make_samples(graph, 3)[2]["i"])
        big = loaded("y = Gather (w, i)", "int64[300] i", inits).graph
        counts = np.bincount(make_samples(big, 1)[0]["i"])
        assert counts.tolist() == [30] * 10

    def test_masks_booleans_and_small_integers(self) -> None:
        graph = loaded(
            "m = Cast <to = 1> (attention_mask) y = Where (b, m, m) u = Cast <to = 1> (k) v = Cast <to = 1> (q)",
            "int64[50] attention_mask, bool[50] b, uint8[50] k, int8[50] q",
        ).graph
        (sample,) = make_samples(graph, 1)
        assert set(sample["attention_mask"].tolist()) == {0, 1}
        assert sample["b"].dtype == bool
        assert sample["k"].max() > 10
        assert sample["q"].min() < 0

    def test_text_must_be_given(self) -> None:
        graph = ir.load(parsed("y = StringNormalizer (x)", "string[2] x")).graph
        with pytest.raises(UsageError, match="input 'x' is string: give samples"):
            make_samples(graph)


class TestGiven:
    INPUTS = {
        value.name or "": value for value in loaded("y = Mul (a, b)", "float[N,2] a, float[2] b").graph.inputs
    }

    def test_one_sample(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "s.npz", a=np.ones((3, 2)), b=np.arange(2), other=np.zeros(9))
        (sample,) = load_samples(tmp_path / "s.npz", self.INPUTS)
        assert {name: (array.dtype, array.shape) for name, array in sample.items()} == {
            "a": (np.float32, (3, 2)),
            "b": (np.float32, (2,)),
        }

    def test_several(self, tmp_path: Path) -> None:
        arrays = {
            f"sample{i}.input.{name}": np.full(shape, i)
            for i in (0, 2, 10)
            for name, shape in (("a", (1, 2)), ("b", (2,)))
        }
        np.savez(tmp_path / "s.npz", **arrays, samples=np.zeros(1))
        samples = load_samples(tmp_path / "s.npz", self.INPUTS)
        assert [float(item["b"][0]) for item in samples] == [0, 2, 10]

    @pytest.mark.parametrize(
        ("sample", "reason"),
        [
            ({"a": np.ones((1, 2))}, "has no array for the input 'b'; it holds a"),
            ({}, "has no array for the input 'a'; it holds nothing"),
            (
                {"a": np.ones((1, 3)), "b": np.ones(2)},
                r"an array of shape \[1, 3\] for the input 'a', which is \['N', 2\]",
            ),
            ({"a": np.ones(2), "b": np.ones(2)}, r"an array of shape \[2\]"),
            ({"a": np.array([["x", "y"]]), "b": np.ones(2)}, "what is no FLOAT"),
        ],
    )
    def test_samples_that_do_not_fit(self, sample: dict[str, np.ndarray], reason: str) -> None:
        with pytest.raises(UsageError, match=reason):
            checked_sample(sample, self.INPUTS)

    @pytest.mark.parametrize("kind", ["missing", "text", "npy", "cut", "empty"])
    def test_files_that_are_no_samples(self, tmp_path: Path, kind: str) -> None:
        path = tmp_path / "s.npz"
        if kind == "text":
            path.write_text("hello")
        elif kind == "npy":
            with open(path, "wb") as file:
                np.save(file, np.ones(3))
        elif kind == "cut":
            np.savez(path, a=np.ones((1, 2)), b=np.ones(2))
            path.write_bytes(path.read_bytes()[:200])
        elif kind == "empty":
            path.write_bytes(b"")
        with pytest.raises(UsageError, match=r"the samples '.*s\.npz' can't be read"):
            load_samples(path, self.INPUTS)


class TestDrawn:
    @pytest.mark.parametrize(("kernel", "length"), [(5, 8), (40, 128), (900, 2048), (9000, 8)])
    def test_as_much_of_a_signal_as_the_model_wants(self, kernel: int, length: int) -> None:
        proto = parsed("y = Conv (x, w)", "float[N,1,T] x")
        proto.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((1, 1, kernel), np.float32), "w"))
        model = ir.load(proto)
        import_model(model, Rewriter(model))
        original = Original(proto)
        original.draw(model, None, 0)
        assert [item["x"].shape for item in original.samples] == [
            (1, 1, length),
            (2, 1, length * 3 // 2),
            (3, 1, length * 2),
        ]


class TestNoise:
    BODY = "n = RandomNormalLike (x) k = RandomNormal <shape = [2, 3]> () s = Add (n, k) y = Add (x, s)"

    def test_kept_noise_is_fed_to_both_sides(self) -> None:
        proto = parsed(self.BODY, "float[2,3] x")
        reference = open_reference(proto)
        assert reference.noise == ("n", "k")
        assert reference.inputs == ("x",)
        model = ir.load(proto)
        import_model(model, Rewriter(model))
        plan = NoisePlan.of(model, reference)
        assert plan.inputs == ("n", "k")
        sample = {"x": np.ones((2, 3), np.float32)}
        wanted = reference.run(sample | plan.reference_feeds([sample])(0))["y"]
        twin = plan.externalised(model)
        session = create_session(ir.to_runnable_proto(twin))
        np.testing.assert_allclose(session.run(["y"], plan.candidate_feeds(sample))[0], wanted, rtol=1e-6)
        assert [v.name for v in twin.graph.inputs] == ["x", "n", "k"]
        assert [v.name for v in model.graph.inputs] == ["x"], "the model itself is as it was"
        assert not np.array_equal(plan.candidate_feeds(sample)["n"], plan.candidate_feeds(sample)["k"])

    def test_replaced_noise_is_fed_to_the_reference(self) -> None:
        proto = parsed(self.BODY, "float[2,3] x")
        model = ir.load(proto)
        import_model(model, Rewriter(model))
        model.meta[NOISE] = {"n": np.full((2, 3), 5, np.float32)}
        plan = NoisePlan.of(model, open_reference(proto))
        assert plan.inputs == ("k",)
        assert float(plan.reference_feeds([])(0)["n"][0, 0]) == 5
        assert "n" not in plan.candidate_feeds({})

    def test_noise_of_a_size_known_at_run_time_only_is_refused_with_the_way_out(self) -> None:
        proto = parsed("i = NonZero (x) f = Cast <to = 1> (i) y = RandomNormalLike (f)", "float[4] x")
        model = ir.load(proto)
        import_model(model, Rewriter(model))
        plan = NoisePlan.of(model, open_reference(proto))
        with pytest.raises(NotChecked, match=r"the noise 'y' has a size that depends.*\n.*policy=zero"):
            plan.reference_feeds([])
        model.meta[NOISE] = {"y": np.zeros((1, 1), np.float32)}
        assert NoisePlan.of(model, open_reference(proto)).reference_feeds([])(0)["y"].shape == (1, 1)

    def test_no_noise(self) -> None:
        proto = parsed("y = Relu (x)", "float[2] x")
        model = ir.load(proto)
        plan = NoisePlan.of(model, open_reference(proto))
        assert plan.externalised(model) is model
