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
        # A candidate without a score agrees with nothing, so its box need not be decoded.
        index = np.flatnonzero(scores.any(axis=1)).astype(np.int64)
        best = np.zeros(len(self.class_ids), np.float32)
        if not index.size:
            return best
        boxes, by_class = candidate_boxes(spec, columns, index, size_hw), np.ascontiguousarray(scores[index].T)
        step = max(1, _PAIRS // len(index))
        for start in range(0, len(best), step):
            some = slice(start, start + step)
            agreement = pairwise_iou(self.boxes_xyxy[some], boxes)
            agreement *= by_class[which[some]]
            best[some] = agreement.max(axis=1)
        return best
