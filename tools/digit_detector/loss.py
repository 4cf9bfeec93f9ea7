"""What the network learns from a batch: which cells are responsible for which digit, and the loss."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch.nn import functional

from tools.digit_detector.network import GridDetector, corners

LEVEL_ENDS = (32.0, 56.0)
"""Longer side of a box, in pixels of the input, up to which it belongs to the first and to the second level."""
RADIUS = 1.5
"""Cells whose centre is at most this many strides from the centre of a box are responsible for it."""
BOX_WEIGHT = 2.0


class DetectionBatch(NamedTuple):
    """`images` float32 (N, 3, H, W); per image the boxes, float32 (T, 4) xyxy in pixels of the input, and classes,
    int64 (T,)."""

    images: torch.Tensor
    boxes: list[torch.Tensor]
    classes: list[torch.Tensor]


def detection_loss(module: GridDetector, batch: DetectionBatch) -> torch.Tensor:
    """Quality focal loss of the scores (Li et al., Generalized focal loss, 2020) + BOX_WEIGHT · GIoU loss of the boxes
    (Rezatofighi et al. 2019), a scalar with gradients, both divided by the number of responsible cells.

    The score that a responsible cell learns for the class is the IoU of its box, so that better boxes win suppression.
    """
    distances, logits = module.raw(batch.images)
    predicted = corners(module.centres, distances).transpose(1, 2)
    wanted = torch.zeros_like(logits)
    truths, chosen = [], []
    for image, (boxes, classes) in enumerate(zip(batch.boxes, batch.classes, strict=True)):
        owner = responsible(boxes, module.centres, module.strides)
        cells = torch.nonzero(owner >= 0)[:, 0]
        owners = owner[cells]
        found = predicted[image, cells]
        overlap = generalised_iou(found.detach(), boxes[owners]).clamp(min=0)
        wanted[image, classes[owners], cells] = overlap
        truths.append(boxes[owners])
        chosen.append(found)
    box_loss = (1 - generalised_iou(torch.cat(chosen), torch.cat(truths))).sum()
    scores = torch.sigmoid(logits)
    entropy = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    score_loss = ((wanted - scores.detach()).abs() ** 2 * entropy).sum()
    return (score_loss + BOX_WEIGHT * box_loss) / max(sum(map(len, chosen)), 1)


def responsible(boxes: torch.Tensor, centres: torch.Tensor, strides: torch.Tensor) -> torch.Tensor:
    """Which box each cell is responsible for, int64 (M,); −1 for none. The smallest, where several are possible."""
    if not len(boxes):
        return torch.full((centres.shape[1],), -1)
    longer = (boxes[:, 2:] - boxes[:, :2]).amax(dim=1)
    level = torch.bucketize(longer, torch.tensor(LEVEL_ENDS))
    fits = strides[None] == torch.tensor([8.0, 16.0, 32.0])[level][:, None]
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    near = ((centres.T[None] - middle[:, None]).abs().amax(dim=2) <= RADIUS * strides[None]) & fits
    inside = (centres.T[None] > boxes[:, None, :2]).all(dim=2) & (centres.T[None] < boxes[:, None, 2:]).all(dim=2)
    # A thin box may hold no centre of a cell: then the nearest cells count.
    near &= inside | ~(near & inside).any(dim=1, keepdim=True)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
    cost = torch.where(near, areas[:, None], torch.inf)
    smallest, owner = cost.min(dim=0)
    return torch.where(torch.isfinite(smallest), owner, -1)


def generalised_iou(boxes: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """IoU minus the share of the smallest enclosing box that neither covers, (N,); both float32 (N, 4) xyxy."""
    common = (torch.minimum(boxes[:, 2:], others[:, 2:]) - torch.maximum(boxes[:, :2], others[:, :2])).clamp(min=0)
    around = torch.maximum(boxes[:, 2:], others[:, 2:]) - torch.minimum(boxes[:, :2], others[:, :2])
    both = common.prod(dim=1)
    union = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1) + (others[:, 2:] - others[:, :2]).prod(dim=1) - both
    enclosing = around.prod(dim=1).clamp(min=1e-6)
    return both / union.clamp(min=1e-6) - (enclosing - union) / enclosing
