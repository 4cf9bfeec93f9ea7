"""What an explanation says of its target: name, label, score, and what the model answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from onnxplain.explainers.aimed.observing import PlacedActivations
from onnxplain.explainers.aimed.placed_target import PlacedTarget
from onnxplain.runtime.answers import Answer, Classes
from onnxplain.runtime.results import Activations, Prediction

if TYPE_CHECKING:
    from onnxplain.runtime.detection.detections import Detection
    from onnxplain.runtime.engine import Engine


@dataclass(frozen=True, eq=False)
class DescribedTarget:
    """The fields of an `Explanation` that belong to its target. `detection`: the target of a detector."""

    target: int
    name: str
    label: str
    score: float
    head: str | None
    answers: tuple[Answer, ...] | None
    prediction: Prediction | None
    detection: Detection | None = None


def describe_target(engine: Engine, placed: PlacedTarget, score: float, answers: Sequence[Answer]) -> DescribedTarget:
    """The words for a settled target. `score`: the shown score of its entry, for a box the coordinate.

    For a box coordinate, label and score are those of the predicted class, where the model has classes.
    """
    against = "" if placed.against is None else engine.target_name(placed.against)
    name = placed.name_of(engine.target_name(placed.index), against)
    prediction, label = prediction_of(answers), placed.label
    if placed.head.kind == "box":
        label = engine.target_name(placed.index)
        if prediction is not None:
            label, score = prediction.label, prediction.score
    return DescribedTarget(placed.index, name, label, score, placed.head.name, tuple(answers), prediction)


def prediction_of(answers: Sequence[Answer]) -> Prediction | None:
    """The best class of the first head of classes; None without one."""
    classes = next((answer for answer in answers if isinstance(answer, Classes)), None)
    return None if classes is None else Prediction.from_scores(classes.scores, classes.head.labels)


def describe_row(engine: Engine, activations: Activations, position: int) -> DescribedTarget:
    """The target of one row of activations."""
    index = int(activations.target[position])
    entry = engine.spec.numbering.entry(index)
    placed = PlacedTarget(index, entry.head, index - entry.index)
    if isinstance(activations, PlacedActivations):
        placed = activations.placed[position]
    scores = activations.scores if activations.entry_scores is None else activations.entry_scores
    score = float(scores[position, index]) if index < scores.shape[1] else float("nan")
    answers = activations.answers[position] if activations.answers else _answers_of(engine, activations, position)
    return describe_target(engine, placed, score, answers)


def _answers_of(engine: Engine, activations: Activations, position: int) -> tuple[Answer, ...]:
    """The answer of the default head, for activations that a method made itself."""
    head = engine.spec.head
    return (Classes(head, np.asarray(activations.scores[position])),) if head.kind == "classes" else ()
