"""Every metric, one row each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from onnxplain.errors import OnnxplainError
from onnxplain.evaluation.average_drop import drop, increased
from onnxplain.evaluation.max_box_accuracy import V2_IOUS
from onnxplain.evaluation.metric import (
    BOX_HEAD,
    BOXES,
    EXPLAINED,
    LABELS,
    MORE_THAN_FIVE,
    SANITY,
    Facts,
    Group,
    Kind,
    Measured,
    Metric,
)
from onnxplain.evaluation.pointing import TOLERANCE, energy_in_boxes, pointing_hit
from onnxplain.evaluation.sample import BoxSample, HeatmapSample, Sample
from onnxplain.evaluation.sanity import shuffled_similarity
from onnxplain.evaluation.statistic import BEST_LEVEL, BEST_LEVEL_PER_IOU

HIT_IOU = 0.5
MetricChoice = Literal["localization", "faithfulness", "all"]


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


def _drop(sample: HeatmapSample) -> float:
    asked = sample.of_predicted
    return drop(asked.explanation.score, asked.explained_score)


def _increased(sample: HeatmapSample) -> bool:
    asked = sample.of_predicted
    return increased(asked.explanation.score, asked.explained_score)


def _similarity(sample: HeatmapSample) -> float:
    asked = sample.of_predicted
    assert asked.other is not None
    return shuffled_similarity(asked.explanation, asked.other)


_LOCALIZATION: tuple[Group, ...] = ("localization",)
_FAITHFULNESS: tuple[Group, ...] = ("faithfulness",)
_ALWAYS: tuple[Group, ...] = get_args(Group)

METRICS: tuple[Metric, ...] = (
    Metric(
        "top1",
        "top-1",
        "prediction",
        _ALWAYS,
        "higher",
        "share of images whose label has the highest score",
        _top1,
        needs=(LABELS,),
    ),
    Metric(
        "top5",
        "top-5",
        "prediction",
        _ALWAYS,
        "higher",
        "share of images whose label is among the five highest scores",
        _top5,
        needs=(LABELS, MORE_THAN_FIVE),
    ),
    Metric(
        "mean_iou",
        "mean IoU",
        "box",
        _LOCALIZATION,
        "higher",
        "mean intersection over union of the box with the nearest true box",
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
        "share of boxes whose IoU with the nearest true box is at least 0.5, whatever the predicted class",
        lambda sample: sample.iou >= HIT_IOU,
        needs=(BOXES,),
    ),
    Metric(
        "top1_loc",
        "top-1 localization",
        "box",
        _LOCALIZATION,
        "higher",
        "share of images with the right class and a box of IoU ≥ 0.5",
        _hit_and_right,
        needs=(LABELS, BOXES),
    ),
    Metric(
        "mean_iou",
        "mean IoU",
        "heatmap",
        _LOCALIZATION,
        "higher",
        "mean IoU of the box of the heatmap's largest region, cut at the method's own threshold, with the nearest true "
        "box",
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
        "share of images where that IoU is at least 0.5, the heatmap being that of the label",
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
        needs=(LABELS, BOXES),
    ),
    Metric(
        "mean_iou_stable",
        "mean IoU, stable",
        "heatmap",
        _LOCALIZATION,
        "higher",
        "as mean IoU, cut where the box changes least between levels, chosen without labels",
        lambda sample: sample.iou_stable,
        unit="",
        needs=(BOXES,),
        column="iou_stable",
    ),
    Metric(
        "gt_known_stable",
        "IoU ≥ 0.5, stable",
        "heatmap",
        _LOCALIZATION,
        "higher",
        "as GT-known, cut where the box changes least between levels",
        lambda sample: sample.iou_stable >= HIT_IOU,
        needs=(BOXES,),
    ),
    Metric(
        "maxboxacc",
        "MaxBoxAcc",
        "heatmap",
        _LOCALIZATION,
        "higher",
        "share of images whose largest region has IoU ≥ 0.5, at the one level for the whole data set where the share "
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
        "the same with any region, each IoU at its own best level, mean over IoU 0.3, 0.5 and 0.7",
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
        "agreement_iou",
        "agreement, IoU",
        "heatmap",
        _LOCALIZATION,
        "higher",
        "mean IoU of the box head's box with that of the heatmap of the predicted class; needs no label",
        lambda sample: sample.agreement.iou,
        unit="",
        needs=(EXPLAINED, BOX_HEAD),
        of_predicted=True,
    ),
    Metric(
        "agreement_energy",
        "agreement, energy",
        "heatmap",
        _LOCALIZATION,
        "higher",
        "mean share of that heatmap's heat inside the box head's box; needs no label",
        lambda sample: sample.agreement.energy,
        needs=(EXPLAINED, BOX_HEAD),
        of_predicted=True,
    ),
    Metric(
        "insertion",
        "insertion",
        "heatmap",
        _FAITHFULNESS,
        "higher",
        "area under the softmax score of the predicted class while pixels, hottest first, 8 · width a step, are put "
        "into a blurred input (11 pixels, sigma 5; Petsiuk et al. 2018)",
        lambda sample: sample.of_predicted.curves.insertion_auc,
        unit="",
        needs=(EXPLAINED,),
        of_predicted=True,
    ),
    Metric(
        "deletion",
        "deletion",
        "heatmap",
        _FAITHFULNESS,
        "lower",
        "the same while pixels are set to 0 of the normalised input",
        lambda sample: sample.of_predicted.curves.deletion_auc,
        unit="",
        needs=(EXPLAINED,),
        of_predicted=True,
    ),
    Metric(
        "average_drop",
        "average drop",
        "heatmap",
        _FAITHFULNESS,
        "lower",
        "mean share of the predicted class's score that is lost where the normalised input is multiplied by the heat "
        "(Chattopadhay et al. 2018)",
        _drop,
        needs=(EXPLAINED,),
        of_predicted=True,
    ),
    Metric(
        "increase",
        "increase",
        "heatmap",
        _FAITHFULNESS,
        "higher",
        "share of images whose score is higher that way",
        _increased,
        needs=(EXPLAINED,),
        of_predicted=True,
    ),
    Metric(
        "sanity",
        "sanity",
        "heatmap",
        ("sanity",),
        "lower",
        "mean rank correlation with the heatmap of the same class by the file with shuffled weights; near 0 is good "
        "(Adebayo et al. 2018)",
        _similarity,
        unit="",
        needs=(EXPLAINED, SANITY),
        of_predicted=True,
    ),
)


def choose_metrics(choice: str, *, sanity: bool = False) -> tuple[Metric, ...]:
    """The rows that ``--metrics`` asks for; those of the sanity check where there is a file for it.

    Raises OnnxplainError for another choice.
    """
    if choice not in get_args(MetricChoice):
        raise OnnxplainError(f"metrics: found {choice!r}, expected one of {', '.join(get_args(MetricChoice))}")
    groups = {"localization", "faithfulness"} if choice == "all" else {choice}
    groups |= {"sanity"} if sanity else set()
    return tuple(metric for metric in METRICS if groups & set(metric.groups))


def measurable(metrics: Sequence[Metric], kind: Kind, facts: Facts) -> tuple[Metric, ...]:
    """Those of a kind that these facts allow."""
    return tuple(metric for metric in metrics if metric.kind == kind and not metric.missing(facts))
