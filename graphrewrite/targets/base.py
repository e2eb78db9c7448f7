"""What a target is to the rest of graphrewrite, and how targets are found."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.metadata
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from graphrewrite.errors import NotChecked, UsageError
from graphrewrite.ir import Model
from graphrewrite.layout import TransposeLeft, transposes_of
from graphrewrite.numeric.check import Runner
from graphrewrite.numeric.metrics import FP16, FP32, Tolerance
from graphrewrite.pipeline.syntax import describe_options, make, option_names, split_items, split_options

BUNDLED = ("tflite", "coreml", "openvino")


@dataclasses.dataclass
class Written:
    """What a target wrote.

    `details` go into the report as they are (operator histogram, bytes of weights, ...).
    """

    path: Path
    size: int
    details: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Target:
    """One output format. Subclasses are frozen dataclasses whose fields are the target's options, with defaults for all.

    The module `graphrewrite.targets.NAME.target` (or an entry point `graphrewrite.targets`) holds one as `TARGET`, with every
    option at its default; it is imported only when the target is asked for. Options are given as those of passes are,
    `coreml{minimum_deployment_target=iOS16}`, and reach the passes that are for this target alone: their options of the same
    name take the target's value.
    """

    name: ClassVar[str]
    suffix: ClassVar[str]
    """Of the written file or folder, `.tflite`."""
    reads_onnx: ClassVar[bool] = False
    """True where the target reads ONNX itself, so that op rows say only what it lacks or gets wrong."""
    takes_images: ClassVar[bool] = False
    """True where a model can take a picture as such; others take a tensor of its pixels."""

    @property
    def spec(self) -> str:
        """What builds this target again: its name, and the options that differ from the defaults."""
        return describe_options(self.name, self)

    @property
    def options(self) -> dict[str, Any]:
        """The options by name."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    @property
    def half(self) -> bool:
        """Whether the model is stored or computed in float16, so that its values must fit there.

        Before the passes of `Stage.STORE` run, the nodes for which they do not are marked then (`ir.keeps_float`).
        """
        return self.options.get("precision") == "fp16"

    @property
    def computes_half(self) -> bool:
        """Whether the written model computes in float16 and heeds `ir.keeps_float`: where its roundings are too much together,
        more nodes are marked, and it is written again.
        """
        return False

    @property
    def tolerance(self) -> Tolerance:
        """What float32 outputs are held to."""
        return FP16 if self.half else FP32

    def transposes_left(self, model: Model) -> list[TransposeLeft]:
        """The transposes of a lowered model, biggest first, each with the reason why it is there.

        Where the target keeps dimensions in the source's order, they are the model's own and those of its lowering.
        """
        return transposes_of(model)

    def require(self) -> None:
        """Raise MissingExtra where the target's packages are not installed."""

    def files(self, path: Path) -> tuple[Path, ...]:
        """Everything that belongs to a model written at `path`, beside each other: files or folders, `path` first."""
        return (path,)

    def write(self, model: Model, path: Path) -> Written:
        """Write a fully lowered model to `path`; raise InternalError where the result is not valid."""
        raise NotImplementedError

    def runners(self, path: Path) -> Mapping[str, Runner]:
        """Ways to run the file, the main one first; slow second opinions after it.

        Raises:
            NotChecked: it can't be run here.
        """
        raise NotImplementedError

    def values(self, path: Path, names: Collection[str]) -> tuple[str, ...]:
        """Those of the source's values called `names` that a model at `path` computes on the way to its outputs.

        Raises:
            NotChecked: the target can't look into its files.
        """
        raise NotChecked(f"values inside of {self.suffix} files can't be read: compare the outputs only")

    def probes(self, path: Path, names: Sequence[str]) -> Mapping[str, Runner]:
        """As `runners`, for runs that give the values called `names` (of `values`), as the file stores them, besides the outputs
        or in their place.

        Raises:
            NotChecked: it can't be run here.
        """
        raise NotImplementedError

    def facts(self, runners: Mapping[str, Runner]) -> dict[str, Any]:
        """What the runtime said of the file while `runners` ran it (partitions, ...), for the report."""
        return {}


def check_precision(precision: str) -> None:
    """Raise UsageError unless it is one that targets have: for the options of that name."""
    if precision not in ("fp32", "fp16"):
        raise UsageError(f"precision is fp32 or fp16, not '{precision}'")


TargetSpec = str | Target | Sequence[str | Target]
"""`"tflite"`, `"tflite,coreml{minimum_deployment_target=iOS16}"`, a Target, or a sequence of them."""


def targets(spec: TargetSpec, common: Mapping[str, Any] | None = None) -> list[Target]:
    """The targets that `spec` names, in its order.

    Each option of `common` goes to every target that has it and was not given it in `spec`; None stands for "not given".

    Raises:
        UsageError: an unknown target or option, the same target twice, or an option of `common` that none of them has.
    """
    items: list[str | Target] = []
    for part in [spec] if isinstance(spec, str | Target) else spec:
        items += split_items(part, "target") if isinstance(part, str) else [part]
    wanted = {key: value for key, value in (common or {}).items() if value is not None}
    found = [_configured(item, wanted) if isinstance(item, str) else item for item in items]
    if not found:
        raise UsageError(f"no target is named; there are: {', '.join(_installed())}")
    for key in wanted:
        if not any(key in option_names(item) for item in found):
            names = ", ".join(item.name for item in found)
            raise UsageError(f"none of the targets has the option '{key}': {names}")
    specs = [item.spec for item in found]
    for item in specs:
        if specs.count(item) > 1:
            raise UsageError(f"the target '{item}' is named twice")
    return found


def target(spec: str | Target, common: Mapping[str, Any] | None = None) -> Target:
    """The one target that `spec` names; see `targets`.

    Raises:
        UsageError: as `targets`, or it names several.
    """
    found = targets(spec, common)
    if len(found) > 1:
        raise UsageError(
            f"one target at a time is possible here, not {', '.join(item.spec for item in found)}"
        )
    return found[0]


def target_of(path: Path) -> Target:
    """The target whose models have the suffix of `path`.

    Raises:
        UsageError: there is none.
    """
    suffixes = []
    for name in _installed():
        found = _find(name)
        if path.suffix == found.suffix:
            return found
        suffixes.append(found.suffix)
    raise UsageError(
        f"'{path}' is no model that graphrewrite can run: it takes {', '.join(suffixes)} and .onnx"
    )


def _configured(item: str, common: Mapping[str, Any]) -> Target:
    name, options = split_options(item)
    plain = _find(name)
    options = {key: common[key] for key in common.keys() & option_names(plain)} | options
    return make(f"target '{name}'", plain, lambda **given: dataclasses.replace(plain, **given), options)


def _find(name: str) -> Target:
    if name in BUNDLED:
        found: Target = importlib.import_module(f"graphrewrite.targets.{name}.target").TARGET
        return found
    for entry in importlib.metadata.entry_points(group="graphrewrite.targets", name=name):
        loaded: Target = entry.load()
        return loaded
    raise UsageError(f"unknown target '{name}'; there are: {', '.join(_installed())}")


def _installed() -> list[str]:
    """Names of all targets, without importing one."""
    entries = {entry.name for entry in importlib.metadata.entry_points(group="graphrewrite.targets")}
    return [*BUNDLED, *sorted(entries - set(BUNDLED))]
