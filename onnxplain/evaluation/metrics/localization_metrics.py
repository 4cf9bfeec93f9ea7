"""The metrics that compare classes, boxes and heatmaps with the ground truth: one row each."""

from __future__ import annotations

from typing import get_args

import numpy as np

from onnxplain.data.boxes import HIT_IOU
from onnxplain.evaluation.metrics.mask_pointing import energy_in_mask, mask_hit
from onnxplain.evaluation.metrics.max_box_accuracy import V2_IOUS
from onnxplain.evaluation.metrics.metric import (
    BOX_HEAD,
    BOXES,
    EXPLAINED,
    LABELS,
    MASKS,
    MORE_THAN_FIVE,
    ONE_CLASS,
    Group,
    Measured,
    Metric,
)
from onnxplain.evaluation.metrics.pointing import TOLERANCE, energy_in_boxes, pointing_hit
from onnxplain.evaluation.metrics.statistic import BEST_LEVEL, BEST_LEVEL_PER_IOU
from onnxplain.evaluation.sample import BoxSample, HeatmapSample, Sample


def _top1(sample: Sample) -> bool:
    return sample.right_within(1)


def _top5(sample: Sample) -> bool:
    return sample.right_within(5)


def _hit_and_right(sample: BoxSample | HeatmapSample) -> bool:
    return sample.iou >= HIT_IOU and sample.sample.right_within(1)


def _largest_hits(sample: HeatmapSample) -> Measured:
    return sample.levels.hits(HIT_IOU)


def _any_hits(sample: HeatmapSample) -> Measured:
    return np.concatenate([sample.levels.any_hits(iou) for iou in V2_IOUS])


def _points(sample: HeatmapSample) -> bool:
    return pointing_hit(sample.heatmap_hw, sample.sample.record.boxes_xyxy)


def _energy(sample: HeatmapSample) -> float:
    return energy_in_boxes(sample.heatmap_hw, sample.sample.record.boxes_xyxy)


def _points_at_mask(sample: HeatmapSample) -> bool:
    return mask_hit(sample.heatmap_hw, sample.sample.true_pixels)


def _points_near_mask(sample: HeatmapSample) -> bool:
    return mask_hit(sample.heatmap_hw, sample.sample.true_pixels, TOLERANCE)


def _energy_in_mask(sample: HeatmapSample) -> float:
    return energy_in_mask(sample.heatmap_hw, sample.sample.true_pixels)


_ALWAYS: tuple[Group, ...] = get_args(Group)
_LOCALIZATION: tuple[Group, ...] = ("localization",)
_MASKS: tuple[Group, ...] = ("masks",)

LOCALIZATION_METRICS: tuple[Metric, ...] = (
    Metric(
        "top1",
        "top-1",
        "prediction",
        _ALWAYS,
        "higher",
        "share of images whose label has the highest score",
        _top1,
        needs=(LABELS, ONE_CLASS),
    ),
    Metric(
        "top5",
        "top-5",
        "prediction",
        _ALWAYS,
        "higher",
        "share of images whose label is among the five highest scores",
        _top5,
        needs=(LABELS, ONE_CLASS, MORE_THAN_FIVE),
    ),
    Metric(
        "mean_iou",
        "mean IoU",
        "box",
        _LOCALIZATION,
        "higher",
        "mean intersection over union (IoU) of the box with the nearest true box",
        lambda sample: sample.iou,
        unit="",
        needs=(BOXES,),
        column="iou",
    ),
    Metric(
        "acc_50",
        "IoU ≥ 0.5",
        "box",
        _LOCALIZATION,
        "higher",
        "share of images where that IoU is at least 0.5, for any predicted class",
        lambda sample: sample.iou >= HIT_IOU,
        needs=(BOXES,),
    ),
    Metric(
        "top1_loc",
        "top-1 localization",
        "box",
        _LOCALIZATION,
        "higher",
        "share of images with the right class and that IoU ≥ 0.5",
        _hit_and_right,
        needs=(LABELS, ONE_CLASS, BOXES),
    ),
    Metric(
        "mean_iou",
        "mean IoU",
        "heatmap",
        _LOCALIZATION,
        "higher",
        "mean IoU with the nearest true box, for the box around the largest region of the heatmap, cut at the method's "
        "own threshold",
        lambda sample: sample.iou,
        unit="",
        needs=(BOXES,),
        column="iou",
    ),
    Metric(
        "gt_known",
        "IoU ≥ 0.5",
        "heatmap",
        _LOCALIZATION,
        "higher",
        "share of images where that IoU is at least 0.5; for the label's heatmap this is GT-known localization",
        lambda sample: sample.iou >= HIT_IOU,
        needs=(BOXES,),
    ),
    Metric(
        "top1_loc",
        "top-1 localization",
        "heatmap",
        _LOCALIZATION,
        "higher",
        "share of images with the right class and that IoU ≥ 0.5",
        _hit_and_right,
        needs=(LABELS, ONE_CLASS, BOXES),
    ),
    Metric(
        "mean_iou_stable",
        "mean IoU (stable)",
        "heatmap",
        _LOCALIZATION,
        "higher",
        "mean IoU, cut at the level where that box changes least between levels; needs no labels",
        lambda sample: sample.iou_stable,
        unit="",
        needs=(BOXES,),
        column="iou_stable",
    ),
    Metric(
        "gt_known_stable",
        "IoU ≥ 0.5 (stable)",
        "heatmap",
        _LOCALIZATION,
        "higher",
        "share of images where that IoU is at least 0.5",
        lambda sample: sample.iou_stable >= HIT_IOU,
        needs=(BOXES,),
    ),
    Metric(
        "maxboxacc",
        "MaxBoxAcc",
        "heatmap",
        _LOCALIZATION,
        "higher",
        "share of images whose largest region has IoU ≥ 0.5, at the one level for the whole data set where that share "
        "is largest (Choe et al. 2020)",
        _largest_hits,
        needs=(BOXES,),
        statistic=BEST_LEVEL,
    ),
    Metric(
        "maxboxacc_v2",
        "MaxBoxAccV2",
        "heatmap",
        _LOCALIZATION,
        "higher",
        "the same with any region, mean over IoU 0.3, 0.5 and 0.7, each at its own best level",
        _any_hits,
        needs=(BOXES,),
        statistic=BEST_LEVEL_PER_IOU,
    ),
    Metric(
        "pointing",
        "pointing",
        "heatmap",
        _LOCALIZATION,
        "higher",
        f"share of images whose hottest pixel is in a true box, or less than {TOLERANCE} pixels from one "
        "(Zhang et al. 2016)",
        _points,
        needs=(BOXES,),
    ),
    Metric(
        "energy",
        "energy in boxes",
        "heatmap",
        _LOCALIZATION,
        "higher",
        "mean share of the heat that lies inside the true boxes (Wang et al. 2020)",
        _energy,
        needs=(BOXES,),
    ),
    Metric(
        "mask_pointing",
        "pointing (mask)",
        "heatmap",
        _MASKS,
        "higher",
        "share of images whose hottest pixel is in the true mask of the class",
        _points_at_mask,
        needs=(MASKS,),
    ),
    Metric(
        "mask_pointing_near",
        "pointing (near mask)",
        "heatmap",
        _MASKS,
        "higher",
        f"share of images whose hottest pixel is in the true mask, or less than {TOLERANCE} pixels from it "
        "(Zhang et al. 2016)",
        _points_near_mask,
        needs=(MASKS,),
    ),
    Metric(
        "mask_energy",
        "energy in mask",
        "heatmap",
        _MASKS,
        "higher",
        "mean share of the heat that lies inside the true mask",
        _energy_in_mask,
        needs=(MASKS,),
    ),
    Metric(
        "empty",
        "empty maps",
        "heatmap",
        _LOCALIZATION,
        "lower",
        "share of heatmaps that are 0 everywhere (no evidence for the class); they count as misses in all of the above",
        lambda sample: not sample.heatmap_hw.any(),
    ),
    Metric(
        "agreement_iou",
        "agreement (IoU)",
        "heatmap",
        _LOCALIZATION,
        "higher",
        "mean IoU between the box head's box and the box of the predicted class's heatmap; needs no label",
        lambda sample: sample.agreement.iou,
        unit="",
        needs=(EXPLAINED, BOX_HEAD),
        of_predicted=True,
    ),
    Metric(
        "agreement_energy",
        "agreement (energy)",
        "heatmap",
        _LOCALIZATION,
        "higher",
        "mean share of that heatmap's heat inside the box head's box; needs no label",
        lambda sample: sample.agreement.energy,
        needs=(EXPLAINED, BOX_HEAD),
        of_predicted=True,
    ),
)
