"""Image features: how a Core ML file says that an input is a picture, of which sizes, and in which order it wants the
channels."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from graphrewrite.errors import NotChecked
from graphrewrite.ir import Array, Value, dims
from graphrewrite.numeric.pixels import CHANNELS, Pixels, are_pixels
from graphrewrite.targets.coreml.flexible import FlexibleShape
from graphrewrite.targets.failures import InputRefused

_SPACES = {"gray": "GRAYSCALE", "rgb": "RGB", "bgr": "BGR"}
_COLORS = {space: color for color, space in _SPACES.items()} | {"GRAYSCALE_FLOAT16": "gray"}


def describe_image(feature: Any, color: str, shape: tuple[int, ...], flexible: FlexibleShape | None) -> None:
    """Make an image feature of the description of an input of the program.

    `shape` [1, C, H, W] is the default one, and `flexible` those that it may have.
    """
    image = feature.type.imageType
    image.height, image.width = shape[2:]
    image.colorSpace = image.ColorSpace.Value(_SPACES[color])
    if flexible is None:
        return
    if flexible.shapes:
        for sizes in flexible.shapes:
            image.enumeratedSizes.sizes.add(height=sizes[2], width=sizes[3])
        return
    for bounds, (lowest, highest) in zip(
        (image.imageSizeRange.heightRange, image.imageSizeRange.widthRange), flexible.range[2:], strict=True
    ):
        bounds.lowerBound, bounds.upperBound = lowest, highest


@dataclasses.dataclass(frozen=True)
class ImageFeature:
    """What the description of a file says of an image input.

    Attributes:
        color: the order in which the program gets the channels.
        whole: True where it takes bytes; float16 otherwise.
        sizes: every (height, width) that it takes; empty where `bounds` are given.
        bounds: (lowest, highest or -1) of height and width.
    """

    color: str
    whole: bool
    sizes: tuple[tuple[int, int], ...]
    bounds: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, image: Any) -> ImageFeature:
        """Of the protobuf's `ImageFeatureType`.

        Raises:
            NotChecked: it names no colours.
        """
        names = {number: name for name, number in image.ColorSpace.items()}
        space = names.get(image.colorSpace, str(image.colorSpace))
        if space not in _COLORS:
            raise NotChecked(f"the file describes an image of no known colours ({space}): it is damaged")
        kind = image.WhichOneof("SizeFlexibility")
        sizes, bounds = [(image.height, image.width)], []
        if kind == "enumeratedSizes":
            sizes += [(item.height, item.width) for item in image.enumeratedSizes.sizes]
        elif kind == "imageSizeRange":
            ranges = (image.imageSizeRange.heightRange, image.imageSizeRange.widthRange)
            sizes, bounds = [], [(item.lowerBound, item.upperBound) for item in ranges]
        return cls(_COLORS[space], space != "GRAYSCALE_FLOAT16", tuple(sizes), tuple(bounds))

    def check(self, value: Value) -> None:
        """Raise NotChecked where the input `value` of the program can't take what is described here."""
        known = dims(value)
        fits = known is not None and len(known) == 4 and known[:2] == (1, CHANNELS[self.color])
        if fits and known is not None:
            for height, width in self.sizes:
                fits = fits and known[2] in (None, height) and known[3] in (None, width)
        if not fits:
            shape = ", ".join("?" if dim is None else str(dim) for dim in known or ())
            raise NotChecked(
                f"the file is damaged: its input '{value.name}' is described as an image ({self}), and is [{shape}] in "
                "its program"
            )

    def __str__(self) -> str:
        if self.bounds:
            size = " x ".join(
                f"{lowest}..{'' if highest < 0 else highest}" for lowest, highest in self.bounds
            )
        else:
            size = " or ".join(f"{height} x {width}" for height, width in dict.fromkeys(self.sizes))
        return f"{self.color}, {size}"

    def planes(self, array: Array, name: str) -> Array:
        """What the program gets for a picture, [1, C, H, W] with the channels in its own order.

        Raises:
            InputRefused: it is no picture, or one of another size or number of channels.
        """
        if not isinstance(array, Pixels):
            raise InputRefused(
                f"the file takes an image ({self}) as '{name}': say so with --image {name}={self.color}, and with the "
                "scale and bias that stand in the file: ,scale=S,bias=B"
            )
        try:
            planes = array.planes(self.color)
        except ValueError as error:
            raise InputRefused(f"the file takes an image ({self}) as '{name}': {error}") from None
        if self.whole and not are_pixels(planes):
            raise InputRefused(f"the file takes an image as '{name}', of whole numbers from 0 to 255")
        height, width = planes.shape[2:]
        within = all(
            lowest <= size and (highest < 0 or size <= highest)
            for size, (lowest, highest) in zip((height, width), self.bounds, strict=False)
        )
        if not within or (self.sizes and (height, width) not in self.sizes):
            raise InputRefused(
                f"the file takes an image ({self}) as '{name}', and this one is {height} x {width}"
            )
        return planes

    def picture(self, array: Array, name: str) -> Any:
        """The same as Core ML's Python bindings take it: a PIL image, which is red first whatever the program asks for.

        Raises:
            InputRefused: as `planes`.
        """
        from PIL import Image

        planes = self.planes(array, name)[0].astype(np.uint8)
        if self.color == "gray":
            return Image.fromarray(planes[0])
        return Image.fromarray(
            np.ascontiguousarray((planes if self.color == "rgb" else planes[::-1]).transpose(1, 2, 0))
        )


def image_features(description: Any) -> Mapping[str, ImageFeature]:
    """The image inputs of a file by name.

    Raises:
        NotChecked: see `ImageFeature.of`.
    """
    return {
        item.name: ImageFeature.of(item.type.imageType)
        for item in description.input
        if item.type.WhichOneof("Type") == "imageType"
    }
