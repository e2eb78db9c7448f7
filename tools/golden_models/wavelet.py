"""Photorealistic style transfer's autoencoder: Haar wavelet pooling, and unpooling by one transposed convolution a band."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import partial

import torch
from torch import nn
from torch.nn import functional

from .catalog import GoldenModel
from .weights import normal, trained_looking


class Haar(nn.Module):
    """The four 2 x 2 filters of each channel, low band first: [C, 1, 2, 2] each."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        low, high = torch.tensor([1.0, 1.0]) / 2**0.5, torch.tensor([-1.0, 1.0]) / 2**0.5
        self.channels = channels
        for name, rows, columns in (
            ("ll", low, low),
            ("lh", low, high),
            ("hl", high, low),
            ("hh", high, high),
        ):
            self.register_buffer(name, torch.outer(rows, columns).expand(channels, 1, 2, 2).clone())

    @property
    def filters(self) -> tuple[torch.Tensor, ...]:
        return self.ll, self.lh, self.hl, self.hh


class WaveletPool(Haar):
    """[N, C, H, W] to four bands [N, C, H/2, W/2]."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(functional.conv2d(x, item, stride=2, groups=self.channels) for item in self.filters)


class WaveletUnpool(Haar):
    """Four bands [N, C, H, W] to [N, C, 2H, 2W]."""

    def forward(self, *bands: torch.Tensor) -> torch.Tensor:
        ll, lh, hl, hh = (
            functional.conv_transpose2d(band, item, stride=2, groups=self.channels)
            for band, item in zip(bands, self.filters, strict=True)
        )
        return ll + lh + hl + hh


def _conv(cin: int, cout: int) -> nn.Conv2d:
    return nn.Conv2d(cin, cout, 3, padding=1, padding_mode="reflect")


class WaveletAutoencoder(nn.Module):
    """The low band goes on to the next level, the three high ones past it to the unpooling (Yoo et al. 2019)."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        pairs = list(itertools.pairwise(widths))
        self.first = _conv(3, widths[0])
        self.down = nn.ModuleList(_conv(cin, cout) for cin, cout in pairs)
        self.pool = nn.ModuleList(WaveletPool(cin) for cin, _ in pairs)
        self.up = nn.ModuleList(_conv(cout, cin) for cin, cout in pairs)
        self.unpool = nn.ModuleList(WaveletUnpool(cin) for cin, _ in pairs)
        self.last = _conv(widths[0], 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = functional.relu(self.first(x))
        kept = []
        for pool, conv in zip(self.pool, self.down, strict=True):
            low, *high = pool(y)
            kept.append(high)
            y = functional.relu(conv(low))
        for conv, unpool in reversed(list(zip(self.up, self.unpool, strict=True))):
            y = unpool(functional.relu(conv(y)), *kept.pop())
        return self.last(y)


def _build(full: bool) -> nn.Module:
    return trained_looking(partial(WaveletAutoencoder, (64, 128, 256, 512) if full else (8, 12, 16)), 5)


def _inputs(full: bool) -> list[dict[str, torch.Tensor]]:
    return [{"x": normal(1, 3, *((512, 512) if full else (32, 24)), seed=31)}]


MODELS: tuple[GoldenModel, ...] = (GoldenModel("wavelet_unpool", _build, _inputs, ("image",)),)
