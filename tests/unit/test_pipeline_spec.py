"""Pass specifications: what they mean, and what they say when they mean nothing."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import ClassVar

import pytest

from graphrewrite.errors import UsageError
from graphrewrite.pipeline import Pass, Stage, build, describe, known_passes, pass_name
from graphrewrite.pipeline.spec import order


def names(spec: str | list[str], target: str = "tflite") -> list[str]:
    return [item.name for item in build(spec, target)]


PLUGIN = """
import dataclasses
from graphrewrite.pipeline import Pass, Stage

@dataclasses.dataclass(frozen=True)
class Shrink(Pass):
    "Makes it small."
    stage = Stage.FUSE
    alpha: float = 0.5
    mode: str = "soft"
    sizes: tuple[int, ...] = ()
    def run(self, model, rewriter):
        return {}

@dataclasses.dataclass(frozen=True)
class Grow(Pass):
    "Makes it big."
    stage = Stage.FUSE
    after = ("shrink",)
    def run(self, model, rewriter):
        return {}
"""


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    file = tmp_path / "my.py"
    file.write_text(PLUGIN)
    return file


class TestMeaning:
    def test_none_is_what_the_target_needs(self) -> None:
        assert names("none") == [name for name in names("default") if known_passes()[name].mandatory]
        assert {"import-model", "lower-to-tflite"} <= set(names("none"))

    def test_default(self) -> None:
        assert set(names("default")) == {
            name
            for name, cls in known_passes().items()
            if (cls.default or cls.mandatory) and (cls.targets is None or "tflite" in cls.targets)
        }

    def test_without_one(self) -> None:
        assert {*names("default,-fold-constants"), "fold-constants"} == set(names("default"))
        assert "fold-constants" not in names("default,-fold-constants")

    def test_only_one(self) -> None:
        assert set(names("fold-constants")) == {*names("none"), "fold-constants"}

    def test_a_list_is_joined(self) -> None:
        assert names(["default", "-fold-constants", "none"]) == names("default,-fold-constants")

    def test_spaces_and_empty_parts(self) -> None:
        assert names(" default , ,-fold-constants,") == names("default,-fold-constants")

    def test_passes_of_other_targets_are_left_out(self) -> None:
        assert "lower-to-tflite" not in names("default", "coreml")


class TestUserFiles:
    def test_a_class_of_a_file(self, plugin: Path) -> None:
        assert set(names(f"none,{plugin}:Shrink")) == {*names("none"), "shrink"}

    def test_by_its_name_in_dashes_or_underscores(self, plugin: Path) -> None:
        assert "grow" in names(f"none,{plugin}:grow")

    def test_all_of_a_file_and_of_a_folder(self, plugin: Path) -> None:
        for spec in (plugin, plugin.parent):
            assert set(names(f"none,{spec}")) == {*names("none"), "shrink", "grow"}

    def test_options(self, plugin: Path) -> None:
        spec = f"none,{plugin}:Shrink{{alpha=0.25, mode=hard, sizes=(1,2)}},fold-constants"
        shrink = next(item for item in build(spec, "tflite") if item.name == "shrink")
        assert vars(shrink) == {"alpha": 0.25, "mode": "hard", "sizes": (1, 2)}
        assert describe(shrink) == "shrink{alpha=0.25,mode=hard,sizes=(1, 2)}"
        assert describe(dataclasses.replace(shrink, alpha=0.5, mode="soft", sizes=())) == "shrink"

    def test_the_last_word_counts(self, plugin: Path) -> None:
        spec = f"none,{plugin}:Shrink{{alpha=1}},{plugin}:Shrink{{alpha=2}}"
        (shrink,) = [item for item in build(spec, "tflite") if item.name == "shrink"]
        assert vars(shrink)["alpha"] == 2

    def test_a_file_that_can_be_taken_back(self, plugin: Path) -> None:
        assert "shrink" not in names(f"none,{plugin},-shrink")

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("import nothing_of_that_name", "can't be imported: ModuleNotFoundError"),
            ("def broken(:", "can't be imported: SyntaxError"),
            ("x = 1", "no pass is defined in"),
        ],
    )
    def test_files_that_are_no_use(self, tmp_path: Path, text: str, reason: str) -> None:
        file = tmp_path / "bad.py"
        file.write_text(text)
        with pytest.raises(UsageError, match=reason):
            build(str(file), "tflite")

    def test_missing_file_and_missing_class(self, plugin: Path, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="is not a Python file"):
            build(str(tmp_path / "none.py"), "tflite")
        with pytest.raises(UsageError, match="defines no pass 'Other'"):
            build(f"{plugin}:Other", "tflite")


class TestToml:
    def test_a_list_of_specifications(self, tmp_path: Path, plugin: Path) -> None:
        file = tmp_path / "pipeline.toml"
        file.write_text(f'passes = ["default", "-fold-constants", "{plugin}:Shrink{{alpha=0.1}}"]\n')
        built = build(str(file), "tflite")
        assert "fold-constants" not in {item.name for item in built}
        assert next(vars(item) for item in built if item.name == "shrink")["alpha"] == 0.1

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            ("passes = ", "is not valid TOML"),
            ("other = 1", "must hold a list of pass specifications"),
            ("passes = [1]", "must hold a list of pass specifications"),
            (None, "can't be read: No such file"),
        ],
    )
    def test_files_that_are_no_use(self, tmp_path: Path, content: str | None, reason: str) -> None:
        file = tmp_path / "pipeline.toml"
        if content is not None:
            file.write_text(content)
        with pytest.raises(UsageError, match=reason):
            build(str(file), "tflite")

    def test_a_file_that_names_itself(self, tmp_path: Path) -> None:
        file = tmp_path / "pipeline.toml"
        file.write_text(f'passes = ["{file}"]')
        with pytest.raises(UsageError, match=r"pipeline\.toml.* includes itself"):
            build(str(file), "tflite")


class TestErrors:
    @pytest.mark.parametrize(
        ("spec", "reason"),
        [
            ("fold-constant", "unknown pass 'fold-constant'; did you mean fold-constants"),
            ("default,-fold-constant", "unknown pass 'fold-constant'; did you mean fold-constants"),
            ("zzz", "unknown pass 'zzz'; `graphrewrite passes` lists them"),
            ("-import-model", "'import-model' can't be left out"),
            ("fold-constants{", "unbalanced braces"),
            ("fold-constants}", "unbalanced braces"),
            ("fold-constants{nonsense=1}", "has no option 'nonsense'"),
            ("fold-constants{1}", "an option is written name=value, not '1'"),
        ],
    )
    def test_message(self, spec: str, reason: str) -> None:
        with pytest.raises(UsageError, match=reason):
            build(spec, "tflite")

    def test_a_value_that_the_pass_refuses(self) -> None:
        with pytest.raises(UsageError, match="io_layout is keep, last or free, not 'sideways'"):
            build("assign-layout{io_layout=sideways}", "tflite")


def made(name: str, stage: Stage = Stage.FUSE, after: tuple[str, ...] = ()) -> Pass:
    cls: type[Pass] = type(name, (Pass,), {"stage": stage, "after": after})
    return cls()


class TestOrder:
    def test_stage_then_after_then_name(self) -> None:
        passes = [
            made("Zeta"),
            made("Alpha", after=("zeta",)),
            made("Beta"),
            made("Last", Stage.FINISH),
            made("First", Stage.IMPORT),
        ]
        assert [item.name for item in order(passes)] == ["first", "beta", "zeta", "alpha", "last"]

    def test_does_not_depend_on_the_order_given(self) -> None:
        passes = build("default", "tflite")
        assert [i.name for i in order(reversed(passes))] == [i.name for i in passes]

    def test_after_a_pass_that_does_not_run(self) -> None:
        assert [item.name for item in order([made("Alpha", after=("gone",))])] == ["alpha"]

    def test_cycle(self) -> None:
        passes = [made("Alpha", after=("beta",)), made("Beta", after=("alpha",)), made("Gamma")]
        with pytest.raises(UsageError, match="the order of these passes is a cycle: alpha, beta"):
            order(passes)

    def test_every_after_names_a_pass_of_the_same_stage(self) -> None:
        known = known_passes()
        for name, cls in known.items():
            for other in cls.after:
                assert other in known, f"{name} is after '{other}', which does not exist"
                assert known[other].stage == cls.stage, f"{name} and {other} are of different stages"


@pytest.mark.parametrize(
    ("cls", "name"),
    [
        ("FuseLeakyRelu", "fuse-leaky-relu"),
        ("LowerIDWT", "lower-idwt"),
        ("DecomposeUpfirdn2d", "decompose-upfirdn2d"),
    ],
)
def test_names(cls: str, name: str) -> None:
    assert pass_name(type(cls, (), {})) == name


def test_options_survive_a_round_trip() -> None:
    for item in build("default", "tflite"):
        if item.name == describe(item):
            continue
        again = next(other for other in build(f"none,{describe(item)}", "tflite") if other.name == item.name)
        assert again == item


def test_files_passes_and_classes_have_one_name() -> None:
    for name, cls in known_passes().items():
        if cls.__module__.startswith("graphrewrite.passes."):
            assert cls.__module__.rpartition(".")[2] == name.replace("-", "_"), cls


def test_every_pass_says_what_it_does() -> None:
    class Described:
        wanted: ClassVar[tuple[str, ...]] = ("Exact", "exact", "pproximate", "bound")

    for name, cls in known_passes().items():
        assert cls.__doc__, f"{name} has no docstring"
        assert any(word in (cls.__doc__ or "") for word in Described.wanted), (
            f"{name} does not say whether it is exact"
        )
