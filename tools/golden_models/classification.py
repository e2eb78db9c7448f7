"""Image classifiers: residual, inverted-residual, dense, inception, shuffle and ConvNeXt networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import nn
from torch.nn import functional

from .catalog import GoldenModel
from .weights import normal, trained_looking


class ConvNorm(nn.Sequential):
    """Convolution without bias, batch norm, activation; "same" padding for odd kernels."""

    def __init__(
        self,
        cin: int,
        cout: int,
        kernel: int | tuple[int, int] = 1,
        stride: int = 1,
        *,
        groups: int = 1,
        padding: int | tuple[int, int] | None = None,
        act: Callable[[], nn.Module] | None = nn.ReLU,
        eps: float = 1e-5,
    ) -> None:
        if padding is None:
            sizes = (kernel, kernel) if isinstance(kernel, int) else kernel
            padding = (sizes[0] // 2, sizes[1] // 2)
        layers: list[nn.Module] = [
            nn.Conv2d(cin, cout, kernel, stride, padding, groups=groups, bias=False),
            nn.BatchNorm2d(cout, eps=eps),
        ]
        if act is not None:
            layers.append(act())
        super().__init__(*layers)


class Classifier(nn.Module):
    """Features [N, C, H, W] -> global average -> linear: logits [N, classes]."""

    def __init__(self, features: nn.Module, channels: int, classes: int) -> None:
        super().__init__()
        self.features = features
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(channels, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.flatten(self.pool(self.features(x)), 1))


# ResNet (He et al. 2016) and ResNeXt (Xie et al. 2017)


class Residual(nn.Module):
    """relu(body(x) + shortcut(x)); the shortcut is a 1x1 convolution where the shape changes."""

    def __init__(self, body: nn.Module, cin: int, cout: int, stride: int) -> None:
        super().__init__()
        self.body = body
        same = cin == cout and stride == 1
        self.shortcut = nn.Identity() if same else ConvNorm(cin, cout, 1, stride, act=None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.relu(self.body(x) + self.shortcut(x))


def basic_block(cin: int, width: int, stride: int) -> tuple[nn.Module, int]:
    """Two 3x3 convolutions."""
    body = nn.Sequential(ConvNorm(cin, width, 3, stride), ConvNorm(width, width, 3, act=None))
    return Residual(body, cin, width, stride), width


def bottleneck(cin: int, width: int, stride: int, groups: int = 1) -> tuple[nn.Module, int]:
    """1x1 down, 3x3 (grouped in ResNeXt), 1x1 up to four times the width."""
    inner = width if groups == 1 else width * 2
    body = nn.Sequential(
        ConvNorm(cin, inner),
        ConvNorm(inner, inner, 3, stride, groups=groups),
        ConvNorm(inner, width * 4, act=None),
    )
    return Residual(body, cin, width * 4, stride), width * 4


def resnet(
    block: Callable[[int, int, int], tuple[nn.Module, int]], depths: Sequence[int], width: int, classes: int
) -> nn.Module:
    """7x7 stem, max pooling, four stages."""
    layers: list[nn.Module] = [ConvNorm(3, width, 7, 2), nn.MaxPool2d(3, 2, 1)]
    channels = width
    for stage, depth in enumerate(depths):
        for index in range(depth):
            module, channels = block(channels, width << stage, 2 if stage and not index else 1)
            layers.append(module)
    return Classifier(nn.Sequential(*layers), channels, classes)


# MobileNetV1 with TensorFlow's padding (Howard et al. 2017)


class SamePad(nn.Module):
    """Pads as TensorFlow's SAME does for a 3x3 kernel of stride 2 on an even size: only below and right."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.pad(x, (0, 1, 0, 1))


def mobilenet_v1(width: int, outs: Sequence[tuple[int, int]], classes: int) -> nn.Module:
    """Depthwise separable convolutions; ``outs`` are (multiple of the width, stride)."""
    layers: list[nn.Module] = [SamePad(), ConvNorm(3, width, 3, 2, padding=0, act=nn.ReLU6)]
    cin = width
    for multiple, stride in outs:
        if stride == 2:
            layers += [SamePad(), ConvNorm(cin, cin, 3, 2, groups=cin, padding=0, act=nn.ReLU6)]
        else:
            layers.append(ConvNorm(cin, cin, 3, 1, groups=cin, act=nn.ReLU6))
        layers.append(ConvNorm(cin, width * multiple, act=nn.ReLU6))
        cin = width * multiple
    return Classifier(nn.Sequential(*layers), cin, classes)


# MobileNetV2 (Sandler et al. 2018), MobileNetV3 (Howard et al. 2019), EfficientNet (Tan and Le 2019)


class SqueezeExcite(nn.Module):
    """x * gate(W2 act(W1 mean(x)))."""

    def __init__(
        self, channels: int, squeezed: int, act: Callable[[], nn.Module], gate: Callable[[], nn.Module]
    ) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, squeezed, 1)
        self.expand = nn.Conv2d(squeezed, channels, 1)
        self.act, self.gate = act(), gate()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = functional.adaptive_avg_pool2d(x, 1)
        return x * self.gate(self.expand(self.act(self.reduce(pooled))))


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise k x k, optional squeeze-excite, linear 1x1; residual where shapes allow."""

    def __init__(
        self,
        cin: int,
        cout: int,
        hidden: int,
        kernel: int,
        stride: int,
        *,
        act: Callable[[], nn.Module],
        excite: nn.Module | None = None,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        if hidden != cin:
            layers.append(ConvNorm(cin, hidden, act=act, eps=eps))
        layers.append(ConvNorm(hidden, hidden, kernel, stride, groups=hidden, act=act, eps=eps))
        if excite is not None:
            layers.append(excite)
        layers.append(ConvNorm(hidden, cout, act=None, eps=eps))
        self.body = nn.Sequential(*layers)
        self.residual = stride == 1 and cin == cout

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x) if self.residual else self.body(x)


def mobilenet_v2(stem: int, rows: Sequence[tuple[int, int, int, int]], last: int, classes: int) -> nn.Module:
    """``rows``: (expansion, channels, repeats, stride)."""
    layers: list[nn.Module] = [ConvNorm(3, stem, 3, 2, act=nn.ReLU6)]
    cin = stem
    for expansion, cout, repeats, stride in rows:
        for index in range(repeats):
            step = stride if index == 0 else 1
            layers.append(InvertedResidual(cin, cout, cin * expansion, 3, step, act=nn.ReLU6))
            cin = cout
    layers.append(ConvNorm(cin, last, act=nn.ReLU6))
    return Classifier(nn.Sequential(*layers), last, classes)


def mobilenet_v3(
    stem: int, rows: Sequence[tuple[int, int, int, bool, bool, int]], last: int, classes: int
) -> nn.Module:
    """``rows``: (kernel, hidden, channels, squeeze-excite, hard-swish, stride)."""
    layers: list[nn.Module] = [ConvNorm(3, stem, 3, 2, act=nn.Hardswish, eps=1e-3)]
    cin = stem
    for kernel, hidden, cout, excited, swish, stride in rows:
        excite = SqueezeExcite(hidden, max(8, hidden // 4), nn.ReLU, nn.Hardsigmoid) if excited else None
        act = nn.Hardswish if swish else nn.ReLU
        layers.append(InvertedResidual(cin, cout, hidden, kernel, stride, act=act, excite=excite, eps=1e-3))
        cin = cout
    layers.append(ConvNorm(cin, last, act=nn.Hardswish, eps=1e-3))
    return Classifier(nn.Sequential(*layers), last, classes)


def efficientnet(
    stem: int, rows: Sequence[tuple[int, int, int, int, int]], last: int, classes: int
) -> nn.Module:
    """``rows``: (expansion, channels, repeats, stride, kernel)."""
    layers: list[nn.Module] = [ConvNorm(3, stem, 3, 2, act=nn.SiLU, eps=1e-3)]
    cin = stem
    for expansion, cout, repeats, stride, kernel in rows:
        for index in range(repeats):
            hidden = cin * expansion
            excite = SqueezeExcite(hidden, max(1, cin // 4), nn.SiLU, nn.Sigmoid)
            step = stride if index == 0 else 1
            layers.append(
                InvertedResidual(cin, cout, hidden, kernel, step, act=nn.SiLU, excite=excite, eps=1e-3)
            )
            cin = cout
    layers.append(ConvNorm(cin, last, act=nn.SiLU, eps=1e-3))
    return Classifier(nn.Sequential(*layers), last, classes)


# ConvNeXt (Liu et al. 2022)


class ChannelLayerNorm(nn.Module):
    """Layer norm over C of [N, C, H, W], through a permutation to [N, H, W, C] and back."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels, eps=1e-6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNextBlock(nn.Module):
    """x + permute(scale * W2 gelu(W1 norm(permute(depthwise7x7(x)))))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.expand = nn.Linear(channels, channels * 4)
        self.reduce = nn.Linear(channels * 4, channels)
        self.scale = nn.Parameter(0.5 + 0.2 * torch.randn(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.scale * self.reduce(functional.gelu(self.expand(y)))
        return x + y.permute(0, 3, 1, 2)


class ConvNext(nn.Module):
    """Patchify stem, four stages of blocks, 2x2 downsampling between them."""

    def __init__(self, depths: Sequence[int], widths: Sequence[int], classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, widths[0], 4, 4), ChannelLayerNorm(widths[0])]
        for stage, (depth, width) in enumerate(zip(depths, widths, strict=True)):
            if stage:
                layers += [ChannelLayerNorm(widths[stage - 1]), nn.Conv2d(widths[stage - 1], width, 2, 2)]
            layers += [ConvNextBlock(width) for _ in range(depth)]
        self.features = nn.Sequential(*layers)
        self.norm = nn.LayerNorm(widths[-1], eps=1e-6)
        self.head = nn.Linear(widths[-1], classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.features(x).mean([-2, -1])))


# DenseNet (Huang et al. 2017)


class DenseLayer(nn.Module):
    """Concatenate x with conv3x3(relu(bn(conv1x1(relu(bn(x))))))."""

    def __init__(self, cin: int, growth: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(cin), nn.Conv2d(cin, 4 * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(4 * growth)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv1(functional.relu(self.norm1(x)))
        return torch.cat([x, self.conv2(functional.relu(self.norm2(y)))], 1)


def densenet(depths: Sequence[int], growth: int, stem: int, classes: int) -> nn.Module:
    """Dense blocks with halving transitions (1x1 convolution, 2x2 average) between them."""
    layers: list[nn.Module] = [ConvNorm(3, stem, 7, 2), nn.MaxPool2d(3, 2, 1)]
    channels = stem
    for stage, depth in enumerate(depths):
        for _ in range(depth):
            layers.append(DenseLayer(channels, growth))
            channels += growth
        layers += [nn.BatchNorm2d(channels), nn.ReLU()]
        if stage < len(depths) - 1:
            layers += [nn.Conv2d(channels, channels // 2, 1, bias=False), nn.AvgPool2d(2, 2)]
            channels //= 2
    return Classifier(nn.Sequential(*layers), channels, classes)


# Inception (Szegedy et al. 2015 and 2016)


class Branches(nn.Module):
    """Concatenate the outputs of parallel branches along the channels."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


def inception_v1_block(
    cin: int, one: int, three: tuple[int, int], five: tuple[int, int], pool: int
) -> nn.Module:
    """1x1; 1x1 - 3x3; 1x1 - 3x3 (the "5x5" of most trained weights); max pool - 1x1."""
    return Branches(
        ConvNorm(cin, one),
        nn.Sequential(ConvNorm(cin, three[0]), ConvNorm(three[0], three[1], 3)),
        nn.Sequential(ConvNorm(cin, five[0]), ConvNorm(five[0], five[1], 3)),
        nn.Sequential(nn.MaxPool2d(3, 1, 1, ceil_mode=True), ConvNorm(cin, pool)),
    )


# (1x1, (3x3 reduce, 3x3), (5x5 reduce, 5x5), pool), or None for a pooling step between stages.
_INCEPTION_V1 = (
    (64, (96, 128), (16, 32), 32),
    (128, (128, 192), (32, 96), 64),
    None,
    (192, (96, 208), (16, 48), 64),
    (160, (112, 224), (24, 64), 64),
    (128, (128, 256), (24, 64), 64),
    (112, (144, 288), (32, 64), 64),
    (256, (160, 320), (32, 128), 128),
    None,
    (256, (160, 320), (32, 128), 128),
    (384, (192, 384), (48, 128), 128),
)


def inception_v1(shrink: int, rows: Sequence[int], classes: int) -> nn.Module:
    """GoogLeNet with batch norm, pools rounding up; ``rows`` picks blocks, widths are / ``shrink``."""
    c64, c192 = 64 // shrink, 192 // shrink
    pool = partial(nn.MaxPool2d, 3, 2, ceil_mode=True)
    layers: list[nn.Module] = [
        ConvNorm(3, c64, 7, 2),
        pool(),
        ConvNorm(c64, c64),
        ConvNorm(c64, c192, 3),
        pool(),
    ]
    cin = c192
    for index in rows:
        row = _INCEPTION_V1[index]
        if row is None:
            layers.append(pool() if index == 2 else nn.MaxPool2d(2, 2, ceil_mode=True))
            continue
        one, three, five, proj = row
        wide = (three[0] // shrink, three[1] // shrink)
        wider = (five[0] // shrink, five[1] // shrink)
        layers.append(inception_v1_block(cin, one // shrink, wide, wider, proj // shrink))
        cin = one // shrink + wide[1] + wider[1] + proj // shrink
    return Classifier(nn.Sequential(*layers), cin, classes)


def inception_v3(width: int, repeats: int, classes: int, squeezed: int) -> nn.Module:
    """The three block kinds of Inception v3: 5x5 and double 3x3, factorised 1x7/7x1, split 1x3|3x1.

    ``width`` is 64 in the paper, ``squeezed`` the inner width of the 7x7 branches.
    """
    w = width

    def averaged(cin: int, cout: int) -> nn.Module:
        return nn.Sequential(nn.AvgPool2d(3, 1, 1), ConvNorm(cin, cout))

    def block_a(cin: int, pool: int) -> nn.Module:
        return Branches(
            ConvNorm(cin, w),
            nn.Sequential(ConvNorm(cin, w * 3 // 4), ConvNorm(w * 3 // 4, w, 5)),
            nn.Sequential(ConvNorm(cin, w), ConvNorm(w, w * 3 // 2, 3), ConvNorm(w * 3 // 2, w * 3 // 2, 3)),
            averaged(cin, pool),
        )

    def block_c(cin: int) -> nn.Module:
        s = squeezed
        return Branches(
            ConvNorm(cin, 3 * w),
            nn.Sequential(ConvNorm(cin, s), ConvNorm(s, s, (1, 7)), ConvNorm(s, 3 * w, (7, 1))),
            nn.Sequential(
                ConvNorm(cin, s),
                ConvNorm(s, s, (7, 1)),
                ConvNorm(s, s, (1, 7)),
                ConvNorm(s, s, (7, 1)),
                ConvNorm(s, 3 * w, (1, 7)),
            ),
            averaged(cin, 3 * w),
        )

    def split(cin: int) -> nn.Module:
        return Branches(ConvNorm(cin, 6 * w, (1, 3)), ConvNorm(cin, 6 * w, (3, 1)))

    def block_e(cin: int) -> nn.Module:
        return Branches(
            ConvNorm(cin, 5 * w),
            nn.Sequential(ConvNorm(cin, 6 * w), split(6 * w)),
            nn.Sequential(ConvNorm(cin, 7 * w), ConvNorm(7 * w, 6 * w, 3), split(6 * w)),
            averaged(cin, 3 * w),
        )

    reduce_ac = Branches(
        ConvNorm(w * 9 // 2, 6 * w, 3, 2, padding=0),
        nn.Sequential(
            ConvNorm(w * 9 // 2, w),
            ConvNorm(w, w * 3 // 2, 3),
            ConvNorm(w * 3 // 2, w * 3 // 2, 3, 2, padding=0),
        ),
        nn.MaxPool2d(3, 2),
    )
    reduce_ce = Branches(
        nn.Sequential(ConvNorm(12 * w, 3 * w), ConvNorm(3 * w, 5 * w, 3, 2, padding=0)),
        nn.Sequential(
            ConvNorm(12 * w, 3 * w),
            ConvNorm(3 * w, 3 * w, (1, 7)),
            ConvNorm(3 * w, 3 * w, (7, 1)),
            ConvNorm(3 * w, 3 * w, 3, 2, padding=0),
        ),
        nn.MaxPool2d(3, 2),
    )
    layers: list[nn.Module] = [
        ConvNorm(3, w // 2, 3, 2, padding=0),
        ConvNorm(w // 2, w // 2, 3, padding=0),
        ConvNorm(w // 2, w, 3),
        nn.MaxPool2d(3, 2),
        ConvNorm(w, w * 5 // 4),
        ConvNorm(w * 5 // 4, 3 * w, 3, padding=0),
        nn.MaxPool2d(3, 2),
        block_a(3 * w, w // 2),
        block_a(4 * w, w),
    ]
    layers += [block_a(w * 9 // 2, w) for _ in range(min(repeats, 1))]
    layers.append(reduce_ac)
    layers += [block_c(12 * w) for _ in range(max(1, repeats))]
    layers += [reduce_ce, block_e(20 * w)]
    if repeats > 1:
        layers.append(block_e(32 * w))
    return Classifier(nn.Sequential(*layers), 32 * w, classes)


# ShuffleNetV2 (Ma et al. 2018)


def channel_shuffle(x: torch.Tensor, groups: int) -> torch.Tensor:
    """[N, g*c, H, W] -> [N, c*g, H, W]: interleave the groups."""
    n, c, h, w = x.shape
    return x.view(n, groups, c // groups, h, w).transpose(1, 2).reshape(n, c, h, w)


class ShuffleUnit(nn.Module):
    """Split, transform one half (both when downsampling), concatenate, shuffle."""

    def __init__(self, cin: int, cout: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        half = cout // 2
        first = cin if stride == 2 else half
        self.right = nn.Sequential(
            ConvNorm(first, half),
            ConvNorm(half, half, 3, stride, groups=half, act=None),
            ConvNorm(half, half),
        )
        if stride == 2:
            self.left = nn.Sequential(ConvNorm(cin, cin, 3, 2, groups=cin, act=None), ConvNorm(cin, half))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.stride == 2:
            y = torch.cat([self.left(x), self.right(x)], 1)
        else:
            keep, change = x.chunk(2, 1)
            y = torch.cat([keep, self.right(change)], 1)
        return channel_shuffle(y, 2)


def shufflenet_v2(stem: int, rows: Sequence[tuple[int, int]], last: int, classes: int) -> nn.Module:
    """``rows``: (channels, repeats), the first unit of each with stride 2."""
    layers: list[nn.Module] = [ConvNorm(3, stem, 3, 2), nn.MaxPool2d(3, 2, 1)]
    cin = stem
    for cout, repeats in rows:
        layers += [ShuffleUnit(cin, cout, 2)] + [ShuffleUnit(cout, cout, 1) for _ in range(repeats - 1)]
        cin = cout
    layers.append(ConvNorm(cin, last))
    return Classifier(nn.Sequential(*layers), last, classes)


_V2_ROWS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
_V3_ROWS = (
    (3, 16, 16, True, False, 2),
    (3, 72, 24, False, False, 2),
    (3, 88, 24, False, False, 1),
    (5, 96, 40, True, True, 2),
    (5, 240, 40, True, True, 1),
    (5, 240, 40, True, True, 1),
    (5, 120, 48, True, True, 1),
    (5, 144, 48, True, True, 1),
    (5, 288, 96, True, True, 2),
    (5, 576, 96, True, True, 1),
    (5, 576, 96, True, True, 1),
)
_B0_ROWS = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
_V1_ROWS = ((2, 1), (4, 2), (4, 1), (8, 2), (8, 1), (16, 2), *((16, 1),) * 5, (32, 2), (32, 1))


def _entry(
    name: str,
    small: Callable[[], nn.Module],
    full: Callable[[], nn.Module],
    size: int = 64,
    full_size: int = 224,
    dynamic_batch: bool = False,
) -> GoldenModel:
    def shape(is_full: bool, batch: int) -> tuple[int, int, int, int]:
        side = full_size if is_full else size
        return (batch, 3, side, side)

    def build(is_full: bool) -> nn.Module:
        sample = normal(*shape(is_full, 8), seed=7)
        return trained_looking(full if is_full else small, 1, sample)

    def inputs(is_full: bool) -> list[dict[str, torch.Tensor]]:
        batches = (2, 1, 3) if dynamic_batch else (1,)
        return [{"x": normal(*shape(is_full, batch), seed=11 + i)} for i, batch in enumerate(batches)]

    dynamic = {"x": {0: "batch"}} if dynamic_batch else {}
    return GoldenModel(name, build, inputs, ("logits",), dynamic)


_resnet18_small = partial(resnet, basic_block, (1, 1, 1, 1), 8, 10)
_resnet10_small = partial(resnet, basic_block, (1, 1, 1), 8, 10)
_resnet18 = partial(resnet, basic_block, (2, 2, 2, 2), 64, 1000)

MODELS: tuple[GoldenModel, ...] = (
    _entry("resnet18", _resnet18_small, _resnet18),
    _entry("resnet18_batch", _resnet10_small, _resnet18, size=32, dynamic_batch=True),
    _entry(
        "resnet50",
        partial(resnet, bottleneck, (1, 1, 1, 1), 4, 10),
        partial(resnet, bottleneck, (3, 4, 6, 3), 64, 1000),
    ),
    _entry(
        "resnext50",
        partial(resnet, partial(bottleneck, groups=4), (1, 1, 1), 8, 10),
        partial(resnet, partial(bottleneck, groups=32), (3, 4, 6, 3), 64, 1000),
    ),
    _entry(
        "mobilenet_v1",
        partial(mobilenet_v1, 8, ((2, 1), (4, 2), (4, 1), (8, 2)), 10),
        partial(mobilenet_v1, 32, _V1_ROWS, 1000),
    ),
    _entry(
        "mobilenet_v2",
        partial(mobilenet_v2, 8, ((1, 8, 1, 1), (6, 12, 2, 2), (6, 16, 2, 2), (6, 24, 1, 1)), 48, 10),
        partial(mobilenet_v2, 32, _V2_ROWS, 1280, 1000),
    ),
    _entry(
        "mobilenet_v3",
        partial(
            mobilenet_v3,
            8,
            ((3, 8, 8, True, False, 2), (3, 24, 12, False, False, 2), (5, 32, 12, True, True, 1)),
            32,
            10,
        ),
        partial(mobilenet_v3, 16, _V3_ROWS, 576, 1000),
    ),
    _entry(
        "efficientnet",
        partial(efficientnet, 8, ((1, 8, 1, 1, 3), (6, 12, 2, 2, 3), (6, 16, 2, 2, 5)), 32, 10),
        partial(efficientnet, 32, _B0_ROWS, 1280, 1000),
    ),
    _entry(
        "convnext",
        partial(ConvNext, (1, 1, 1, 1), (8, 12, 16, 24), 10),
        partial(ConvNext, (3, 3, 9, 3), (96, 192, 384, 768), 1000),
    ),
    _entry(
        "densenet", partial(densenet, (2, 2, 2), 8, 16, 10), partial(densenet, (6, 12, 24, 16), 32, 64, 1000)
    ),
    _entry(
        "inception_v1",
        partial(inception_v1, 8, (0, 2, 3), 10),
        partial(inception_v1, 1, tuple(range(11)), 1000),
    ),
    _entry(
        "inception_v3", partial(inception_v3, 4, 0, 10, 4), partial(inception_v3, 64, 4, 1000, 160), 91, 299
    ),
    _entry(
        "shufflenet_v2",
        partial(shufflenet_v2, 8, ((16, 2), (32, 3)), 48, 10),
        partial(shufflenet_v2, 24, ((116, 4), (232, 8), (464, 4)), 1024, 1000),
    ),
)
