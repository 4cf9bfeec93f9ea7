"""Networks whose candidates are queries: DETR and its kin, with a TopK or without."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from tests.detectors.gradients.backbone import CHANNELS, CLASSES, Detector, Scalars, around


class RtDetr(Detector):
    """RT-DETR as transformers exports it: queries look at the cells of a map; logits and shares of the sides."""

    layout = "rt-detr"
    output_names = ("logits", "pred_boxes")
    strides = (8, 16, 32)
    queries = 10
    backgrounds = 0

    def __init__(self) -> None:
        super().__init__()
        self.asked = nn.Parameter(torch.zeros(self.queries, CHANNELS))
        self.classes = nn.Linear(CHANNELS, CLASSES + self.backgrounds)
        self.boxes = nn.Linear(CHANNELS, 4)

    def levels(self, image: Tensor) -> list[Tensor]:
        return super().levels(image)[1:2]

    def parts(self, levels: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Logits [N, Q, C] and boxes cx, cy, w, h as shares [N, Q, 4]."""
        cells = levels[0].flatten(2).transpose(1, 2)
        shares = (self.asked @ cells.transpose(1, 2) / CHANNELS**0.5).softmax(2)
        found = shares @ cells
        return self.classes(found), self.boxes(found).sigmoid()

    def head(self, levels: list[Tensor]) -> Any:
        return self.parts(levels)

    def sides(self, like: Tensor) -> Tensor:
        height, width = self.size_hw
        return torch.tensor([width, height, width, height], dtype=like.dtype)

    def corners(self, boxes: Tensor) -> Tensor:
        return around(boxes[..., :2], boxes[..., 2:]) * self.sides(boxes)

    def scalars(self, levels: list[Tensor]) -> Scalars:
        logits, boxes = self.parts(levels)
        return Scalars(logits[0, :, :CLASSES], self.corners(boxes[0]))


class Detr(RtDetr):
    """DETR: the last class is no object."""

    layout = "detr"
    backgrounds = 1


class RfDetr(RtDetr):
    """RF-DETR: boxes first."""

    layout = "rf-detr"
    output_names = ("dets", "labels")

    def head(self, levels: list[Tensor]) -> Any:
        return self.parts(levels)[::-1]


class RtDetrUltralytics(RtDetr):
    """RT-DETR of Ultralytics: the best queries, boxes and scores in one output."""

    layout = "rt-detr-ultralytics"
    output_names = ("output0",)
    kept = 6

    def chosen(self, levels: list[Tensor]) -> tuple[Tensor, Tensor]:
        logits, boxes = self.parts(levels)
        _, best = logits.amax(2).topk(self.kept)
        rows = best[..., None]
        return logits.gather(1, rows.expand(-1, -1, CLASSES)), boxes.gather(1, rows.expand(-1, -1, 4))

    def head(self, levels: list[Tensor]) -> Any:
        logits, boxes = self.chosen(levels)
        return torch.cat([boxes, logits.sigmoid()], 2)

    def scalars(self, levels: list[Tensor]) -> Scalars:
        logits, boxes = self.chosen(levels)
        return Scalars(logits[0], self.corners(boxes[0]))


class RtDetrDeploy(RtDetr):
    """RT-DETR of its repository: the best pairs of query and class, boxes in pixels of the size in a second input."""

    layout = "rt-detr-deploy"
    output_names = ("labels", "boxes", "scores")
    other_inputs = MappingProxyType({"orig_target_sizes": torch.tensor([[96, 64]])})
    kept = 8

    def forward(self, image: Tensor, sizes: Tensor) -> Any:
        logits, boxes, index = self.chosen(self.levels(image))
        corners = around(boxes[..., :2], boxes[..., 2:]) * sizes.to(boxes.dtype).repeat(1, 2)[:, None]
        return index % CLASSES, corners, logits.sigmoid()

    def chosen(self, levels: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        logits, boxes = self.parts(levels)
        found, index = logits.flatten(1).topk(self.kept)
        return found, boxes.gather(1, (index // CLASSES)[..., None].expand(-1, -1, 4)), index

    def scalars(self, levels: list[Tensor]) -> Scalars:
        logits, boxes, _ = self.chosen(levels)
        return Scalars(logits[0][:, None], self.corners(boxes[0]))
