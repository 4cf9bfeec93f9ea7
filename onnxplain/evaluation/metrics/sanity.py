"""Sanity check (Adebayo et al. 2018): a map that stays the same after shuffling the weights explains nothing."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from onnxplain.errors import OnnxplainError
from onnxplain.explainers.explanation import Explanation
from onnxplain.runtime.arrays import FloatArray


def shuffled_similarity(explanation: Explanation, shuffled: Explanation) -> float:
    """Spearman's rank correlation between heatmaps of a model and of its shuffled copy, in [−1, 1]; near 0 is better.

    `shuffled` explains the same class of the same image with the same method, but with the file that
    ``instrument --shuffle-weights SEED`` wrote. The maps are compared at the resolution of the model's input, only
    where the input shows the image: outside a crop and on letterbox borders both maps are 0, and such ties would look
    like similarity. Raises OnnxplainError if method, target, layer or frame differ.
    """
    found, expected = (
        {"method": each.method, "layer": each.layer, "target": each.target, "frame": each.frame}
        for each in (shuffled, explanation)
    )
    different = [name for name in found if found[name] != expected[name]]
    if different:
        raise OnnxplainError(
            f"sanity: found {different[0]} {found[different[0]]}, expected {expected[different[0]]}: shuffle the "
            "weights of the same model and explain the same image with the same method"
        )
    frame = explanation.frame
    seen_hw = frame.map_to_input(np.ones(frame.image_size_hw, np.float32)) > 0.5
    return rank_correlation(*(frame.map_to_input(each.heatmap)[seen_hw] for each in (explanation, shuffled)))


def rank_correlation(heat: FloatArray, other: FloatArray) -> float:
    """Spearman's rank correlation of two float arrays of the same shape, in [−1, 1].

    Equal values get the mean of their ranks. A constant map has no ranking: the result is 0 with any other map, and 1
    if both are constant, because then nothing has changed. Raises OnnxplainError for arrays of different shapes or
    with values that are not finite.
    """
    if heat.shape != other.shape or not heat.size:
        raise OnnxplainError(f"heatmaps: found shapes {heat.shape} and {other.shape}, expected the same shape")
    if not (np.isfinite(heat).all() and np.isfinite(other).all()):
        raise OnnxplainError("heatmaps: found NaN or infinity, expected finite values")
    ranks, others = _centred_ranks(heat), _centred_ranks(other)
    lengths = np.linalg.norm(ranks), np.linalg.norm(others)
    if 0 in lengths:
        return 1.0 if lengths[0] == lengths[1] else 0.0
    return float(np.clip(ranks @ others / (lengths[0] * lengths[1]), -1, 1))


def _centred_ranks(values: FloatArray) -> npt.NDArray[np.float64]:
    from scipy.stats import rankdata

    # Ranks are multiples of 0.5, so these differences are exact in float64; for a constant map they are exactly 0.
    ranks: npt.NDArray[np.float64] = rankdata(values, axis=None) - (values.size + 1) / 2
    return ranks
