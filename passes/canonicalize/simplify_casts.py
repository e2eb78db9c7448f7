"""Chains of casts become one where the type between them loses nothing."""

from __future__ import annotations

import dataclasses

from graphrewrite.ir import DataType, Value
from graphrewrite.pipeline import PatternPass, Stage
from graphrewrite.rewrite import Match, Rewriter, op, value

_EXACT_BITS = {
    **{DataType[f"INT{size}"]: size - 1 for size in (8, 16, 32, 64)},
    **{DataType[f"UINT{size}"]: size for size in (8, 16, 32, 64)},
    DataType.BOOL: 1,
}
_MANTISSA = {DataType.BFLOAT16: 8, DataType.FLOAT16: 11, DataType.FLOAT: 24, DataType.DOUBLE: 53}
_WIDER_FLOATS = {
    DataType.FLOAT16: (DataType.FLOAT, DataType.DOUBLE),
    DataType.BFLOAT16: (DataType.FLOAT, DataType.DOUBLE),
    DataType.FLOAT: (DataType.DOUBLE,),
}


@dataclasses.dataclass(frozen=True)
class SimplifyCasts(PatternPass):
    """Merge Cast chains through a type that holds every value of the first.

        %a = Cast(%x:float16) {to=FLOAT}                   --->   %y = Cast(%x) {to=DOUBLE}
        %y = Cast(%a) {to=DOUBLE}

    `int32 -> int64 -> int32` vanishes, `float -> int32 -> float` (which truncates) stays. Exact.
    """

    stage = Stage.CANONICALIZE
    after = ("eliminate-no-ops",)
    patterns = (op("Cast", op("Cast", value("x"), output="between", shared=True)),)

    def check(self, match: Match) -> None:
        """The type in between must lose nothing."""
        first, between = match["x"].dtype, match["between"].dtype
        if first is None or between is None or not holds(between, first):
            match.fail("the type in between does not hold every value of the first", match["between"])

    def rewrite(self, match: Match, rewriter: Rewriter) -> Value:
        """One Cast, or none."""
        wanted = match.root.attributes.get_int("to", 0)
        return match["x"] if wanted == match["x"].dtype else rewriter.op("Cast", match["x"], to=wanted)


def holds(wide: DataType, narrow: DataType) -> bool:
    """True where every value of `narrow` is a value of `wide` (and turns back into itself)."""
    if wide == narrow or wide in _WIDER_FLOATS.get(narrow, ()):
        return True
    if narrow not in _EXACT_BITS:
        return False
    if wide in _MANTISSA:
        return _EXACT_BITS[narrow] <= _MANTISSA[wide]
    if wide not in _EXACT_BITS or wide == DataType.BOOL:
        return False
    unsigned = wide.name.startswith("UINT")
    return not (unsigned and narrow.name.startswith("INT")) and _EXACT_BITS[narrow] <= _EXACT_BITS[wide]
