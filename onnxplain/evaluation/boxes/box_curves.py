"""Insertion and deletion for one detection: does it depend on the hot pixels?"""

from __future__ import annotations

import cv2
import numpy as np

from onnxplain.errors import OnnxplainError
from onnxplain.evaluation.metrics.causal import CausalCurves, change_curve
from onnxplain.runtime.arrays import FloatArray
from onnxplain.runtime.detection.detector import Detector
from onnxplain.runtime.detection.watched import WatchedDetections

STRONG_BLUR_SHARE = 1 / 8
"""Sigma of the blur, as a share of the input's shorter side: large objects disappear too."""


def detection_curves(
    detector: Detector, watched: WatchedDetections, input_chw: FloatArray, heat_hw: FloatArray
) -> CausalCurves:
    """The curves of one detection, in the frame of the model's input, as shares of the unchanged image's similarity.

    `watched`: the detection; its similarity is IoU · class score, see `WatchedDetections.similarity`. `input_chw`:
    float32 (C, h, w), as `Engine.prepare` gives it; `heat_hw`: float32 (h, w). Deletion replaces pixels of the input by
    those of its `blur_strongly`, hottest first; insertion starts from the blurred input. Steps and order are those of
    `change_curve`. Raises OnnxplainError for heat that is not finite, and if the unchanged image does not show the
    detection.
    """

    def similarity(copies: FloatArray) -> FloatArray:
        found = []
        for rows in detector.batches.slices(len(copies)):
            columns = detector.read(detector.run(copies[rows]))[: len(copies[rows])]
            found += [watched.similarity(detector.spec, each, detector.size_hw) for each in columns]
        return np.stack(found)

    whole = float(similarity(input_chw[None])[0, 0])
    if not whole > 0:
        raise OnnxplainError(f"detection: found similarity {whole} in the unchanged image, expected more than 0")
    blurred = blur_strongly(input_chw)
    return CausalCurves(
        insertion=change_curve(similarity, blurred, input_chw, heat_hw, 0) / whole,
        deletion=change_curve(similarity, input_chw, blurred, heat_hw, 0) / whole,
    )


def blur_strongly(input_chw: FloatArray) -> FloatArray:
    """Each channel convolved with a Gaussian, sigma an eighth of the shorter side: float32 (C, h, w)."""
    sigma = STRONG_BLUR_SHARE * min(input_chw.shape[1:])
    blurred = [cv2.GaussianBlur(channel, (0, 0), sigma, borderType=cv2.BORDER_REFLECT) for channel in input_chw]
    return np.stack(blurred).astype(np.float32, copy=False)
