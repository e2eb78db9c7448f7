"""Three-dimensional networks: a volumetric U-Net and a video classifier."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import nn
from torch.nn import functional

from .catalog import GoldenModel
from .weights import normal, trained_looking


def conv_norm(cin: int, cout: int, kernel: int | tuple[int, int, int] = 3, stride: int = 1) -> nn.Sequential:
    """3-D convolution with "same" padding, batch norm, leaky ReLU."""
    sizes = (kernel,) * 3 if isinstance(kernel, int) else kernel
    padding = tuple(size // 2 for size in sizes)
    return nn.Sequential(
        nn.Conv3d(cin, cout, sizes, stride, padding, bias=False), nn.BatchNorm3d(cout), nn.LeakyReLU(0.01)
    )


class UNet3d(nn.Module):
    """Cicek et al. 2016: max pooling down; transposed convolution, then trilinear interpolation, up."""

    def __init__(self, widths: Sequence[int], classes: int) -> None:
        super().__init__()
        a, b, c = widths
        self.enc1 = nn.Sequential(conv_norm(1, a), conv_norm(a, a))
        self.enc2 = nn.Sequential(conv_norm(a, b), conv_norm(b, b))
        self.enc3 = nn.Sequential(conv_norm(b, c), conv_norm(c, c))
        self.up2 = nn.ConvTranspose3d(c, b, 2, 2)
        self.dec2 = nn.Sequential(conv_norm(2 * b, b), conv_norm(b, b))
        self.dec1 = nn.Sequential(conv_norm(a + b, a), conv_norm(a, a))
        self.head = nn.Conv3d(a, classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        s1 = self.enc1(x)
        s2 = self.enc2(functional.max_pool3d(s1, 2))
        y = self.enc3(functional.max_pool3d(s2, 2))
        y = self.dec2(torch.cat([s2, self.up2(y)], 1))
        y = functional.interpolate(y, scale_factor=2, mode="trilinear", align_corners=False)
        return self.head(self.dec1(torch.cat([s1, y], 1))).softmax(1)


class VideoNet(nn.Module):
    """R(2+1)D (Tran et al. 2018): each 3-D convolution is a spatial one followed by a temporal one."""

    def __init__(self, width: int, stages: int, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.Conv3d(3, width, (1, 7, 7), (1, 2, 2), (0, 3, 3)),
            conv_norm(width, width, (3, 1, 1)),
        ]
        for stage in range(stages):
            cin, cout = width << max(stage - 1, 0), width << stage
            layers += [
                conv_norm(cin, cout, (1, 3, 3)),
                conv_norm(cout, cout, (3, 1, 1)),
                nn.AvgPool3d((1, 2, 2)) if stage % 2 else nn.AvgPool3d(2),
            ]
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(width << (stages - 1), classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(functional.adaptive_avg_pool3d(self.features(x), 1).flatten(1))


def _entry(
    name: str,
    small: Callable[[], nn.Module],
    full: Callable[[], nn.Module],
    shape: tuple[int, ...],
    full_shape: tuple[int, ...],
    output: str,
) -> GoldenModel:
    def build(is_full: bool) -> nn.Module:
        sample = normal(2, *(full_shape if is_full else shape)[1:], seed=7)
        return trained_looking(full if is_full else small, 13, sample)

    def inputs(is_full: bool) -> list[dict[str, torch.Tensor]]:
        return [{"x": normal(*(full_shape if is_full else shape), seed=121)}]

    return GoldenModel(name, build, inputs, (output,))


MODELS: tuple[GoldenModel, ...] = (
    _entry(
        "unet3d",
        partial(UNet3d, (4, 6, 8), 3),
        partial(UNet3d, (32, 64, 128), 4),
        (1, 1, 8, 12, 16),
        (1, 1, 32, 64, 64),
        "probabilities",
    ),
    _entry(
        "video",
        partial(VideoNet, 6, 2, 8),
        partial(VideoNet, 64, 4, 400),
        (1, 3, 4, 24, 32),
        (1, 3, 16, 112, 112),
        "logits",
    ),
)
