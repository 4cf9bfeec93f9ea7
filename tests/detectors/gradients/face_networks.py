"""NanoDet, YuNet, FastestDet, UltraFace and BlazeFace: each with a head of its own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.detectors.gradients.backbone import CHANNELS, CLASSES, STRIDES, Detector, Scalars, around, flat


class NanoDet(Detector):
    """NanoDet: two outputs per level."""

    layout = "nanodet"
    output_names = (
        *(f"cls_pred_stride_{stride}" for stride in STRIDES),
        *(f"dis_pred_stride_{stride}" for stride in STRIDES),
    )
    centre = 0.5

    def __init__(self) -> None:
        super().__init__()
        self.boxes, self.classes = self.convolutions(32), self.convolutions(CLASSES)

    def parts(self, levels: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        logits = [head(each).flatten(2).transpose(1, 2) for head, each in zip(self.classes, levels, strict=True)]
        bins = [head(each).flatten(2).transpose(1, 2) for head, each in zip(self.boxes, levels, strict=True)]
        return logits, bins

    def head(self, levels: list[Tensor]) -> Any:
        logits, bins = self.parts(levels)
        return (*(each.sigmoid() for each in logits), *bins)

    def scalars(self, levels: list[Tensor]) -> Scalars:
        logits, bins = (torch.cat(each, 1)[0] for each in self.parts(levels))
        column, row, stride = self.cells()
        sides = (bins.reshape(-1, 4, 8).softmax(2) * torch.arange(8, dtype=bins.dtype)).sum(2)
        origin = torch.stack([column, row], 1) + self.centre
        corners = torch.cat([origin - sides[:, :2], origin + sides[:, 2:]], 1) * stride[:, None]
        return Scalars(logits, corners)


class NanoDetPlus(NanoDet):
    """NanoDet-Plus: one output, a fourth level, distances from the cell's corner."""

    layout = "nanodet-plus"
    output_names = ("output",)
    strides = (8, 16, 32, 64)
    size_hw = (64, 128)
    centre = 0.0

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Sequential(nn.Conv2d(CHANNELS, CHANNELS, 3, 2, 1), nn.SiLU())

    def levels(self, image: Tensor) -> list[Tensor]:
        self.down, every = self.down[:3], self.down
        found = super().levels(image)
        self.down = every
        return [*found, self.last(found[-1])]

    def head(self, levels: list[Tensor]) -> Tensor:
        logits, bins = self.parts(levels)
        return torch.cat([torch.cat([z.sigmoid(), b], 2) for z, b in zip(logits, bins, strict=True)], 1)


class YuNet(Detector):
    """YuNet: four outputs per level, one class."""

    layout = "yunet"
    image_scale = 1 / 255
    output_names = tuple(f"{name}_{stride}" for name in ("cls", "obj", "bbox", "kps") for stride in STRIDES)

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleList([self.convolutions(count) for count in (1, 1, 4, 10)])

    def parts(self, levels: list[Tensor]) -> list[list[Tensor]]:
        return [
            [head(each).flatten(2).transpose(1, 2) for head, each in zip(heads, levels, strict=True)]
            for heads in self.heads
        ]

    def head(self, levels: list[Tensor]) -> Any:
        classes, objects, boxes, points = self.parts(levels)
        return (*(each.sigmoid() for each in (*classes, *objects)), *boxes, *points)

    def scalars(self, levels: list[Tensor]) -> Scalars:
        classes, objects, boxes, _ = (torch.cat(each, 1)[0] for each in self.parts(levels))
        column, row, stride = self.cells()
        centre = (boxes[:, :2] + torch.stack([column, row], 1)) * stride[:, None]
        score = (classes.sigmoid() * objects.sigmoid()).sqrt()
        return Scalars(score.log(), around(centre, boxes[:, 2:].exp() * stride[:, None]))


class FastestDet(Detector):
    """FastestDet: one map of stride 16."""

    layout = "fastestdet"
    strides = (16,)
    output_names = ("output",)

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList([nn.Sequential(nn.Conv2d(2 * CHANNELS, CHANNELS, 1), nn.SiLU()) for _ in range(2)])
        self.boxes, self.objects, self.classes = (self.convolutions(count) for count in (4, 1, CLASSES))

    def levels(self, image: Tensor) -> list[Tensor]:
        fine = self.deeper[0](self.stem(image))
        deep = self.pool(self.deeper[1](fine))
        return [self.down[0](torch.cat([fine, functional.interpolate(deep, fine.shape[2:])], 1))]

    def head(self, levels: list[Tensor]) -> Tensor:
        (each,) = levels
        return torch.cat([self.objects[0](each).sigmoid(), self.boxes[0](each), self.classes[0](each).softmax(1)], 1)

    def scalars(self, levels: list[Tensor]) -> Scalars:
        rows = self.head(levels).flatten(2)[0].T
        column, row, _ = self.cells()
        height, width = self.size_hw
        counts = torch.tensor([-(-width // 16), -(-height // 16)], dtype=rows.dtype)
        sides = torch.tensor([width, height], dtype=rows.dtype)
        centre = (rows[:, 1:3].tanh() + torch.stack([column, row], 1)) / counts * sides
        corners = around(centre, rows[:, 3:5].sigmoid() * sides)
        return Scalars(0.6 * rows[:, :1].log() + 0.4 * rows[:, 5:].log(), corners)


class Ssd(Detector):
    """UltraFace: decoded corners as shares, a softmax with the background first."""

    layout = "ssd"
    output_names = ("scores", "boxes")

    def __init__(self) -> None:
        super().__init__()
        self.boxes, self.classes = self.convolutions(4), self.convolutions(CLASSES + 1)

    def parts(self, levels: list[Tensor]) -> tuple[Tensor, Tensor]:
        logits = flat([head(each) for head, each in zip(self.classes, levels, strict=True)])
        moves = flat([head(each) for head, each in zip(self.boxes, levels, strict=True)])
        column, row, stride = self.cells()
        height, width = self.size_hw
        sides = torch.tensor([width, height], dtype=moves.dtype)
        anchors = (torch.stack([column, row], 1) + 0.5) * stride[:, None] / sides
        centre = moves[..., :2] * 0.1 * stride[:, None] / sides + anchors
        size = (moves[..., 2:] * 0.2).exp() * stride[:, None] / sides
        return logits, around(centre, size)

    def head(self, levels: list[Tensor]) -> Any:
        logits, corners = self.parts(levels)
        return logits.softmax(2), corners

    def scalars(self, levels: list[Tensor]) -> Scalars:
        logits, corners = self.parts(levels)
        height, width = self.size_hw
        return Scalars(logits[0][:, 1:], corners[0] * torch.tensor([width, height, width, height], dtype=logits.dtype))


class BlazeFace(Detector):
    """BlazeFace: 896 anchors, two per cell of stride 8 and six of stride 16, raw outputs."""

    layout = "blazeface"
    size_hw = (128, 128)
    strides = (8, 16)
    output_names = ("regressors", "classificators")

    def __init__(self) -> None:
        super().__init__()
        self.points = nn.ModuleList([nn.Conv2d(CHANNELS, count * 16, 1) for count in (2, 6)])
        self.scores = nn.ModuleList([nn.Conv2d(CHANNELS, count, 1) for count in (2, 6)])

    def levels(self, image: Tensor) -> list[Tensor]:
        fine = self.stem(image)
        return [fine, self.deeper[0](fine)]

    def head(self, levels: list[Tensor]) -> Any:
        count = len(levels[0])
        return tuple(
            torch.cat(
                [
                    head(each).permute(0, 2, 3, 1).reshape(count, -1, columns)
                    for head, each in zip(heads, levels, strict=True)
                ],
                1,
            )
            for heads, columns in ((self.points, 16), (self.scores, 1))
        )

    def scalars(self, levels: list[Tensor]) -> Scalars:
        rows, logits = self.head(levels)
        column, row, stride = (
            torch.cat([each[:256].repeat_interleave(2), each[256:].repeat_interleave(6)]) for each in self.cells()
        )
        centre = rows[0][:, :2] + (torch.stack([column, row], 1) + 0.5) * stride[:, None]
        return Scalars(logits[0], around(centre, rows[0][:, 2:4]))
