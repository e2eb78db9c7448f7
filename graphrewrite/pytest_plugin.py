"""pytest's side of goldens: `pytest --graphrewrite-golden DIR`, one test a golden, target and state on the way to the file.

    goldens/net.golden.toml::tflite::original     the model as it came, in ONNX Runtime
    goldens/net.golden.toml::tflite::fuse         the graph after that stage of the pipeline, in ONNX Runtime
    goldens/net.golden.toml::tflite::file         the written file in LiteRT, and everything else that is expected of it

All of them compare with the recorded outputs. The first failing state of a model tells where it broke. This module is loaded
by every pytest in the environment: it imports nothing but pytest before a golden is collected.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from graphrewrite.golden.attempt import Attempt
    from graphrewrite.numeric.golden_file import Golden

MARKER = "graphrewrite_golden"
_OPTION = "graphrewrite_golden"
_SUFFIX = ".golden.toml"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare `--graphrewrite-golden`."""
    parser.getgroup("graphrewrite").addoption(
        "--graphrewrite-golden",
        dest=_OPTION,
        action="append",
        default=[],
        metavar="DIR",
        help="collect the goldens of DIR, too: a test a model, target and pass stage (-m graphrewrite_golden: only these)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker, and see to it that the folders are collected."""
    config.addinivalue_line(
        "markers", f"{MARKER}: a golden of graphrewrite, one state on the way to the file"
    )
    if not config.pluginmanager.hasplugin("xdist"):
        config.addinivalue_line("markers", "xdist_group(name): pytest-xdist's, which is not installed here")
    arguments = [_absolute(config, item.split("::")[0]) for item in config.args]
    for folder in _folders(config):
        if not folder.is_dir():
            raise pytest.UsageError(f"--graphrewrite-golden: there is no folder '{folder}'")
        if not any(
            item.is_relative_to(folder) for item in arguments
        ):  # parts of it may be named: then only these
            config.args.append(str(folder))


def _absolute(config: pytest.Config, path: str) -> Path:
    return (config.invocation_params.dir / path).resolve()


def _folders(config: pytest.Config) -> list[Path]:
    return [_absolute(config, item) for item in config.getoption(_OPTION)]


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Go into the folders that were named, whatever they are called: pytest passes by `.goldens`, `build` and the like."""
    found = collection_path.is_dir() and any(
        item.is_relative_to(collection_path) for item in _folders(config)
    )
    return False if found else None


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Take the goldens of the folders that were named."""
    if file_path.name.endswith(_SUFFIX) and file_path.parent.resolve() in _folders(parent.config):
        return GoldenFile.from_parent(parent, path=file_path)
    return None


class GoldenFile(pytest.File):
    """One golden."""

    def collect(self) -> Iterator[pytest.Collector]:
        """Its targets."""
        from graphrewrite.errors import GraphRewriteError
        from graphrewrite.numeric.golden_file import read

        try:
            golden = read(self.path)
        except GraphRewriteError as error:
            raise self.CollectError(str(error)) from error
        if not golden.expected:
            raise self.CollectError(
                f"{self.path}: nothing is expected of any target; see graphrewrite golden bless --help"
            )
        for spec in sorted(golden.expected):
            yield GoldenTarget.from_parent(self, name=spec, golden=golden)


class GoldenTarget(pytest.Collector):
    """One target of a golden; its tests share one conversion."""

    def __init__(self, *, golden: Golden, **rest: Any) -> None:
        super().__init__(**rest)
        self.golden = golden
        self._made: Attempt | Exception | None = None

    def collect(self) -> Iterator[pytest.Item]:
        """A test a state."""
        from graphrewrite.golden.attempt import STATES

        for state in STATES:
            item: pytest.Item = GoldenState.from_parent(self, name=state, golden_target=self)
            item.add_marker(MARKER)
            item.add_marker(pytest.mark.xdist_group(f"{self.golden.name}::{self.name}"))
            yield item

    def made(self) -> Attempt:
        """The conversion, done when first asked for; an error of it is raised for every state."""
        from graphrewrite.golden.attempt import attempt
        from graphrewrite.targets.base import target

        if self._made is None:
            try:
                self._made = attempt(self.golden, target(self.name), states=True)
            except Exception as error:  # whatever it is, each state of the golden fails with it
                self._made = error
        if isinstance(self._made, Exception):
            raise self._made
        return self._made

    def teardown(self) -> None:
        """Let go of the graphs."""
        self._made = None


class GoldenState(pytest.Item):
    """One state of a golden on its way to one target."""

    def __init__(self, *, golden_target: GoldenTarget, **rest: Any) -> None:
        super().__init__(**rest)
        self._target = golden_target

    def runtest(self) -> None:
        """Compare it with what is expected."""
        from graphrewrite.golden.attempt import FILE, STAGE_SLACK
        from graphrewrite.numeric.golden import changes, worse_outputs

        made = self._target.made()
        golden = made.golden
        expected = golden.expected[self._target.name]
        if self.name == FILE:
            lines = changes(expected, made.found, golden.size_tolerance)
        else:
            lines = list(worse_outputs(expected, made.at(self.name).outputs, STAGE_SLACK))
        if lines:
            raise GoldenChanged("\n".join(lines))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """What changed, without a traceback, where it was no defect that ended the test."""
        from graphrewrite.errors import GraphRewriteError, InternalError

        golden, error = self._target.golden, excinfo.value
        what = f"golden '{golden.name}' of {golden.model}, {self._target.name}, {self.name}:"
        if isinstance(error, GoldenChanged):
            lines = "".join(f"\n  {line}" for line in str(error).splitlines())
            return f"{what}{lines}\nif that is meant: graphrewrite golden bless {golden.path.parent}, and review the difference"
        if isinstance(error, GraphRewriteError) and not isinstance(error, InternalError):
            return f"{what}\n{error}"
        return super().repr_failure(excinfo)

    def reportinfo(self) -> tuple[Path, None, str]:
        """Where it stands and what it is called."""
        return self.path, None, f"{self._target.golden.name} {self._target.name} {self.name}"


class GoldenChanged(Exception):
    """Something is not as expected; a line each."""
