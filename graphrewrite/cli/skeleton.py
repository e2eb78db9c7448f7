"""What a new pass starts as: a whole pass that removes a double negation, a model where it acts, and one where it must not.

`graphrewrite new-pass` and `tools/new_pass` write it; nothing here needs more than Python.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

_PASS = '''"""A double negation is its operand."""

from __future__ import annotations

import dataclasses

from graphrewrite.ir import Value
from graphrewrite.pipeline import PatternPass, Stage
from graphrewrite.rewrite import Match, Rewriter, op, value


@dataclasses.dataclass(frozen=True)
class {cls}(PatternPass):
    """Remove double negations.

        %a = Neg(%x)
        %y = Neg(%a)   --->   %x

    Exact to the bit.
    """

    stage = Stage.{stage}
    patterns = (op("Neg", op("Neg", value("x"))),)

    def rewrite(self, match: Match, rewriter: Rewriter) -> Value:
        """The operand of the inner negation."""
        return match["x"]
'''

SUMMARY = "Remove double negations."
"""The first line of its docstring."""

ACTS = """<ir_version: 10, opset_import: ["" : 20]>
g (float[2,3] x) => (float[2,3] y) {
  a = Neg(x)
  b = Neg(a)
  y = Relu(b)
}
"""

STAYS = """<ir_version: 10, opset_import: ["" : 20]>
g (float[2,3] x) => (float[2,3] y, float[2,3] a) {
  a = Neg(x)
  b = Neg(a)
  y = Relu(b)
}
"""

_TEST = '''"""{name}: where it acts, where it must not, and the outputs stay what they are."""

from __future__ import annotations

from pathlib import Path

import onnx.parser
import pytest

import graphrewrite

PASS = Path(__file__).with_name("{module}.py")

ACTS = """{acts}"""

USED_ELSEWHERE = """{stays}"""


@pytest.mark.parametrize(("text", "rewrites"), [(ACTS, 1), (USED_ELSEWHERE, 0)])
def test_rewrites(text: str, rewrites: int, tmp_path: Path) -> None:
    model = onnx.parser.parse_model(text)
    # raises where the outputs of the written file are not the model's
    result = graphrewrite.run(model, passes=f"none,{{PASS}}", output=tmp_path / "model.tflite")
    assert [item.rewrites for item in result.record if item.name == "{name}"] == [rewrites]
'''


def module_name(name: str) -> str:
    """Of the pass called `name`, in kebab case.

    Raises:
        ValueError: it is not.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z][a-z0-9]*)*", name):
        raise ValueError(f"'{name}' is not kebab-case, as in fuse-my-pattern")
    if re.search(r"(^|-)[a-z]-[a-z](?![a-z])", name):  # the class FoldXY would be called fold-xy
        raise ValueError(f"'{name}' has two single letters in a row: write them as one word")
    return name.replace("-", "_")


def pass_text(name: str, stage: str) -> str:
    """The pass's file; `stage` is the name of a `graphrewrite.pipeline.Stage`."""
    return _PASS.format(cls="".join(part.capitalize() for part in name.split("-")), stage=stage)


def test_text(name: str) -> str:
    """A test to lie beside the pass's file, which needs the target tflite."""
    return _TEST.format(name=name, module=module_name(name), acts=ACTS, stays=STAYS)


def write_new(files: Mapping[Path, str]) -> None:
    """Write them all.

    Raises:
        FileExistsError: one of them is there; none is written then.
    """
    for path in files:
        if path.exists():
            raise FileExistsError(f"{path} is there already")
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
