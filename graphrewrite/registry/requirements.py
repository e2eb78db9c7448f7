"""What builders of any target need to know of a value, or refuse."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from graphrewrite.errors import Code
from graphrewrite.ir import DataType, Value, rank
from graphrewrite.registry.opnode import Refusal


def require_rank(value: Value) -> int:
    """Rank of `value`.

    Raises:
        Refusal: it is unknown.
    """
    found = rank(value)
    if found is None:
        raise Refusal(
            Code.NOT_EXPRESSIBLE,
            f"the rank of '{value.name}' is unknown",
            "fix the input shapes with --shape",
        )
    return found


def computed_type(
    dtype: DataType,
    accepted: Collection[DataType],
    wider: Mapping[DataType, Sequence[DataType]],
    lack: str,
) -> DataType:
    """`dtype` where it is among the `accepted`, else the first of the `wider` ones, which hold all its values, that is.

    Raises:
        Refusal: none is; `lack` says who takes no values of the type.
    """
    found = next((item for item in (dtype, *wider.get(dtype, ())) if item in accepted), None)
    if found is None:
        name = dtype.name.lower()
        raise Refusal(
            Code.NOT_EXPRESSIBLE,
            f"{lack} {name} (it takes {', '.join(sorted(item.name.lower() for item in accepted))})",
            f"cast to one of these types around the node, if its values fit: no wider one holds every {name}",
        )
    return found
