"""Networks built around each normalisation: group, instance, layer, root mean square, and their spellings."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import nn
from torch.nn import functional

from .catalog import GoldenModel
from .transformers import RootMeanSquareNorm
from .weights import normal, trained_looking


class GroupNormBlock(nn.Module):
    """Residual block of diffusion U-Nets: group norm, SiLU, convolution, twice; time is added between."""

    def __init__(self, cin: int, cout: int, groups: int, time: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(groups, cin), nn.Conv2d(cin, cout, 3, padding=1)
        self.norm2, self.conv2 = nn.GroupNorm(groups, cout), nn.Conv2d(cout, cout, 3, padding=1)
        self.time = nn.Linear(time, cout)
        self.skip = nn.Conv2d(cin, cout, 1) if cin != cout else nn.Identity()

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        y = self.conv1(functional.silu(self.norm1(x)))
        y = y + self.time(functional.silu(t))[:, :, None, None]
        return self.skip(x) + self.conv2(functional.silu(self.norm2(y)))


class GroupNormNet(nn.Module):
    """Image and time vector -> image, through group-norm blocks (Wu and He 2018; Ho et al. 2020)."""

    def __init__(self, width: int, groups: int, time: int, blocks: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, width, 3, padding=1)
        self.blocks = nn.ModuleList(
            GroupNormBlock(width if i == 0 else 2 * width, 2 * width, groups, time) for i in range(blocks)
        )
        self.norm, self.last = nn.GroupNorm(groups, 2 * width), nn.Conv2d(2 * width, 3, 3, padding=1)

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        for block in self.blocks:
            x = block(x, t)
        return self.last(functional.silu(self.norm(x)))


class StyleTransfer(nn.Module):
    """Johnson et al. 2016 with instance norm: padding, strided down, residual, nearest up.

    ``tracked``: instance norms use running statistics, paddings are zeros (the TorchScript exporter loses the
    shape in a reflection padding, and can't export the norm then).
    """

    def __init__(self, width: int, blocks: int, *, tracked: bool) -> None:
        super().__init__()

        def unit(cin: int, cout: int, kernel: int, stride: int = 1) -> nn.Sequential:
            padding, mode = kernel // 2, "zeros" if tracked else "reflect"
            return nn.Sequential(
                nn.Conv2d(cin, cout, kernel, stride, padding, padding_mode=mode),
                nn.InstanceNorm2d(cout, affine=True, track_running_stats=tracked),
            )

        w = width
        self.down = nn.Sequential(
            unit(3, w, 9), nn.ReLU(), unit(w, 2 * w, 3, 2), nn.ReLU(), unit(2 * w, 4 * w, 3, 2), nn.ReLU()
        )
        self.blocks = nn.ModuleList(
            nn.Sequential(unit(4 * w, 4 * w, 3), nn.ReLU(), unit(4 * w, 4 * w, 3)) for _ in range(blocks)
        )
        self.up = nn.Sequential(
            nn.Upsample(scale_factor=2, mode="nearest"),
            unit(4 * w, 2 * w, 3),
            nn.ReLU(),
            nn.Upsample(scale_factor=2, mode="nearest"),
            unit(2 * w, w, 3),
            nn.ReLU(),
            nn.Conv2d(w, 3, 9, padding=4),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.down(x)
        for block in self.blocks:
            x = x + block(x)
        return torch.tanh(self.up(x))


class PlanarLayerNorm(nn.Module):
    """Layer norm over C of [N, C, H, W], written out: (x - mean) / sqrt(variance + eps) * weight + bias."""

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(1.0 + 0.2 * torch.randn(channels))
        self.bias = nn.Parameter(0.2 * torch.randn(channels))
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean = x.mean(1, keepdim=True)
        variance = (x - mean).pow(2).mean(1, keepdim=True)
        y = (x - mean) / torch.sqrt(variance + self.eps)
        return self.weight[:, None, None] * y + self.bias[:, None, None]


class GatedBlock(nn.Module):
    """NAFNet's block (Chen et al. 2022): layer norm, depthwise, product of halves, pooled gate."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = PlanarLayerNorm(width), PlanarLayerNorm(width)
        self.expand1, self.reduce1 = nn.Conv2d(width, 2 * width, 1), nn.Conv2d(width, width, 1)
        self.depthwise = nn.Conv2d(2 * width, 2 * width, 3, padding=1, groups=2 * width)
        self.gate = nn.Conv2d(width, width, 1)
        self.expand2, self.reduce2 = nn.Conv2d(width, 2 * width, 1), nn.Conv2d(width, width, 1)
        self.scale1 = nn.Parameter(0.5 + 0.1 * torch.randn(1, width, 1, 1))
        self.scale2 = nn.Parameter(0.5 + 0.1 * torch.randn(1, width, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = self.depthwise(self.expand1(self.norm1(x))).chunk(2, 1)
        y = a * b
        y = y * self.gate(functional.adaptive_avg_pool2d(y, 1))
        x = x + self.scale1 * self.reduce1(y)
        a, b = self.expand2(self.norm2(x)).chunk(2, 1)
        return x + self.scale2 * self.reduce2(a * b)


class LayerNormNet(nn.Module):
    """Gated blocks, then layer norms over [C], over [H, W] and over [C, H, W]."""

    def __init__(self, width: int, blocks: int, side: int) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, width, 3, padding=1), nn.Conv2d(width, 3, 3, padding=1)
        self.blocks = nn.Sequential(*(GatedBlock(width) for _ in range(blocks)))
        self.plane = nn.LayerNorm((side, side))
        self.whole = nn.LayerNorm((width, side, side))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.whole(self.plane(self.blocks(self.first(x))))
        return x + self.last(y)


class RmsNormNet(nn.Module):
    """Feed-forward layers on [N, L, D] with root-mean-square norms, and L2 normalisation at the end.

    ``norm(dim)`` makes the norm: the written-out formula or ``nn.RMSNorm``.
    """

    def __init__(self, norm: Callable[[int], nn.Module], dim: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = norm(dim), norm(dim)
        self.first, self.second = nn.Linear(dim, 2 * dim), nn.Linear(2 * dim, dim)
        self.third = nn.Linear(dim, dim, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.second(functional.mish(self.first(self.norm1(x))))
        x = x + self.third(self.norm2(x))
        return functional.normalize(x, dim=-1) * x.shape[-1] ** 0.5


def _entry(
    name: str,
    small: Callable[[], nn.Module],
    full: Callable[[], nn.Module],
    shapes: tuple[tuple[int, ...], ...],
    full_shapes: tuple[tuple[int, ...], ...],
    names: tuple[str, ...] = ("x",),
    exporters: tuple[str, ...] = ("ts17", "dyn"),
) -> GoldenModel:
    def inputs(is_full: bool) -> list[dict[str, torch.Tensor]]:
        chosen = full_shapes if is_full else shapes
        return [
            {
                key: normal(*shape, seed=101 + i)
                for i, (key, shape) in enumerate(zip(names, chosen, strict=True))
            }
        ]

    def build(is_full: bool) -> nn.Module:
        return trained_looking(full if is_full else small, 11, *inputs(is_full)[0].values())

    return GoldenModel(name, build, inputs, ("y",), exporters=exporters)


MODELS: tuple[GoldenModel, ...] = (
    _entry(
        "group_norm",
        partial(GroupNormNet, 8, 4, 12, 2),
        partial(GroupNormNet, 64, 32, 256, 4),
        ((2, 3, 16, 12), (2, 12)),
        ((1, 3, 64, 64), (1, 256)),
        ("x", "t"),
    ),
    _entry(
        "instance_norm",
        partial(StyleTransfer, 6, 1, tracked=False),
        partial(StyleTransfer, 32, 5, tracked=False),
        ((1, 3, 32, 32),),
        ((1, 3, 224, 224),),
    ),
    _entry(
        "instance_norm_tracked",
        partial(StyleTransfer, 6, 1, tracked=True),
        partial(StyleTransfer, 32, 5, tracked=True),
        ((1, 3, 32, 32),),
        ((1, 3, 224, 224),),
    ),
    _entry(
        "layer_norm",
        partial(LayerNormNet, 8, 2, 16),
        partial(LayerNormNet, 32, 12, 128),
        ((1, 3, 16, 16),),
        ((1, 3, 128, 128),),
    ),
    _entry(
        "rms_norm",
        partial(RmsNormNet, RootMeanSquareNorm, 24),
        partial(RmsNormNet, RootMeanSquareNorm, 512),
        ((2, 7, 24),),
        ((1, 128, 512),),
    ),
    # The TorchScript exporter has no aten::rms_norm at opset 17 (UnsupportedOperatorError).
    _entry(
        "rms_norm_module",
        partial(RmsNormNet, partial(nn.RMSNorm, eps=1e-5), 24),
        partial(RmsNormNet, partial(nn.RMSNorm, eps=1e-5), 512),
        ((2, 7, 24),),
        ((1, 128, 512),),
        exporters=("dyn",),
    ),
)
