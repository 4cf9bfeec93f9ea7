"""The losses: softmax cross-entropy and a distance for a box; of several labels per image; of a number."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch.nn import functional

BoxLoss = Literal["l2", "smooth-l1"]
NumberLoss = Literal["huber", "squared"]

SMOOTH_L1_BETA = 0.1
"""Difference at which smooth L1 changes from quadratic to linear, in units of the boxes: a tenth of the image."""


class LocalizationLoss(NamedTuple):
    """`total` = `label` + weight · `box`; scalars with gradients."""

    total: torch.Tensor
    label: torch.Tensor
    box: torch.Tensor


def localization_loss(
    logits: torch.Tensor,
    boxes: torch.Tensor,
    target_classes: torch.Tensor,
    target_boxes: torch.Tensor,
    box_weight: float = 1.0,
    box_loss: BoxLoss = "l2",
) -> LocalizationLoss:
    """Cross-entropy + box_weight · mean over the batch of the distance between the boxes.

    `logits` (N, C), `boxes` and `target_boxes` (N, 4) in the same units, `target_classes` int64 (N,). ``l2``:
    ‖[cx′, cy′, w′, h′] − [cx, cy, w, h]‖₂. The norm is not squared: its gradient does not shrink for small differences,
    so boxes become tighter. If prediction and target are equal, the gradient is the subgradient 0, not NaN.
    ``smooth-l1``: Σ over the coordinates of d² / 2β where |d| < β, else |d| − β / 2 (Girshick 2015, equation 3, where
    β = 1), with β = SMOOTH_L1_BETA.
    """
    label = functional.cross_entropy(logits, target_classes)
    if box_loss == "l2":
        box = torch.linalg.vector_norm(boxes - target_boxes, dim=1).mean()
    else:
        box = functional.smooth_l1_loss(boxes, target_boxes, reduction="sum", beta=SMOOTH_L1_BETA) / len(boxes)
    return LocalizationLoss(label + box_weight * box, label, box)


def multi_label_loss(logits: torch.Tensor, truths: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy of the sigmoid of each logit, the mean over N images and L labels.

    `logits` (N, L); `truths` float32 (N, L), 1 where the image shows the label, else 0. Computed from the logits as
    max(z, 0) − z · t + log(1 + exp(−|z|)), which does not overflow.
    """
    return functional.binary_cross_entropy_with_logits(logits, truths)


def number_loss(
    values: torch.Tensor, truths: torch.Tensor, scale: torch.Tensor, loss: NumberLoss = "huber"
) -> torch.Tensor:
    """The mean over N images of a distance of d = (value − truth) / scale; both (N, 1), `scale` positive.

    ``huber``: d² / 2 where |d| < 1, else |d| − 1/2 (Huber 1964), which weighs outliers less. ``squared``: d². `scale`
    is the standard deviation of the training numbers, so that the unit does not matter.
    """
    distance = functional.huber_loss if loss == "huber" else functional.mse_loss
    return distance(values / scale, truths / scale)
