"""What a network learns from one batch: the loss of each kind of answer, and what is right already."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from onnxplain.data.boxes import cxcywh_to_xyxy, paired_iou
from onnxplain.errors import OnnxplainError
from onnxplain.training.localizer import AnswerKind, Localizer
from onnxplain.training.loop_config import LoopConfig
from onnxplain.training.loss import localization_loss, multi_label_loss, number_loss


class TrainBatch(NamedTuple):
    """`images` float32 (N, 3, H, W). `truths`: class ids int64 (N,); labels float32 (N, L), 1 where the image shows
    one; or numbers float32 (N, 1). `boxes` float32 (N, 4) cxcywh, shares of the input; None if no box is learnt."""

    images: torch.Tensor
    truths: torch.Tensor
    boxes: torch.Tensor | None = None


@dataclass(frozen=True, eq=False)
class Learned:
    """Of a batch of `images` images: the loss, a scalar with gradients, and per image (N,), None for what is not
    learnt: `hits`, the share of right answers; `overlaps` of the boxes; absolute `errors` of the numbers."""

    images: int
    loss: torch.Tensor
    hits: npt.NDArray[np.floating] | None = None
    overlaps: npt.NDArray[np.float32] | None = None
    errors: npt.NDArray[np.float32] | None = None


def _learn_classes(module: Localizer, batch: TrainBatch, config: LoopConfig) -> Learned:
    logits, boxes = module.heads(batch.images)
    hits = (logits.argmax(dim=1) == batch.truths).double().numpy()
    if boxes is None or batch.boxes is None:
        return Learned(len(hits), torch.nn.functional.cross_entropy(logits, batch.truths), hits)
    loss = localization_loss(logits, boxes, batch.truths, batch.boxes, config.box_weight, config.box_loss)
    overlaps = paired_iou(cxcywh_to_xyxy(boxes.detach().numpy()), cxcywh_to_xyxy(batch.boxes.numpy()))
    return Learned(len(hits), loss.total, hits, overlaps)


def _learn_labels(module: Localizer, batch: TrainBatch, config: LoopConfig) -> Learned:
    logits, _ = module.heads(batch.images)
    hits = ((logits > 0) == (batch.truths > 0.5)).double().mean(dim=1).numpy()
    return Learned(len(hits), multi_label_loss(logits, batch.truths), hits)


def _learn_values(module: Localizer, batch: TrainBatch, config: LoopConfig) -> Learned:
    values, _ = module.heads(batch.images)
    if module.scale is None:
        raise OnnxplainError("training: found a network without a number, expected one")
    errors = (values.detach() - batch.truths).abs().mean(dim=1).numpy()
    return Learned(len(errors), number_loss(values, batch.truths, module.scale, config.number_loss), errors=errors)


LEARNED: Mapping[AnswerKind, Callable[[Localizer, TrainBatch, LoopConfig], Learned]] = {
    "classes": _learn_classes,
    "labels": _learn_labels,
    "values": _learn_values,
}
"""What is learnt from a batch, by the kind of the network's answer."""
