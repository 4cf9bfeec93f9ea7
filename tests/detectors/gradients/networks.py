"""Small detectors in PyTorch, one per layout: what they export, and the scalars that their gradients are taken of.

Random weights. Each has three levels of strides 8, 16 and 32 behind a neck that mixes them, unless its family has
others. `scalars` gives what the file's numbering means: class logits (or log(objectness^p · class^q)) and corners in
pixels, by the formulas of the families.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

CLASSES = 3
SIZE_HW = (64, 96)
STRIDES = (8, 16, 32)
CHANNELS = 8
BINS = 8


@dataclass(frozen=True)
class Scalars:
    """`classes`: y of each class of each candidate, [M, C]; `corners`: x1, y1, x2, y2 in pixels, [M, 4]."""

    classes: Tensor
    corners: Tensor


class Detector(nn.Module):
    """Backbone and neck; subclasses add a head. `levels` are the maps before the head."""

    layout: str
    output_names: tuple[str, ...] = ("output0",)
    size_hw = SIZE_HW
    strides = STRIDES
    per_cell = 1
    # Of families whose images are not normalised.
    image_scale = 1.0

    def __init__(self) -> None:
        super().__init__()

        def block(inputs: int, stride: int) -> nn.Sequential:
            return nn.Sequential(nn.Conv2d(inputs, CHANNELS, 3, stride, 1), nn.SiLU())

        self.stem = nn.Sequential(block(3, 2), block(CHANNELS, 2), block(CHANNELS, 2))
        self.deeper = nn.ModuleList([block(CHANNELS, 2), block(CHANNELS, 2)])
        self.pool = nn.Sequential(nn.MaxPool2d(3, 1, 1), block(CHANNELS, 1))
        self.down = nn.ModuleList([block(2 * CHANNELS, 1) for _ in self.strides])

    def levels(self, image: Tensor) -> list[Tensor]:
        maps = [self.stem(image * self.image_scale)]
        for stage in self.deeper:
            maps.append(stage(maps[-1]))
        above = self.pool(maps[-1])
        found = []
        for own, mix in zip(reversed(maps), self.down, strict=True):
            above = functional.interpolate(above, own.shape[2:], mode="nearest")
            above = mix(torch.cat([own, above], 1))
            found.append(above)
        return found[::-1]

    def forward(self, image: Tensor) -> Any:
        return self.head(self.levels(image))

    def head(self, levels: list[Tensor]) -> Any:
        raise NotImplementedError

    def scalars(self, levels: list[Tensor]) -> Scalars:
        raise NotImplementedError

    def convolutions(self, columns: int) -> nn.ModuleList:
        return nn.ModuleList([nn.Conv2d(CHANNELS, columns * self.per_cell, 1) for _ in self.strides])

    def cells(self) -> tuple[Tensor, Tensor, Tensor]:
        """Column, row and stride of each candidate's cell, [M] each."""
        found = []
        for stride in self.strides:
            down, across = (-(-side // stride) for side in self.size_hw)
            rows, columns = torch.meshgrid(torch.arange(down), torch.arange(across), indexing="ij")
            each = torch.stack([columns.reshape(-1), rows.reshape(-1), torch.full((down * across,), stride)])
            found.append(each.repeat_interleave(self.per_cell, 1))
        column, row, stride = torch.cat(found, 1).to(self.stem[0][0].weight.dtype)
        return column, row, stride


def flat(maps: list[Tensor]) -> Tensor:
    """Maps of cells as [N, M, columns]."""
    return torch.cat([each.flatten(2) for each in maps], 2).transpose(1, 2)


def around(centre: Tensor, size: Tensor) -> Tensor:
    return torch.cat([centre - size / 2, centre + size / 2], -1)


class YoloDense(Detector):
    """YOLOv8: a branch for boxes with bins, a branch for classes."""

    layout = "yolo-dense"

    def __init__(self) -> None:
        super().__init__()
        self.boxes, self.classes = self.convolutions(4 * BINS), self.convolutions(CLASSES)

    def parts(self, levels: list[Tensor]) -> tuple[Tensor, Tensor]:
        """cx, cy, w, h in pixels [N, 4, M] and class logits [N, C, M]."""
        bins = torch.cat([head(each).flatten(2) for head, each in zip(self.boxes, levels, strict=True)], 2)
        logits = torch.cat([head(each).flatten(2) for head, each in zip(self.classes, levels, strict=True)], 2)
        column, row, stride = self.cells()
        shares = bins.reshape(len(bins), 4, BINS, -1).softmax(2)
        sides = (shares * torch.arange(BINS, dtype=bins.dtype).reshape(1, 1, BINS, 1)).sum(2)
        centre = torch.stack([column, row]) + 0.5
        low, high = centre - sides[:, :2], centre + sides[:, 2:]
        return torch.cat([(low + high) / 2, high - low], 1) * stride, logits

    def head(self, levels: list[Tensor]) -> Tensor:
        boxes, logits = self.parts(levels)
        return torch.cat([boxes, logits.sigmoid()], 1)

    def scalars(self, levels: list[Tensor]) -> Scalars:
        boxes, logits = self.parts(levels)
        each = boxes[0].T
        return Scalars(logits[0].T, around(each[:, :2], each[:, 2:]))


class End2End(YoloDense):
    """YOLO26: TopK over the best class of each cell, then over cells and classes."""

    layout = "end2end"
    kept = 40

    def chosen(self, levels: list[Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Boxes xyxy, logits and scores of the kept rows, and their classes."""
        boxes, logits = self.parts(levels)
        scores = logits.sigmoid().transpose(1, 2)
        _, best = scores.amax(2).topk(self.kept)
        picked = scores.gather(1, best[..., None].expand(-1, -1, CLASSES))
        found, index = picked.flatten(1).topk(self.kept)
        cell = best.gather(1, index // CLASSES)
        corners = around(boxes[:, :2].transpose(1, 2), boxes[:, 2:].transpose(1, 2))
        rows = corners.gather(1, cell[..., None].expand(-1, -1, 4))
        own = logits.transpose(1, 2).gather(1, cell[..., None].expand(-1, -1, CLASSES))
        kept = own.gather(2, (index % CLASSES)[..., None])[..., 0]
        return rows, kept, found, index % CLASSES

    def head(self, levels: list[Tensor]) -> Tensor:
        rows, _, found, classes = self.chosen(levels)
        return torch.cat([rows, found[..., None], classes[..., None].to(rows.dtype)], 2)

    def scalars(self, levels: list[Tensor]) -> Scalars:
        rows, kept, _, _ = self.chosen(levels)
        return Scalars(kept[0][:, None], rows[0])


class YoloAnchor(Detector):
    """YOLOv5: one convolution for everything, three anchors per cell."""

    layout = "yolo-anchor"
    per_cell = 3

    def __init__(self) -> None:
        super().__init__()
        self.heads = self.convolutions(5 + CLASSES)

    def head(self, levels: list[Tensor]) -> Tensor:
        found = []
        for convolution, stride, each in zip(self.heads, self.strides, levels, strict=True):
            raw = convolution(each)
            count, _, down, across = raw.shape
            raw = raw.reshape(count, self.per_cell, 5 + CLASSES, down, across).permute(0, 3, 4, 1, 2)
            y = raw.sigmoid()
            rows, columns = torch.meshgrid(torch.arange(down), torch.arange(across), indexing="ij")
            grid = torch.stack([columns, rows], -1)[None, :, :, None].to(y.dtype)
            anchors = (torch.arange(1, 4, dtype=y.dtype) * stride).reshape(1, 1, 1, 3, 1)
            xy = (y[..., :2] * 2 - 0.5 + grid) * stride
            wh = (y[..., 2:4] * 2) ** 2 * anchors
            found.append(torch.cat([xy, wh, y[..., 4:]], -1).reshape(count, -1, 5 + CLASSES))
        return torch.cat(found, 1)

    def scalars(self, levels: list[Tensor]) -> Scalars:
        (rows,) = self.head(levels)
        return Scalars((rows[:, 4:5] * rows[:, 5:]).log(), around(rows[:, :2], rows[:, 2:4]))


class YoloX(Detector):
    """YOLOX, not decoded."""

    layout = "yolox"
    image_scale = 1 / 255

    def __init__(self) -> None:
        super().__init__()
        self.boxes, self.objects, self.classes = (self.convolutions(count) for count in (4, 1, CLASSES))

    def head(self, levels: list[Tensor]) -> Tensor:
        found = [
            torch.cat([box(each), thing(each).sigmoid(), kind(each).sigmoid()], 1)
            for box, thing, kind, each in zip(self.boxes, self.objects, self.classes, levels, strict=True)
        ]
        return flat(found)

    def scalars(self, levels: list[Tensor]) -> Scalars:
        (rows,) = self.head(levels)
        column, row, stride = self.cells()
        centre = (rows[:, :2] + torch.stack([column, row], 1)) * stride[:, None]
        corners = around(centre, rows[:, 2:4].exp() * stride[:, None])
        return Scalars((rows[:, 4:5] * rows[:, 5:]).log(), corners)


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


NETWORKS: Mapping[str, Callable[[], Detector]] = {
    each.layout: each
    for each in (
        YoloDense,
        YoloAnchor,
        YoloX,
        End2End,
        NanoDet,
        NanoDetPlus,
        YuNet,
        FastestDet,
        Ssd,
        BlazeFace,
    )
}
