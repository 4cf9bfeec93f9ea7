"""How far two maps of one image are apart."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from onnxplain.evaluation.metrics.sanity import rank_correlation
from onnxplain.explainers.heatmap import minus_min_over_range, relu_over_max
from onnxplain.runtime.arrays import FloatArray

if TYPE_CHECKING:
    from onnxplain.explainers import Explanation

# The maps are compared on a grid over the photo with this many cells along its longer side.
GRID_SIDE = 128


@dataclass(frozen=True)
class MapDrift:
    """Two maps of one image: `correlation`, Spearman's, in [−1, 1], and `iou` of the parts above the threshold.

    Both are 1 for equal maps. None: they cannot be compared, because a map has no heat or the models see no common part
    of the photo.
    """

    correlation: float | None
    iou: float | None


def map_drift(first: Explanation, second: Explanation) -> MapDrift:
    """Compare two explanations of one image, also of models with other layers and input sizes.

    Both maps are laid over the photo at `GRID_SIDE` cells, and compared where both models saw it. The threshold is the
    first explanation's `default_threshold`.
    """
    if first.status != "ok" or second.status != "ok":
        return MapDrift(None, None)
    (heat, seen), (other, other_seen) = _laid(first), _laid(second)
    seen = seen & other_seen
    if not seen.any():
        return MapDrift(None, None)
    hot, other_hot = (each[seen] >= first.default_threshold for each in (heat, other))
    union = int((hot | other_hot).sum())
    iou = float((hot & other_hot).sum() / union) if union else None
    return MapDrift(rank_correlation(heat[seen], other[seen]), iou)


def _laid(explanation: Explanation) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """Heat in [0, 1] on the grid, and the cells that the model saw."""
    frame, lies = explanation.frame, explanation.map_frame
    height, width = frame.image_size_hw
    factor = min(1.0, GRID_SIDE / max(height, width))
    size_hw = max(1, round(height * factor)), max(1, round(width * factor))
    scale_x, scale_y = frame.scale_xy
    coarse = replace(
        frame, image_size_hw=size_hw, scale_xy=(scale_x * width / size_hw[1], scale_y * height / size_hw[0])
    )
    lay = relu_over_max if explanation.heat_from_zero else minus_min_over_range
    heat, _ = lay(explanation.shown, coarse, lies)
    seen = coarse.map_to_image(np.ones_like(explanation.raw), lies) > 0.5
    return heat, seen
