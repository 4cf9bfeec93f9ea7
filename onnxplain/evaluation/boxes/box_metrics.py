"""The metrics of detectors: one row each."""

from __future__ import annotations

from typing import get_args

import numpy as np

from onnxplain.data.boxes import HIT_IOU
from onnxplain.evaluation.boxes.explained_box import BoxMap
from onnxplain.evaluation.metrics.metric import Group, Metric, Requirement
from onnxplain.evaluation.metrics.pointing import energy_in_boxes, pointing_hit


def _energy(sample: BoxMap) -> float:
    return energy_in_boxes(sample.heatmap_hw, sample.found.own_xyxy)


def _points(sample: BoxMap) -> bool:
    return pointing_hit(sample.heatmap_hw, sample.found.own_xyxy, tolerance=0)


def _energy_others(sample: BoxMap) -> float:
    own, others = sample.found.own_xyxy, sample.found.others_xyxy
    return max(energy_in_boxes(sample.heatmap_hw, np.concatenate([own, others])) - _energy(sample), 0.0)


def _empty(sample: BoxMap) -> bool:
    return not sample.heatmap_hw.any()


def _insertion(sample: BoxMap) -> float:
    return sample.curves.insertion_auc


def _deletion(sample: BoxMap) -> float:
    return sample.curves.deletion_auc


_ALWAYS: tuple[Group, ...] = get_args(Group)
_LOCALIZATION: tuple[Group, ...] = ("localization",)
_FAITHFULNESS: tuple[Group, ...] = ("faithfulness",)

FOUND = Requirement(lambda facts: True, "no true box is found", of_box=lambda sample: True)
OTHERS = Requirement(
    lambda facts: True,
    "no image with a found box shows another object of its class",
    of_box=lambda sample: len(sample.found.others_xyxy) > 0,
)
DETECTED = Requirement(lambda facts: True, "nothing is detected", of_box=lambda sample: True)

BOX_METRICS: tuple[Metric, ...] = (
    Metric(
        "recall",
        "recall",
        "prediction",
        _ALWAYS,
        "higher",
        f"share of true boxes that a detection of their class finds, IoU ≥ {HIT_IOU}; these boxes are explained",
        lambda outcome: outcome.is_found,
    ),
    Metric(
        "precision",
        "precision",
        "prediction",
        _ALWAYS,
        "higher",
        "share of detections that find a true box",
        lambda outcome: outcome.is_right,
        needs=(DETECTED,),
    ),
    Metric(
        "pointing",
        "pointing",
        "heatmap",
        _LOCALIZATION,
        "higher",
        "share of boxes whose hottest pixel is inside the true box (Zhang et al. 2016, without tolerance)",
        _points,
        needs=(FOUND,),
    ),
    Metric(
        "energy",
        "energy",
        "heatmap",
        _LOCALIZATION,
        "higher",
        "mean share of all heat that is inside the true box (Wang et al. 2020)",
        _energy,
        needs=(FOUND,),
    ),
    Metric(
        "energy_others",
        "energy in others",
        "heatmap",
        _LOCALIZATION,
        "lower",
        "mean share of all heat that is inside other true boxes of the same class and outside the own one",
        _energy_others,
        needs=(OTHERS,),
    ),
    Metric(
        "empty",
        "empty",
        "heatmap",
        _LOCALIZATION,
        "lower",
        "share of maps that are 0 everywhere; they have no hottest pixel and no heat inside",
        _empty,
        needs=(FOUND,),
    ),
    Metric(
        "insertion",
        "insertion",
        "heatmap",
        _FAITHFULNESS,
        "higher",
        "area under the similarity with the detection (IoU · class score, as a share of that in the whole image) while "
        "pixels are inserted into a strongly blurred input, hottest first, 8 · width per step, at most 1/28 of them "
        "(Petsiuk et al. 2018, 2021)",
        _insertion,
        unit="",
        needs=(FOUND,),
    ),
    Metric(
        "deletion",
        "deletion",
        "heatmap",
        _FAITHFULNESS,
        "lower",
        "the same while pixels are replaced by those of the blurred input",
        _deletion,
        unit="",
        needs=(FOUND,),
    ),
)


def _mean_average_precision(name: str, title: str, which: str) -> Metric:
    """A number of the whole data set: no image has a value of its own."""
    return Metric(
        name,
        title,
        "prediction",
        _ALWAYS,
        "higher",
        f"mean average precision {which}, over classes, as COCO defines it (Lin et al. 2014), computed by supervision",
        lambda outcome: False,
    )


DATASET_METRICS: tuple[Metric, ...] = (
    _mean_average_precision("mean_average_precision", "mAP", "over IoU 0.50 to 0.95"),
    _mean_average_precision("map_50", "mAP at 0.50", "at IoU 0.50"),
    _mean_average_precision("map_75", "mAP at 0.75", "at IoU 0.75"),
)
