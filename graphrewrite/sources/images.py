"""Inputs that are pictures: pixels go in, and what the model was trained on is computed from them inside."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from graphrewrite.errors import UsageError
from graphrewrite.ir import Array, DataType, Picture, Value, dims
from graphrewrite.numeric.pixels import CHANNELS, LARGEST, are_pixels

Images: TypeAlias = "Mapping[str, str | Mapping[str, Any]] | Sequence[str]"
"""By input: `{"x": {"color": "rgb", "scale": 1 / 255, "bias": [0.1, 0.2, 0.3]}}`, `{"x": "rgb,scale=1/255"}`, or as the command
line takes them: `["x=rgb,scale=1/255,bias=0.1:0.2:0.3"]`."""

_WRITTEN = "--image is written INPUT=rgb, bgr or gray, with ,scale=S and ,bias=B or bias=B:B:B if need be"
_ITEM = re.compile(r"(?P<name>.+?)=(?P<color>[a-zA-Z]+)(?P<rest>(,[a-z]+=[^,=]*)*)")


@dataclasses.dataclass(frozen=True)
class ImageInput:
    """One picture of whole numbers from 0 to 255, of which the model takes `pixel * scale + bias`.

    Both are one number, or one a channel in the order `color`. `channels` is the dimension that holds these.
    """

    color: str
    scale: tuple[float, ...] = (1.0,)
    bias: tuple[float, ...] = (0.0,)
    channels: int = 1

    @classmethod
    def parse(cls, item: str) -> tuple[str, ImageInput]:
        """`x=rgb,scale=1/255,bias=-0.5:-0.4:-0.4` as the input's name and what it takes.

        Raises:
            UsageError: it is written otherwise, or makes no sense.
        """
        match = _ITEM.fullmatch(item)
        if match is None:
            raise UsageError(f"{_WRITTEN}, not '{item}'")
        given = [part.split("=") for part in match["rest"].split(",")[1:]]
        return match["name"], cls.of({"color": match["color"], **dict(given)}, len(given))

    @classmethod
    def of(cls, given: Mapping[str, Any], count: int | None = None) -> ImageInput:
        """From `color`, `scale` and `bias`, the latter two numbers, lists of them, or text; `count` of these were given.

        Raises:
            UsageError: there is something else, or it makes no sense.
        """
        numbers = {key: _numbers(item) for key, item in given.items() if key in ("scale", "bias")}
        if given.keys() - numbers.keys() != {"color"} or count not in (None, len(numbers)):
            raise UsageError(f"{_WRITTEN}, not '{', '.join(f'{key}={item}' for key, item in given.items())}'")
        return cls(str(given["color"]), numbers.get("scale", (1.0,)), numbers.get("bias", (0.0,)))

    def __post_init__(self) -> None:
        if self.color not in CHANNELS:
            raise UsageError(f"--image: a picture is {', '.join(CHANNELS)}, not '{self.color}'")
        if not all(map(math.isfinite, self.scale + self.bias)) or 0 in self.scale:
            raise UsageError("--image takes finite numbers, and no scale of zero")
        for name, numbers in (("scale", self.scale), ("bias", self.bias)):
            if len(numbers) not in (1, CHANNELS[self.color]):
                raise UsageError(
                    f"--image: {name} is one number, or one for each of the {CHANNELS[self.color]} channels of {self.color}, "
                    f"not {len(numbers)}"
                )

    def __str__(self) -> str:
        """As `parse` reads it behind the name."""
        parts = [self.color]
        parts += [] if self.scale == (1.0,) else [f"scale={_text(self.scale)}"]
        parts += [] if self.bias == (0.0,) else [f"bias={_text(self.bias)}"]
        return ",".join(parts)

    @property
    def facet(self) -> Picture:
        """What is noted of the graph's input."""
        return Picture(self.color, self.channels, self.scale, self.bias)

    @property
    def changes(self) -> bool:
        """Whether the model takes anything but the pixels as they are."""
        return self.scale != (1.0,) or self.bias != (0.0,)

    def placed(self, value: Value) -> ImageInput:
        """The same, with the dimension of the input `value` that holds the channels: 1, or else the last.

        Raises:
            UsageError: the input takes no single picture of these channels.
        """
        name, known = value.name, dims(value)
        if value.dtype not in (DataType.FLOAT, DataType.UINT8):
            word = value.dtype.name.lower() if value.dtype is not None else "of no known type"
            raise UsageError(
                f"--image {name}: a picture goes into a float32 or uint8 input, and it is {word}"
            )
        if value.dtype == DataType.UINT8 and self.changes:
            raise UsageError(
                f"--image {name}: it is uint8, which holds pixels as they are: leave scale and bias out"
            )
        if known is None or len(known) != 4:
            rank = "an unknown number of" if known is None else len(known)
            raise UsageError(f"--image {name}: a picture has 4 dimensions, [1, C, H, W], and it has {rank}")
        if known[0] != 1:
            raise UsageError(
                f"--image {name}: it takes {known[0]} pictures at once, and an image input is one picture: fix it with --shape "
                + (f"{known[0]}=1" if isinstance(known[0], str) else f"{name}=1,?,?,?")
            )
        count = CHANNELS[self.color]
        axis = next((axis for axis in (1, 3) if known[axis] == count), None)
        if axis is None:
            raise UsageError(
                f"--image {name}: {self.color} has {count} channel{'s' if count > 1 else ''}, and the input is "
                f"[{', '.join(map(str, known))}]"
            )
        return dataclasses.replace(self, channels=axis)

    def constants(self) -> tuple[Array, Array]:
        """Scale and bias so that they broadcast over [1, C, H, W]."""
        scale, bias = (
            np.array(item, np.float32).reshape((-1, 1, 1) if len(item) > 1 else ())
            for item in (self.scale, self.bias)
        )
        return scale, bias

    def draw(self, array: Array) -> Array:
        """Pixels made of what was drawn at random for the model itself."""
        if array.dtype.kind != "f":
            return array
        return np.clip(np.rint(127.5 + 64 * array), 0, LARGEST).astype(array.dtype)

    def apply(self, array: Array, name: str) -> Array:
        """The input `name` of the original for the pixels `array`.

        Raises:
            UsageError: these are no pixels.
        """
        if not are_pixels(array):
            raise UsageError(
                f"--image {name}: samples of a picture hold whole numbers from 0 to 255, and one goes from {array.min():g} to "
                f"{array.max():g}; scale and bias are computed inside"
            )
        if not self.changes:
            return array
        scale, bias = self.constants()
        moved = np.moveaxis(array, self.channels, 1) * scale + bias
        return np.ascontiguousarray(np.moveaxis(moved, 1, self.channels), np.float32)


def parse_images(given: Images) -> dict[str, ImageInput]:
    """What `graphrewrite.run` and the command line take, by input.

    Raises:
        UsageError: something is not written as it should be.
    """
    if not isinstance(given, Mapping):
        return dict(ImageInput.parse(item) for item in given)
    return {
        name: ImageInput.parse(f"{name}={item}")[1] if isinstance(item, str) else ImageInput.of(item)
        for name, item in given.items()
    }


def _numbers(given: Any) -> tuple[float, ...]:
    """`1/255`, `0.1:0.2:0.3`, a number, or several."""
    parts = given.split(":") if isinstance(given, str) else np.ravel(given).tolist()
    try:
        return tuple(_number(part) for part in parts)
    except (ValueError, TypeError, ZeroDivisionError):
        raise UsageError(f"--image: '{given}' is no number, and none a channel as in 0.1:0.2:0.3") from None


def _number(given: Any) -> float:
    if not isinstance(given, str):
        return float(given)
    number, slash, divisor = given.partition("/")
    return float(number) / float(divisor if slash else 1)


def _text(numbers: Sequence[float]) -> str:
    return ":".join(f"{number!r}" for number in numbers)
