"""What graphrewrite remembers of nodes and values beyond what ONNX holds: origin, layout, quantisation, pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir

ORIGIN = "graphrewrite.origin"
LAYOUT = "graphrewrite.layout"
PICTURE = "graphrewrite.picture"
QUANT = "quant"
FLOAT = "graphrewrite.float"
HALF = "graphrewrite.half"


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a value lies in memory against the source: physical dimension i is logical dimension `perm[i]`."""

    perm: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Quant:
    """Affine quantisation of a value: real = scale * (stored - zero_point), along `axis` where per-axis.

    An integer value holds what is stored; a float value holds what is real, and may be stored so without loss.
    """

    scale: npt.NDArray[np.float32]
    zero_point: npt.NDArray[np.int64]
    axis: int = 0


@dataclasses.dataclass(frozen=True)
class Picture:
    """What a graph input takes: the pixels of one picture, whole numbers from 0 to 255.

    Attributes:
        color: the order of its channels: `rgb`, `bgr`, or `gray` for a single one.
        channels: the dimension of the source's input that holds them.
        scale, bias: what the graph makes of a pixel, pixel * scale + bias; one number, or one a channel.
    """

    color: str
    channels: int = 1
    scale: tuple[float, ...] = (1.0,)
    bias: tuple[float, ...] = (0.0,)


def recorded(item: onnx_ir.Node | onnx_ir.Value, key: str) -> Any:
    """What is noted of `item` under `key`, None where nothing is.

    `item.meta` makes a store at the first look, and most values never need one.
    """
    store = item._metadata
    return None if store is None else store.data.get(key)


def origin(node: onnx_ir.Node) -> tuple[str, ...]:
    """Source names of the nodes that `node` came from, in the order first seen."""
    known: tuple[str, ...] | None = recorded(node, ORIGIN)
    return known if known is not None else (node.name or node.op_type,)


def source_name(node: onnx_ir.Node) -> str:
    """The one source name to show a user for `node`: the last (most downstream) of its origins."""
    names = origin(node)
    return names[-1] if names else (node.name or node.op_type)


def set_origin(node: onnx_ir.Node, names: Iterable[str]) -> None:
    """Record where `node` came from; repeated names are kept once."""
    node.meta[ORIGIN] = tuple(dict.fromkeys(names))


def layout(value: onnx_ir.Value) -> Layout | None:
    """The layout facet of a value, None where it lies as in the source."""
    found: Layout | None = recorded(value, LAYOUT)
    return found


def set_layout(value: onnx_ir.Value, facet: Layout | None) -> None:
    """Record how `value` lies in memory."""
    if facet is not None:
        value.meta[LAYOUT] = facet
    elif recorded(value, LAYOUT) is not None:
        del value.meta[LAYOUT]


def picture(value: onnx_ir.Value) -> Picture | None:
    """The picture that a graph input takes, None where it takes any numbers."""
    found: Picture | None = recorded(value, PICTURE)
    return found


def set_picture(value: onnx_ir.Value, facet: Picture) -> None:
    """Record that the graph input `value` takes a picture."""
    value.meta[PICTURE] = facet


def quant(value: onnx_ir.Value) -> Quant | None:
    """The quantisation facet of a value."""
    found: Quant | None = recorded(value, QUANT)
    return found


def set_quant(value: onnx_ir.Value, facet: Quant) -> None:
    """Record how `value` is quantised."""
    value.meta[QUANT] = facet


def keeps_float(node: onnx_ir.Node) -> bool:
    """True for a node that must compute in float32 in a float16 program: float16 can't hold what it reads, adds up or gives, or
    its rounding costs the outputs too much."""
    return bool(recorded(node, FLOAT))


def keep_float(node: onnx_ir.Node) -> None:
    """Record that `node` must compute in float32."""
    node.meta[FLOAT] = True


def stores_half(value: onnx_ir.Value) -> bool:
    """True for a constant that is stored in float16 for nodes that compute in float32, too."""
    return bool(recorded(value, HALF))


def store_half(value: onnx_ir.Value, wanted: bool) -> None:
    """Record whether the constant `value` may be stored in float16 where it is read in float32."""
    value.meta[HALF] = wanted
