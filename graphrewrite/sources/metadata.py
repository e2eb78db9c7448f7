"""What a written model is to say of itself: author, licence, description, version, and the names of its classes."""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from graphrewrite.errors import UsageError
from graphrewrite.ir import About, DataType, Labels, Model, Value, dims
from graphrewrite.ir.about import TEXTS

Texts: TypeAlias = "Mapping[str, str] | Sequence[str]"
"""`{"author": "Jane Doe"}` or `["author=Jane Doe"]`."""

LabelsSpec: TypeAlias = (
    "str | os.PathLike[str] | Sequence[str] | Mapping[str, str | os.PathLike[str] | Sequence[str]]"
)
"""`"labels.txt"`, `"scores=labels.txt"`, `["cat", "dog"]`, or either by the name of the output: `{"scores": ["cat", "dog"]}`."""

_OWN_KEY = re.compile(r"[A-Za-z_][\w-]*(\.[\w-]+)+")
_FLOATS = (DataType.FLOAT, DataType.FLOAT16)


def parse_metadata(given: Texts) -> About:
    """The texts by key.

    Raises:
        UsageError: a key that no target knows and that has no dot, or no text.
    """
    if isinstance(given, Mapping):
        items = [(key, str(text)) for key, text in given.items()]
    else:
        items = []
        for item in given:
            key, equals, text = item.partition("=")
            if not equals:
                raise UsageError(f"--metadata is written KEY=TEXT, as in author='Jane Doe', not '{item}'")
            items.append((key.strip(), text))
    for key, _ in items:
        if key not in TEXTS and _OWN_KEY.fullmatch(key) is None:
            near = difflib.get_close_matches(key, TEXTS, 1, 0.5)
            raise UsageError(
                f"--metadata has no key '{key}'{f' (did you mean {near[0]}?)' if near else ''}; there are "
                f"{', '.join(TEXTS)}, and keys of your own with a dot in them, such as com.example.dataset"
            )
    texts = dict(items)
    author, license, description, version = (texts.pop(key, "") for key in TEXTS)
    return About(author, license, description, version, texts)


@dataclasses.dataclass(frozen=True)
class ClassNames:
    """The classes that an output scores, in order; `output` is "" where it is for us to find, `file` where they came from."""

    names: tuple[str, ...]
    output: str = ""
    file: str = ""

    @classmethod
    def of(cls, given: LabelsSpec) -> ClassNames:
        """From what `graphrewrite.run` and the command line take.

        Raises:
            UsageError: the file can't be read, or the names are no names of different classes.
        """
        if isinstance(given, Mapping):
            if len(given) != 1:
                raise UsageError(f"--labels are those of one output, not of {len(given)}")
            ((output, content),) = given.items()
            return cls._of(content, output)
        if isinstance(given, str) and not Path(given).exists():
            output, _, file = given.rpartition("=")
            return cls._of(file, output)
        return cls._of(given, "")

    @classmethod
    def _of(cls, given: str | os.PathLike[str] | Sequence[str], output: str) -> ClassNames:
        if not isinstance(given, str | os.PathLike):
            return cls(tuple(given), output)
        try:
            lines = Path(given).read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(
                f"--labels: '{given}' can't be read: {error}; it is a text file with one label a line"
            ) from None
        while lines and not lines[-1].strip():
            lines.pop()
        return cls(tuple(line.strip() for line in lines), output, os.fspath(given))

    def __post_init__(self) -> None:
        where = f" of '{self.file}'" if self.file else ""
        if not self.names:
            raise UsageError(f"--labels: there are no labels{f' in {self.file!r}' if self.file else ''}")
        lines: dict[str, int] = {}
        for number, name in enumerate(self.names, 1):
            if not name:
                raise UsageError(
                    f"--labels: label {number}{where} is empty: each line names the class of one score"
                )
            if name in lines:
                raise UsageError(
                    f"--labels: labels {lines[name]} and {number}{where} are both '{name}', and who asks for its score would get "
                    "one of the two: make them different"
                )
            lines[name] = number

    def placed(self, model: Model) -> Labels:
        """The labels of the one output of `model` that they fit.

        Raises:
            UsageError: the named output, or every one, has another number of scores; or several have that number.
        """
        outputs = {value.name or "": value for value in model.graph.outputs}
        if self.output:
            if self.output not in outputs:
                raise UsageError(
                    f"--labels: there is no output '{self.output}'; the outputs are {', '.join(outputs)}"
                )
            problem = self._problem(outputs[self.output])
            if problem:
                raise UsageError(f"--labels {self.output}: {problem}")
            return Labels(self.output, self.names)
        problems = {name: self._problem(value) for name, value in outputs.items()}
        fitting = [name for name, problem in problems.items() if not problem]
        if len(fitting) == 1:
            return Labels(fitting[0], self.names)
        if fitting:
            raise UsageError(
                f"--labels: {len(self.names)} labels fit the outputs {', '.join(fitting)}: say which, as in {fitting[0]}=FILE"
            )
        found = "\n".join(f"  '{name}': {problem}" for name, problem in problems.items())
        raise UsageError(f"--labels: {len(self.names)} labels fit no output:\n{found}")

    def _problem(self, value: Value) -> str:
        """Why the output does not give one score a label; empty where it does."""
        if value.dtype not in _FLOATS:
            return f"scores are floats, and it is {value.dtype.name.lower() if value.dtype is not None else 'of no known type'}"
        known = dims(value)
        if not known:
            return "scores are a vector, and it has no dimensions"
        shape = f"[{', '.join('?' if dim is None else str(dim) for dim in known)}]"
        if not all(isinstance(dim, int) for dim in known):
            return f"it is {shape}, and labels are those of one answer at a time: fix the sizes with --shape"
        if any(dim != 1 for dim in known[:-1]):
            return f"it is {shape}, more than one answer at a time: fix the batch to 1 with --shape"
        if known[-1] != len(self.names):
            return f"it gives {known[-1]} scores, and there are {len(self.names)} labels"
        return ""
