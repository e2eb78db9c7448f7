"""Names of written models, and how they come to be there or not."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import onnx
import pytest
from folder_target import FolderTarget

from graphrewrite.errors import UsageError
from graphrewrite.targets.base import Target, target
from graphrewrite.targets.files import output_paths, publish, staged

FOLDER = FolderTarget()
HALF = FolderTarget(precision="fp16")
TFLITE = target("tflite")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


class TestNames:
    @pytest.mark.parametrize(
        ("output", "chosen", "paths"),
        [
            (None, [TFLITE], ["net.tflite"]),
            (None, [TFLITE, FOLDER], ["net.tflite", "net.folder"]),
            ("a.bin", [TFLITE], ["a.bin"]),
            ("there", [TFLITE], ["there/net.tflite"]),
            ("new/", [TFLITE, FOLDER], ["new/net.tflite", "new/net.folder"]),
            ("new", [TFLITE, FOLDER], ["new/net.tflite", "new/net.folder"]),
            ("old.folder", [FOLDER], ["old.folder"]),
            ("b/{target}-{stem}{suffix}", [TFLITE], ["b/tflite-net.tflite"]),
            ("{stem}.{precision}{suffix}", [FOLDER], ["net.fp32.folder"]),
            ("{target}-{options}{suffix}", [FOLDER, HALF], ["folder-fp32.folder", "folder-fp16.folder"]),
        ],
    )
    def test_right(self, output: str | None, chosen: list[Target], paths: list[str]) -> None:
        Path("there").mkdir()
        Path("old.folder").mkdir()
        assert output_paths("in/net.onnx", output, chosen) == [Path(path) for path in paths]

    @pytest.mark.parametrize(
        ("output", "source", "reason"),
        [
            ("a.tflite", "net.onnx", "is one file, and there are several targets"),
            ("{stem}.bin", "net.onnx", "two targets would write 'net.bin'"),
            ("{colour}{suffix}", "net.onnx", "can't be filled in .* tflite knows {target}, {suffix}"),
            ("{", "net.onnx", "can't be filled in"),
            (None, onnx.ModelProto(), "has no name"),
            ("new/", onnx.ModelProto(), "has no name"),
        ],
    )
    def test_wrong(self, output: str | None, source: Any, reason: str) -> None:
        with pytest.raises(UsageError, match=reason):
            output_paths(source, output, [TFLITE, FOLDER])

    @pytest.mark.parametrize("output", ["model", "model.bin", "{stem}"])
    def test_openvino_writes_to_xml_only(self, output: str) -> None:
        with pytest.raises(UsageError, match=r"whose names end with \.xml: write to '(model|net)\.xml'"):
            output_paths("net.onnx", output, [target("openvino")])


def write(candidate: Path, content: str) -> None:
    candidate.mkdir()
    (candidate / "graph").write_text(content)
    candidate.with_suffix(".txt").write_text(content)


def content() -> list[str]:
    return [
        (path / "graph" if path.is_dir() else path).read_text() for path in FOLDER.files(Path("a.folder"))
    ]


class TestPublishing:
    def test_new_and_over_an_old_one(self) -> None:
        for text in ("first", "second"):
            with staged(Path("a.folder")) as candidate:
                write(candidate, text)
                publish(FOLDER, candidate, Path("a.folder"))
            assert content() == [text, text]
            assert sorted(path.name for path in Path().iterdir()) == ["a.folder", "a.txt"]

    def test_an_unpublished_one_goes(self) -> None:
        with staged(Path("new/a.folder")) as candidate:
            write(candidate, "never")
            assert len(list(Path("new").iterdir())) == 1
        assert list(Path("new").iterdir()) == []

    @pytest.mark.parametrize("failing", range(4))
    def test_a_failing_step_puts_the_old_one_back(
        self, failing: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with staged(Path("a.folder")) as candidate:
            write(candidate, "old")
            publish(FOLDER, candidate, Path("a.folder"))
        steps: list[Path] = []
        rename = os.rename

        def rename_or_fail(before: Path, after: Path) -> None:
            if len(steps) == failing:
                steps.append(after)
                raise OSError("the disk is full")
            steps.append(after)
            rename(before, after)

        with staged(Path("a.folder")) as candidate:
            write(candidate, "new")
            monkeypatch.setattr(os, "rename", rename_or_fail)
            with pytest.raises(OSError, match="full"):
                publish(FOLDER, candidate, Path("a.folder"))
        monkeypatch.setattr(os, "rename", rename)
        assert content() == ["old", "old"]
        assert steps[0].parent.name == "old"
        assert sorted(path.name for path in Path().iterdir()) == ["a.folder", "a.txt"]

    def test_the_main_file_comes_last(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with staged(Path("a.folder")) as candidate:
            write(candidate, "new")
            order: list[str] = []
            rename = os.rename

            def logged(before: Path, after: Path) -> None:
                order.append(Path(after).name)
                rename(before, after)

            monkeypatch.setattr(os, "rename", logged)
            publish(FOLDER, candidate, Path("a.folder"))
        assert order == ["a.txt", "a.folder"]

    def test_a_folder_of_the_user_s_is_not_replaced_by_a_file(self) -> None:
        for name in ("a.tflite", "a.txt"):
            (Path(name) / "precious").mkdir(parents=True)
        with staged(Path("a.tflite")) as candidate:
            candidate.write_text("new")
            with pytest.raises(IsADirectoryError):
                publish(TFLITE, candidate, Path("a.tflite"))
        with staged(Path("a.folder")) as candidate:
            write(candidate, "new")
            with pytest.raises(IsADirectoryError):
                publish(FOLDER, candidate, Path("a.folder"))
        assert sorted(str(path) for path in Path().rglob("*")) == [
            "a.tflite",
            "a.tflite/precious",
            "a.txt",
            "a.txt/precious",
        ]
