"""The text of a golden: one TOML file a model, settings first, then what is expected of each target.

    model = "../net.onnx"           relative to this file
    samples = "net.npz"             the inputs and the recorded outputs
    recorded_from = "ONNX Runtime"
    passes = "default"
    shape = ["x=1,3,64,64"]         and inputs, outputs, image, normalize, io_layout, where they are given
    size_tolerance = 0.01

    [expected."tflite{precision=fp16}"]
    size = 40448
    ...

What stands above the first `[expected` belongs to the user, comments included, and is never rewritten.
"""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from graphrewrite.errors import UsageError
from graphrewrite.numeric.golden import SIZE_TOLERANCE, Expectation, Limit

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SUFFIX = ".golden.toml"

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_OPENING = ("shape", "inputs", "outputs", "image", "normalize", "io_layout")
_SETTINGS = ("model", "samples", "recorded_from", "passes", *_OPENING, "size_tolerance")
_NUMBERS = ("size", "transposes", "transpose_bytes")


@dataclasses.dataclass
class Golden:
    """One model's golden.

    Attributes:
        path: of the text file, `DIR/NAME.golden.toml`.
        model: path of the model, relative to the text file.
        samples: path of the .npz with the inputs and the recorded outputs, relative to the text file.
        recorded_from: where the recorded outputs come from, for the reader.
        passes: the pass specification.
        shape, inputs, outputs, image, normalize, io_layout: what is taken of the source and with which ends, as those flags take
            it.
        size_tolerance: share by which the written file may grow or shrink.
        expected: by specification of the target, with its options.
        head: the text above the expectations; where it is empty, it is made from the settings.
    """

    path: Path
    model: str
    samples: str
    recorded_from: str
    passes: str = "default"
    shape: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    image: tuple[str, ...] = ()
    normalize: tuple[str, ...] = ()
    io_layout: tuple[str, ...] = ()
    size_tolerance: float = SIZE_TOLERANCE
    expected: dict[str, Expectation] = dataclasses.field(default_factory=dict)
    head: str = ""

    @property
    def name(self) -> str:
        """The file's name without its suffix."""
        return self.path.name.removesuffix(SUFFIX)

    @property
    def model_path(self) -> Path:
        """Where the model lies.

        Raises:
            UsageError: it is not there.
        """
        return self._beside(self.model, "model")

    @property
    def samples_path(self) -> Path:
        """Where the .npz lies.

        Raises:
            UsageError: it is not there.
        """
        return self._beside(self.samples, "samples")

    def _beside(self, relative: str, key: str) -> Path:
        found = (self.path.parent / relative).resolve()
        if not found.exists():
            raise UsageError(
                f"the golden '{self.path}' needs '{relative}', which is not there (looked for {found}): put it back, "
                f"or mend `{key}` in the golden"
            )
        return found

    def text(self) -> str:
        """The whole file."""
        head = self.head or "".join(
            f"{key} = {_toml(getattr(self, key))}\n"
            for key in _SETTINGS
            if getattr(self, key) or key not in _OPENING
        )
        return (
            head.rstrip()
            + "\n"
            + "".join(_section(spec, self.expected[spec]) for spec in sorted(self.expected))
        )

    def write(self) -> None:
        """Write the file."""
        self.path.write_text(self.text(), encoding="utf-8")


def read(path: Path) -> Golden:
    """The golden in `path`.

    Raises:
        UsageError: it can't be read, or holds what no golden holds.
    """
    try:
        text = path.read_text(encoding="utf-8")
        content = tomllib.loads(text)
    except OSError as error:
        raise UsageError(f"the golden '{path}' can't be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"the golden '{path}' is not valid TOML: {error}") from None
    head = re.split(r"^\s*\[", text, maxsplit=1, flags=re.MULTILINE)[0]
    try:
        return _golden(path, content, head)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"`{error.args[0]}` is missing" if isinstance(error, KeyError) else str(error)
        raise UsageError(f"the golden '{path}' can't be understood: {reason}") from None


def find(folder: Path) -> list[Golden]:
    """The goldens of `folder`, by name.

    Raises:
        UsageError: there is no such folder, no golden in it, or one can't be read.
    """
    if not folder.is_dir():
        raise UsageError(f"there is no folder '{folder}'")
    paths = sorted(folder.glob(f"*{SUFFIX}"))
    if not paths:
        raise UsageError(
            f"'{folder}' holds no NAME{SUFFIX}: make one with graphrewrite golden record {folder} MODEL"
        )
    return [read(path) for path in paths]


def _golden(path: Path, content: dict[str, Any], head: str) -> Golden:
    settings = {key: item for key, item in content.items() if key != "expected"}
    for key, item in settings.items():
        if key not in _SETTINGS:
            raise ValueError(f"there is no setting `{key}`; there are {', '.join(_SETTINGS)}")
        if key in _OPENING:
            if not isinstance(item, list) or not all(isinstance(part, str) for part in item):
                raise ValueError(f"`{key}` is a list of texts in quotes")
        elif isinstance(item, str) == (key == "size_tolerance"):
            raise ValueError(f"`{key}` is {'a number' if key == 'size_tolerance' else 'one text in quotes'}")
    return Golden(
        path,
        settings["model"],
        settings["samples"],
        settings.get("recorded_from", ""),
        settings.get("passes", "default"),
        shape=tuple(settings.get("shape", ())),
        inputs=tuple(settings.get("inputs", ())),
        outputs=tuple(settings.get("outputs", ())),
        image=tuple(settings.get("image", ())),
        normalize=tuple(settings.get("normalize", ())),
        io_layout=tuple(settings.get("io_layout", ())),
        size_tolerance=float(settings.get("size_tolerance", SIZE_TOLERANCE)),
        expected={spec: _expectation(table) for spec, table in content.get("expected", {}).items()},
        head=head,
    )


def _expectation(table: Mapping[str, Any]) -> Expectation:
    return Expectation(
        size=int(table["size"]),
        transposes=int(table["transposes"]),
        transpose_bytes=int(table["transpose_bytes"]),
        operators={name: int(count) for name, count in table["operators"].items()},
        outputs={name: Limit(**limit) for name, limit in table["outputs"].items()},
        rewrites={name: int(count) for name, count in table.get("rewrites", {}).items()},
    )


def _section(spec: str, expected: Expectation) -> str:
    head = f"expected.{_key(spec)}"
    lines = ["", f"[{head}]", *(f"{key} = {getattr(expected, key)}" for key in _NUMBERS)]
    lines += ["", f"[{head}.outputs]"]
    for name, limit in expected.outputs.items():
        kind, allowed = ("mismatch", limit.mismatch) if limit.max_abs is None else ("max_abs", limit.max_abs)
        lines.append(f"{_key(name)} = {{ {kind} = {allowed or 0:g} }}")
    for key, counts in (("operators", expected.operators), ("rewrites", expected.rewrites)):
        lines += [
            "",
            f"[{head}.{key}]",
            *(f"{_key(name)} = {count}" for name, count in sorted(counts.items())),
        ]
    return "".join(f"{line}\n" for line in lines)


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _toml(name)


def _toml(item: object) -> str:
    """A text, number or list of texts as TOML, whose texts are escaped as JSON's are."""
    if isinstance(item, str):
        return json.dumps(item, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(item, tuple):
        return f"[{', '.join(_toml(part) for part in item)}]"
    return f"{item:g}"
