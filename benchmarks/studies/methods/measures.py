"""What is measured of one map: insertion and deletion, pointing, boxes, and likeness to another map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from skimage.metrics import structural_similarity

from benchmarks.studies.methods.questions import Question
from onnxplain import Engine
from onnxplain.evaluation.metrics.causal import area_under, blur_input, change_curve
from onnxplain.evaluation.metrics.max_box_accuracy import level_overlaps
from onnxplain.evaluation.metrics.pointing import energy_in_boxes, pointing_hit
from onnxplain.evaluation.metrics.sanity import rank_correlation
from onnxplain.evaluation.metrics.statistic import pack_bits

# The pointing game's 15 pixels are 4 % of the shorter side of its photos (PASCAL VOC, 500 × 375).
TOLERANCE_SHARE = 15 / 375


@dataclass(frozen=True, eq=False)
class StudyMap:
    """`heatmap`: float32 (H, W), of the photo; `heat`: the same in the frame of the model's input; `raw`: signed."""

    heatmap: np.ndarray
    heat: np.ndarray
    raw: np.ndarray


def measure_curves(engine: Engine, question: Question, found: StudyMap) -> dict[str, float]:
    """Areas under insertion and deletion; what is not shown is the mean colour, or the blurred image."""
    whole = engine.preprocess(question.image)[0]
    areas = {}
    for fill, hidden in (("mean", np.zeros_like(whole)), ("blur", blur_input(whole))):
        for name, start, finish in (("insertion", hidden, whole), ("deletion", whole, hidden)):
            curve = change_curve(engine.scores, start, finish, found.heat, question.target)
            areas[f"{name}_{fill}"] = area_under(curve)
    return areas


def measure_boxes(question: Question, heatmap_hw: np.ndarray) -> dict[str, Any]:
    """Pointing, the share of heat in the boxes, and the hits of the largest region at every level, as hexadecimal."""
    boxes, size_hw = question.boxes_xyxy, heatmap_hw.shape
    overlaps = level_overlaps(heatmap_hw, boxes, (size_hw[0], size_hw[1]))
    return {
        "pointing": pointing_hit(heatmap_hw, boxes, TOLERANCE_SHARE * min(size_hw)),
        "energy": energy_in_boxes(heatmap_hw, boxes),
        "hits": pack_bits(overlaps.hits()),
    }


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Pearson's, of two raw maps; 0 if one of them is constant or not finite."""
    if not (np.isfinite(one).all() and np.isfinite(other).all()) or one.std() == 0 or other.std() == 0:
        return 0.0
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def likeness(one: StudyMap, other: StudyMap) -> dict[str, float]:
    """Rank correlation and structural similarity of two heatmaps in the frame of the input."""
    similar = structural_similarity(one.heat, other.heat, data_range=1.0)
    return {"rank": rank_correlation(one.heat, other.heat), "ssim": float(similar)}
