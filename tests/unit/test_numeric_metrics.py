"""Metrics and verdicts: what passes, what does not, and the figures that are told."""

from __future__ import annotations

import json
import math

import numpy as np
import onnx.parser
import pytest

from graphrewrite.errors import NotChecked
from graphrewrite.numeric.check import Margin, check, margins
from graphrewrite.numeric.metrics import FP16, FP32, Comparison, Tolerance, compare
from graphrewrite.numeric.reference import open_reference

RNG = np.random.default_rng(0)


def of(reference: object, found: object, tolerance: Tolerance = FP32, **options: np.ndarray) -> Comparison:
    return compare("y", np.asarray(reference), np.asarray(found), tolerance, **options)


class TestFloats:
    def test_equal(self) -> None:
        x = RNG.standard_normal((2, 3)).astype(np.float32)
        item = of(x, x)
        assert item.passed
        assert (item.max_abs, item.rmse, item.sqnr, item.required) == (0, 0, math.inf, 0)
        assert item.cosine == pytest.approx(1)

    def test_figures(self) -> None:
        item = of(np.float32([3, 4, 0]), np.float32([3, 4, 1]))
        assert item.max_abs == 1
        assert item.ref_max == 4
        assert item.rmse == pytest.approx(math.sqrt(1 / 3))
        assert item.sqnr == pytest.approx(10 * math.log10(25))
        assert item.required == pytest.approx(0.25)
        assert item.cosine == pytest.approx(25 / (5 * math.sqrt(26)))

    @pytest.mark.parametrize(("noise", "passed"), [(3e-5, True), (3e-4, False)])
    def test_sqnr_decides(self, noise: float, passed: bool) -> None:
        x = RNG.standard_normal(10000).astype(np.float32)
        item = of(x, (x + noise * RNG.standard_normal(10000)).astype(np.float32))
        assert item.passed is passed
        assert passed or "is below 80 dB" in item.problem

    def test_one_element_far_off(self) -> None:
        x = np.ones(10_000_000, np.float32)
        y = x.copy()
        y[5] += 2e-4
        item = of(x, y)
        assert item.sqnr > 80
        assert not item.passed
        assert item.problem.startswith("max abs 0.0002 exceeds 0.0001")

    def test_the_limit_grows_with_the_reference(self) -> None:
        x = np.full(100, 1000, np.float32)
        assert of(x, x + np.float32(0.05)).passed
        assert not of(np.full(100, 1, np.float32), np.full(100, 1.05, np.float32)).passed

    def test_a_black_border_is_seen_though_the_cosine_is_high(self) -> None:
        x = np.abs(RNG.standard_normal((1, 1, 512, 512))).astype(np.float32) + 1
        y = x.copy()
        y[..., 0, :] = 0
        item = of(x, y)
        assert item.cosine > 0.99
        assert not item.passed
        assert item.border_max_abs > 1
        assert item.interior_max_abs == 0

    def test_an_error_inside_is_told_apart_from_the_border(self) -> None:
        x = np.ones((1, 1, 16, 16), np.float32)
        y = x.copy()
        y[0, 0, 8, 8] = 2
        assert (of(x, y).border_max_abs, of(x, y).interior_max_abs) == (0, 1)

    def test_small_or_flat_outputs_have_no_border(self) -> None:
        assert of(np.ones((2, 4, 4), np.float32), np.zeros((2, 4, 4), np.float32)).border_max_abs == 0
        assert of(np.ones(50, np.float32), np.zeros(50, np.float32)).interior_max_abs == 1

    @pytest.mark.parametrize("special", [math.nan, math.inf, -math.inf])
    def test_nan_and_infinity_must_agree(self, special: float) -> None:
        x = np.float32([1, special, 2])
        assert of(x, x).passed
        assert "1 elements are NaN or infinite on one side only" in of(x, np.float32([1, 5, 2])).problem
        assert "on one side only" in of(np.float32([1, 5, 2]), x).problem
        other = math.inf if special != math.inf else -math.inf
        assert of(x, np.float32([1, other, 2])).problem == "NaN or infinite elements differ in kind or sign"

    def test_a_reference_of_zeros(self) -> None:
        zeros = np.zeros(8, np.float32)
        assert of(zeros, zeros).passed
        assert of(zeros, zeros + np.float32(1e-7)).passed
        item = of(zeros, zeros + np.float32(1e-3))
        assert item.problem == "max abs 0.001 where the original is zero"
        assert item.sqnr == -math.inf

    def test_no_elements(self) -> None:
        empty = np.zeros((0, 3), np.float32)
        assert of(empty, empty).passed

    def test_float16_against_its_own_tolerance(self) -> None:
        x = RNG.standard_normal(1000).astype(np.float16)
        assert of(x, (x.astype(np.float32) * 1.001).astype(np.float16), FP16).passed


class TestStructure:
    def test_shape(self) -> None:
        item = of(np.zeros((2, 3), np.float32), np.zeros((3, 2), np.float32))
        assert item.problem == "the shape is [3, 2] where the original has [2, 3]"
        assert item.required == math.inf

    def test_type(self) -> None:
        item = of(np.zeros(2, np.int64), np.zeros(2, np.int32))
        assert item.problem == "the type is int32 where the original has int64"


class TestIntegers:
    def test_every_element_counts(self) -> None:
        item = of(np.arange(8), np.arange(8) + (np.arange(8) == 3))
        assert not item.passed
        assert item.mismatch == 1 / 8
        assert item.problem == "12.500% of the elements differ"
        assert of(np.array([True, False]), np.array([True, False])).passed

    def test_a_near_tie_may_go_either_way(self) -> None:
        scores = np.float32([[1, 1.00001], [1, 3]])
        margin = Margin("scores", axis=1, largest=True).of(scores, (2,))
        np.testing.assert_allclose(margin, [1e-5, 2], rtol=1e-2)
        assert of(np.array([1, 1]), np.array([0, 1]), margin=margin).passed
        assert not of(np.array([1, 1]), np.array([1, 0]), margin=margin).passed

    def test_margin_of_one_candidate_and_of_argmin(self) -> None:
        assert Margin("s", 0, True).of(np.ones((1, 3)), (1, 3)).tolist() == [[math.inf] * 3]
        assert Margin("s", 0, False).of(np.array([[5.0], [2.0], [3.0]]), (1, 1)).tolist() == [[1.0]]

    def test_outputs_that_come_from_an_argmax(self) -> None:
        proto = onnx.parser.parse_model(
            """<ir_version: 10, opset_import: ["" : 20]> g (float[2,3] x) => (int32[2] y, float[2,3] z) {
            z = Neg (x) a = ArgMax <axis = 1, keepdims = 0> (z) y = Cast <to = 6> (a) }"""
        )
        assert margins(proto) == {"y": Margin("z", 1, True)}


def test_json_is_plain() -> None:
    item = of(np.zeros(2, np.float32), np.ones(2, np.float32))
    text = json.dumps(item.to_json(), allow_nan=False)
    assert json.loads(text)["sqnr"] == "-inf"


class TestCheck:
    MODEL = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 20]> g (float[2] x) => (float[2] y, float[2] z) '
        "{ y = Relu (x) z = Neg (x) }"
    )
    SAMPLES = [{"x": np.float32([i, -i])} for i in range(1, 4)]

    @staticmethod
    def right(sample: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"y": np.maximum(sample["x"], 0), "z": -sample["x"]}

    def test_all_right(self) -> None:
        report = check(open_reference(self.MODEL), self.SAMPLES, {"a": self.right})
        assert report.passed
        assert [item.name for item in report.outputs] == ["y", "z"]
        assert (report.failing_runner, report.failing_sample) == ("", -1)

    def test_the_first_failure_and_the_worst_figures(self) -> None:
        def wrong(sample: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            found = self.right(sample)
            found["z"] = found["z"] + np.float32(0.1 * (sample["x"][0] - 1))
            return found

        report = check(open_reference(self.MODEL), self.SAMPLES, {"a": self.right, "b": wrong})
        assert not report.passed
        assert (report.failing_runner, report.failing_sample) == ("b", 1)
        assert [item.passed for item in report.outputs] == [True, False]
        assert report.outputs[1].max_abs == pytest.approx(0.2, rel=1e-5)

    def test_second_opinions_run_once(self) -> None:
        calls = []

        def slow(sample: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            calls.append(1)
            return self.right(sample)

        runners = {"a": self.right, "slow": slow}
        check(open_reference(self.MODEL), self.SAMPLES, runners, first_sample_only=frozenset({"slow"}))
        assert len(calls) == 1

    def test_an_output_that_is_missing(self) -> None:
        report = check(open_reference(self.MODEL), self.SAMPLES, {"a": lambda s: {"y": self.right(s)["y"]}})
        assert not report.passed
        assert "shape" in report.outputs[1].problem

    def test_a_model_that_does_not_run(self) -> None:
        with pytest.raises(NotChecked, match="ONNX Runtime fails on the original model"):
            check(open_reference(self.MODEL), [{"x": np.zeros(5, np.float32)}], {"a": self.right})
