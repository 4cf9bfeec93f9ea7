"""The metrics of heatmaps that need the model (faithfulness, sanity): one row each."""

from __future__ import annotations

from onnxplain.evaluation.metrics.average_drop import drop, increased
from onnxplain.evaluation.metrics.metric import EXPLAINED, SANITY, Group, Metric
from onnxplain.evaluation.metrics.sanity import shuffled_similarity
from onnxplain.evaluation.sample import HeatmapSample


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


_FAITHFULNESS: tuple[Group, ...] = ("faithfulness",)

FAITHFULNESS_METRICS: tuple[Metric, ...] = (
    Metric(
        "insertion",
        "insertion",
        "heatmap",
        _FAITHFULNESS,
        "higher",
        "area under the softmax score of the predicted class while pixels are inserted into a blurred input (11 "
        "pixels, sigma 5), hottest first, 8 · width per step, at most 1/28 of them (Petsiuk et al. 2018)",
        lambda sample: sample.of_predicted.curves.insertion_auc,
        unit="",
        needs=(EXPLAINED,),
        of_predicted=True,
        curve=lambda sample: sample.of_predicted.curves.insertion,
    ),
    Metric(
        "deletion",
        "deletion",
        "heatmap",
        _FAITHFULNESS,
        "lower",
        "the same while pixels of the normalised input are set to 0",
        lambda sample: sample.of_predicted.curves.deletion_auc,
        unit="",
        needs=(EXPLAINED,),
        of_predicted=True,
        curve=lambda sample: sample.of_predicted.curves.deletion,
    ),
    Metric(
        "average_drop",
        "average drop",
        "heatmap",
        _FAITHFULNESS,
        "lower",
        "mean share of the predicted class's score that is lost if the normalised input is multiplied by the heat "
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
        "share of images whose score rises if the normalised input is multiplied by the heat",
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
        "mean rank correlation with the heatmap of the same class from the model with shuffled weights; near 0 is good "
        "(Adebayo et al. 2018)",
        _similarity,
        unit="",
        needs=(EXPLAINED, SANITY),
        of_predicted=True,
    ),
)
