"""What a golden model is: the record every family module lists in its ``MODELS``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import nn


@dataclass(frozen=True)
class GoldenModel:
    """One network, how to build it, what to feed it and how it is exported."""

    name: str
    """File stem of the exported files, e.g. ``"unet_bilinear"``."""

    build: Callable[[bool], nn.Module]
    """``build(full)``: the network in eval mode with seeded weights.

    ``full=False`` gives the small widths of the committed golden, ``full=True`` the real depth and widths
    (used for benchmarks and to count transposes; never committed).
    """

    inputs: Callable[[bool], list[dict[str, torch.Tensor]]]
    """``inputs(full)``: one or more samples, each input name -> tensor in ``forward()`` order.

    The model is exported with the first. Models with dynamic axes give samples of several sizes, and no
    dynamic axis of the first one is 1: ``torch.export`` would take a 1 for a constant.
    """

    output_names: tuple[str, ...]

    dynamic: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    """Input name -> {axis: symbol}, e.g. ``{"x": {0: "batch"}}``."""

    exporters: tuple[str, ...] = ("ts17", "dyn")
    """Exporters that can export it; the family module says in a comment why one is missing."""

    passes: str = "default"
    """The pass spec the golden is checked with."""
