"""Diffs along a pipeline: what is carried on from pass to pass is what a look at the whole graph would find."""

from __future__ import annotations

import gc
import time
from pathlib import Path

import onnx.parser
import pytest
from block_model import blocks

from graphrewrite import ir
from graphrewrite.pipeline import Pass, PassRecord, build, run_pipeline
from graphrewrite.pipeline.collector import settled_heap
from graphrewrite.pipeline.diff import Snapshot
from graphrewrite.pipeline.instruments import Changes, CollectDiffs

MODELS = Path(__file__).parents[1] / "golden" / "models"


class _Compared(Changes):
    """Holds the snapshot that was carried on against one taken anew, after every pass."""

    def after_pass(self, item: Pass, model: ir.Model, record: PassRecord) -> None:
        super().after_pass(item, model, record)
        assert self._snapshot is not None
        anew = Snapshot.of(model)
        assert self._snapshot.operators == anew.operators, item.name
        assert self._snapshot.weight_bytes == anew.weight_bytes, item.name
        assert self._snapshot.parameters == anew.parameters, item.name
        assert list(self._snapshot.entries) == list(anew.entries), item.name
        for key, entry in anew.entries.items():
            assert self._snapshot.entries[key].record == entry.record, (item.name, key)


@pytest.mark.parametrize(
    "name",
    [
        "mobilestylegan_synthesis.ts17",
        "lstm_states.dyn",
        "yolo.ts17",
        "stylegan2_kept_fused.ts17",
        "bert.dyn",
    ],
)
def test_carried_snapshots_are_right_after_every_pass(name: str) -> None:
    path = MODELS / f"{name}.onnx"
    run_pipeline(ir.load(path), build("default", "tflite"), instruments=[_Compared()])


def test_bodies_are_followed() -> None:
    body = """
        <ir_version: 9, opset_import: ["" : 17]>
        g (float[4] x, bool c, int64 n) => (float[4] y) {
            y = Loop (n, c, x) <body = b (int64 i, bool k, float[4] s) => (bool ko, float[4] t) {
                ko = Identity (k)
                a = Neg (s)
                z = Add (s, a)
                e = Mul (z, z)
                t = Add (e, s)
            }>
        }"""
    model = ir.load(onnx.parser.parse_model(body))
    run_pipeline(model, build("default", "tflite"), instruments=[_Compared()])


def test_what_the_import_always_does_takes_two_lines() -> None:
    text = """
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[2,3] x) => (float[2,1] y) {
            one = Constant <value = float {1.0}> ()
            two = Constant <value = float {2.0}> ()
            a = Add (x, one)
            b = Mul (a, two)
            y = ReduceMean <axes = [1], keepdims = 1> (b)
        }"""
    collected = CollectDiffs()
    import_model = build("none", "tflite")[:1]
    run_pipeline(ir.load(onnx.parser.parse_model(text)), import_model, instruments=[collected])
    [(_, found)] = collected.diffs
    lines = list(found.nodes())
    assert lines[:2] == ["- 2 Constant: %one, %two", "~ 2 whose types are known now: %a, %b"]
    assert [line[:4].strip() for line in lines[2:]] == ["~ %y", "->"], "its axes became an operand"


class _Timed(CollectDiffs):
    """Counts its own processor time."""

    seconds = 0.0

    def before_pass(self, item: Pass, model: ir.Model) -> None:
        started = time.process_time()
        super().before_pass(item, model)
        self.seconds += time.process_time() - started

    def after_pass(self, item: Pass, model: ir.Model, record: PassRecord) -> None:
        started = time.process_time()
        super().after_pass(item, model, record)
        self.seconds += time.process_time() - started


def _timed(count: int) -> tuple[_Timed, float]:
    """The record of a pipeline over `count` blocks, and its cost as a share of the pipeline's, both as `graphrewrite diff` runs.

    What another test left for the collector is cleared away first: it would be counted with whatever comes next.
    """
    gc.collect()
    with settled_heap() as settle:
        model = ir.load(blocks(count))
        settle()
        collected = _Timed()
        started = time.process_time()
        run_pipeline(model, build("default", "tflite"), instruments=[collected])
        total = time.process_time() - started
    return collected, collected.seconds / (total - collected.seconds)


def test_the_record_costs_a_fraction_of_the_pipeline() -> None:
    collected, share = _timed(400)
    assert share < 0.25  # 0.09 on an idle machine
    assert {record.name for record, _ in collected.diffs} >= {"fuse-leaky-relu", "lower-to-tflite"}


@pytest.mark.full
def test_twenty_thousand_nodes_cost_a_second() -> None:
    collected, share = _timed(2000)
    assert collected.diffs[0][0].nodes_before == 20_000
    assert collected.seconds < 1
    assert share < 0.25
