"""What a model answers, for a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from onnxplain.cli.output.tables import box_text
from onnxplain.explanations.json_number import json_number

if TYPE_CHECKING:
    from onnxplain.runtime.answers import Answer, BoxAnswer, Classes, Embedding, Labels, Mask, Values


def answer_lines(answer: Answer, top_k: int, min_score: float) -> list[tuple[str, str]]:
    """What stands in a table: label and score, one line for each."""
    lines: list[tuple[str, str]] = _LINES[answer.head.kind](answer, top_k, min_score)
    return lines


def score_text(score: float | None) -> str:
    """Three decimals."""
    return "not finite" if score is None else f"{score:.3f}"


def _classes_lines(answer: Classes, top_k: int, min_score: float) -> list[tuple[str, str]]:
    return [(label.label, score_text(json_number(label.score))) for label in answer.top(top_k)]


def _labels_lines(answer: Labels, top_k: int, min_score: float) -> list[tuple[str, str]]:
    one = len(answer.scores) == 1 and not answer.head.labels
    lines = []
    for label in answer.top(max(top_k, len(answer.above(min_score)))):
        below = "" if label.score >= min_score else f" (below {min_score:g})"
        name = answer.head.name if one else label.label
        lines.append((f"{name}{below}", score_text(json_number(label.score))))
    return lines


def _values_lines(answer: Values, top_k: int, min_score: float) -> list[tuple[str, str]]:
    unit = f" {answer.unit}" if answer.unit else ""
    one = len(answer.numbers) == 1 and not answer.head.labels
    return [
        (answer.head.name if one else answer.head.label(index), f"{number:g}{unit}")
        for index, number in enumerate(answer.numbers.tolist())
    ]


def _box_lines(answer: BoxAnswer, top_k: int, min_score: float) -> list[tuple[str, str]]:
    return [("x1,y1,x2,y2", box_text(answer.xyxy))]


def _embedding_lines(answer: Embedding, top_k: int, min_score: float) -> list[tuple[str, str]]:
    return [(f"vector of {len(answer.vector)} numbers", "")]


def _mask_lines(answer: Mask, top_k: int, min_score: float) -> list[tuple[str, str]]:
    return [(label.label, f"{label.score:.1%}") for label in answer.top(top_k)]


_LINES: dict[str, Any] = {
    "classes": _classes_lines,
    "labels": _labels_lines,
    "values": _values_lines,
    "box": _box_lines,
    "embedding": _embedding_lines,
    "mask": _mask_lines,
}
