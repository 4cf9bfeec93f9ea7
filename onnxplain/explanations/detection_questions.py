"""The questions for one image of a detector: the detections that the targets mean in this image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from onnxplain.errors import OnnxplainError
from onnxplain.explanations.questions import Question, name_questions

if TYPE_CHECKING:
    from onnxplain.runtime import Detection, Detections
    from onnxplain.runtime.engine import Engine


@dataclass(frozen=True)
class AskedDetections:
    """The questions about the detections of one image, and a line for each target that is not there."""

    questions: tuple[Question, ...]
    problems: tuple[str, ...] = ()


def ask_detections(engine: Engine, found: Detections, questions: Sequence[Question]) -> AskedDetections:
    """A question for each method and each detection that the questions' targets mean in an image.

    Detections that several targets mean are asked for once. The order is that of the targets, then of the scores.
    """
    from onnxplain.runtime.detection.detection_target import parse_detection_target
    from onnxplain.runtime.detection.detections import Detection

    chosen: dict[Detection, str] = {}
    problems: list[str] = []
    texts = list(dict.fromkeys(question.target_text for question in questions))
    several = len(texts) > 1
    for text in texts:
        target = parse_detection_target(engine.spec, text or None)
        assert not isinstance(target, Detection)  # a text stands for none
        several |= target.every
        try:
            chosen |= {each: each.name for each in target.find(found)}
        except OnnxplainError as error:
            problems.append(str(error))
    if not chosen:
        return AskedDetections((), tuple(dict.fromkeys(problems)))
    methods = {question.method: question.options for question in questions}
    return AskedDetections(name_questions(methods, list(chosen.items()), several=several), tuple(problems))
