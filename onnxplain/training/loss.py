"""The loss of supervised localization: softmax cross-entropy for the label, a Euclidean distance for the box."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch.nn import functional


class LocalizationLoss(NamedTuple):
    """`total` = `label` + weight · `box`; scalars that carry gradients."""

    total: torch.Tensor
    label: torch.Tensor
    box: torch.Tensor


def localization_loss(
    logits: torch.Tensor,
    boxes: torch.Tensor,
    target_classes: torch.Tensor,
    target_boxes: torch.Tensor,
    box_weight: float = 1.0,
) -> LocalizationLoss:
    """Cross-entropy + box_weight · mean over the batch of ‖[cx′, cy′, w′, h′] − [cx, cy, w, h]‖₂.

    `logits` (N, C), `boxes` and `target_boxes` (N, 4) in the same units, `target_classes` int64 (N,). The norm is
    not squared: its pull does not fade as the box comes close, so boxes end up tighter. Where prediction and target
    are equal the gradient is the subgradient 0, not NaN.
    """
    label = functional.cross_entropy(logits, target_classes)
    box = torch.linalg.vector_norm(boxes - target_boxes, dim=1).mean()
    return LocalizationLoss(label + box_weight * box, label, box)
