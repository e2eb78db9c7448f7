"""Detection heads: YOLO with anchors, YOLO with distributed distances, SSD, and CenterNet's peaks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import nn
from torch.nn import functional

from .catalog import GoldenModel
from .classification import ConvNorm
from .weights import normal, trained_looking

STRIDES = (8, 16, 32)


class Csp(nn.Module):
    """Cross-stage partial block (Wang et al. 2020): split, bottlenecks on one half, concatenate all steps."""

    def __init__(self, cin: int, cout: int, depth: int, *, residual: bool) -> None:
        super().__init__()
        half = cout // 2
        self.half, self.residual = half, residual
        self.first = ConvNorm(cin, cout, act=nn.SiLU)
        self.steps = nn.ModuleList(
            nn.Sequential(ConvNorm(half, half, 3, act=nn.SiLU), ConvNorm(half, half, 3, act=nn.SiLU))
            for _ in range(depth)
        )
        self.last = ConvNorm((2 + depth) * half, cout, act=nn.SiLU)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = list(self.first(x).split((self.half, self.half), 1))
        for step in self.steps:
            y = step(parts[-1])
            parts.append(parts[-1] + y if self.residual else y)
        return self.last(torch.cat(parts, 1))


class PooledPyramid(nn.Module):
    """Three 5x5 max pools of stride 1 in a row, concatenated with their input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ConvNorm(channels, channels // 2, act=nn.SiLU)
        self.last = ConvNorm(2 * channels, channels, act=nn.SiLU)
        self.pool = nn.MaxPool2d(5, 1, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        y1 = self.pool(x)
        y2 = self.pool(y1)
        return self.last(torch.cat([x, y1, y2, self.pool(y2)], 1))


class PathNetwork(nn.Module):
    """Backbone and path aggregation (Liu et al. 2018): image -> three maps of strides 8, 16, 32."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        w, act = width, nn.SiLU
        self.stem = nn.Sequential(
            ConvNorm(3, w, 3, 2, act=act),
            ConvNorm(w, 2 * w, 3, 2, act=act),
            Csp(2 * w, 2 * w, depth, residual=True),
            ConvNorm(2 * w, 4 * w, 3, 2, act=act),
            Csp(4 * w, 4 * w, depth, residual=True),
        )
        self.down16 = nn.Sequential(
            ConvNorm(4 * w, 8 * w, 3, 2, act=act), Csp(8 * w, 8 * w, depth, residual=True)
        )
        self.down32 = nn.Sequential(
            ConvNorm(8 * w, 8 * w, 3, 2, act=act),
            Csp(8 * w, 8 * w, depth, residual=True),
            PooledPyramid(8 * w),
        )
        self.up16 = Csp(16 * w, 8 * w, depth, residual=False)
        self.up8 = Csp(12 * w, 4 * w, depth, residual=False)
        self.back16 = ConvNorm(4 * w, 4 * w, 3, 2, act=act)
        self.out16 = Csp(12 * w, 8 * w, depth, residual=False)
        self.back32 = ConvNorm(8 * w, 8 * w, 3, 2, act=act)
        self.out32 = Csp(16 * w, 8 * w, depth, residual=False)
        self.channels = (4 * w, 8 * w, 8 * w)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        p3 = self.stem(x)
        p4 = self.down16(p3)
        p5 = self.down32(p4)
        y4 = self.up16(torch.cat([functional.interpolate(p5, scale_factor=2, mode="nearest"), p4], 1))
        y3 = self.up8(torch.cat([functional.interpolate(y4, scale_factor=2, mode="nearest"), p3], 1))
        y4 = self.out16(torch.cat([self.back16(y3), y4], 1))
        return [y3, y4, self.out32(torch.cat([self.back32(y4), p5], 1))]


def cell_grid(height: int, width: int) -> torch.Tensor:
    """Cell indices (x, y), [H, W, 2]."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack((columns, rows), -1).float()


class AnchorYolo(nn.Module):
    """Decoded boxes of three anchors a cell: [N, boxes, (x, y, w, h, objectness, classes)].

    xy = (2 sigmoid - 0.5 + cell) * stride, wh = (2 sigmoid)^2 * anchor, as in the YOLOv5 head.
    """

    def __init__(self, width: int, depth: int, classes: int, size: int) -> None:
        super().__init__()
        self.net = PathNetwork(width, depth)
        self.fields = 5 + classes
        self.heads = nn.ModuleList(nn.Conv2d(c, 3 * self.fields, 1) for c in self.net.channels)
        for i, stride in enumerate(STRIDES):
            side = size // stride
            anchors = stride * torch.tensor([[1.3, 1.6], [2.0, 3.8], [4.1, 2.9]])
            self.register_buffer(f"grid{i}", cell_grid(side, side)[None, None], persistent=False)
            self.register_buffer(f"anchors{i}", anchors.view(1, 3, 1, 1, 2), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        decoded = []
        for i, (feature, head) in enumerate(zip(self.net(x), self.heads, strict=True)):
            y = head(feature)
            n, _, h, w = y.shape
            y = y.view(n, 3, self.fields, h, w).permute(0, 1, 3, 4, 2).contiguous().sigmoid()
            xy, wh, scores = y.split((2, 2, self.fields - 4), -1)
            xy = (xy * 2.0 - 0.5 + getattr(self, f"grid{i}")) * STRIDES[i]
            wh = (wh * 2.0) ** 2 * getattr(self, f"anchors{i}")
            decoded.append(torch.cat((xy, wh, scores), -1).view(n, -1, self.fields))
        return torch.cat(decoded, 1)


class DistanceYolo(nn.Module):
    """Anchor-free head: [N, 4 + classes, boxes].

    Each side's distance is the mean of a softmax over ``bins`` (Li et al. 2020), computed by a 1x1
    convolution with weights 0..bins-1, as in the YOLOv8 head.
    """

    def __init__(self, width: int, depth: int, classes: int, bins: int, size: int) -> None:
        super().__init__()
        self.net = PathNetwork(width, depth)
        self.classes, self.bins = classes, bins
        self.sides = nn.ModuleList(
            nn.Sequential(ConvNorm(c, c // 2, 3, act=nn.SiLU), nn.Conv2d(c // 2, 4 * bins, 1))
            for c in self.net.channels
        )
        self.scores = nn.ModuleList(
            nn.Sequential(ConvNorm(c, c // 2, 3, act=nn.SiLU), nn.Conv2d(c // 2, classes, 1))
            for c in self.net.channels
        )
        centres, strides = [], []
        for stride in STRIDES:
            grid = cell_grid(size // stride, size // stride).view(-1, 2) + 0.5
            centres.append(grid.T)
            strides.append(torch.full((1, grid.shape[0]), float(stride)))
        self.register_buffer("centres", torch.cat(centres, 1)[None], persistent=False)
        self.register_buffer("strides", torch.cat(strides, 1)[None], persistent=False)
        self.register_buffer("places", torch.arange(bins).float().view(1, bins, 1, 1), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        fields = 4 * self.bins + self.classes
        rows = []
        for feature, sides, scores in zip(self.net(x), self.sides, self.scores, strict=True):
            y = torch.cat((sides(feature), scores(feature)), 1)
            rows.append(y.view(y.shape[0], fields, -1))
        boxes, classes = torch.cat(rows, 2).split((4 * self.bins, self.classes), 1)
        n, _, count = boxes.shape
        spread = boxes.view(n, 4, self.bins, count).transpose(2, 1).softmax(1)
        left_top, right_bottom = functional.conv2d(spread, self.places).view(n, 4, count).chunk(2, 1)
        low, high = self.centres - left_top, self.centres + right_bottom
        decoded = torch.cat(((low + high) / 2, high - low), 1) * self.strides
        return torch.cat((decoded, classes.sigmoid()), 1)


class Ssd(nn.Module):
    """SSD (Liu et al. 2016): maps permuted to [N, H, W, C] and joined; decoded boxes, softmax scores."""

    def __init__(self, width: int, classes: int, size: int) -> None:
        super().__init__()
        self.classes = classes
        w = width
        self.first = nn.Sequential(
            ConvNorm(3, w, 3, 2, act=nn.ReLU6),
            ConvNorm(w, 2 * w, 3, 2, act=nn.ReLU6),
            ConvNorm(2 * w, 2 * w, 3, 2, act=nn.ReLU6),
        )
        self.more = nn.ModuleList((ConvNorm(2 * w, 2 * w, 3, 2), ConvNorm(2 * w, 2 * w, 3, 2)))
        self.boxes = nn.ModuleList(nn.Conv2d(2 * w, 3 * 4, 3, padding=1) for _ in range(3))
        self.scores = nn.ModuleList(nn.Conv2d(2 * w, 3 * classes, 3, padding=1) for _ in range(3))
        priors = []
        for stride in STRIDES:
            side = size // stride
            centre = (cell_grid(side, side).view(-1, 1, 2) + 0.5) / side
            shape = torch.tensor([[0.1, 0.1], [0.2, 0.1], [0.1, 0.2]]) * stride / 8
            priors.append(torch.cat(torch.broadcast_tensors(centre, shape[None]), -1).reshape(-1, 4))
        self.register_buffer("priors", torch.cat(priors), persistent=False)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.first(x)
        maps = [x]
        for layer in self.more:
            maps.append(layer(maps[-1]))
        n = x.shape[0]
        boxes = torch.cat(
            [head(y).permute(0, 2, 3, 1).reshape(n, -1, 4) for head, y in zip(self.boxes, maps, strict=True)],
            1,
        )
        scores = torch.cat(
            [
                head(y).permute(0, 2, 3, 1).reshape(n, -1, self.classes)
                for head, y in zip(self.scores, maps, strict=True)
            ],
            1,
        )
        centre = self.priors[:, :2] + boxes[..., :2] * 0.1 * self.priors[:, 2:]
        extent = self.priors[:, 2:] * torch.exp(boxes[..., 2:] * 0.2)
        return torch.cat((centre - extent / 2, centre + extent / 2), -1), scores.softmax(-1)


class CenterNet(nn.Module):
    """Zhou et al. 2019: local maxima of a heat map, the best ``count`` of them, their sizes gathered."""

    def __init__(self, width: int, classes: int, count: int) -> None:
        super().__init__()
        self.count = count
        self.features = nn.Sequential(
            ConvNorm(3, width, 3, 2),
            ConvNorm(width, 2 * width, 3, 2),
            nn.ConvTranspose2d(2 * width, width, 4, 2, 1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        )
        self.heat, self.extent = nn.Conv2d(width, classes, 1), nn.Conv2d(width, 2, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        y = self.features(x)
        heat = self.heat(y).sigmoid()
        peaks = heat * (functional.max_pool2d(heat, 3, 1, 1) == heat).to(heat.dtype)
        n, _, h, w = peaks.shape
        scores, places = peaks.view(n, -1).topk(self.count)
        cells = places % (h * w)
        extents = self.extent(y).view(n, 2, h * w).gather(2, cells.unsqueeze(1).expand(-1, 2, -1))
        return scores, places, extents.transpose(1, 2)


def _entry(
    name: str,
    small: Callable[[], nn.Module],
    full: Callable[[], nn.Module],
    outputs: Sequence[str],
    size: int = 64,
    full_size: int = 224,
) -> GoldenModel:
    def build(is_full: bool) -> nn.Module:
        side = full_size if is_full else size
        return trained_looking(
            full if is_full else small, 14, normal(8 if is_full else 16, 3, side, side, seed=7)
        )

    def inputs(is_full: bool) -> list[dict[str, torch.Tensor]]:
        side = full_size if is_full else size
        return [{"image": normal(1, 3, side, side, seed=131)}]

    return GoldenModel(name, build, inputs, tuple(outputs))


MODELS: tuple[GoldenModel, ...] = (
    _entry("yolo", partial(AnchorYolo, 3, 1, 5, 64), partial(AnchorYolo, 32, 2, 80, 224), ("boxes",)),
    _entry(
        "yolo_distances",
        partial(DistanceYolo, 3, 1, 5, 8, 64),
        partial(DistanceYolo, 32, 2, 80, 16, 224),
        ("boxes",),
    ),
    _entry("ssd", partial(Ssd, 8, 5, 64), partial(Ssd, 64, 91, 224), ("boxes", "scores")),
    _entry(
        "centernet",
        partial(CenterNet, 8, 4, 10),
        # More peaks come so close to one another that rounding decides their order.
        partial(CenterNet, 64, 8, 20),
        ("scores", "places", "extents"),
        32,
    ),
)
