"""The YOLO families: candidates are the cells of three levels."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.detectors.gradients.backbone import BINS, CLASSES, Detector, Scalars, around, flat


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


class YoloXDecoded(YoloX):
    """YOLOX, decoded in the graph."""

    layout = "yolox-decoded"

    def head(self, levels: list[Tensor]) -> Tensor:
        rows = super().head(levels)
        column, row, stride = self.cells()
        centre = (rows[..., :2] + torch.stack([column, row], 1)) * stride[:, None]
        return torch.cat([centre, rows[..., 2:4].exp() * stride[:, None], rows[..., 4:]], 2)

    def scalars(self, levels: list[Tensor]) -> Scalars:
        (rows,) = self.head(levels)
        return Scalars((rows[:, 4:5] * rows[:, 5:]).log(), around(rows[:, :2], rows[:, 2:4]))
