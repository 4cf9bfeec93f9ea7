"""Localization and faithfulness of explanations, measured over data sets."""

from onnxplain.evaluation.evaluate import evaluate
from onnxplain.evaluation.evaluation import Evaluation, Result
from onnxplain.evaluation.metrics.metric import Metric
from onnxplain.evaluation.metrics.table import METRICS
from onnxplain.evaluation.tally import Estimate

__all__ = ["METRICS", "Estimate", "Evaluation", "Metric", "Result", "evaluate"]
