"""The pixels of a picture, as an array that knows the order of its channels.

A file that takes pictures is told what is in them, not what lies where: the system that runs it puts the channels in the order
that the file asks for. What runs such a file for a check does the same, and so finds a file that asks for another order.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphrewrite.ir import Array

LARGEST = 255
CHANNELS = {"rgb": 3, "bgr": 3, "gray": 1}
"""How many channels a picture has, by their order."""


class Pixels(np.ndarray[Any, np.dtype[Any]]):
    """An array of rank 4 that holds one picture; its channels, in the order `color`, lie along dimension `channels`."""

    color: str
    channels: int

    @classmethod
    def of(cls, array: Array, color: str, channels: int) -> Pixels:
        """The same elements as a picture."""
        found = np.ascontiguousarray(array).view(cls)
        found.color, found.channels = color, channels
        return found

    def planes(self, color: str) -> Array:
        """[1, C, H, W], its channels in the order `color`.

        Raises:
            ValueError: there is no such order of as many channels.
        """
        if CHANNELS[color] != CHANNELS[self.color]:
            raise ValueError(f"a picture of {CHANNELS[color]} channels is wanted, and this is {self.color}")
        planes = np.moveaxis(np.asarray(self), self.channels, 1)
        return planes if color == self.color else planes[:, ::-1]


def are_pixels(array: Array) -> bool:
    """Whether every element is a whole number from 0 to 255."""
    return bool(np.all((array >= 0) & (array <= LARGEST)) and np.array_equal(array, np.rint(array)))
