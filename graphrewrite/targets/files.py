"""Where written models go: their names, and how a finished one gets its name and a rejected one none.

A model is written into a fresh folder beside its final place, under its final file name, and moved out of it only when it was
found right. So a file under its final name is always a whole and checked one, also where a model is a folder (`.mlpackage`)
or several files (`.xml` and `.bin`).
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from graphrewrite.errors import UsageError
from graphrewrite.ir import Source
from graphrewrite.targets.base import Target


def output_paths(source: Source, output: str | os.PathLike[str] | None, targets: list[Target]) -> list[Path]:
    """The final path of each target's model.

    `output` is a file (for one target only), a folder (one that exists, or a name that ends with a slash), or a pattern with
    `{stem}` (the source's file name without its suffix), `{target}`, `{suffix}`, the targets' options and `{options}`, all of
    them joined with dashes, in it: `out/{stem}-{precision}{suffix}`. Without it the model's name in the working directory.

    Raises:
        UsageError: the source has no name to make one of, or two models would get the same one.
    """
    paths = [_output_path(source, output, item, alone=len(targets) == 1) for item in targets]
    files = [file for item, path in zip(targets, paths, strict=True) for file in item.files(path)]
    for file in files:
        if files.count(file) > 1:
            raise UsageError(
                f"two targets would write '{file}': give a pattern that tells them apart, such as "
                "-o '{stem}.{target}-{options}{suffix}'"
            )
    return paths


def _output_path(
    source: Source, output: str | os.PathLike[str] | None, target: Target, *, alone: bool
) -> Path:
    text = "{stem}{suffix}" if output is None else os.fspath(output)
    if "{" not in text:
        path = Path(text)
        folder = text.endswith(("/", os.sep)) or (path.is_dir() and path.suffix != target.suffix)
        if not folder and alone:
            return path
        if not folder and path.suffix:
            raise UsageError(
                f"'{text}' is one file, and there are several targets: name a folder (with a slash at its end) or a pattern "
                "such as '{stem}{suffix}'"
            )
        text = os.path.join(text, "{stem}{suffix}")
    options = "-".join(item for item in target.options.values() if item and isinstance(item, str))
    fields = {"target": target.name, "suffix": target.suffix, "options": options, **target.options}
    if isinstance(source, str | os.PathLike):
        fields["stem"] = Path(source).stem
    elif "{stem}" in text:
        raise UsageError("a model given as bytes or proto has no name: say where to write with output=")
    try:
        return Path(text.format_map(fields))
    except (KeyError, ValueError, IndexError) as error:
        known = ", ".join(f"{{{name}}}" for name in fields)
        raise UsageError(
            f"the output pattern '{text}' can't be filled in ({error}); {target.name} knows {known}"
        ) from None


@contextlib.contextmanager
def staged(path: Path) -> Iterator[Path]:
    """Yields where to write what is to become `path`; whatever is still there at the end is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.stem}.", dir=path.parent) as folder:
        yield Path(folder) / path.name


def publish(target: Target, candidate: Path, path: Path) -> None:
    """Move the files of `candidate`, which was `staged` for it, to `path`, in place of those of an older model.

    A single file replaces the old one in one step. Of several, the one called `path` goes first and comes last, so that it never
    stands beside others' files; where a step fails, the old model is put back.
    """
    made = target.files(candidate)
    if len(made) == 1 and not candidate.is_dir():
        os.replace(candidate, path)
        return
    pairs = list(zip(made, target.files(path), strict=True))
    aside = candidate.parent / "old"
    aside.mkdir()
    done: list[tuple[Path, Path]] = []
    try:
        for new, final in pairs:
            if final.is_dir() and not new.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(final))
            if final.exists():
                _move(final, aside / final.name, done)
        for new, final in reversed(pairs):
            _move(new, final, done)
    except BaseException:
        for before, after in reversed(done):
            os.rename(after, before)
        raise


def _move(before: Path, after: Path, done: list[tuple[Path, Path]]) -> None:
    os.rename(before, after)
    done.append((before, after))


def keep_rejected(target: Target, candidate: Path, folder: Path) -> None:
    """Move a rejected model's files into `folder`, under the name `rejected`."""
    for file in target.files(candidate):
        shutil.move(file, folder / f"rejected{file.name.removeprefix(candidate.stem)}")
