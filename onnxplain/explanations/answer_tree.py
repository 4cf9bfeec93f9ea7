"""What a head answers, as plain data: the whole of it for `predict --json`, a summary for explanations.jsonl."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from onnxplain.explanations.json_number import json_number

if TYPE_CHECKING:
    from collections.abc import Iterable

    from onnxplain.runtime.answers import Answer, BoxAnswer, Classes, Embedding, Labels, Mask, ScoredLabel, Values
    from onnxplain.runtime.detection.detections import Detections

TOP_ENTRIES = 5
FIRST_NUMBERS = 8
"""How many numbers of an embedding a summary holds."""


def answer_tree(answer: Answer, top_k: int, min_score: float) -> dict[str, Any]:
    """The answer of one head, unrounded. Numbers that are not finite are null."""
    return {"head": answer.head.name, "kind": answer.head.kind, **_TREES[answer.head.kind](answer, top_k, min_score)}


def summarise_answers(answers: Iterable[Answer] | None, found: Detections | None = None) -> list[dict[str, Any]]:
    """The answer of each head in a few numbers, or of a detector what it found."""
    if found is None:
        return [summarise_answer(answer) for answer in answers or ()]
    detections = [found[index].as_json() for index in range(len(found))]
    return [{"head": "detections", "kind": "detections", "detections": detections}]


def summarise_answer(answer: Answer) -> dict[str, Any]:
    """The answer of one head in a few numbers, unrounded.

    Of classes, the five best; of labels, also all others that are at least 0.5. Of an embedding its norm and its first
    eight numbers, of a mask the classes that take pixels, largest share first; else as `answer_tree`.
    """
    from onnxplain.runtime.answers import LABEL_THRESHOLD

    summary = _SUMMARIES[answer.head.kind](answer, TOP_ENTRIES, LABEL_THRESHOLD)
    return {"head": answer.head.name, "kind": answer.head.kind, **summary}


def _label_tree(label: ScoredLabel) -> dict[str, Any]:
    return {"index": label.index, "label": label.label, "score": json_number(label.score)}


def _share_tree(label: ScoredLabel) -> dict[str, Any]:
    return {"index": label.index, "label": label.label, "share": json_number(label.score)}


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


def _embedding_summary(answer: Embedding, top_k: int, min_score: float) -> dict[str, Any]:
    import numpy as np

    return {
        "size": len(answer.vector),
        "norm": json_number(float(np.linalg.norm(answer.vector.astype(np.float64)))),
        "first": [json_number(number) for number in answer.vector[:FIRST_NUMBERS].tolist()],
    }


def _mask_tree(answer: Mask, top_k: int, min_score: float) -> dict[str, Any]:
    return {
        "shares": [
            {"index": index, "label": answer.head.label(index), "share": json_number(share)}
            for index, share in enumerate(answer.shares.tolist())
        ]
    }


def _mask_summary(answer: Mask, top_k: int, min_score: float) -> dict[str, Any]:
    taken = int((answer.shares > 0).sum())
    return {"classes": len(answer.shares), "shares": [_share_tree(label) for label in answer.top(taken)]}


_TREES: dict[str, Any] = {
    "classes": _classes_tree,
    "labels": _labels_tree,
    "values": _values_tree,
    "box": _box_tree,
    "embedding": _embedding_tree,
    "mask": _mask_tree,
}
_SUMMARIES: dict[str, Any] = {**_TREES, "embedding": _embedding_summary, "mask": _mask_summary}
