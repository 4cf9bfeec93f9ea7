"""Localization and faithfulness of explanations, and the quality of answers, measured over data sets."""

from onnxplain.evaluation.answers import AnswerEvaluation, evaluate_answers
from onnxplain.evaluation.boxes.evaluate_detections import evaluate_detections
from onnxplain.evaluation.evaluate import evaluate
from onnxplain.evaluation.evaluation import Evaluation, Result
from onnxplain.evaluation.metrics.metric import Metric
from onnxplain.evaluation.metrics.table import METRICS
from onnxplain.evaluation.tally import Estimate

__all__ = [
    "METRICS",
    "AnswerEvaluation",
    "Estimate",
    "Evaluation",
    "Metric",
    "Result",
    "evaluate",
    "evaluate_answers",
    "evaluate_detections",
]
