"""StyleGAN3 layers: modulated convolution and a leaky ReLU between an up- and a downsampling filter.

The convolution normalises its weights and styles before it modulates them, and scales by a trained input
gain. Its "full" padding grows the image; the filtered activation crops it back, in the last layers by
negative padding. Sizes are Python ints, as in `stylegan2`.
"""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import nn
from torch.nn.functional import conv2d, leaky_relu

from .catalog import GoldenModel
from .stylegan2 import Affine, Pads, upfirdn2d_kept
from .weights import normal, trained_looking


def kaiser_lowpass(taps: int, cutoff: float, beta: float = 6.0) -> torch.Tensor:
    """Return `[taps]` values of a Kaiser-windowed sinc that sum to 1; `cutoff` in cycles a sample."""
    position = torch.arange(taps, dtype=torch.float64) - (taps - 1) / 2
    window = torch.kaiser_window(taps, periodic=False, beta=beta, dtype=torch.float64)
    lowpass = torch.sinc(2 * cutoff * position) * window
    return (lowpass / lowpass.sum()).float()


def radial_lowpass(taps: int, cutoff: float, beta: float = 6.0) -> torch.Tensor:
    """Return `[taps, taps]` values of a circularly symmetric low-pass filter, a windowed jinc, of sum 1."""
    position = torch.arange(taps, dtype=torch.float64) - (taps - 1) / 2
    radius = torch.hypot(position[:, None], position[None, :])
    window = torch.kaiser_window(taps, periodic=False, beta=beta, dtype=torch.float64)
    jinc = torch.special.bessel_j1(2 * math.pi * cutoff * radius) / (math.pi * radius)
    lowpass = jinc * torch.outer(window, window)
    return (lowpass / lowpass.sum()).float()


def modulated_conv2d(
    x: torch.Tensor,
    weight: torch.Tensor,
    s: torch.Tensor,
    batch: int,
    *,
    demodulate: bool,
    padding: int,
    input_gain: torch.Tensor | None,
) -> torch.Tensor:
    """Convolve `[N, Ci, H, W]` by `weight` `[Co, Ci, k, k]` times `s` `[N, Ci]`, the batch in the groups."""
    c_out, c_in, kernel, _ = (int(size) for size in weight.shape)
    if demodulate:
        weight = weight * weight.square().mean([1, 2, 3], keepdim=True).rsqrt()
        s = s * s.square().mean().rsqrt()
    weight = weight.unsqueeze(0)
    weight = weight * s.unsqueeze(1).unsqueeze(3).unsqueeze(4)
    if demodulate:
        demodulation = (weight.square().sum(dim=[2, 3, 4]) + 1e-8).rsqrt()
        weight = weight * demodulation.unsqueeze(2).unsqueeze(3).unsqueeze(4)
    if input_gain is not None:
        gain = input_gain.expand(batch, c_in)
        weight = weight * gain.unsqueeze(1).unsqueeze(3).unsqueeze(4)
    x = x.reshape(1, batch * c_in, *(int(size) for size in x.shape[2:]))
    weight = weight.reshape(batch * c_out, c_in, kernel, kernel)
    x = conv2d(x, weight, padding=padding, groups=batch)
    return x.reshape(batch, c_out, *(int(size) for size in x.shape[2:]))


class Layer(nn.Module):
    """Modulated convolution, then bias, upsampling, leaky ReLU with gain, clamp, downsampling.

    `[N, Ci, size_in, size_in]` to `[N, Co, size_out, size_out]`. A layer with `up` and `down` 1 is the image
    layer: a 1x1 convolution without demodulation, whose activation is the identity.
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        style_width: int,
        *,
        batch: int,
        size_in: int,
        size_out: int,
        up: int = 2,
        down: int = 2,
        kernel: int = 3,
        radial: bool = False,
    ) -> None:
        super().__init__()
        self.image = up == down == 1
        self.batch, self.up, self.down = batch, up, down
        self.affine = Affine(style_width, c_in)
        self.weight = nn.Parameter(torch.randn(c_out, c_in, kernel, kernel))
        self.bias = nn.Parameter(0.2 * torch.randn(c_out))
        self.register_buffer("magnitude_ema", 0.3 + 0.4 * torch.rand([]))
        self.weight_gain = 1 / math.sqrt(c_in * kernel * kernel)
        self.slope = 1.0 if self.image else 0.2
        self.gain = 1.0 if self.image else math.sqrt(2)
        self.register_buffer("up_filter", kaiser_lowpass(6 * up, 0.5 / up) if up > 1 else None)
        if down == 1:
            self.register_buffer("down_filter", None)
        else:
            design = radial_lowpass if radial else kaiser_lowpass
            self.register_buffer("down_filter", design(6 * down, 0.45 / down))
        up_taps = 6 * up if up > 1 else 1
        down_taps = 6 * down if down > 1 else 1
        # The convolution gives size_in + kernel - 1; the filters and the wanted size fix the rest.
        total = (size_out - 1) * down + 1 - (size_in + kernel - 1) * up + up_taps + down_taps - 2
        low = (total + up) // 2
        self.pads: Pads = (low, total - low, low, total - low)

    def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        s = self.affine(w)
        if self.image:
            s = s * self.weight_gain
        x = modulated_conv2d(
            x,
            self.weight,
            s,
            self.batch,
            demodulate=not self.image,
            padding=int(self.weight.shape[-1]) - 1,
            input_gain=self.magnitude_ema.rsqrt(),
        )
        return self._activate(x)

    def _activate(self, x: torch.Tensor) -> torch.Tensor:
        identity = torch.ones([1, 1], dtype=torch.float32)
        up = identity if self.up_filter is None else self.up_filter
        down = identity if self.down_filter is None else self.down_filter
        x = x + self.bias.reshape(1, -1, 1, 1)
        # Each 1-D filter is applied to rows and columns: a gain of `up` in it is one of up^2.
        x = upfirdn2d_kept(x, up * self.up, self.up, 1, self.pads, self.batch)
        x = leaky_relu(x, self.slope) * self.gain
        x = x.clamp(-256, 256)
        return upfirdn2d_kept(x, down, 1, self.down, (0, 0, 0, 0), self.batch)


class Layers(nn.Module):
    """Layers of rising and equal resolution, a cropping one, and the image layer, on a feature map.

    `sizes[i]` is the size before layer i; the layers with the higher output rate upsample by 4.
    """

    def __init__(
        self,
        channels: tuple[int, ...],
        sizes: tuple[int, ...],
        style_width: int,
        *,
        batch: int,
        radial: bool = False,
    ) -> None:
        super().__init__()
        make = partial(Layer, style_width=style_width, batch=batch, kernel=1 if radial else 3, radial=radial)
        self.layers = nn.ModuleList(
            make(
                channels[i],
                channels[i + 1],
                size_in=sizes[i],
                size_out=sizes[i + 1],
                up=4 if sizes[i + 1] > sizes[i] else 2,
            )
            for i in range(len(channels) - 1)
        )
        self.layers.append(
            Layer(
                channels[-1],
                3,
                style_width,
                batch=batch,
                size_in=sizes[-1],
                size_out=sizes[-1],
                up=1,
                down=1,
                kernel=1,
            )
        )

    def forward(self, x: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
        for layer, w in zip(self.layers, style.unbind(dim=1), strict=True):
            x = layer(x, w)
        return x * 0.25


def _model(name: str, seed: int, batch: int, *, radial: bool = False) -> GoldenModel:
    # 16 -> 16 keeps the size, 16 -> 22 doubles the rate, 22 -> 12 crops far below the padding of the filters.
    small = ((12, 12, 10, 8), (16, 16, 22, 12), 16)
    full = ((512, 512, 256, 128), (52, 52, 84, 64), 512)
    return GoldenModel(
        name,
        lambda real: trained_looking(
            lambda: Layers(*(full if real else small), batch=batch, radial=radial), seed
        ),
        lambda real: [
            {
                "x": normal(
                    batch, (full if real else small)[0][0], *[(full if real else small)[1][0]] * 2, seed=300
                ),
                "style": normal(batch, 4, (full if real else small)[2], seed=301),
            }
        ],
        ("image",),
    )


MODELS: tuple[GoldenModel, ...] = (
    _model("stylegan3_layers", 31, 1),
    _model("stylegan3_layers_batch2", 31, 2),
    _model("stylegan3_layers_radial", 32, 1, radial=True),
)
