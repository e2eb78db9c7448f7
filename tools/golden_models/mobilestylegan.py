"""MobileStyleGAN: the mapping network, and the wavelet synthesis network with trained demodulation.

Synthesis: a constant 4x4 input, one 3x3 styled convolution, then blocks of (inverse wavelet upsampling, two
depthwise-separable styled convolutions). A 1x1 convolution gives 12 channels, 3 low and 9 high, whose
inverse wavelet transform is the image. The demodulation depends on a trained `style_inv`, not on the
style, so it is constant.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import nn
from torch.nn.functional import conv2d, conv_transpose2d, leaky_relu, linear

from .catalog import GoldenModel
from .weights import normal, trained_looking

_FULL_CHANNELS = (512, 512, 512, 512, 512, 256, 128, 64)
_SMALL_CHANNELS = (32, 32, 24, 16)


class PixelNorm(nn.Module):
    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return z * torch.rsqrt(torch.mean(z**2, dim=1, keepdim=True) + 1e-8)


class MappingLayer(nn.Module):
    """Linear layer with equalised learning rate, bias and leaky ReLU with gain sqrt(2)."""

    def __init__(self, width: int, lr_multiplier: float = 0.01) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(width, width) / lr_multiplier)
        self.bias = nn.Parameter(torch.randn(width) * 0.1 / lr_multiplier)
        self.scale = lr_multiplier / math.sqrt(width)
        self.lr_multiplier = lr_multiplier

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = linear(x, self.weight * self.scale)
        bias = (self.bias * self.lr_multiplier).view(1, -1)
        return leaky_relu(x + bias, negative_slope=0.2) * math.sqrt(2)


class Mapping(nn.Module):
    """Latent z `[N, D]` to style w `[N, D]`."""

    def __init__(self, width: int, depth: int = 8) -> None:
        super().__init__()
        self.layers = nn.Sequential(PixelNorm(), *(MappingLayer(width) for _ in range(depth)))

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.layers(z)


class StyleAffine(nn.Module):
    """Style w `[N, D]` to per-channel factors `[N, C, 1, 1]`, about `gain` each."""

    def __init__(self, style_width: int, channels: int, gain: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels, style_width) * 0.25)
        self.bias = nn.Parameter(gain + 0.2 * torch.randn(channels))
        self.scale = 1 / math.sqrt(style_width)

    def forward(self, w: torch.Tensor) -> torch.Tensor:
        return linear(w, self.weight * self.scale, bias=self.bias).view(w.shape[0], -1, 1, 1)


class NoiseBiasAct(nn.Module):
    """`leaky_relu(y + strength * noise + bias)` with the constant noise of one resolution."""

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        self.strength = nn.Parameter(0.1 + 0.05 * torch.rand(1))
        self.register_buffer("noise", torch.randn(1, 1, size, size))
        self.bias = nn.Parameter(0.2 * torch.randn(1, channels, 1, 1))

    def forward(self, y: torch.Tensor) -> torch.Tensor:
        y = y + self.strength * self.noise
        return leaky_relu(y + self.bias, negative_slope=0.2)


class StyledConv(nn.Module):
    """3x3 convolution of `x * style`, demodulated by constants."""

    def __init__(self, c_in: int, c_out: int, style_width: int, size: int) -> None:
        super().__init__()
        self.affine = StyleAffine(style_width, c_in, gain=1.3)
        self.weight = nn.Parameter(torch.randn(c_out, c_in, 3, 3))
        self.style_inv = nn.Parameter(1 + 0.2 * torch.randn(1, 1, c_in, 1, 1))
        self.scale = 1 / math.sqrt(c_in * 9)
        self.act = NoiseBiasAct(c_out, size)

    def demodulation(self) -> torch.Tensor:
        weight = self.weight.unsqueeze(0) * (self.scale * self.style_inv)
        return torch.rsqrt(weight.pow(2).sum([2, 3, 4]) + 1e-8).view(1, -1, 1, 1)

    def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        x = self.affine(w) * self.scale * x
        x = conv2d(x, self.weight, padding=1)
        return self.act(self.demodulation() * x)


class SeparableStyledConv(nn.Module):
    """The same with a 3x3 depthwise and a 1x1 convolution; the demodulation takes the product of the two."""

    def __init__(self, c_in: int, c_out: int, style_width: int, size: int) -> None:
        super().__init__()
        self.c_in = c_in
        self.affine = StyleAffine(style_width, c_in, gain=1.3)
        self.depthwise = nn.Parameter(torch.randn(c_in, 1, 3, 3))
        self.pointwise = nn.Parameter(torch.randn(c_out, c_in, 1, 1))
        self.style_inv = nn.Parameter(1 + 0.2 * torch.randn(1, 1, c_in, 1, 1))
        self.scale = 1 / math.sqrt(c_in * 9)
        self.act = NoiseBiasAct(c_out, size)

    def demodulation(self) -> torch.Tensor:
        weight = self.depthwise.transpose(0, 1) * self.pointwise  # [Co, Ci, 3, 3]
        weight = weight.unsqueeze(0) * (self.scale * self.style_inv)
        return torch.rsqrt(weight.pow(2).sum([2, 3, 4]) + 1e-8).view(1, -1, 1, 1)

    def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        x = self.affine(w) * self.scale * x
        x = conv2d(x, self.depthwise, padding=1, groups=self.c_in)
        x = conv2d(x, self.pointwise)
        return self.act(self.demodulation() * x)


class InverseWavelet(nn.Module):
    """Inverse Haar transform: `[N, C + 3C, H, W]` to `[N, C, 2H, 2W]`, columns first, then rows."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = math.sqrt(0.5)
        low, high = torch.tensor([half, half]), torch.tensor([half, -half])
        self.channels = channels
        self.register_buffer("low_column", low.reshape(1, 1, 2, 1).repeat(channels, 1, 1, 1))
        self.register_buffer("high_column", high.reshape(1, 1, 2, 1).repeat(channels, 1, 1, 1))
        self.register_buffer("low_row", low.reshape(1, 1, 1, 2).repeat(channels, 1, 1, 1))
        self.register_buffer("high_row", high.reshape(1, 1, 1, 2).repeat(channels, 1, 1, 1))

    def _merge(
        self,
        low: torch.Tensor,
        high: torch.Tensor,
        taps: tuple[torch.Tensor, torch.Tensor],
        stride: tuple[int, int],
    ) -> torch.Tensor:
        return conv_transpose2d(low, taps[0], stride=stride, groups=self.channels) + conv_transpose2d(
            high, taps[1], stride=stride, groups=self.channels
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ll, high = x[:, : self.channels], x[:, self.channels :]
        high = high.reshape(x.shape[0], self.channels, 3, x.shape[2], x.shape[3])
        lh, hl, hh = torch.unbind(high, dim=2)
        columns = (self.low_column, self.high_column)
        low = self._merge(ll, lh, columns, (2, 1))
        high = self._merge(hl, hh, columns, (2, 1))
        return self._merge(low, high, (self.low_row, self.high_row), (1, 2))


class ToWavelets(nn.Module):
    """1x1 modulated convolution to the 12 wavelet channels of an RGB image, without demodulation."""

    def __init__(self, c_in: int, style_width: int) -> None:
        super().__init__()
        self.affine = StyleAffine(style_width, c_in, gain=1.0)
        self.weight = nn.Parameter(torch.randn(12, c_in, 1, 1))
        self.bias = nn.Parameter(0.2 * torch.randn(1, 12, 1, 1))
        self.scale = 1 / math.sqrt(c_in)

    def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return conv2d(self.affine(w) * self.scale * x, self.weight) + self.bias


class Block(nn.Module):
    """Doubles the resolution: modulated inverse wavelet transform, then two separable styled convolutions."""

    def __init__(self, c_in: int, c_out: int, style_width: int, size: int) -> None:
        super().__init__()
        self.affine = StyleAffine(style_width, c_in, gain=1.0)
        self.wavelet = InverseWavelet(c_in // 4)
        self.conv1 = SeparableStyledConv(c_in // 4, c_out, style_width, size)
        self.conv2 = SeparableStyledConv(c_out, c_out, style_width, size)
        self.to_wavelets = ToWavelets(c_out, style_width)

    def forward(self, x: torch.Tensor, style: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.wavelet(self.affine(style[:, 0]) * x)
        x = self.conv1(x, style[:, 0])
        x = self.conv2(x, style[:, 1])
        return x, self.to_wavelets(x, style[:, 2])


class Synthesis(nn.Module):
    """Styles `[N, 3 * blocks + 2, D]` to an image `[N, 3, 8 * 2**blocks, 8 * 2**blocks]`.

    Every resolution has a `to_wavelets` head (for intermediate losses); the image comes from the last one.
    """

    def __init__(self, channels: tuple[int, ...], style_width: int) -> None:
        super().__init__()
        self.input = nn.Parameter(torch.randn(1, channels[0], 4, 4))
        self.conv = StyledConv(channels[0], channels[0], style_width, 4)
        self.to_wavelets = ToWavelets(channels[0], style_width)
        self.blocks = nn.ModuleList(
            Block(c_in, c_out, style_width, 8 << i)
            for i, (c_in, c_out) in enumerate(itertools.pairwise(channels))
        )
        self.wavelet = InverseWavelet(3)

    def forward(self, style: torch.Tensor) -> torch.Tensor:
        x = self.conv(self.input, style[:, 0])
        wavelets = self.to_wavelets(x, style[:, 1])
        for i, block in enumerate(self.blocks):
            x, wavelets = block(x, style[:, 3 * i + 2 : 3 * i + 5])
        return self.wavelet(wavelets)


class Generator(nn.Module):
    """Mapping, truncation towards the mean style, and synthesis: z `[N, D]` to an image."""

    def __init__(self, channels: tuple[int, ...], style_width: int, psi: float) -> None:
        super().__init__()
        self.mapping = Mapping(style_width)
        self.synthesis = Synthesis(channels, style_width)
        self.register_buffer("mean", 0.2 * torch.randn(1, style_width))
        self.psi = psi
        self.layers = 3 * len(self.synthesis.blocks) + 2

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        w = self.mapping(z)
        w = self.mean + self.psi * (w - self.mean)
        return self.synthesis(w.unsqueeze(1).repeat(1, self.layers, 1))


def _channels(full: bool) -> tuple[int, ...]:
    return _FULL_CHANNELS if full else _SMALL_CHANNELS


def _style_width(full: bool) -> int:
    return 512 if full else 16


def _build_mapping(full: bool) -> nn.Module:
    return trained_looking(lambda: Mapping(512 if full else 32), 11)


def _build_synthesis(full: bool) -> nn.Module:
    return trained_looking(lambda: Synthesis(_channels(full), _style_width(full)), 12)


def _build_generator(full: bool) -> nn.Module:
    return trained_looking(lambda: Generator(_channels(full), _style_width(full), psi=0.5), 13)


def _latents(full: bool, *batches: int) -> list[dict[str, torch.Tensor]]:
    return [{"z": normal(n, 512 if full else 32, seed=100 + k)} for k, n in enumerate(batches)]


def _generator_latents(full: bool, *batches: int) -> list[dict[str, torch.Tensor]]:
    return [{"z": normal(n, _style_width(full), seed=120 + k)} for k, n in enumerate(batches)]


def _styles(full: bool, *batches: int) -> list[dict[str, torch.Tensor]]:
    layers = 3 * len(_channels(full)) - 1
    return [{"style": normal(n, layers, _style_width(full), seed=110 + k)} for k, n in enumerate(batches)]


MODELS: tuple[GoldenModel, ...] = (
    GoldenModel("mobilestylegan_mapping", _build_mapping, lambda full: _latents(full, 1, 1), ("w",)),
    GoldenModel(
        "mobilestylegan_mapping_dynamic",
        _build_mapping,
        lambda full: _latents(full, 2, 1, 5),
        ("w",),
        dynamic={"z": {0: "batch"}},
    ),
    GoldenModel("mobilestylegan_synthesis", _build_synthesis, lambda full: _styles(full, 1, 1), ("image",)),
    GoldenModel(
        "mobilestylegan_synthesis_batch4", _build_synthesis, lambda full: _styles(full, 4), ("image",)
    ),
    GoldenModel(
        "mobilestylegan_synthesis_dynamic",
        _build_synthesis,
        lambda full: _styles(full, 2, 1, 3),
        ("image",),
        dynamic={"style": {0: "batch"}},
    ),
    GoldenModel("mobilestylegan", _build_generator, lambda full: _generator_latents(full, 1, 1), ("image",)),
)
