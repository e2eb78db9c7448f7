"""Dense prediction: U-Nets, DeepLab's ASPP, SegFormer, and super-resolution by pixel shuffle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import nn
from torch.nn import functional

from .catalog import GoldenModel
from .classification import ConvNorm
from .weights import normal, trained_looking

# U-Net (Ronneberger et al. 2015), padded so that sizes are kept


class UpBlock(nn.Module):
    """Upsample x by 2, concatenate the skip connection, two 3x3 convolutions."""

    def __init__(self, cin: int, skip: int, cout: int, how: str) -> None:
        super().__init__()
        if how == "transposed":
            self.up: nn.Module = nn.ConvTranspose2d(cin, cin // 2, 2, 2)
            joined = cin // 2 + skip
        elif how == "bilinear":
            self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
            joined = cin + skip
        else:
            self.up = nn.Upsample(scale_factor=2, mode="nearest")
            joined = cin + skip
        self.convs = nn.Sequential(ConvNorm(joined, cout, 3), ConvNorm(cout, cout, 3))

    def forward(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        return self.convs(torch.cat([skip, self.up(x)], 1))


class UNet(nn.Module):
    """Encoder with max pooling, decoder with skips; logits [N, classes, H, W]."""

    def __init__(self, widths: Sequence[int], classes: int, how: str) -> None:
        super().__init__()
        cins = (3, *widths[:-1])
        self.down = nn.ModuleList(
            nn.Sequential(ConvNorm(cin, cout, 3), ConvNorm(cout, cout, 3))
            for cin, cout in zip(cins, widths, strict=True)
        )
        self.up = nn.ModuleList(
            UpBlock(widths[i + 1], widths[i], widths[i], how) for i in reversed(range(len(widths) - 1))
        )
        self.head = nn.Conv2d(widths[0], classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skips = []
        for i, block in enumerate(self.down):
            x = block(x if i == 0 else functional.max_pool2d(x, 2))
            skips.append(x)
        skips.pop()
        for block in self.up:
            x = block(x, skips.pop())
        return self.head(x)


# DeepLabV3 (Chen et al. 2017): atrous spatial pyramid pooling


class AtrousPyramid(nn.Module):
    """1x1, dilated 3x3 convolutions and the global mean, upsampled back; projected to ``cout``."""

    def __init__(self, cin: int, cout: int, rates: Sequence[int]) -> None:
        super().__init__()
        self.point = ConvNorm(cin, cout)
        self.dilated = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(cin, cout, 3, padding=rate, dilation=rate, bias=False),
                nn.BatchNorm2d(cout),
                nn.ReLU(),
            )
            for rate in rates
        )
        self.pooled = nn.Conv2d(cin, cout, 1)
        self.project = ConvNorm(cout * (2 + len(rates)), cout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean = functional.relu(self.pooled(functional.adaptive_avg_pool2d(x, 1)))
        mean = functional.interpolate(mean, size=x.shape[-2:], mode="bilinear", align_corners=False)
        return self.project(torch.cat([self.point(x), *(conv(x) for conv in self.dilated), mean], 1))


class DeepLab(nn.Module):
    """Strided encoder, pyramid, bilinear upsampling (half-pixel) by 8, label per pixel besides the logits."""

    def __init__(self, width: int, rates: Sequence[int], classes: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            ConvNorm(3, width, 3, 2), ConvNorm(width, 2 * width, 3, 2), ConvNorm(2 * width, 4 * width, 3, 2)
        )
        self.pyramid = AtrousPyramid(4 * width, 2 * width, rates)
        self.head = nn.Conv2d(2 * width, classes, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = self.head(self.pyramid(self.encoder(x)))
        y = functional.interpolate(y, size=x.shape[-2:], mode="bilinear", align_corners=False)
        return y, y.argmax(1)


# ESPCN (Shi et al. 2016), and its inverse at the input as restoration networks use it


class Espcn(nn.Module):
    """Convolutions at low resolution, then pixel shuffle by ``scale``."""

    def __init__(self, widths: Sequence[int], scale: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, widths[0], 5, padding=2)
        self.conv2 = nn.Conv2d(widths[0], widths[1], 3, padding=1)
        self.conv3 = nn.Conv2d(widths[1], 3 * scale * scale, 3, padding=1)
        self.shuffle = nn.PixelShuffle(scale)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.tanh(self.conv2(torch.tanh(self.conv1(x))))
        return torch.sigmoid(self.shuffle(self.conv3(y)))


class UnshuffleRestorer(nn.Module):
    """Pixel unshuffle, residual PReLU blocks with reflection padding, pixel shuffle, global residual."""

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(12, width, 3, padding=1, padding_mode="reflect")
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width, 3, padding=1, padding_mode="reflect"),
                nn.PReLU(width),
                nn.Conv2d(width, width, 3, padding=1, padding_mode="replicate"),
            )
            for _ in range(blocks)
        )
        self.last = nn.Conv2d(width, 12, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.first(functional.pixel_unshuffle(x, 2))
        for block in self.blocks:
            y = y + 0.5 * block(y)
        return torch.clamp(x + 0.3 * functional.pixel_shuffle(self.last(y), 2), -2.5, 2.5)


# SegFormer (Xie et al. 2021)


class ReducedAttention(nn.Module):
    """Self attention whose keys and values are reduced by a strided convolution."""

    def __init__(self, dim: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.heads, self.dim = heads, dim
        self.q, self.k, self.v = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)
        self.reduce = nn.Conv2d(dim, dim, reduction, reduction) if reduction > 1 else None
        self.norm = nn.LayerNorm(dim) if reduction > 1 else None

    def split(self, x: torch.Tensor) -> torch.Tensor:
        n, length, _ = x.shape
        return x.view(n, length, self.heads, self.dim // self.heads).permute(0, 2, 1, 3)

    def forward(self, x: torch.Tensor, h: int, w: int) -> torch.Tensor:
        n, length, c = x.shape
        context = x
        if self.reduce is not None:
            context = self.reduce(x.permute(0, 2, 1).reshape(n, c, h, w))
            context = self.norm(context.reshape(n, c, -1).permute(0, 2, 1))
        q, k, v = self.split(self.q(x)), self.split(self.k(context)), self.split(self.v(context))
        weights = torch.softmax(q @ k.transpose(-1, -2) / (self.dim // self.heads) ** 0.5, -1)
        y = (weights @ v).permute(0, 2, 1, 3).contiguous().view(n, length, c)
        return self.out(y)


class MixFeedForward(nn.Module):
    """Linear, depthwise 3x3 over the map, GELU, linear."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(dim, hidden), nn.Linear(hidden, dim)
        self.depthwise = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)

    def forward(self, x: torch.Tensor, h: int, w: int) -> torch.Tensor:
        y = self.first(x)
        n, _, c = y.shape
        y = self.depthwise(y.transpose(1, 2).view(n, c, h, w)).flatten(2).transpose(1, 2)
        return self.second(functional.gelu(y))


class SegformerBlock(nn.Module):
    """Pre-norm reduced attention and mixing feed-forward, both residual."""

    def __init__(self, dim: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = ReducedAttention(dim, heads, reduction)
        self.mix = MixFeedForward(dim, 4 * dim)

    def forward(self, x: torch.Tensor, h: int, w: int) -> torch.Tensor:
        x = x + self.attention(self.norm1(x), h, w)
        return x + self.mix(self.norm2(x), h, w)


class Segformer(nn.Module):
    """Four stages of overlapping patches and blocks; the all-MLP head fuses them at a quarter of the size."""

    def __init__(
        self,
        dims: Sequence[int],
        depths: Sequence[int],
        heads: Sequence[int],
        reductions: Sequence[int],
        decoder: int,
        classes: int,
    ) -> None:
        super().__init__()
        cins = (3, *dims[:-1])
        self.patches = nn.ModuleList(
            nn.Conv2d(cin, dim, 7 if i == 0 else 3, 4 if i == 0 else 2, 3 if i == 0 else 1)
            for i, (cin, dim) in enumerate(zip(cins, dims, strict=True))
        )
        self.patch_norms = nn.ModuleList(nn.LayerNorm(dim) for dim in dims)
        self.stages = nn.ModuleList(
            nn.ModuleList(SegformerBlock(dims[i], heads[i], reductions[i]) for _ in range(depths[i]))
            for i in range(len(dims))
        )
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for dim in dims)
        self.project = nn.ModuleList(nn.Linear(dim, decoder) for dim in dims)
        self.fuse = ConvNorm(decoder * len(dims), decoder)
        self.head = nn.Conv2d(decoder, classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n = x.shape[0]
        maps = []
        for patch, patch_norm, blocks, norm in zip(
            self.patches, self.patch_norms, self.stages, self.norms, strict=True
        ):
            x = patch(x)
            h, w = x.shape[2], x.shape[3]
            y = patch_norm(x.flatten(2).transpose(1, 2))
            for block in blocks:
                y = block(y, h, w)
            x = norm(y).reshape(n, h, w, -1).permute(0, 3, 1, 2).contiguous()
            maps.append(x)
        size = maps[0].shape[2:]
        fused = []
        for project, y in zip(self.project, maps, strict=True):
            h, w = y.shape[2], y.shape[3]
            z = project(y.flatten(2).transpose(1, 2)).permute(0, 2, 1).reshape(n, -1, h, w)
            fused.append(functional.interpolate(z, size=size, mode="bilinear", align_corners=False))
        return self.head(self.fuse(torch.cat(fused[::-1], 1)))


def _entry(
    name: str,
    small: Callable[[], nn.Module],
    full: Callable[[], nn.Module],
    sizes: Sequence[tuple[int, int, int]],
    full_sizes: Sequence[tuple[int, int, int]],
    outputs: tuple[str, ...] = ("logits",),
    dynamic: dict[int, str] | None = None,
    exporters: tuple[str, ...] = ("ts17", "dyn"),
) -> GoldenModel:
    """``sizes``: (batch, height, width) of each sample."""

    def build(is_full: bool) -> nn.Module:
        _, h, w = (full_sizes if is_full else sizes)[0]
        return trained_looking(full if is_full else small, 2, normal(2, 3, h, w, seed=7))

    def inputs(is_full: bool) -> list[dict[str, torch.Tensor]]:
        chosen = full_sizes if is_full else sizes
        return [{"x": normal(n, 3, h, w, seed=21 + i)} for i, (n, h, w) in enumerate(chosen)]

    return GoldenModel(name, build, inputs, outputs, {"x": dynamic} if dynamic else {}, exporters)


def _unet(how: str) -> tuple[Callable[[], nn.Module], Callable[[], nn.Module]]:
    return partial(UNet, (8, 12, 16), 4, how), partial(UNet, (64, 128, 256, 512, 1024), 21, how)


_FULL = ((1, 224, 224),)

MODELS: tuple[GoldenModel, ...] = (
    _entry("unet_bilinear", *_unet("bilinear"), ((1, 32, 48),), _FULL),
    _entry("unet_nearest", *_unet("nearest"), ((1, 32, 48),), _FULL),
    _entry("unet_transposed", *_unet("transposed"), ((1, 32, 48),), _FULL),
    _entry(
        "unet_dynamic",
        *_unet("transposed"),
        ((2, 32, 32), (1, 32, 32), (3, 32, 32)),
        ((2, 224, 224), (1, 224, 224)),
        dynamic={0: "batch"},
    ),
    _entry(
        "deeplab",
        partial(DeepLab, 6, (2, 4), 5),
        partial(DeepLab, 64, (6, 12, 18), 21),
        ((1, 64, 48),),
        _FULL,
        outputs=("logits", "labels"),
    ),
    _entry(
        "espcn",
        partial(Espcn, (16, 12), 3),
        partial(Espcn, (64, 32), 3),
        ((1, 20, 24),),
        _FULL,
        outputs=("image",),
    ),
    _entry(
        "espcn_dynamic",
        partial(Espcn, (16, 12), 2),
        partial(Espcn, (64, 32), 2),
        ((2, 16, 20), (1, 16, 16), (2, 9, 13)),
        ((2, 224, 224), (1, 180, 320)),
        outputs=("image",),
        dynamic={0: "batch", 2: "height", 3: "width"},
    ),
    _entry(
        "restorer",
        partial(UnshuffleRestorer, 12, 2),
        partial(UnshuffleRestorer, 64, 16),
        ((1, 32, 32),),
        _FULL,
        outputs=("image",),
    ),
    _entry(
        "segformer",
        partial(Segformer, (8, 16, 24, 32), (1, 1, 1, 1), (1, 2, 3, 4), (8, 4, 2, 1), 16, 5),
        partial(Segformer, (32, 64, 160, 256), (2, 2, 2, 2), (1, 2, 5, 8), (8, 4, 2, 1), 256, 150),
        ((1, 64, 64),),
        _FULL,
    ),
)
