"""What a DeformConv says: its sizes, and where its windows lie before the offsets move them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from graphrewrite.errors import Code
from graphrewrite.registry import OpNode

from .window import spatial_attributes


@dataclasses.dataclass(frozen=True)
class Deformation:
    """The sizes of a DeformConv of images, [N, C, H, W] and weights [M, C / group, kH, kW]."""

    batch: int
    channels: int
    size: tuple[int, int]
    """H and W."""
    out: int
    per_group: int
    kernel: tuple[int, int]
    places: tuple[int, int]
    """Height and width of the output."""
    group: int
    parts: int
    """Groups of channels with offsets of their own."""
    strides: Sequence[int]
    dilations: Sequence[int]
    pads: Sequence[int]

    @classmethod
    def of(cls, node: OpNode) -> Deformation:
        """Read from the node.

        Raises:
            Refusal: other than two spatial dimensions, unknown sizes, or channels that do not fit.
        """
        if node.rank() != 4:
            node.refuse("ONNX Runtime and this lowering define DeformConv for two spatial dimensions only")
        batch, channels, height, width = node.static(0)
        out, per_group, *kernel = node.static(1)
        _, _, rows, columns = node.static(2)
        strides, dilations, pads = spatial_attributes(node, 2)
        group, parts = int(node.attr("group")), int(node.attr("offset_group"))
        if per_group * group != channels:
            node.refuse(
                "the weights' channels times group are not the input's channels", code=Code.INVALID_MODEL
            )
        return cls(
            batch,
            channels,
            (height, width),
            out,
            per_group,
            (kernel[0], kernel[1]),
            (rows, columns),
            group,
            parts,
            strides,
            dilations,
            pads,
        )

    @property
    def taps(self) -> int:
        """Elements of a window."""
        return math.prod(self.kernel)

    @property
    def share(self) -> int:
        """Channels that move together."""
        return self.channels // self.parts

    def unmoved(
        self, axis: int, tap: npt.NDArray[np.int64], place: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float32]:
        """float32: where along `axis` the element `tap` of the window at `place` lies before its offset."""
        at = place * self.strides[axis] - self.pads[axis] + tap * self.dilations[axis]
        return at.astype(np.float32)
