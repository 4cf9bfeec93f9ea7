"""The network: three levels of cells, each cell with four distances to the sides of a box and a score per class."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from onnxplain.training.backbone import convolution

OUTPUT_NAME = "output0"
STRIDES = (8, 16, 32)
_PRIOR = 0.01
"""Score of every cell before training: most cells hold no digit (Lin et al., Focal loss, 2017, section 3.3)."""


@dataclass(frozen=True)
class GridConfig:
    """`classes`; `side`: of the square input in pixels, a multiple of 32; `widths`: channels of the backbone at strides
    2, 4 and 8, those of the shipped localizer; `neck`: channels of each level before its last layer."""

    classes: int
    side: int = 96
    widths: tuple[int, ...] = (16, 48, 96)
    neck: int = 32


class GridDetector(nn.Module):
    """Boxes and scores of every cell, in the layout `yolo-dense`.

    The backbone is that of the localizer of the demo. The coarser levels see its last map through max pooling. The
    centre of a cell and four distances, exp(number) · stride, make a box (Tian et al., FCOS, 2019).
    """

    centres: torch.Tensor
    strides: torch.Tensor

    def __init__(self, config: GridConfig) -> None:
        super().__init__()
        self.config = config
        layers: list[nn.Module] = []
        channels = 3
        for width in config.widths:
            layers += [nn.Conv2d(channels, width, 3, stride=2, padding=1), nn.ReLU()]
            layers += [nn.Conv2d(width, width, 3, padding=1), nn.ReLU()]
            channels = width
        self.features = nn.Sequential(*layers)
        self.necks = nn.ModuleList(
            nn.Sequential(convolution(channels, config.neck, kernel=1), convolution(config.neck, config.neck))
            for _ in STRIDES
        )
        self.boxes = nn.ModuleList(nn.Conv2d(config.neck, 4, 1) for _ in STRIDES)
        self.scores = nn.ModuleList(nn.Conv2d(config.neck, config.classes, 1) for _ in STRIDES)
        for last in self.scores:
            nn.init.constant_(last.bias, math.log(_PRIOR / (1 - _PRIOR)))
        centres, strides = cell_centres(config.side)
        self.register_buffer("centres", centres, persistent=False)
        self.register_buffer("strides", strides, persistent=False)

    def raw(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Images float32 (N, 3, side, side) → distances in pixels (N, 4, M), left, top, right, bottom; and logits
        (N, C, M). Cells are ordered level by level, row by row."""
        level = self.features(images)
        distances, logits = [], []
        for stride, neck, box, score in zip(STRIDES, self.necks, self.boxes, self.scores, strict=True):
            if stride > STRIDES[0]:
                level = functional.max_pool2d(level, 2)
            seen = neck(level)
            distances.append(box(seen).flatten(2))
            logits.append(score(seen).flatten(2))
        return torch.exp(torch.cat(distances, dim=2).clamp(max=4)) * self.strides, torch.cat(logits, dim=2)

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Images → ``output0`` (N, 4 + C, M): cx, cy, w, h in pixels of the input, then the score of each class."""
        distances, logits = self.raw(images)
        near, far = distances[:, :2], distances[:, 2:]
        centre = self.centres + (far - near) / 2
        return {OUTPUT_NAME: torch.cat([centre, near + far, torch.sigmoid(logits)], dim=1)}


def corners(centres: torch.Tensor, distances: torch.Tensor) -> torch.Tensor:
    """The boxes (…, 4, M) xyxy from centres (2, M) and distances (…, 4, M)."""
    return torch.cat([centres - distances[..., :2, :], centres + distances[..., 2:, :]], dim=-2)


def cell_centres(side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """x and y of the centre of every cell in pixels, float32 (2, M), and its stride, float32 (M,)."""
    centres, strides = [], []
    for stride in STRIDES:
        along = (torch.arange(side // stride) + 0.5) * stride
        rows, columns = torch.meshgrid(along, along, indexing="ij")
        centres.append(torch.stack([columns.flatten(), rows.flatten()]))
        strides.append(torch.full((rows.numel(),), float(stride)))
    return torch.cat(centres, dim=1), torch.cat(strides)
