"""Which detection finds which true box."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from onnxplain.data.boxes import HIT_IOU
from onnxplain.runtime.arrays import FloatArray
from onnxplain.runtime.box import pairwise_iou


def match_boxes(
    found_xyxy: FloatArray,
    found_classes: npt.NDArray[np.int64],
    true_xyxy: FloatArray,
    true_classes: npt.NDArray[np.int64],
    min_iou: float = HIT_IOU,
) -> npt.NDArray[np.int64]:
    """The true box that each detection finds, int64 (M,); −1 for none.

    `found_xyxy`, `found_classes`: detections (M, 4), (M,), best first; `true_xyxy`, `true_classes`: (T, 4), (T,). Each
    detection, in this order, takes the true box of its class that it overlaps most, of those that are not taken, if
    the IoU is at least `min_iou` (Everingham et al., The Pascal visual object classes challenge, 2010, section 4.2,
    with COCO's rule that a taken box leaves the next one free).
    """
    owners = np.full(len(found_xyxy), -1, np.int64)
    if not len(true_xyxy) or not len(found_xyxy):
        return owners
    overlaps = pairwise_iou(np.asarray(found_xyxy, np.float32), np.asarray(true_xyxy, np.float32))
    overlaps = np.where(found_classes[:, None] == true_classes[None], overlaps, -1)
    for row in range(len(overlaps)):
        best = int(overlaps[row].argmax())
        if overlaps[row, best] >= min_iou:
            owners[row] = best
            overlaps[:, best] = -1
    return owners
