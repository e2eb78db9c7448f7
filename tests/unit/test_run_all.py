"""Several targets in one go: what they share, what they do not, and what a failing one leaves."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
from pathlib import Path
from typing import Any

import folder_target
import numpy as np
import onnx
import onnx.parser
import pytest
from folder_target import FolderTarget

import graphrewrite
from graphrewrite import conversion
from graphrewrite.cli.main import main
from graphrewrite.errors import (
    MissingExtra,
    NotChecked,
    NotExpressible,
    OutputsDiffer,
    UsageError,
    worst_exit_code,
)
from graphrewrite.numeric import original
from graphrewrite.pipeline import Pass, build
from graphrewrite.pipeline.instruments import DumpIR, PrintChanged, StopAfter, TimePasses
from graphrewrite.sources import opening
from graphrewrite.targets.base import target, targets

TEXT = """
<ir_version: 10, opset_import: ["" : 20]> g (float[N,3] x) => (float[N,3] y)
{ a = Relu (x)  b = Transpose <perm=[1, 0]> (a)  c = Transpose <perm=[1, 0]> (b)  d = Relu (x)  e = Neg (d)  y = Mul (c, e) }
"""

REFUSED = """
<ir_version: 10, opset_import: ["" : 20, "lab" : 1]> g (float[4] x) => (float[4] y) { [odd] y = lab.Odd (x) }
"""


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The target `folder`, as if a package had it."""
    entry = importlib.metadata.EntryPoint("folder", "folder_target:TARGET", "graphrewrite.targets")
    others = importlib.metadata.entry_points

    def entry_points(**wanted: Any) -> Any:
        found = list(others(**wanted))
        if wanted.get("group") == entry.group and wanted.get("name", "folder") == "folder":
            found.append(entry)
        return found

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    onnx.save(onnx.parser.parse_model(TEXT), "net.onnx")
    return "net.onnx"


def files(folder: str = ".") -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file())


def count(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> list[str]:
    """Count the calls of a function."""
    calls: list[str] = []
    inner = getattr(module, name)

    def counted(*arguments: Any, **keywords: Any) -> Any:
        calls.append(name)
        return inner(*arguments, **keywords)

    monkeypatch.setattr(module, name, counted)
    return calls


class TestSpecifications:
    def test_options_are_dataclass_fields(self) -> None:
        (found,) = targets("folder{fault=run, precision=fp16}")
        assert found == FolderTarget("run", "fp16")
        assert found.spec == "folder{fault=run,precision=fp16}"
        assert target(found.spec) == found
        assert target("folder").spec == "folder"

    def test_common_options_reach_those_that_have_them(self) -> None:
        found = targets(
            ["folder", "folder{precision=int8}", FolderTarget("run")], {"precision": "fp16", "fault": None}
        )
        assert [item.options["precision"] for item in found] == ["fp16", "int8", "fp32"]

    @pytest.mark.parametrize(
        ("spec", "common", "reason"),
        [
            ("tfl1te", {}, "unknown target 'tfl1te'; there are: tflite"),
            ("folder{colour=red}", {}, "target 'folder' has no option 'colour'; it has fault, precision"),
            ("folder{fault=heat}", {}, "target 'folder': there is no fault 'heat'"),
            ("folder{fault=run", {}, "unbalanced braces"),
            ("folder{fault}", {}, "an option is written name=value, not 'fault'"),
            ("folder,tflite,folder", {}, "the target 'folder' is named twice"),
            ("", {}, "no target is named"),
            (
                "tflite,folder",
                {"smell": "sweet"},
                "none of the targets has the option 'smell': tflite, folder",
            ),
        ],
    )
    def test_wrong(self, spec: str, common: dict[str, str], reason: str) -> None:
        with pytest.raises(UsageError, match=reason.replace("{", r"\{")):
            targets(spec, common)

    def test_one_at_a_time(self) -> None:
        with pytest.raises(UsageError, match="one target at a time"):
            target("tflite,folder")

    def test_passes_for_the_target_take_its_options(self, tmp_path: Path) -> None:
        file = tmp_path / "mine.py"
        file.write_text(
            "import dataclasses\nfrom graphrewrite.pipeline import Pass\n\n"
            "@dataclasses.dataclass(frozen=True)\nclass Mine(Pass):\n"
            "    precision: str = 'fp32'\n    other: int = 1\n    targets = frozenset({'folder'})\n\n"
            "@dataclasses.dataclass(frozen=True)\nclass Anyones(Pass):\n    precision: str = 'fp32'\n"
        )

        def made(spec: str) -> dict[str, Pass]:
            options = {"precision": "fp16", "fault": ""}
            return {item.name: item for item in build(f"none,{spec}", "folder", options)}

        found = made(str(file))
        assert (found["mine"].precision, found["anyones"].precision) == ("fp16", "fp32")  # type: ignore[attr-defined]
        assert made(f"{file}:Mine{{precision=int8}}")["mine"].precision == "int8"  # type: ignore[attr-defined]


class TestOutcomes:
    def test_the_common_work_is_done_once(self, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
        calls = [
            *(count(monkeypatch, opening, name) for name in ("load", "set_shapes")),
            *(count(monkeypatch, original, name) for name in ("open_reference", "make_samples")),
        ]
        ran: list[str] = []

        class Log(TimePasses):
            def before_pass(self, item: Pass, model: Any) -> None:
                ran.append(item.name)

        lines: list[str] = []
        outcomes = graphrewrite.run_all(
            model, "tflite,folder", output="out/", instruments=[Log()], progress=lines.append
        )
        assert [len(item) for item in calls] == [1, 1, 1, 1]
        assert list(outcomes) == ["tflite", "folder"]
        assert ran.count("fold-constants") == ran.count("fold-weight-demodulation") == 1
        assert ran.count("lower-to-tflite") == 1
        assert files("out") == ["net.folder/graph.onnx", "net.tflite", "net.txt"]
        assert not list(Path("out").glob(".*"))
        assert "tflite: writing" in lines
        assert "folder: checking against the original" in lines
        for name, outcome in outcomes.items():
            assert outcome.result is not None
            assert outcome.exit_code == 0
            report = outcome.result.report
            assert report["target"] == name
            assert report["check"]["passed"] is True
            indices = [item["index"] for item in report["passes"]]
            assert indices == list(range(len(indices)))
            assert report["passes"][-1]["name"] in [item.name for item in build("default", name)]

    def test_targets_do_not_share_a_graph(self, model: str) -> None:
        outcomes = graphrewrite.run_all(model, "tflite,folder", output="out/")
        graphs = [item.result.model.graph for item in outcomes.values() if item.result is not None]
        assert {node.domain for node in graphs[0]} == {"tflite"}
        assert {node.domain for node in graphs[1]} == {""}

    @pytest.mark.parametrize(
        ("fault", "error", "code"),
        [
            ("write", ZeroDivisionError, 1),
            ("run", NotChecked, 5),
            ("extra", MissingExtra, 2),
            ("outputs", OutputsDiffer, 4),
        ],
    )
    @pytest.mark.parametrize("order", ["{0},tflite", "tflite,{0}"])
    def test_a_failing_target_does_not_stop_the_others(
        self, model: str, fault: str, error: type[Exception], code: int, order: str
    ) -> None:
        faulty = f"folder{{fault={fault}}}"
        outcomes = graphrewrite.run_all(model, order.format(faulty))
        assert isinstance(outcomes[faulty].error, error)
        assert (outcomes[faulty].exit_code, outcomes["tflite"].exit_code) == (code, 0)
        assert "net.tflite" in files()
        assert not Path("net.folder").exists()
        assert not Path("net.txt").exists()
        assert not [path for path in Path().iterdir() if path.name.startswith(".")]

    def test_a_rejected_model_is_kept_whole(self, model: str) -> None:
        graphrewrite.run_all(model, "tflite,folder{fault=outputs}")
        kept = files("repro/net")
        assert kept == [
            "command.txt",
            "rejected.folder/graph.onnx",
            "rejected.txt",
            "report.json",
            "samples.npz",
        ]
        assert "--target 'folder{fault=outputs}' " in Path("repro/net/command.txt").read_text()

    def test_refusals_are_each_target_s_own(self, model: str) -> None:
        onnx.save(onnx.parser.parse_model(REFUSED), "odd.onnx")
        outcomes = graphrewrite.run_all("odd.onnx", "tflite,folder")
        assert isinstance(outcomes["tflite"].error, NotExpressible)
        assert isinstance(outcomes["folder"].error, NotChecked), (
            "ONNX Runtime does not know the operator either"
        )
        with pytest.raises(NotExpressible):
            graphrewrite.run("odd.onnx", "tflite")
        assert isinstance(graphrewrite.run_all("odd.onnx", "tflite")["tflite"].error, NotExpressible)

    def test_numeric_each_guards_every_target(self, model: str) -> None:
        Path("wrong.py").write_text(
            "from graphrewrite.pipeline import Stage, as_pass\n\n"
            "@as_pass(stage=Stage.FUSE)\n"
            "def neg_to_abs(model, rewriter):\n"
            "    'Wrong on purpose.'\n"
            "    for node in list(model.graph):\n"
            "        if node.op_type == 'Neg':\n"
            "            with rewriter.rewrite('neg-to-abs', node):\n"
            "                rewriter.replace(node, rewriter.op('Abs', node.inputs[0]))\n"
        )
        outcomes = graphrewrite.run_all(
            model, "tflite,folder", "default,wrong.py", output="out/", numeric_each=True
        )
        for outcome in outcomes.values():
            assert outcome.result is not None
            assert [item.name for item in outcome.result.record if item.rolled_back] == ["neg-to-abs"]

    def test_the_rewrite_limit_counts_shared_rewrites(self, model: str) -> None:
        def optional(outcome: graphrewrite.Outcome) -> int:
            assert outcome.result is not None
            skipped = {item.name for item in build("none", outcome.target.name)}
            return sum(item.rewrites for item in outcome.result.record if item.name not in skipped)

        every = {key: optional(item) for key, item in self.convert(model, None).items()}
        assert min(every.values()) >= 2
        for limit in range(4):
            for key, outcome in self.convert(model, limit).items():
                assert optional(outcome) == min(limit, every[key])

    def convert(self, model: str, limit: int | None) -> dict[str, graphrewrite.Outcome]:
        return graphrewrite.run_all(model, "tflite,folder", output="out/", rewrite_limit=limit)

    def test_instruments_see_each_target(self, model: str) -> None:
        lines: list[str] = []
        graphrewrite.run_all(
            model,
            "tflite,folder",
            output="out/",
            instruments=[PrintChanged(lines.append, diff=True), DumpIR(Path("dump"))],
        )
        heads = [line for line in lines if line.startswith("*** ")]
        assert next(line for line in heads if "lower-to-tflite" in line).startswith("*** tflite: ")
        assert sum("simplify-transposes" in line for line in heads) == 1
        dumped = files("dump")
        assert any(name.startswith("tflite/") and "lower-to-tflite" in name for name in dumped)
        assert any("/" not in name and "simplify-transposes" in name for name in dumped)

    def test_stopping_early_writes_nothing(self, model: str) -> None:
        for name in ("import-model", "fold-constants", "tidy"):
            outcomes = graphrewrite.run_all(model, "tflite,folder", instruments=[StopAfter(name)])
            for outcome in outcomes.values():
                assert outcome.result is not None
                assert outcome.result.path is None
                assert outcome.result.record[-1].name == name
        assert files() == ["net.onnx"]

    def test_a_target_object_is_one_too(self, model: str) -> None:
        result = graphrewrite.run(model, FolderTarget(precision="fp16"), output="{stem}.{precision}{suffix}")
        assert result.path == Path("net.fp16.folder")
        assert result.report["options"] == {"fault": "", "precision": "fp16"}

    def test_what_is_wrong_for_all_is_raised(self, model: str) -> None:
        with pytest.raises(UsageError, match="there is no input"):
            graphrewrite.run_all(model, "tflite,folder", shape=["q=1"])
        with pytest.raises(UsageError, match="no array for the input"):
            graphrewrite.run_all(model, "tflite,folder", samples=[{"z": np.ones(1)}])

    def test_shared_head_ends_at_the_first_difference(self) -> None:
        pipelines = [build("default", "tflite"), build("default,-noise-policy", "folder")]
        head = conversion.shared_head(pipelines)
        assert pipelines[0][head].name == "noise-policy"
        whole = build("default", "tflite")
        assert whole[conversion.shared_head([whole, whole])].targets is not None

    def test_worst_exit_code(self) -> None:
        assert [worst_exit_code(codes) for codes in ([], [0, 0], [0, 2, 3], [3, 5], [5, 4], [4, 1, 0])] == [
            0,
            0,
            3,
            5,
            4,
            1,
        ]


class TestCommandLine:
    def test_a_table_at_the_end(self, model: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert (
            main(["run", model, "--target", "tflite,folder,folder{fault=outputs}", "-o", "{target}{suffix}"])
            == 2
        )
        assert "two targets would write" in capsys.readouterr().err
        assert main(["run", model, "--target", "tflite,folder{fault=outputs}"]) == 4
        text = capsys.readouterr().out
        table = text.splitlines()[-3:]
        assert table[0].split()[:3] == ["target", "result", "file"]
        assert table[1].split()[:3] == ["tflite", "matches", "net.tflite"]
        assert "folder{fault=outputs}  DIFFERS, not written" in table[2]
        assert "1 of 1 outputs differ" in text

    def test_json_holds_a_report_a_target(self, model: str, capsys: pytest.CaptureFixture[str]) -> None:
        flags = ["--target", "tflite,folder{fault=run}", "--precision", "fp16", "--json"]
        assert main(["run", model, *flags]) == 5
        document = json.loads(capsys.readouterr().out)
        good, bad = document["targets"]
        assert good["target"] == "tflite"
        assert good["check"]["passed"] is True
        assert bad["target"] == "folder"
        assert bad["options"] == {"fault": "run", "precision": "fp16"}
        assert bad["error"]["exit_code"] == 5

    def test_stop_after_takes_one_target(self, model: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["run", model, "--target", "tflite,folder", "--stop-after", "tidy"]) == 2
        assert "name one target" in capsys.readouterr().err

    def test_verify_takes_any_target_s_model(self, model: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["run", model, "--target", "folder"]) == 0
        assert main(["verify", model, "net.folder"]) == 0
        assert "y  equal" in capsys.readouterr().out


class TestPreflight:
    def test_one_table_of_nodes(self, model: str, capsys: pytest.CaptureFixture[str]) -> None:
        onnx.save(
            onnx.parser.parse_model(
                REFUSED.replace("y = lab.Odd (x)", "a = lab.Odd (x) [last] y = lab.Odd (a)")
            ),
            "odd.onnx",
        )
        before = files()
        assert main(["check", "odd.onnx", "--target", "tflite,folder"]) == 3
        lines = capsys.readouterr().out.splitlines()
        assert lines[1].split() == ["tflite", "refused", "for", "2", "reasons"]
        assert lines[2].split() == ["folder", "can", "be", "converted", "2"]
        assert lines[4].split() == ["node", "operator", "tflite", "folder"]
        assert lines[5].split() == ["odd", "lab.Odd", "NOT_EXPRESSIBLE", "ok"]
        assert lines[6].split() == ["last", "lab.Odd", "NOT_EXPRESSIBLE", "ok"]
        assert lines[8].startswith("tflite: NOT_EXPRESSIBLE: lab.Odd: the op belongs to the custom domain")
        assert lines[9].startswith("    try: ")
        assert len(lines) == 10, "one reason, however many nodes"
        assert files() == before

    def test_nothing_is_blocked(self, model: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["check", model, "--target", "tflite,folder"]) == 0
        assert len(capsys.readouterr().out.splitlines()) == 3
        assert main(["check", model, "--target", "tflite,folder", "--json"]) == 0
        documents = json.loads(capsys.readouterr().out)["targets"]
        assert [item["unchecked"] for item in documents] == ["pre-flight: nothing was written"] * 2
        assert files() == ["net.onnx"]

    def test_what_is_not_installed_is_said(self, model: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["check", model, "--target", "tflite,folder{fault=extra}"]) == 2
        text = capsys.readouterr().out
        assert "folder{fault=extra}  not installed" in text
        assert "pip install 'graphrewrite[folder]'" in text

    def test_from_python(self, model: str) -> None:
        found = graphrewrite.preflight(model, ["tflite", "folder"], shape={"N": 2})
        assert [item.exit_code for item in found.values()] == [0, 0]
        result = found["tflite"].result
        assert result is not None
        assert result.path is None
        assert result.report["inputs"][0]["shape"] == [2, 3]


def test_the_test_target_is_a_dataclass() -> None:
    assert dataclasses.is_dataclass(folder_target.TARGET)
