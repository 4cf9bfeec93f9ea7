"""The table of all metrics, and the choice of some of them."""

from __future__ import annotations

from typing import Literal, get_args

from onnxplain.errors import OnnxplainError
from onnxplain.evaluation.metrics.faithfulness_metrics import FAITHFULNESS_METRICS
from onnxplain.evaluation.metrics.localization_metrics import LOCALIZATION_METRICS
from onnxplain.evaluation.metrics.metric import Metric

METRICS: tuple[Metric, ...] = (*LOCALIZATION_METRICS, *FAITHFULNESS_METRICS)

MetricChoice = Literal["localization", "faithfulness", "all"]


def choose_metrics(choice: str, *, sanity: bool = False, masks: bool = False) -> tuple[Metric, ...]:
    """The rows for a value of ``--metrics``; with `sanity`, also those of the sanity check; with `masks`, those of
    localization that compare with true masks.

    Raises OnnxplainError for another choice.
    """
    groups = groups_of(choice)
    groups |= {"masks"} if masks and "localization" in groups else set()
    groups |= {"sanity"} if sanity else set()
    return tuple(metric for metric in METRICS if groups & set(metric.groups))


def groups_of(choice: str) -> set[str]:
    """The groups of metrics that a value of ``--metrics`` means. Raises OnnxplainError for another value."""
    if choice not in get_args(MetricChoice):
        raise OnnxplainError(f"metrics: found {choice!r}, expected one of {', '.join(get_args(MetricChoice))}")
    return {"localization", "faithfulness"} if choice == "all" else {choice}
