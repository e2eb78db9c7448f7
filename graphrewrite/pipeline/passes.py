"""What a pass is: one idea, one file, one name; its dataclass fields are its options."""

from __future__ import annotations

import enum
import re
from collections.abc import Sequence
from typing import ClassVar

from graphrewrite.ir import Model, Node, Value
from graphrewrite.rewrite import Match, MatchFailure, OpPattern, Rewriter, RuleStatistics, apply_rules, match


class Stage(enum.IntEnum):
    """Coarse order of the pipeline; within a stage, `after` decides, then the name."""

    IMPORT = 0
    """Any model becomes a graph of today's ONNX ops with constants and shapes known."""
    CANONICALIZE = 1
    """One spelling for each thing."""
    GENERATIVE = 2
    """The structures of generative models."""
    FUSE = 3
    """Several ops become one."""
    LEGALIZE = 4
    """ONNX ops become target ops."""
    LAYOUT = 5
    """Where each value's channels lie."""
    FINISH = 6
    """Target ops are merged and tidied."""
    STORE = 7
    """How values are stored: constants rounded or quantised, what the runtime would overwrite copied."""


class Label(enum.Enum):
    """What a pass promises of the outputs."""

    EXACT = "exact"
    """Equal up to rounding."""
    APPROXIMATE = "approximate"
    """Different within a bound that the docstring states."""


class Pass:
    """Base of all passes. Subclasses are dataclasses; `run` changes the graph through the rewriter only.

    `name` is the class name in kebab case (`FuseLeakyRelu` -> `fuse-leaky-relu`) and the file's with dashes.
    """

    stage: ClassVar[Stage] = Stage.FUSE
    label: ClassVar[Label] = Label.EXACT
    after: ClassVar[tuple[str, ...]] = ()
    """Passes of the same stage that must have run before, where they run at all."""
    targets: ClassVar[frozenset[str] | None] = None
    """Targets that the pass is for; None means all."""
    default: ClassVar[bool] = True
    """Whether `--passes default` includes it."""
    mandatory: ClassVar[bool] = False
    """Whether it runs even with `--passes none`, because the target can't be reached without it."""

    @property
    def name(self) -> str:
        """Name on the command line."""
        return pass_name(type(self))

    def run(self, model: Model, rewriter: Rewriter) -> dict[str, RuleStatistics]:
        """Change `model` through `rewriter`; statistics by rule where there are rules."""
        raise NotImplementedError


def pass_name(cls: type) -> str:
    """Kebab-case name of a pass class."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", cls.__name__).lower()


class RewritePass(Pass):
    """A pass that is one rewrite rule, driven by the worklist."""

    @property
    def roots(self) -> tuple[str, ...]:
        """Op types at whose nodes `match` is tried (`Conv`, `tflite.CONV_2D`)."""
        raise NotImplementedError

    def match(self, node: Node) -> Match:
        """What the rewrite needs; raises MatchFailure with the reason where the rule does not apply."""
        raise NotImplementedError

    def rewrite(self, match: Match, rewriter: Rewriter) -> Value | Sequence[Value | None] | None:
        """New values for the root's outputs, or None where the graph was changed in place."""
        raise NotImplementedError

    def run(self, model: Model, rewriter: Rewriter) -> dict[str, RuleStatistics]:
        """Apply the rule until it applies nowhere."""
        return apply_rules(model, [self], rewriter)


class PatternPass(RewritePass):
    """A rewrite rule whose match is a pattern (or several) and a check."""

    patterns: ClassVar[tuple[OpPattern, ...]] = ()

    @property
    def roots(self) -> tuple[str, ...]:
        """The root ops of all patterns."""
        names = [f"{p.domain}.{op}" if p.domain else op for p in self.patterns for op in p.op_types]
        return tuple(dict.fromkeys(names))

    def match(self, node: Node) -> Match:
        """The first pattern that matches and passes the check."""
        failure = MatchFailure("no pattern has this root")
        for pattern in self.patterns:
            if node.op_type not in pattern.op_types or node.domain != pattern.domain:
                continue
            try:
                found = match(pattern, node)
                self.check(found)
                return found
            except MatchFailure as error:
                failure = error.untraced()
        raise failure.untraced()

    def check(self, match: Match) -> None:
        """Conditions that the pattern can't state: call `match.fail(reason, culprit)` where one is not met."""
