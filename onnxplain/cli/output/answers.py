"""What a model answers, for JSON and for a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from onnxplain.cli.output.tables import box_text
from onnxplain.explanations.json_number import json_number

if TYPE_CHECKING:
    from onnxplain.runtime.answers import Answer, BoxAnswer, Classes, Embedding, Labels, Mask, ScoredLabel, Values


def answer_tree(answer: Answer, top_k: int, min_score: float) -> dict[str, Any]:
    """The answer of one head, unrounded. Numbers that are not finite are null."""
    return {"head": answer.head.name, "kind": answer.head.kind, **_TREES[answer.head.kind](answer, top_k, min_score)}


def answer_lines(answer: Answer, top_k: int, min_score: float) -> list[tuple[str, str]]:
    """What stands in a table: label and score, one line for each."""
    lines: list[tuple[str, str]] = _LINES[answer.head.kind](answer, top_k, min_score)
    return lines


def score_text(score: float | None) -> str:
    """Three decimals."""
    return "not finite" if score is None else f"{score:.3f}"


def _label_tree(label: ScoredLabel) -> dict[str, Any]:
    return {"index": label.index, "label": label.label, "score": json_number(label.score)}


def _classes_tree(answer: Classes, top_k: int, min_score: float) -> dict[str, Any]:
    return {"top": [_label_tree(label) for label in answer.top(top_k)]}


def _labels_tree(answer: Labels, top_k: int, min_score: float) -> dict[str, Any]:
    shown = answer.top(max(top_k, len(answer.above(min_score))))
    return {
        "min_score": min_score,
        "top": [{**_label_tree(label), "above": label.score >= min_score} for label in shown],
    }


def _values_tree(answer: Values, top_k: int, min_score: float) -> dict[str, Any]:
    return {
        "values": [
            {"index": index, "label": answer.head.label(index), "value": json_number(number)}
            for index, number in enumerate(answer.numbers.tolist())
        ],
        "unit": answer.unit,
    }


def _box_tree(answer: BoxAnswer, top_k: int, min_score: float) -> dict[str, Any]:
    return {"xyxy": [json_number(side) for side in answer.xyxy]}


def _embedding_tree(answer: Embedding, top_k: int, min_score: float) -> dict[str, Any]:
    return {"vector": [json_number(number) for number in answer.vector.tolist()]}


def _mask_tree(answer: Mask, top_k: int, min_score: float) -> dict[str, Any]:
    return {
        "shares": [
            {"index": index, "label": answer.head.label(index), "share": json_number(share)}
            for index, share in enumerate(answer.shares.tolist())
        ]
    }


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


_TREES: dict[str, Any] = {
    "classes": _classes_tree,
    "labels": _labels_tree,
    "values": _values_tree,
    "box": _box_tree,
    "embedding": _embedding_tree,
    "mask": _mask_tree,
}
_LINES: dict[str, Any] = {
    "classes": _classes_lines,
    "labels": _labels_lines,
    "values": _values_lines,
    "box": _box_lines,
    "embedding": _embedding_lines,
    "mask": _mask_lines,
}
