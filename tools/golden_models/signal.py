"""One-dimensional networks: a vocoder and a speech-separation network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm
from torch.nn.utils.parametrize import remove_parametrizations

from .catalog import GoldenModel
from .weights import normal, trained_looking

# HiFi-GAN's generator (Kong et al. 2020)


class DilatedResidual(nn.Module):
    """x + conv(lrelu(dilated conv(lrelu(x)))) for each dilation."""

    def __init__(self, channels: int, kernel: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.dilated = nn.ModuleList(
            nn.Conv1d(channels, channels, kernel, padding=d * (kernel - 1) // 2, dilation=d)
            for d in dilations
        )
        self.plain = nn.ModuleList(
            nn.Conv1d(channels, channels, kernel, padding=(kernel - 1) // 2) for _ in dilations
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for dilated, plain in zip(self.dilated, self.plain, strict=True):
            y = dilated(functional.leaky_relu(x, 0.1))
            x = x + 0.5 * plain(functional.leaky_relu(y, 0.1))
        return x


class Vocoder(nn.Module):
    """Mel spectrogram [N, mels, T] -> waveform [N, 1, T * prod(factors)]; weight norm is folded."""

    def __init__(self, mels: int, width: int, factors: Sequence[int], kernels: Sequence[int]) -> None:
        super().__init__()
        self.first = nn.Conv1d(mels, width, 7, padding=3)
        ups, stages = [], []
        for factor in factors:
            ups.append(nn.ConvTranspose1d(width, width // 2, 2 * factor, factor, padding=factor // 2))
            width //= 2
            stages.append(nn.ModuleList(DilatedResidual(width, kernel, (1, 3, 5)) for kernel in kernels))
        self.ups, self.stages = nn.ModuleList(ups), nn.ModuleList(stages)
        self.last = nn.Conv1d(width, 1, 7, padding=3)

    def forward(self, mel: torch.Tensor) -> torch.Tensor:
        x = self.first(mel)
        for up, stage in zip(self.ups, self.stages, strict=True):
            x = up(functional.leaky_relu(x, 0.1))
            total = stage[0](x)
            for block in list(stage)[1:]:
                total = total + block(x)
            x = total / len(stage)
        return torch.tanh(0.5 * self.last(functional.leaky_relu(x)))


def fold_weight_norm(model: nn.Module) -> nn.Module:
    """Train-time weight norm on every convolution, then folded away as it is before an export."""
    for module in list(model.modules()):
        if isinstance(module, (nn.Conv1d, nn.ConvTranspose1d)):
            remove_parametrizations(weight_norm(module), "weight")
    return model


# Conv-TasNet (Luo and Mesgarani 2019)


class SeparationBlock(nn.Module):
    """1x1, PReLU, global norm, dilated depthwise, PReLU, global norm, 1x1; residual."""

    def __init__(self, width: int, hidden: int, dilation: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv1d(width, hidden, 1),
            nn.PReLU(),
            nn.GroupNorm(1, hidden),
            nn.Conv1d(hidden, hidden, 3, padding=dilation, dilation=dilation, groups=hidden),
            nn.PReLU(),
            nn.GroupNorm(1, hidden),
            nn.Conv1d(hidden, width, 1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x)


class Separator(nn.Module):
    """Waveform [N, 1, T] -> learnt transform -> a mask for each source -> waveforms [N, sources, T]."""

    def __init__(self, filters: int, window: int, width: int, hidden: int, blocks: int, sources: int) -> None:
        super().__init__()
        self.sources, self.filters = sources, filters
        self.encode = nn.Conv1d(1, filters, window, window // 2, padding=window // 2, bias=False)
        self.norm, self.narrow = nn.GroupNorm(1, filters), nn.Conv1d(filters, width, 1)
        self.blocks = nn.Sequential(*(SeparationBlock(width, hidden, 2**i) for i in range(blocks)))
        self.mask = nn.Conv1d(width, sources * filters, 1)
        self.decode = nn.ConvTranspose1d(filters, 1, window, window // 2, padding=window // 2, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        coded = functional.relu(self.encode(x))
        n, _, frames = coded.shape
        masks = torch.sigmoid(self.mask(self.blocks(self.narrow(self.norm(coded)))))
        masked = masks.view(n, self.sources, self.filters, frames) * coded.unsqueeze(1)
        waves = self.decode(masked.view(n * self.sources, self.filters, frames))
        return waves.view(n, self.sources, -1)


def _entry(
    name: str,
    small: Callable[[], nn.Module],
    full: Callable[[], nn.Module],
    key: str,
    shapes: Sequence[tuple[int, int, int]],
    full_shapes: Sequence[tuple[int, int, int]],
    dynamic: dict[int, str] | None = None,
) -> GoldenModel:
    def build(is_full: bool) -> nn.Module:
        return fold_weight_norm(trained_looking(full if is_full else small, 12))

    def inputs(is_full: bool) -> list[dict[str, torch.Tensor]]:
        chosen = full_shapes if is_full else shapes
        return [{key: normal(*shape, seed=111 + i)} for i, shape in enumerate(chosen)]

    return GoldenModel(name, build, inputs, ("waves",), {key: dynamic} if dynamic else {})


_vocoder_small = partial(Vocoder, 10, 16, (4, 2), (3, 7))
_vocoder = partial(Vocoder, 80, 512, (8, 8, 2, 2), (3, 7, 11))

MODELS: tuple[GoldenModel, ...] = (
    _entry("vocoder", _vocoder_small, _vocoder, "mel", ((1, 10, 14),), ((1, 80, 32),)),
    _entry(
        "vocoder_dynamic",
        _vocoder_small,
        _vocoder,
        "mel",
        ((1, 10, 14), (1, 10, 9), (1, 10, 23)),
        ((1, 80, 32), (1, 80, 20)),
        {2: "frames"},
    ),
    _entry(
        "separator",
        partial(Separator, 16, 8, 12, 16, 3, 2),
        partial(Separator, 512, 16, 128, 512, 8, 2),
        "wave",
        ((1, 1, 96),),
        ((1, 1, 8000),),
    ),
)
