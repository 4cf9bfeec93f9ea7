"""A predicted box beside a heatmap, on maps where both overlaps can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from onnxplain.errors import OnnxplainError
from onnxplain.evaluation.metrics.agreement import Agreement, measure_agreement
from onnxplain.explainers.regions import find_regions


def heat(*blocks: tuple[int, int, int, int]) -> np.ndarray:
    """1 inside each (x1, y1, x2, y2), 0 elsewhere."""
    heatmap_hw = np.zeros((20, 30), np.float32)
    for x1, y1, x2, y2 in blocks:
        heatmap_hw[y1:y2, x1:x2] = 1
    return heatmap_hw


@pytest.mark.parametrize(
    ("heatmap_hw", "box_xyxy", "iou", "energy"),
    [
        (heat((5, 5, 15, 15)), (5, 5, 15, 15), 1, 1),
        (heat((5, 5, 15, 15)), (10, 5, 20, 15), 1 / 3, 0.5),
        (heat((5, 5, 15, 15)), (20, 5, 30, 15), 0, 0),
        (heat((5, 5, 15, 15)), (0, 0, 30, 20), 1 / 6, 1),
        # The box of the largest region alone, the heat of all.
        (heat((0, 0, 10, 10), (20, 10, 25, 20)), (0, 0, 10, 10), 1, 2 / 3),
        (heat((5, 5, 15, 15)), (5.0, 5.0, 15.0, 5.5), 0.05, 0.05),
        (heat(), (5, 5, 15, 15), 0, 0),
    ],
)
def test_by_hand(heatmap_hw: np.ndarray, box_xyxy: tuple[float, ...], iou: float, energy: float) -> None:
    found = measure_agreement(heatmap_hw, find_regions(heatmap_hw, 0.5), box_xyxy)
    assert (found.iou, found.energy) == (pytest.approx(iou), pytest.approx(energy))


@pytest.mark.parametrize(("iou", "energy"), [(1.1, 0), (0, -0.1), (float("nan"), 0)])
def test_shares_outside_0_to_1_are_refused(iou: float, energy: float) -> None:
    with pytest.raises(OnnxplainError, match="agreement: found"):
        Agreement(iou, energy)
