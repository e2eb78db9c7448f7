"""Transformers: ViT, Swin, MobileViT, BERT, GPT, a rotary decoder block, and attention alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import nn
from torch.nn import functional

from .catalog import GoldenModel
from .classification import ConvNorm, InvertedResidual
from .weights import normal, tokens, trained_looking


class Attention(nn.Module):
    """Multi-head self attention (Vaswani et al. 2017): softmax(Q K^T / sqrt(d) + mask) V.

    ``fused`` uses ``scaled_dot_product_attention``, otherwise the formula is written out; ``packed`` computes
    q, k and v with one linear layer.
    """

    def __init__(self, dim: int, heads: int, *, fused: bool, packed: bool, causal: bool = False) -> None:
        super().__init__()
        self.dim, self.heads, self.fused, self.causal = dim, heads, fused, causal
        if packed:
            self.qkv = nn.Linear(dim, 3 * dim)
        else:
            self.q, self.k, self.v = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.packed = packed
        self.out = nn.Linear(dim, dim)

    def heads_of(self, x: torch.Tensor) -> torch.Tensor:
        n, length, _ = x.shape
        return x.view(n, length, self.heads, self.dim // self.heads).transpose(1, 2)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        n, length, _ = x.shape
        if self.packed:
            qkv = self.qkv(x).reshape(n, length, 3, self.heads, self.dim // self.heads)
            q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        else:
            q, k, v = self.heads_of(self.q(x)), self.heads_of(self.k(x)), self.heads_of(self.v(x))
        if self.fused:
            y = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=self.causal)
        else:
            scores = (q @ k.transpose(-2, -1)) * (self.dim // self.heads) ** -0.5
            if self.causal:
                future = torch.ones(length, length, dtype=torch.bool).triu(1)
                scores = scores.masked_fill(future, float("-inf"))
            if mask is not None:
                scores = scores + mask
            y = scores.softmax(-1) @ v
        return self.out(y.transpose(1, 2).reshape(n, length, self.dim))


class FeedForward(nn.Module):
    """Linear, activation, linear."""

    def __init__(self, dim: int, hidden: int, act: nn.Module) -> None:
        super().__init__()
        self.first, self.act, self.second = nn.Linear(dim, hidden), act, nn.Linear(hidden, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.act(self.first(x)))


class PreNormBlock(nn.Module):
    """x + attention(norm(x)), then x + feed_forward(norm(x))."""

    def __init__(
        self, dim: int, attention: nn.Module, hidden: int, act: nn.Module, eps: float = 1e-6
    ) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=eps), nn.LayerNorm(dim, eps=eps)
        self.attention = attention
        self.feed = FeedForward(dim, hidden, act)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.feed(self.norm2(x))


# Vision Transformer (Dosovitskiy et al. 2021)


class VisionTransformer(nn.Module):
    """Patches, class token, learnt positions, blocks, class logits."""

    def __init__(
        self, size: int, patch: int, dim: int, depth: int, heads: int, classes: int, fused: bool
    ) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, dim, patch, patch)
        self.token = nn.Parameter(0.5 * torch.randn(1, 1, dim))
        self.position = nn.Parameter(0.3 * torch.randn(1, (size // patch) ** 2 + 1, dim))
        self.blocks = nn.Sequential(
            *(
                PreNormBlock(dim, Attention(dim, heads, fused=fused, packed=True), 4 * dim, nn.GELU())
                for _ in range(depth)
            )
        )
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.head = nn.Linear(dim, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.position
        return self.head(self.norm(self.blocks(x))[:, 0])


# Swin Transformer (Liu et al. 2021)


class WindowAttention(nn.Module):
    """Attention within windows of side m, with a learnt bias for each relative offset."""

    def __init__(self, dim: int, heads: int, m: int) -> None:
        super().__init__()
        self.heads, self.scale = heads, (dim // heads) ** -0.5
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.table = nn.Parameter(0.5 * torch.randn((2 * m - 1) ** 2, heads))
        axis = torch.arange(m)
        points = torch.stack(torch.meshgrid(axis, axis, indexing="ij")).flatten(1)
        offset = points[:, :, None] - points[:, None, :] + (m - 1)
        self.register_buffer("index", (offset[0] * (2 * m - 1) + offset[1]).flatten(), persistent=False)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        windows, length, dim = x.shape
        qkv = self.qkv(x).reshape(windows, length, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]
        scores = (q * self.scale) @ k.transpose(-2, -1)
        bias = self.table[self.index].view(length, length, self.heads).permute(2, 0, 1)
        scores = scores + bias.unsqueeze(0)
        if mask is not None:
            count = mask.shape[0]
            scores = scores.view(windows // count, count, self.heads, length, length)
            scores = (scores + mask.unsqueeze(1).unsqueeze(0)).view(-1, self.heads, length, length)
        y = (scores.softmax(-1) @ v).transpose(1, 2).reshape(windows, length, dim)
        return self.out(y)


def shift_mask(size: int, m: int, shift: int) -> torch.Tensor:
    """-100 between positions of a window that the cyclic shift brought together: [windows, m*m, m*m]."""
    region = torch.zeros(size, size)
    cuts = (slice(0, -m), slice(-m, -shift), slice(-shift, None))
    for i, rows in enumerate(cuts):
        for j, columns in enumerate(cuts):
            region[rows, columns] = 3 * i + j
    windows = region.view(size // m, m, size // m, m).transpose(1, 2).reshape(-1, m * m)
    return torch.where(windows[:, None, :] == windows[:, :, None], 0.0, -100.0)


class SwinBlock(nn.Module):
    """Window attention, shifted by half a window in every second block."""

    def __init__(self, dim: int, heads: int, size: int, m: int, shift: int) -> None:
        super().__init__()
        # A map of one window is not shifted.
        self.m, self.shift = m, shift if size > m else 0
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = WindowAttention(dim, heads, m)
        self.feed = FeedForward(dim, 4 * dim, nn.GELU())
        mask = shift_mask(size, m, self.shift) if self.shift else None
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, h, w, c = x.shape
        m = self.m
        y = self.norm1(x)
        if self.shift:
            y = torch.roll(y, (-self.shift, -self.shift), (1, 2))
        y = y.view(n, h // m, m, w // m, m, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, m * m, c)
        y = self.attention(y, self.mask)
        y = y.view(n, h // m, w // m, m, m, c).permute(0, 1, 3, 2, 4, 5).reshape(n, h, w, c)
        if self.shift:
            y = torch.roll(y, (self.shift, self.shift), (1, 2))
        x = x + y
        return x + self.feed(self.norm2(x))


class PatchMerging(nn.Module):
    """[N, H, W, C] -> [N, H/2, W/2, 2C]: each 2x2 neighbourhood becomes one token."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm, self.reduce = nn.LayerNorm(4 * dim), nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        corners = [x[:, i::2, j::2, :] for j in (0, 1) for i in (0, 1)]
        return self.reduce(self.norm(torch.cat(corners, -1)))


class Swin(nn.Module):
    """4x4 patches, stages of (shifted) window blocks, mean over the last map."""

    def __init__(
        self, size: int, dim: int, depths: Sequence[int], heads: Sequence[int], m: int, classes: int
    ) -> None:
        super().__init__()
        self.patch, self.patch_norm = nn.Conv2d(3, dim, 4, 4), nn.LayerNorm(dim)
        layers: list[nn.Module] = []
        side = size // 4
        for stage, (depth, head) in enumerate(zip(depths, heads, strict=True)):
            if stage:
                layers.append(PatchMerging(dim))
                dim, side = 2 * dim, side // 2
            layers += [SwinBlock(dim, head, side, m, (i % 2) * (m // 2)) for i in range(depth)]
        self.layers = nn.Sequential(*layers)
        self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patch_norm(self.patch(x).permute(0, 2, 3, 1))
        return self.head(self.norm(self.layers(x)).mean((1, 2)))


# MobileViT (Mehta and Rastegari 2022)


class MobileVitBlock(nn.Module):
    """Local convolutions, a transformer over the pixels at the same place of every 2x2 patch, fusion."""

    def __init__(self, channels: int, dim: int, depth: int, heads: int, hidden: int) -> None:
        super().__init__()
        act = nn.SiLU
        self.local = nn.Sequential(
            ConvNorm(channels, channels, 3, act=act), nn.Conv2d(channels, dim, 1, bias=False)
        )
        self.blocks = nn.Sequential(
            *(
                PreNormBlock(dim, Attention(dim, heads, fused=False, packed=True), hidden, nn.SiLU(), 1e-5)
                for _ in range(depth)
            )
        )
        self.norm = nn.LayerNorm(dim)
        self.project = ConvNorm(dim, channels, act=act)
        self.fuse = ConvNorm(2 * channels, channels, 3, act=act)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.local(x)
        n, d, h, w = y.shape
        rows, columns = h // 2, w // 2
        # [N, D, H, W] -> [N*4, patches, D]: pixel p of every patch forms one sequence.
        y = y.reshape(n * d * rows, 2, columns, 2).transpose(1, 2)
        y = y.reshape(n, d, rows * columns, 4).transpose(1, 3).reshape(n * 4, rows * columns, d)
        y = self.norm(self.blocks(y))
        y = y.contiguous().view(n, 4, rows * columns, d).transpose(1, 3)
        y = y.reshape(n * d * rows, columns, 2, 2).transpose(1, 2).reshape(n, d, h, w)
        return self.fuse(torch.cat([x, self.project(y)], 1))


class MobileVit(nn.Module):
    """Inverted residuals of ``widths``; the last stages end in a transformer of ``dims`` each."""

    def __init__(
        self,
        widths: Sequence[int],
        dims: Sequence[int],
        depths: Sequence[int],
        repeats: int,
        expansion: int,
        last: int,
        classes: int,
    ) -> None:
        super().__init__()

        def residual(cin: int, cout: int, stride: int) -> nn.Module:
            return InvertedResidual(cin, cout, cin * expansion, 3, stride, act=nn.SiLU)

        layers: list[nn.Module] = [
            ConvNorm(3, widths[0], 3, 2, act=nn.SiLU),
            residual(widths[0], widths[1], 1),
        ]
        layers.append(residual(widths[1], widths[2], 2))
        layers += [residual(widths[2], widths[2], 1) for _ in range(repeats)]
        cin = widths[2]
        for width, dim, depth in zip(widths[3:], dims, depths, strict=True):
            layers += [residual(cin, width, 2), MobileVitBlock(width, dim, depth, 4, 2 * dim)]
            cin = width
        layers.append(ConvNorm(cin, last, act=nn.SiLU))
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(last, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x).mean((2, 3)))


# BERT (Devlin et al. 2019)


class Bert(nn.Module):
    """Token ids, attention mask and segment ids -> hidden states and pooled vector; post-norm blocks."""

    def __init__(self, vocabulary: int, longest: int, dim: int, depth: int, heads: int, fused: bool) -> None:
        super().__init__()
        self.words, self.segments = nn.Embedding(vocabulary, dim, padding_idx=0), nn.Embedding(2, dim)
        self.positions = nn.Embedding(longest, dim)
        self.register_buffer("position_ids", torch.arange(longest)[None], persistent=False)
        self.norm = nn.LayerNorm(dim, eps=1e-12)
        self.attention = nn.ModuleList(Attention(dim, heads, fused=fused, packed=False) for _ in range(depth))
        self.feed = nn.ModuleList(FeedForward(dim, 4 * dim, nn.GELU()) for _ in range(depth))
        self.norm1 = nn.ModuleList(nn.LayerNorm(dim, eps=1e-12) for _ in range(depth))
        self.norm2 = nn.ModuleList(nn.LayerNorm(dim, eps=1e-12) for _ in range(depth))
        self.pool = nn.Linear(dim, dim)

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        positions = self.positions(self.position_ids[:, : input_ids.shape[1]])
        x = self.norm(self.words(input_ids) + self.segments(token_type_ids) + positions)
        mask = (1.0 - attention_mask[:, None, None, :].to(x.dtype)) * -10000.0
        for attention, feed, norm1, norm2 in zip(
            self.attention, self.feed, self.norm1, self.norm2, strict=True
        ):
            x = norm1(x + attention(x, mask))
            x = norm2(x + feed(x))
        return x, torch.tanh(self.pool(x[:, 0]))


# GPT-2 (Radford et al. 2019)


class TanhGelu(nn.Module):
    """0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))), written out."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 0.5 * x * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * torch.pow(x, 3.0))))


class Gpt(nn.Module):
    """Token ids -> next-token logits; causal pre-norm blocks, output weights tied to the embedding."""

    def __init__(self, vocabulary: int, longest: int, dim: int, depth: int, heads: int, fused: bool) -> None:
        super().__init__()
        self.words, self.positions = nn.Embedding(vocabulary, dim), nn.Embedding(longest, dim)
        self.blocks = nn.Sequential(
            *(
                PreNormBlock(
                    dim,
                    Attention(dim, heads, fused=fused, packed=True, causal=True),
                    4 * dim,
                    TanhGelu(),
                    1e-5,
                )
                for _ in range(depth)
            )
        )
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, vocabulary, bias=False)
        self.head.weight = self.words.weight

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        places = torch.arange(input_ids.shape[1])
        return self.head(self.norm(self.blocks(self.words(input_ids) + self.positions(places))))


# A decoder block as in LLaMA (Touvron et al. 2023): RMSNorm, rotary positions, grouped queries, SwiGLU


class RootMeanSquareNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) * weight, written out."""

    def __init__(self, dim: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(1.0 + 0.2 * torch.randn(dim)), eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps))


class RotaryBlock(nn.Module):
    """One decoder block over embeddings [N, L, D]; ``groups`` key and value heads serve ``heads`` queries."""

    def __init__(self, dim: int, heads: int, groups: int, hidden: int, longest: int) -> None:
        super().__init__()
        self.heads, self.groups, self.width = heads, groups, dim // heads
        self.norm1, self.norm2 = RootMeanSquareNorm(dim), RootMeanSquareNorm(dim)
        self.q, self.out = nn.Linear(dim, dim, bias=False), nn.Linear(dim, dim, bias=False)
        self.k = nn.Linear(dim, groups * self.width, bias=False)
        self.v = nn.Linear(dim, groups * self.width, bias=False)
        self.gate, self.up = nn.Linear(dim, hidden, bias=False), nn.Linear(dim, hidden, bias=False)
        self.down = nn.Linear(hidden, dim, bias=False)
        frequencies = 10000.0 ** (-torch.arange(0, self.width, 2) / self.width)
        angles = torch.outer(torch.arange(longest).float(), frequencies).repeat(1, 2)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def rotate(self, x: torch.Tensor) -> torch.Tensor:
        length = x.shape[2]
        first, second = x.chunk(2, -1)
        turned = torch.cat([-second, first], -1)
        return x * self.cos[:length] + turned * self.sin[:length]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, length, dim = x.shape
        y = self.norm1(x)
        q = self.rotate(self.q(y).view(n, length, self.heads, self.width).transpose(1, 2))
        k = self.rotate(self.k(y).view(n, length, self.groups, self.width).transpose(1, 2))
        v = self.v(y).view(n, length, self.groups, self.width).transpose(1, 2)
        k = k.repeat_interleave(self.heads // self.groups, 1)
        v = v.repeat_interleave(self.heads // self.groups, 1)
        scores = q @ k.transpose(-2, -1) / math.sqrt(self.width)
        future = torch.full((length, length), -1e9).triu(1)
        y = ((scores + future).softmax(-1) @ v).transpose(1, 2).reshape(n, length, dim)
        x = x + self.out(y)
        y = self.norm2(x)
        return x + self.down(functional.silu(self.gate(y)) * self.up(y))


class CrossAttention(nn.Module):
    """Queries attend to a memory of another length (``nn.MultiheadAttention``); boolean padding mask."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: torch.Tensor, memory: torch.Tensor, padding: torch.Tensor) -> torch.Tensor:
        y, _ = self.attention(x, memory, memory, key_padding_mask=padding, need_weights=False)
        return self.norm(x + y)


def _image_entry(
    name: str, small: Callable[[], nn.Module], full: Callable[[], nn.Module], size: int, full_size: int = 224
) -> GoldenModel:
    def build(is_full: bool) -> nn.Module:
        side = full_size if is_full else size
        return trained_looking(full if is_full else small, 3, normal(2, 3, side, side, seed=7))

    def inputs(is_full: bool) -> list[dict[str, torch.Tensor]]:
        side = full_size if is_full else size
        return [{"x": normal(1, 3, side, side, seed=31)}]

    return GoldenModel(name, build, inputs, ("logits",))


def _bert_inputs(
    vocabulary: int, sizes: Sequence[tuple[int, int]], seed: int = 41
) -> list[dict[str, torch.Tensor]]:
    """``sizes``: (batch, length) of each sample; the mask hides a tail of different length in every row."""
    samples = []
    for i, (n, length) in enumerate(sizes):
        kept = length - torch.arange(n)[:, None] - length // 4
        places = torch.arange(length)[None]
        samples.append(
            {
                "input_ids": tokens(n, length, vocabulary=vocabulary, seed=seed + i),
                "attention_mask": (places < kept).long(),
                "token_type_ids": (places.expand(n, length) >= length // 2).long(),
            }
        )
    return samples


def _bert(
    name: str, fused: bool, sizes: Sequence[tuple[int, int]], dynamic: dict[int, str] | None = None
) -> GoldenModel:
    def build(is_full: bool) -> nn.Module:
        if is_full:
            return trained_looking(partial(Bert, 30522, 512, 768, 12, 12, fused), 4)
        return trained_looking(partial(Bert, 50, 24, 32, 1, 4, fused), 4)

    def inputs(is_full: bool) -> list[dict[str, torch.Tensor]]:
        return (
            _bert_inputs(30522, [(n, 4 * length) for n, length in sizes])
            if is_full
            else _bert_inputs(50, sizes)
        )

    names = ("input_ids", "attention_mask", "token_type_ids")
    axes = dict.fromkeys(names, dynamic) if dynamic else {}
    return GoldenModel(name, build, inputs, ("hidden", "pooled"), axes)


def _gpt(
    name: str, fused: bool, sizes: Sequence[tuple[int, int]], dynamic: dict[int, str] | None = None
) -> GoldenModel:
    def build(is_full: bool) -> nn.Module:
        if is_full:
            return trained_looking(partial(Gpt, 50257, 1024, 768, 12, 12, fused), 5)
        return trained_looking(partial(Gpt, 50, 24, 32, 1, 4, fused), 5)

    def inputs(is_full: bool) -> list[dict[str, torch.Tensor]]:
        vocabulary, factor = (50257, 4) if is_full else (50, 1)
        return [
            {"input_ids": tokens(n, factor * length, vocabulary=vocabulary, seed=51 + i)}
            for i, (n, length) in enumerate(sizes)
        ]

    return GoldenModel(name, build, inputs, ("logits",), {"input_ids": dynamic} if dynamic else {})


def _attention(name: str, fused: bool, causal: bool) -> GoldenModel:
    def build(is_full: bool) -> nn.Module:
        dim, heads = (384, 6) if is_full else (32, 4)
        return trained_looking(partial(Attention, dim, heads, fused=fused, packed=False, causal=causal), 6)

    def inputs(is_full: bool) -> list[dict[str, torch.Tensor]]:
        n, length, dim = (1, 196, 384) if is_full else (2, 10, 32)
        return [{"x": normal(n, length, dim, seed=61)}]

    return GoldenModel(name, build, inputs, ("y",))


def _rotary() -> GoldenModel:
    def build(is_full: bool) -> nn.Module:
        sizes = (512, 8, 4, 1376, 128) if is_full else (32, 4, 2, 48, 16)
        return trained_looking(partial(RotaryBlock, *sizes), 7)

    def inputs(is_full: bool) -> list[dict[str, torch.Tensor]]:
        return [{"x": normal(1, 128, 512, seed=71) if is_full else normal(2, 12, 32, seed=71)}]

    return GoldenModel("rotary_block", build, inputs, ("y",))


def _cross() -> GoldenModel:
    def build(is_full: bool) -> nn.Module:
        return trained_looking(partial(CrossAttention, *((512, 8) if is_full else (32, 4))), 8)

    def inputs(is_full: bool) -> list[dict[str, torch.Tensor]]:
        n, queries, keys, dim = (1, 64, 196, 512) if is_full else (2, 6, 9, 32)
        padding = torch.arange(keys)[None] >= keys - 2 - torch.arange(n)[:, None]
        return [
            {
                "x": normal(n, queries, dim, seed=81),
                "memory": normal(n, keys, dim, seed=82),
                "padding": padding,
            }
        ]

    return GoldenModel("cross_attention", build, inputs, ("y",))


MODELS: tuple[GoldenModel, ...] = (
    _image_entry(
        "vit",
        partial(VisionTransformer, 32, 8, 32, 2, 4, 10, True),
        partial(VisionTransformer, 224, 16, 384, 12, 6, 1000, True),
        32,
    ),
    _image_entry(
        "vit_eager",
        partial(VisionTransformer, 32, 8, 32, 1, 4, 10, False),
        partial(VisionTransformer, 224, 16, 384, 12, 6, 1000, False),
        32,
    ),
    _image_entry(
        "swin",
        partial(Swin, 64, 16, (2, 1), (2, 4), 4, 10),
        partial(Swin, 224, 96, (2, 2, 6, 2), (3, 6, 12, 24), 7, 1000),
        64,
    ),
    # Maps of 256 give even sizes down to 8, which the 2x2 patches need.
    _image_entry(
        "mobilevit",
        partial(MobileVit, (8, 8, 12, 16), (24,), (1,), 0, 2, 32, 10),
        partial(MobileVit, (16, 32, 64, 96, 128, 160), (144, 192, 240), (2, 4, 3), 2, 4, 640, 1000),
        32,
        256,
    ),
    _bert("bert", False, ((2, 12),)),
    _bert("bert_sdpa", True, ((2, 12),)),
    _bert("bert_dynamic", False, ((2, 12), (1, 7), (3, 20)), {0: "batch", 1: "length"}),
    _gpt("gpt", False, ((2, 12),)),
    _gpt("gpt_sdpa", True, ((2, 12),)),
    _attention("attention_sdpa", True, False),
    _attention("attention_sdpa_causal", True, True),
    _attention("attention_eager", False, False),
    _rotary(),
    _cross(),
)
