"""How far the candidates of a changed image still show the detections of the whole image: D-RISE's similarity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onnxplain.contract.detectors import DetectorSpec
from onnxplain.runtime.arrays import FloatArray
from onnxplain.runtime.box import pairwise_iou
from onnxplain.runtime.detection.columns import DetectorColumns
from onnxplain.runtime.detection.decode import candidate_boxes, scores_of

# The candidates with the highest scores, which are compared first: mostly few others can agree more.
_LIKELY = 256
# Pairs of a detection and a candidate compared at once: their arrays stay in the processor's cache.
_PAIRS = 2**15


@dataclass(frozen=True, eq=False)
class WatchedDetections:
    """T detections of an image: their boxes, float32 (T, 4) xyxy in pixels of the input, and classes, int64 (T,)."""

    boxes_xyxy: FloatArray
    class_ids: npt.NDArray[np.int64]

    def similarity(self, spec: DetectorSpec, columns: DetectorColumns, size_hw: tuple[int, int]) -> FloatArray:
        """How far an image's candidates agree with each detection t, float32 (T,) in [0, 1].

        ``max over candidates j of IoU(box_t, box_j) · score_j(class_t)``: equations 2 to 4 of Petsiuk et al. 2021, with
        all candidates instead of those that suppression leaves. The score of the detection's class holds the objectness
        where the layout has one. It stands for the paper's cosine between the class vectors, which does not depend on
        how sure the model is, and which rows with one class do not have.
        """
        classes, which = np.unique(self.class_ids, return_inverse=True)
        scores = scores_of(spec.layout, columns, classes)

        def agree(index: npt.NDArray[np.int64]) -> FloatArray:
            """The largest IoU · score among some candidates."""
            boxes, by_class = candidate_boxes(spec, columns, index, size_hw), scores[index].T
            best = np.zeros(len(which), np.float32)
            step = max(1, _PAIRS // max(1, len(index)))
            for start in range(0, len(which), step):
                some = slice(start, start + step)
                overlap = pairwise_iou(self.boxes_xyxy[some], boxes)
                best[some] = (overlap * by_class[which[some]]).max(axis=1, initial=0)
            return best

        highest = scores.max(axis=1)
        likely = np.arange(len(highest))
        if len(highest) > _LIKELY:
            likely = np.argpartition(-highest, _LIKELY)[:_LIKELY]
        best = agree(likely)
        # An IoU is at most 1, so a candidate whose scores are not above the smallest agreement cannot raise any.
        rest = highest > best.min(initial=1)
        rest[likely] = False
        return np.maximum(best, agree(np.flatnonzero(rest)))
