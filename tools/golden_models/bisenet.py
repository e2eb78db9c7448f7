"""BiSeNet for face parsing: ResNet-18 context path, attention refinement, feature fusion and three heads."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import avg_pool2d, interpolate, relu

from .catalog import GoldenModel
from .weights import normal, trained_looking


class ConvBnRelu(nn.Module):
    def __init__(self, c_in: int, c_out: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(c_out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return relu(self.bn(self.conv(x)))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, which is 1x1 where the shape changes."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.shortcut = None
        if c_in != c_out or stride != 1:
            self.shortcut = nn.Sequential(
                nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        residual = self.bn2(self.conv2(relu(self.bn1(self.conv1(x)))))
        shortcut = x if self.shortcut is None else self.shortcut(x)
        return relu(shortcut + residual)


class ResNet18(nn.Module):
    """Features at 1/8, 1/16 and 1/32 of the input size, of 2, 4 and 8 times `width` channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = self._layer(width, width, 1)
        self.layer2 = self._layer(width, 2 * width, 2)
        self.layer3 = self._layer(2 * width, 4 * width, 2)
        self.layer4 = self._layer(4 * width, 8 * width, 2)

    @staticmethod
    def _layer(c_in: int, c_out: int, stride: int) -> nn.Sequential:
        return nn.Sequential(BasicBlock(c_in, c_out, stride), BasicBlock(c_out, c_out, 1))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        x = self.layer1(self.pool(relu(self.bn1(self.conv1(x)))))
        feature8 = self.layer2(x)
        feature16 = self.layer3(feature8)
        return feature8, feature16, self.layer4(feature16)


class AttentionRefinement(nn.Module):
    """A 3x3 convolution whose channels are weighted by the sigmoid of their transformed mean."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.conv = ConvBnRelu(c_in, c_out)
        self.attention = nn.Conv2d(c_out, c_out, 1, bias=False)
        self.bn = nn.BatchNorm2d(c_out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        attention = avg_pool2d(x, [int(size) for size in x.shape[2:]])
        return torch.mul(x, torch.sigmoid(self.bn(self.attention(attention))))


class ContextPath(nn.Module):
    """The backbone, its two deepest features refined and summed downwards at sizes 1/16 and 1/8."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.backbone = ResNet18(width)
        self.refine16 = AttentionRefinement(4 * width, 2 * width)
        self.refine32 = AttentionRefinement(8 * width, 2 * width)
        self.head32 = ConvBnRelu(2 * width, 2 * width)
        self.head16 = ConvBnRelu(2 * width, 2 * width)
        self.mean = ConvBnRelu(8 * width, 2 * width, kernel=1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        feature8, feature16, feature32 = self.backbone(x)
        size8, size16, size32 = ([int(n) for n in f.shape[2:]] for f in (feature8, feature16, feature32))
        mean = interpolate(self.mean(avg_pool2d(feature32, size32)), size32, mode="nearest")
        up32 = interpolate(self.refine32(feature32) + mean, size16, mode="nearest")
        up32 = self.head32(up32)
        up16 = interpolate(self.refine16(feature16) + up32, size8, mode="nearest")
        return feature8, self.head16(up16), up32


class FeatureFusion(nn.Module):
    """Concatenation, 1x1 convolution, and a squeeze-and-excite term that is added."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.mix = ConvBnRelu(c_in, c_out, kernel=1)
        self.squeeze = nn.Conv2d(c_out, c_out // 4, 1, bias=False)
        self.excite = nn.Conv2d(c_out // 4, c_out, 1, bias=False)

    def forward(self, spatial: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        x = self.mix(torch.cat([spatial, context], dim=1))
        attention = avg_pool2d(x, [int(size) for size in x.shape[2:]])
        attention = torch.sigmoid(self.excite(relu(self.squeeze(attention))))
        return torch.mul(x, attention) + x


class Head(nn.Module):
    """3x3 convolution, then 1x1 to the class scores."""

    def __init__(self, c_in: int, c_mid: int, classes: int) -> None:
        super().__init__()
        self.conv = ConvBnRelu(c_in, c_mid)
        self.scores = nn.Conv2d(c_mid, classes, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scores(self.conv(x))


class BiSeNet(nn.Module):
    """Images `[N, 3, H, W]` to three score maps `[N, classes, H, W]`: the result and two auxiliary ones."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.context = ContextPath(width)
        self.fusion = FeatureFusion(4 * width, 4 * width)
        self.head = Head(4 * width, 4 * width, classes)
        self.head16 = Head(2 * width, width, classes)
        self.head32 = Head(2 * width, width, classes)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        height, width = x.shape[2:]
        feature8, context8, context16 = self.context(x)
        scores = self.head(self.fusion(feature8, context8)), self.head16(context8), self.head32(context16)
        result, aux16, aux32 = (
            interpolate(score, (height, width), mode="bilinear", align_corners=True) for score in scores
        )
        return result, aux16, aux32


class FaceLabels(nn.Module):
    """Images to the class of each pixel `[N, H, W]`, int64."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.network = BiSeNet(width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network(x)[0].argmax(dim=1)


def _image(full: bool, seed: int) -> torch.Tensor:
    return normal(1, 3, *((512, 512) if full else (64, 64)), seed=seed)


def _build(network: type[nn.Module], full: bool) -> nn.Module:
    # Several images: the attention's batch norms see one value an image, which alone has no variance.
    images = normal(8, 3, 128, 128, seed=400)
    return trained_looking(lambda: network(*((64, 19) if full else (4, 7))), 41, images)


MODELS: tuple[GoldenModel, ...] = (
    GoldenModel(
        "bisenet",
        lambda full: _build(BiSeNet, full),
        lambda full: [{"image": _image(full, 401)}],
        ("output", "aux16", "aux32"),
    ),
    GoldenModel(
        "bisenet_labels",
        lambda full: _build(FaceLabels, full),
        lambda full: [{"image": _image(full, 402)}],
        ("labels",),
    ),
)
