"""Scores of answers that are no single class: average precision of labels, mean absolute error of a number."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from onnxplain.errors import OnnxplainError


def average_precision(scores: npt.NDArray[np.floating], truths: npt.NDArray[np.bool_]) -> float | None:
    """Average precision of one label over N images, in [0, 1]; None if no image shows the label.

    ``Σ_n (R_n − R_{n−1}) · P_n``: the images are taken in the order of their scores, the highest first. After those
    with the n-th distinct score, P_n of the images taken so far show the label, and R_n of the images that show it have
    been taken. Equal scores are taken together, so the order of the images does not matter. Nothing is interpolated
    (Manning, Raghavan, Schütze, Introduction to Information Retrieval, 2008, section 8.4; as scikit-learn's
    `average_precision_score`). `scores`: (N,), any increasing function of the probability; `truths`: (N,). Raises
    OnnxplainError for other shapes, and for scores that are not finite.
    """
    if scores.shape != truths.shape or scores.ndim != 1:
        raise OnnxplainError(f"scores: found shapes {scores.shape} and {truths.shape}, expected (N,) twice")
    if not np.isfinite(scores).all():
        raise OnnxplainError("scores: found NaN or infinity, expected finite values")
    positives = int(truths.sum())
    if not positives:
        return None
    order = np.argsort(-scores, kind="stable")
    last_of_equal = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
    hits = np.cumsum(truths[order])[last_of_equal]
    precision, recall = hits / (last_of_equal + 1), hits / positives
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def mean_average_precision(scores: npt.NDArray[np.floating], truths: npt.NDArray[np.bool_]) -> float | None:
    """The mean of the average precisions of L labels; labels that no image shows do not count.

    `scores`, `truths`: (N, L). None if no image shows any label.
    """
    each = [average_precision(*columns) for columns in zip(scores.T, truths.T, strict=True)]
    known = [value for value in each if value is not None]
    return float(np.mean(known)) if known else None


def mean_absolute_error(values: npt.NDArray[np.floating], truths: npt.NDArray[np.floating]) -> float:
    """The mean of |value − truth|, in the unit of both; float arrays of the same shape, not empty."""
    if values.shape != truths.shape or not values.size:
        raise OnnxplainError(f"values: found shapes {values.shape} and {truths.shape}, expected the same, not empty")
    return float(np.abs(values.astype(np.float64) - truths).mean())
