"""StyleGAN2 generators in the two spellings that public code has, and the resampling filter on its own.

`moved` resampling reshapes channels into the batch and works channels-last; `kept` resampling stays NCHW and
is depthwise. The `moved` generators go with `[1, Co, Ci, k, k]` weights, indexed styles and truncation as
sub/mul/add; the `kept` ones with `[Co, Ci, k, k]` weights, unbound style slices, clamping and truncation by
lerp.

The TorchScript exporter refuses a convolution whose weight shape it traced, so everything such a shape
depends on is a Python int. Where a module knows its batch, all sizes are; elsewhere they are traced.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import nn
from torch.nn.functional import conv2d, conv_transpose2d, leaky_relu, linear, pad

from .catalog import GoldenModel
from .weights import normal, trained_looking

Pads = tuple[int, int, int, int]  # left, right, top, bottom; negative crops


def fir_kernel(gain: float = 1.0) -> torch.Tensor:
    """Return the [1, 3, 3, 1] binomial filter as `[4, 4]` taps that sum to `gain`."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    return torch.outer(taps, taps) / 64 * gain


# Resampling: insert zeros, pad or crop, filter, decimate.


def sizes(x: torch.Tensor, batch: int | None) -> list[int]:
    """Return the sizes of `x`: Python ints where the batch is known, otherwise traced."""
    return list(x.shape) if batch is None else [int(size) for size in x.shape]


def upfirdn2d_moved(
    x: torch.Tensor, kernel: torch.Tensor, up: int, down: int, pads: Pads, batch: int | None
) -> torch.Tensor:
    """Resample `[N, C, H, W]` with the channels moved into the batch, channels-last, one filter for all."""
    _, channels, height, width = sizes(x, batch)
    left, right, top, bottom = pads
    x = x.reshape(-1, height, width, 1)
    x = x.view(-1, height, 1, width, 1, 1)
    x = pad(x, [0, 0, 0, up - 1, 0, 0, 0, up - 1])
    x = x.view(-1, height * up, width * up, 1)
    x = pad(x, [0, 0, max(left, 0), max(right, 0), max(top, 0), max(bottom, 0)])
    _, padded_height, padded_width, _ = sizes(x, batch)
    rows = slice(max(-top, 0), padded_height - max(-bottom, 0))
    columns = slice(max(-left, 0), padded_width - max(-right, 0))
    x = x[:, rows, columns, :]
    x = x.permute(0, 3, 1, 2)
    tall = height * up + top + bottom
    wide = width * up + left + right
    k_h, k_w = kernel.shape
    x = x.reshape(-1, 1, tall, wide)
    x = conv2d(x, torch.flip(kernel, [0, 1]).view(1, 1, k_h, k_w))
    x = x.reshape(-1, 1, tall - k_h + 1, wide - k_w + 1)
    x = x.permute(0, 2, 3, 1)
    x = x[:, ::down, ::down, :]
    return x.view(-1, channels, (tall - k_h) // down + 1, (wide - k_w) // down + 1)


def upfirdn2d_kept(
    x: torch.Tensor, kernel: torch.Tensor, up: int, down: int, pads: Pads, batch: int | None
) -> torch.Tensor:
    """Resample `[N, C, H, W]` with a depthwise filter; a 1-D `kernel` filters the rows, then the columns."""
    n = x.shape[0] if batch is None else batch
    channels, height, width = (int(size) for size in x.shape[1:])
    left, right, top, bottom = pads
    x = x.reshape(n, channels, height, 1, width, 1)
    x = pad(x, [0, up - 1, 0, 0, 0, up - 1])
    x = x.reshape(n, channels, height * up, width * up)
    x = pad(x, [max(left, 0), max(right, 0), max(top, 0), max(bottom, 0)])
    padded_height, padded_width = int(x.shape[2]), int(x.shape[3])
    rows = slice(max(-top, 0), padded_height - max(-bottom, 0))
    columns = slice(max(-left, 0), padded_width - max(-right, 0))
    x = x[:, :, rows, columns]
    taps = kernel.flip(list(range(kernel.ndim)))
    taps = taps[None, None].repeat([channels, 1] + [1] * kernel.ndim)
    if kernel.ndim == 2:
        x = conv2d(x, taps, groups=channels)
    else:
        x = conv2d(x, taps.unsqueeze(2), groups=channels)
        x = conv2d(x, taps.unsqueeze(3), groups=channels)
    return x[:, :, ::down, ::down] if down > 1 else x


class Resample(nn.Module):
    """One resampling step on its own; the taps are not symmetric, so a missing flip shows."""

    def __init__(
        self,
        step: Callable[..., torch.Tensor],
        shape: tuple[int, ...],
        up: int,
        down: int,
        pads: Pads,
        batch: int | None,
    ) -> None:
        super().__init__()
        self.register_buffer("kernel", torch.rand(*shape) * up / math.sqrt(math.prod(shape)))
        self.resample = partial(step, up=up, down=down, pads=pads, batch=batch)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.resample(x, self.kernel)


# Mapping


class MappingLayer(nn.Module):
    """Linear layer with equalised learning rate and leaky ReLU with gain sqrt(2)."""

    def __init__(self, width: int, lr_multiplier: float = 0.01) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(width, width) / lr_multiplier)
        self.bias = nn.Parameter(0.1 * torch.randn(width) / lr_multiplier)
        self.scale = lr_multiplier / math.sqrt(width)
        self.lr_multiplier = lr_multiplier


class MovedMappingLayer(MappingLayer):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = linear(x, self.weight * self.scale)
        return leaky_relu(x + (self.bias * self.lr_multiplier).view(1, -1), 0.2) * math.sqrt(2)


class KeptMappingLayer(MappingLayer):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.matmul((self.weight * self.scale).t())
        x = x + (self.bias * self.lr_multiplier).reshape([-1 if axis == 1 else 1 for axis in range(x.ndim)])
        return leaky_relu(x, 0.2) * math.sqrt(2)


def pixel_norm(z: torch.Tensor) -> torch.Tensor:
    return z * (z.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()


# Noise and activation


class Noise(nn.Module):
    """`strength * noise`: constant values of `shape`, or drawn anew in every run.

    Random noise is drawn in exported files only. Called from Python it is zero, so that the reference is what
    a converter must give when its noise policy is `zero`.
    """

    def __init__(self, *shape: int, random: bool = False) -> None:
        super().__init__()
        self.strength = nn.Parameter(0.1 + 0.1 * torch.rand([]))
        self.random = random
        if not random:
            self.register_buffer("values", torch.randn(shape))

    def forward(self, x: torch.Tensor, batch: int | None) -> torch.Tensor:
        if not self.random:
            return self.values * self.strength
        n, _, height, width = sizes(x, batch)
        if torch.onnx.is_in_onnx_export():
            return torch.randn([n, 1, height, width]) * self.strength
        return torch.zeros([n, 1, height, width])


# Generators with moved resampling


class MovedModulatedConv(nn.Module):
    """Modulated convolution: fused (batch in the groups) or, `batch` None, unfused (scale, convolve, scale).

    `up` doubles the resolution by a transposed convolution of stride 2 and the FIR filter.
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel: int,
        style_width: int,
        *,
        up: bool,
        demodulate: bool,
        batch: int | None,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1, c_out, c_in, kernel, kernel))
        self.scale = 1 / math.sqrt(c_in * kernel * kernel)
        self.affine_weight = nn.Parameter(0.4 * torch.randn(c_in, style_width))
        self.affine_bias = nn.Parameter(1 + 0.2 * torch.randn(c_in))
        self.affine_scale = 1 / math.sqrt(style_width)
        self.c_in, self.c_out, self.kernel, self.batch = c_in, c_out, kernel, batch
        self.up, self.demodulate = up, demodulate
        if up:
            self.register_buffer("fir", fir_kernel(4))

    def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        s = linear(w, self.affine_weight * self.affine_scale, bias=self.affine_bias)
        x = self._unfused(x, s) if self.batch is None else self._fused(x, s, self.batch)
        return upfirdn2d_moved(x, self.fir, 1, 1, (1, 1, 1, 1), self.batch) if self.up else x

    def _fused(self, x: torch.Tensor, s: torch.Tensor, batch: int) -> torch.Tensor:
        kernel, height, width = self.kernel, int(x.shape[2]), int(x.shape[3])
        weight = self.scale * self.weight * s.view(batch, 1, self.c_in, 1, 1)
        if self.demodulate:
            demodulation = torch.rsqrt(weight.pow(2).sum([2, 3, 4]) + 1e-8)
            weight = weight * demodulation.view(batch, self.c_out, 1, 1, 1)
        weight = weight.view(batch * self.c_out, self.c_in, kernel, kernel)
        x = x.reshape(1, batch * self.c_in, height, width)
        if self.up:
            weight = weight.view(batch, self.c_out, self.c_in, kernel, kernel)
            weight = weight.transpose(1, 2).reshape(batch * self.c_in, self.c_out, kernel, kernel)
            x = conv_transpose2d(x, weight, stride=2, groups=batch)
            height, width = 2 * height + 1, 2 * width + 1
        else:
            x = conv2d(x, weight, padding=kernel // 2, groups=batch)
        return x.view(batch, self.c_out, height, width)

    def _unfused(self, x: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
        weight = self.scale * self.weight.squeeze(0)
        x = x * s.reshape(x.shape[0], self.c_in, 1, 1)
        if self.up:
            x = conv_transpose2d(x, weight.transpose(0, 1), stride=2)
        else:
            x = conv2d(x, weight, padding=self.kernel // 2)
        if self.demodulate:
            modulated = weight.unsqueeze(0) * s.view(s.shape[0], 1, self.c_in, 1, 1)
            demodulation = (modulated.square().sum((2, 3, 4)) + 1e-8).rsqrt()
            x = x * demodulation.view(s.shape[0], -1, 1, 1)
        return x


class MovedStyledConv(nn.Module):
    """3x3 modulated convolution, noise, bias, leaky ReLU with gain sqrt(2)."""

    def __init__(
        self, c_in: int, c_out: int, style_width: int, size: int, *, up: bool, batch: int | None, random: bool
    ) -> None:
        super().__init__()
        self.conv = MovedModulatedConv(c_in, c_out, 3, style_width, up=up, demodulate=True, batch=batch)
        self.noise = Noise(1, 1, size, size, random=random)
        self.batch = batch
        self.bias = nn.Parameter(0.2 * torch.randn(c_out))

    def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        x = self.conv(x, w)
        x = x + self.noise(x, self.batch)
        return leaky_relu(x + self.bias.view(1, -1, 1, 1), 0.2) * math.sqrt(2)


class MovedToRgb(nn.Module):
    """1x1 modulated convolution without demodulation, plus the upsampled image of the resolution below."""

    def __init__(self, c_in: int, style_width: int, batch: int | None) -> None:
        super().__init__()
        self.conv = MovedModulatedConv(c_in, 3, 1, style_width, up=False, demodulate=False, batch=batch)
        self.bias = nn.Parameter(0.1 * torch.randn(1, 3, 1, 1))
        self.register_buffer("fir", fir_kernel(4))

    def forward(self, x: torch.Tensor, w: torch.Tensor, image: torch.Tensor | None) -> torch.Tensor:
        rgb = self.conv(x, w) + self.bias
        if image is not None:
            rgb = rgb + upfirdn2d_moved(image, self.fir, 2, 1, (2, 1, 2, 1), self.conv.batch)
        return rgb


class MovedSynthesis(nn.Module):
    """Skip architecture: styles `[N, 2 * stages, D]` to an image; `channels[i]` at resolution `4 * 2**i`."""

    def __init__(
        self, channels: tuple[int, ...], style_width: int, *, batch: int | None = 1, random: bool = False
    ) -> None:
        super().__init__()
        self.input = nn.Parameter(torch.randn(1, channels[0], 4, 4))
        styled = partial(MovedStyledConv, style_width=style_width, batch=batch, random=random)
        self.conv = styled(channels[0], channels[0], size=4, up=False)
        self.convs_up = nn.ModuleList()
        self.convs = nn.ModuleList()
        self.to_rgbs = nn.ModuleList([MovedToRgb(channels[0], style_width, batch)])
        for i in range(1, len(channels)):
            self.convs_up.append(styled(channels[i - 1], channels[i], size=4 << i, up=True))
            self.convs.append(styled(channels[i], channels[i], size=4 << i, up=False))
            self.to_rgbs.append(MovedToRgb(channels[i], style_width, batch))

    def forward(self, style: torch.Tensor) -> torch.Tensor:
        x = self.input.repeat(style.shape[0], 1, 1, 1)
        x = self.conv(x, style[:, 0])
        image = self.to_rgbs[0](x, style[:, 1], None)
        for i in range(len(self.convs)):
            x = self.convs_up[i](x, style[:, 2 * i + 1])
            x = self.convs[i](x, style[:, 2 * i + 2])
            image = self.to_rgbs[i + 1](x, style[:, 2 * i + 3], image)
        return image


class MovedGenerator(nn.Module):
    """Latent z `[N, D]` to an image, truncated as `mean + psi * (w - mean)`."""

    def __init__(
        self, channels: tuple[int, ...], style_width: int, *, batch: int | None, psi: float = 0.7
    ) -> None:
        super().__init__()
        self.mapping = nn.ModuleList(MovedMappingLayer(style_width) for _ in range(8))
        self.register_buffer("mean", 0.2 * torch.randn(1, style_width))
        self.synthesis = MovedSynthesis(channels, style_width, batch=batch)
        self.psi, self.layers = psi, 2 * len(channels)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        w = z * torch.rsqrt(torch.mean(z**2, dim=1, keepdim=True) + 1e-8)
        for layer in self.mapping:
            w = layer(w)
        w = self.mean + self.psi * (w - self.mean)
        return self.synthesis(w.unsqueeze(1).repeat(1, self.layers, 1))


class ConstantStyle(nn.Module):
    """Styled convolutions whose style is a trained constant, on a feature map `[N, C, 4, 4]`."""

    def __init__(self, channels: tuple[int, ...], style_width: int) -> None:
        super().__init__()
        self.register_buffer("style", torch.randn(1, style_width))
        styled = partial(MovedStyledConv, style_width=style_width, batch=1, random=False)
        self.up = styled(channels[0], channels[1], size=8, up=True)
        self.conv = styled(channels[1], channels[1], size=8, up=False)
        self.to_rgb = MovedToRgb(channels[1], style_width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.to_rgb(self.conv(self.up(x, self.style), self.style), self.style, None)


# Generators with kept resampling


class Affine(nn.Module):
    """Style w `[N, D]` to per-channel factors `[N, C]`, with equalised learning rate."""

    def __init__(self, style_width: int, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.4 * torch.randn(channels, style_width))
        self.bias = nn.Parameter(1 + 0.2 * torch.randn(channels))
        self.gain = 1 / math.sqrt(style_width)

    def forward(self, w: torch.Tensor) -> torch.Tensor:
        return torch.addmm(self.bias.unsqueeze(0), w, (self.weight * self.gain).t())


def modulated_conv2d_kept(
    x: torch.Tensor,
    weight: torch.Tensor,
    s: torch.Tensor,
    noise: torch.Tensor | None,
    fir: torch.Tensor | None,
    *,
    demodulate: bool,
    batch: int | None,
) -> torch.Tensor:
    """Modulated convolution of `x` `[N, Ci, H, W]` by `weight` `[Co, Ci, k, k]` and styles `s` `[N, Ci]`.

    `batch` None: unfused, with the noise added by addcmul. Otherwise fused, the batch in the groups. With
    `fir` the resolution is doubled by a transposed convolution and that filter (taps that sum to 4).
    """
    _, c_in, kernel, _ = weight.shape
    n = s.shape[0] if batch is None else batch
    demodulation = None
    if demodulate or batch is not None:
        modulated = weight.unsqueeze(0) * s.reshape(n, 1, -1, 1, 1)
        if demodulate:
            demodulation = (modulated.square().sum(dim=[2, 3, 4]) + 1e-8).rsqrt()
    if batch is None:
        x = x * s.reshape(n, -1, 1, 1)
        x = _conv_kept(x, weight, fir, batch)
        if demodulation is not None and noise is not None:
            return torch.addcmul(noise, x, demodulation.reshape(n, -1, 1, 1))
        return x if noise is None else x.add_(noise)
    if demodulation is not None:
        modulated = modulated * demodulation.reshape(n, -1, 1, 1, 1)
    height, width = int(x.shape[2]), int(x.shape[3])
    x = x.reshape(1, -1, height, width)
    x = _conv_kept(x, modulated.reshape(-1, c_in, kernel, kernel), fir, batch)
    x = x.reshape(n, -1, int(x.shape[2]), int(x.shape[3]))
    return x if noise is None else x.add_(noise)


def _conv_kept(
    x: torch.Tensor, weight: torch.Tensor, fir: torch.Tensor | None, batch: int | None
) -> torch.Tensor:
    """Convolve with `weight` `[groups * Co, Ci, k, k]`; the groups are the batch if that is known."""
    groups = batch or 1
    c_out, c_in, kernel, _ = (int(size) for size in weight.shape)
    if fir is None:
        return conv2d(x, weight, padding=kernel // 2, groups=groups)
    if groups == 1:
        weight = weight.transpose(0, 1)
    else:
        weight = weight.reshape(groups, c_out // groups, c_in, kernel, kernel).transpose(1, 2)
        weight = weight.reshape(groups * c_in, c_out // groups, kernel, kernel)
    x = conv_transpose2d(x, weight, stride=2, groups=groups)
    # Here the batch is still in the channels: there is one image of groups * Co channels.
    return upfirdn2d_kept(x, fir, 1, 1, (1, 1, 1, 1), None if batch is None else 1)


def bias_act(x: torch.Tensor, bias: torch.Tensor, gain: float, clamp: float | None) -> torch.Tensor:
    """`clip(gain * leaky_relu(x + bias))`."""
    x = leaky_relu(x + bias.reshape(1, -1, 1, 1), 0.2) * gain
    return x if clamp is None else x.clamp(-clamp, clamp)


class KeptStyledConv(nn.Module):
    """3x3 modulated convolution, noise, bias, leaky ReLU with gain sqrt(2), clamp."""

    def __init__(
        self,
        c_in: int,
        c_out: int,
        style_width: int,
        size: int,
        *,
        up: bool,
        batch: int | None,
        clamp: float | None,
    ) -> None:
        super().__init__()
        self.affine = Affine(style_width, c_in)
        # The taps need no equalisation here: demodulation removes their scale.
        self.weight = nn.Parameter(torch.randn(c_out, c_in, 3, 3))
        self.noise = Noise(size, size)
        self.bias = nn.Parameter(0.2 * torch.randn(c_out))
        self.register_buffer("fir", fir_kernel(4) if up else None)
        self.batch, self.clamp = batch, clamp

    def forward(self, x: torch.Tensor, w: torch.Tensor, gain: float = 1.0) -> torch.Tensor:
        s, noise = self.affine(w), self.noise(x, self.batch)
        x = modulated_conv2d_kept(x, self.weight, s, noise, self.fir, demodulate=True, batch=self.batch)
        return bias_act(x, self.bias, math.sqrt(2) * gain, None if self.clamp is None else self.clamp * gain)


class KeptToRgb(nn.Module):
    """1x1 modulated convolution without demodulation; the weight's gain multiplies the style."""

    def __init__(self, c_in: int, style_width: int, *, batch: int | None, clamp: float | None) -> None:
        super().__init__()
        self.affine = Affine(style_width, c_in)
        self.weight = nn.Parameter(torch.randn(3, c_in, 1, 1))
        self.bias = nn.Parameter(0.1 * torch.randn(3))
        self.gain = 1 / math.sqrt(c_in)
        self.batch, self.clamp = batch, clamp

    def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        s = self.affine(w) * self.gain
        x = modulated_conv2d_kept(x, self.weight, s, None, None, demodulate=False, batch=self.batch)
        x = x + self.bias.reshape(1, -1, 1, 1)
        return x if self.clamp is None else x.clamp(-self.clamp, self.clamp)


class KeptSkip(nn.Module):
    """The resnet architecture's shortcut: 1x1 convolution, upsampling by the FIR filter, gain sqrt(0.5)."""

    def __init__(self, c_in: int, c_out: int, batch: int | None) -> None:
        super().__init__()
        self.batch = batch
        self.weight = nn.Parameter(torch.randn(c_out, c_in, 1, 1))
        self.gain = 1 / math.sqrt(c_in)
        self.register_buffer("fir", fir_kernel(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = conv2d(x, self.weight * self.gain)
        return upfirdn2d_kept(x, self.fir, 2, 1, (2, 1, 2, 1), self.batch) * math.sqrt(0.5)


class KeptBlock(nn.Module):
    """One resolution: the image (skip) or the features (resnet) of the one below are upsampled and added."""

    def __init__(
        self,
        c_in: int,
        c_out: int,
        style_width: int,
        size: int,
        *,
        resnet: bool,
        last: bool,
        batch: int | None,
        clamp: float | None,
    ) -> None:
        super().__init__()
        styled = partial(KeptStyledConv, style_width=style_width, size=size, batch=batch, clamp=clamp)
        first = size == 4
        self.input = nn.Parameter(torch.randn(c_out, 4, 4)) if first else None
        self.conv0 = None if first else styled(c_in, c_out, up=True)
        self.conv1 = styled(c_out, c_out, up=False)
        self.skip = KeptSkip(c_in, c_out, batch) if resnet and not first else None
        self.to_rgb = KeptToRgb(c_out, style_width, batch=batch, clamp=clamp) if last or not resnet else None
        self.register_buffer("fir", fir_kernel(4))
        self.batch = batch
        self.styles = (1 if first else 2) + (self.to_rgb is not None)

    def forward(
        self, x: torch.Tensor | None, image: torch.Tensor | None, style: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        w = iter(style.unbind(dim=1))
        if self.input is not None:
            x = self.input.unsqueeze(0).repeat([style.shape[0], 1, 1, 1])
            x = self.conv1(x, next(w))
        elif self.skip is not None:
            shortcut = self.skip(x)
            x = self.conv0(x, next(w))
            x = self.conv1(x, next(w), gain=math.sqrt(0.5))
            x = shortcut.add_(x)
        else:
            x = self.conv1(self.conv0(x, next(w)), next(w))
        if image is not None:
            image = upfirdn2d_kept(image, self.fir, 2, 1, (2, 1, 2, 1), self.batch)
        if self.to_rgb is not None:
            rgb = self.to_rgb(x, next(w))
            image = rgb if image is None else image.add_(rgb)
        return x, image


class KeptSynthesis(nn.Module):
    """Styles `[N, L, D]` to an image; `channels[i]` at resolution `4 * 2**i`."""

    def __init__(
        self,
        channels: tuple[int, ...],
        style_width: int,
        *,
        resnet: bool = False,
        batch: int | None = 1,
        clamp: float | None = None,
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            KeptBlock(
                channels[max(i - 1, 0)],
                channels[i],
                style_width,
                4 << i,
                resnet=resnet,
                last=i == len(channels) - 1,
                batch=batch,
                clamp=clamp,
            )
            for i in range(len(channels))
        )

    def forward(self, style: torch.Tensor) -> torch.Tensor:
        x = image = None
        start = 0
        for block in self.blocks:
            # The style of an image layer is also that of the next resolution's first convolution.
            x, image = block(x, image, style.narrow(1, start, block.styles))
            start += block.styles - (block.to_rgb is not None)
        return image


class KeptGenerator(nn.Module):
    """Latent z `[N, D]` to an image; truncation by lerp, optionally of the first `cutoff` layers only."""

    def __init__(
        self,
        channels: tuple[int, ...],
        style_width: int,
        *,
        batch: int | None,
        clamp: float | None = None,
        psi: float = 0.7,
        cutoff: int | None = None,
    ) -> None:
        super().__init__()
        self.mapping = nn.ModuleList(KeptMappingLayer(style_width) for _ in range(4))
        self.register_buffer("w_avg", 0.2 * torch.randn(style_width))
        self.synthesis = KeptSynthesis(channels, style_width, batch=batch, clamp=clamp)
        self.psi, self.cutoff, self.layers = psi, cutoff, 2 * len(channels)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        w = pixel_norm(z)
        for layer in self.mapping:
            w = layer(w)
        style = w.unsqueeze(1).repeat([1, self.layers, 1])
        if self.cutoff is None:
            style = self.w_avg.lerp(style, self.psi)
        else:
            style[:, : self.cutoff] = self.w_avg.lerp(style[:, : self.cutoff], self.psi)
        return self.synthesis(style)


_FULL = (512, 512, 512, 512, 512, 256, 128)  # config F at 256 px
_SMALL = (16, 16, 12, 8)
_TINY = (12, 12, 8)


def _channels(small: tuple[int, ...], full: bool) -> tuple[int, ...]:
    return _FULL if full else small


def _width(full: bool) -> int:
    return 512 if full else 16


def _z(full: bool, *batches: int) -> list[dict[str, torch.Tensor]]:
    return [{"z": normal(n, _width(full), seed=200 + k)} for k, n in enumerate(batches)]


def _styles(small: tuple[int, ...], full: bool, *batches: int) -> list[dict[str, torch.Tensor]]:
    layers = 2 * len(_channels(small, full))
    return [{"style": normal(n, layers, _width(full), seed=210 + k)} for k, n in enumerate(batches)]


def _synthesis(
    name: str,
    make: Callable[..., nn.Module],
    seed: int,
    batches: tuple[int, ...],
    *,
    small: tuple[int, ...] = _SMALL,
    dynamic: bool = False,
    passes: str = "default",
    **options: object,
) -> GoldenModel:
    return GoldenModel(
        name,
        lambda full: trained_looking(lambda: make(_channels(small, full), _width(full), **options), seed),
        lambda full: _styles(small, full, *batches),
        ("image",),
        dynamic={"style": {0: "batch"}} if dynamic else {},
        passes=passes,
    )


def _generator(
    name: str, make: Callable[..., nn.Module], seed: int, batches: tuple[int, ...], **options: object
) -> GoldenModel:
    dynamic: Mapping[str, Mapping[int, str]] = {"z": {0: "batch"}} if options["batch"] is None else {}
    return GoldenModel(
        name,
        lambda full: trained_looking(lambda: make(_channels(_SMALL, full), _width(full), **options), seed),
        lambda full: _z(full, *batches),
        ("image",),
        dynamic=dynamic,
    )


def _resample(
    name: str,
    step: Callable[..., torch.Tensor],
    shape: tuple[int, ...],
    up: int,
    down: int,
    pads: Pads,
    *,
    batch: int | None = 2,
) -> GoldenModel:
    return GoldenModel(
        name,
        lambda full: trained_looking(lambda: Resample(step, shape, up, down, pads, batch), 29),
        lambda full: [{"x": normal(2, *((64, 128, 128) if full else (5, 12, 10)), seed=220)}],
        ("y",),
    )


def _constant_style(full: bool) -> nn.Module:
    return trained_looking(lambda: ConstantStyle((512, 512) if full else (16, 12), _width(full)), 28)


_RANDOM = {"small": _TINY, "random": True, "passes": "default,noise-policy{policy=zero}"}

MODELS: tuple[GoldenModel, ...] = (
    _generator("stylegan2_moved_fused", MovedGenerator, 21, (1, 1), batch=1),
    _synthesis("stylegan2_moved_fused_batch2", MovedSynthesis, 22, (2,), batch=2),
    _synthesis("stylegan2_moved_unfused", MovedSynthesis, 22, (1, 1), batch=None),
    _generator("stylegan2_moved_unfused_dynamic", MovedGenerator, 21, (2, 1, 3), batch=None),
    _synthesis("stylegan2_random_noise", MovedSynthesis, 23, (1, 1), batch=1, **_RANDOM),
    _synthesis("stylegan2_random_noise_traced", MovedSynthesis, 23, (1, 1), batch=None, **_RANDOM),
    GoldenModel(
        "stylegan2_constant_style",
        _constant_style,
        lambda full: [{"x": normal(1, 512 if full else 16, 4, 4, seed=230 + k)} for k in range(2)],
        ("image",),
    ),
    _generator("stylegan2_kept_fused", KeptGenerator, 24, (1, 1), batch=1, clamp=256.0),
    _synthesis("stylegan2_kept_fused_batch2", KeptSynthesis, 25, (2,), batch=2),
    _synthesis("stylegan2_kept_unfused", KeptSynthesis, 25, (1, 1), batch=None),
    _synthesis("stylegan2_kept_unfused_dynamic", KeptSynthesis, 25, (2, 1, 3), batch=None, dynamic=True),
    _synthesis("stylegan2_kept_resnet", KeptSynthesis, 26, (1, 1), resnet=True, batch=1, clamp=256.0),
    _generator("stylegan2_kept_cutoff", KeptGenerator, 27, (1, 1), batch=1, cutoff=3),
    _resample("upfirdn2d_moved_up2", upfirdn2d_moved, (4, 4), 2, 1, (2, 1, 2, 1)),
    _resample("upfirdn2d_moved_up2_traced", upfirdn2d_moved, (4, 4), 2, 1, (2, 1, 2, 1), batch=None),
    _resample("upfirdn2d_moved_blur", upfirdn2d_moved, (4, 4), 1, 1, (2, 2, 2, 2)),
    _resample("upfirdn2d_moved_down2", upfirdn2d_moved, (4, 4), 1, 2, (1, 1, 1, 1)),
    _resample("upfirdn2d_moved_haar_up2", upfirdn2d_moved, (2, 2), 2, 1, (1, 0, 1, 0)),
    _resample("upfirdn2d_moved_crop", upfirdn2d_moved, (3, 3), 2, 1, (-1, 2, 1, -2)),
    _resample("upfirdn2d_kept_up2", upfirdn2d_kept, (4, 4), 2, 1, (2, 1, 2, 1)),
    _resample("upfirdn2d_kept_blur", upfirdn2d_kept, (4, 4), 1, 1, (2, 2, 2, 2)),
    _resample("upfirdn2d_kept_down2", upfirdn2d_kept, (4, 4), 1, 2, (1, 1, 1, 1)),
    _resample("upfirdn2d_kept_separable_up4", upfirdn2d_kept, (24,), 4, 1, (13, 10, 13, 10)),
    _resample("upfirdn2d_kept_up2_down2_crop", upfirdn2d_kept, (6,), 2, 2, (-2, 3, 3, -1)),
)
