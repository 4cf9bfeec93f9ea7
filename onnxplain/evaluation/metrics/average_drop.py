"""Average drop and increase (Chattopadhay et al., Grad-CAM++, 2018): do the hot pixels alone keep the score?

Let Y be the score of the explained class for the whole image and O its score for the image times the heat:

    average drop = mean of max(0, Y − O) / Y,        increase = share of images with O > Y.
"""

from __future__ import annotations

import numpy as np

from onnxplain.errors import OnnxplainError
from onnxplain.evaluation.metrics.causal import InputScores
from onnxplain.runtime.arrays import FloatArray


def explained_score(scores: InputScores, input_chw: FloatArray, heat_hw: FloatArray, class_id: int) -> float:
    """O: the score of the class if each pixel is multiplied by its heat; one forward pass.

    `scores`, `input_chw` and `class_id` as for `causal_curves`; `heat_hw`: float32 (h, w) in [0, 1], in the frame of
    the model's input. The normalised input is multiplied, so a pixel without heat becomes 0 there: the mean colour of
    the training images, as in deletion. On raw pixels it would become black. Raises OnnxplainError for another size,
    for heat outside [0, 1], and for a score that is not finite.
    """
    if heat_hw.shape != input_chw.shape[1:]:
        raise OnnxplainError(f"heat: found {heat_hw.shape}, expected {input_chw.shape[1:]}, the size of the input")
    # Rounding may make means over pixels exceed 1. Comparisons with NaN are false, so NaN is refused too.
    if not (heat_hw.min() >= 0 and heat_hw.max() <= 1 + 1e-5):
        raise OnnxplainError(f"heat: found values from {heat_hw.min()} to {heat_hw.max()}, expected 0 to 1")
    score = float(scores((input_chw * heat_hw)[None].astype(np.float32, copy=False))[0, class_id])
    if not np.isfinite(score):
        raise OnnxplainError("average drop: the model gave NaN or infinity, expected a finite score")
    return score


def drop(whole: float, explained: float) -> float:
    """``max(0, Y − O) / Y`` in [0, 1], Y = `whole`, O = `explained`; 0 if Y is 0."""
    return max(0.0, whole - explained) / whole if whole > 0 else 0.0


def increased(whole: float, explained: float) -> bool:
    """Whether O > Y: the score is higher if only the hot pixels are shown."""
    return explained > whole
