"""Seeded inputs, and weights that look trained.

A freshly initialised network is a poor test: biases are 0, batch norms are the identity, layer scales 1e-6,
and a converter that drops any of them still matches. Here every bias, affine and statistic is random and
matters, and activations stay O(1) through the whole depth.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn

_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_NORMS = (
    *_BATCH_NORMS,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.RMSNorm,
    nn.InstanceNorm1d,
    nn.InstanceNorm2d,
    nn.InstanceNorm3d,
)


def normal(*shape: int, seed: int = 0, scale: float = 1.0) -> torch.Tensor:
    """Float32 samples of N(0, scale^2), the same on every call."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * scale


def tokens(*shape: int, vocabulary: int, seed: int = 0) -> torch.Tensor:
    """Int64 token ids in [0, vocabulary)."""
    return torch.randint(0, vocabulary, shape, generator=torch.Generator().manual_seed(seed))


def trained_looking(
    make: Callable[[], nn.Module], seed: int, *sample: torch.Tensor, gain: float = 1.3
) -> nn.Module:
    """Build a network in eval mode whose weights look trained.

    Convolution and linear weights are normal with std ``gain / sqrt(fan_in)`` (linear: ``1 / sqrt(fan_in)``),
    biases and affines random. Batch-norm statistics are measured on ``sample`` layer by layer, in the order
    the forward pass reaches them, then disturbed by about 10 %, so that they neither are trivial nor let the
    activations drift. Parameters a network creates itself (position tables, layer scales) are left alone.
    The global random state is not changed.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = make().eval()
        for module in model.modules():
            _randomise(module, gain)
        hooks = [
            module.register_forward_pre_hook(_measure_statistics)
            for module in model.modules()
            if isinstance(module, (*_BATCH_NORMS, nn.InstanceNorm2d)) and module.track_running_stats
        ]
        if sample:
            model(*sample)
        for hook in hooks:
            hook.remove()
    return model


def _randomise(module: nn.Module, gain: float) -> None:
    if isinstance(module, (*_CONVS, *_TRANSPOSED, nn.Linear)):
        weight = module.weight
        if isinstance(module, _TRANSPOSED):
            # [Cin, Cout/groups, *kernel]: each output sees about 1/prod(stride) of the taps.
            fan_in = weight.numel() / weight.shape[1] / module.groups / math.prod(module.stride)
        else:
            fan_in = weight.numel() / weight.shape[0]
        scale = 1.0 if isinstance(module, nn.Linear) else gain
        weight.normal_(0.0, scale / math.sqrt(max(fan_in, 1.0)))
        if module.bias is not None:
            module.bias.normal_(0.0, 0.1)
    elif isinstance(module, _NORMS):
        if getattr(module, "weight", None) is not None:
            module.weight.normal_(1.0, 0.2)
        if getattr(module, "bias", None) is not None:
            module.bias.normal_(0.0, 0.2)
    elif isinstance(module, nn.Embedding):
        module.weight.normal_(0.0, 0.7)
    elif isinstance(module, nn.PReLU):
        module.weight.normal_(0.25, 0.1)
    elif isinstance(module, nn.RNNBase):
        for name, parameter in module.named_parameters():
            # weight_ih [gates*H, D], weight_hh [gates*H, H]; large enough for gates to leave their middle.
            bias = name.startswith("bias")
            parameter.normal_(0.0, 0.2 if bias else 1.2 / math.sqrt(parameter.shape[-1]))
    elif isinstance(module, nn.MultiheadAttention) and module.in_proj_bias is not None:
        module.in_proj_bias.normal_(0.0, 0.1)


def _measure_statistics(norm: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
    """Forward pre-hook: set the running statistics from the batch that is about to be normalised."""
    x = args[0]
    axes = [axis for axis in range(x.dim()) if axis != 1]
    mean, variance = x.mean(axes), x.var(axes, unbiased=False)
    # A channel that is constant in this small batch would otherwise be scaled up without bound.
    variance = variance.clamp_min(0.05 * float(variance.mean()) + 1e-4)
    norm.running_mean.copy_(mean + 0.1 * variance.sqrt() * torch.randn_like(mean))
    norm.running_var.copy_(variance * torch.exp(0.2 * torch.randn_like(variance)))
