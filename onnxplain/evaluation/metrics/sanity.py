"""The sanity check of Adebayo et al. 2018: a map that stays when the model's weights are shuffled explains nothing."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from onnxplain.errors import OnnxplainError
from onnxplain.explainers.explanation import Explanation
from onnxplain.runtime.arrays import FloatArray


def shuffled_similarity(explanation: Explanation, shuffled: Explanation) -> float:
    """Spearman's rank correlation of a model's heatmap with that of its shuffled file, in [−1, 1]; near 0 is better.

    `shuffled` explains the same class of the same image by the same method, but with the file that
    ``instrument --shuffle-weights SEED`` wrote. They are compared at the resolution of the model's input, where it
    shows the image: beyond a crop, and on the borders of a letterbox, both maps are 0, and such ties would look like
    similarity. Raises OnnxplainError for explanations by other methods or of other targets, layers or frames.
    """
    found, expected = (
        {"method": each.method, "layer": each.layer, "target": each.target, "frame": each.frame}
        for each in (shuffled, explanation)
    )
    different = [name for name in found if found[name] != expected[name]]
    if different:
        raise OnnxplainError(
            f"sanity: found another {different[0]}, {found[different[0]]}, expected {expected[different[0]]}: shuffle "
            "the weights of this very model and explain the same"
        )
    frame = explanation.frame
    seen_hw = frame.map_to_input(np.ones(frame.image_size_hw, np.float32)) > 0.5
    return rank_correlation(*(frame.map_to_input(each.heatmap)[seen_hw] for each in (explanation, shuffled)))


def rank_correlation(heat: FloatArray, other: FloatArray) -> float:
    """Spearman's rank correlation of two float arrays of one shape, in [−1, 1].

    Equal values share the mean of their ranks. A map that is the same everywhere ranks nothing: 0 beside any other map,
    1 beside a second such map, for then nothing has changed. Raises OnnxplainError for arrays of different shapes or
    with values that are not finite.
    """
    if heat.shape != other.shape or not heat.size:
        raise OnnxplainError(f"heatmaps: found shapes {heat.shape} and {other.shape}, expected two of one size")
    if not (np.isfinite(heat).all() and np.isfinite(other).all()):
        raise OnnxplainError("heatmaps: found NaN or infinity, expected finite values")
    ranks, others = _centred_ranks(heat), _centred_ranks(other)
    lengths = np.linalg.norm(ranks), np.linalg.norm(others)
    if 0 in lengths:
        return 1.0 if lengths[0] == lengths[1] else 0.0
    return float(np.clip(ranks @ others / (lengths[0] * lengths[1]), -1, 1))


def _centred_ranks(values: FloatArray) -> npt.NDArray[np.float64]:
    from scipy.stats import rankdata

    # Ranks are halves and so are these differences, exact in float64: those of a constant are exactly 0.
    ranks: npt.NDArray[np.float64] = rankdata(values, axis=None) - (values.size + 1) / 2
    return ranks
