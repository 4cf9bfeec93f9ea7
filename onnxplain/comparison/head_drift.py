"""How far the answers of one head are apart in two models: the class, the labels that hold, or the numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

from onnxplain.explanations.json_number import json_number
from onnxplain.runtime.answers import Classes, Labels, Values

if TYPE_CHECKING:
    from onnxplain.runtime.answers import Answer
    from onnxplain.runtime.arrays import FloatArray

ComparedAnswer = Classes | Labels | Values
COMPARED_KINDS = ("classes", "labels", "values")
_MOST_NUMBERS = 3


@dataclass(frozen=True)
class ShownAnswer:
    """An answer in a few words: the class, the labels that hold (``none``), or the first numbers with their unit.

    `score`: of the class or of the most probable label; for numbers the first one.
    """

    label: str
    score: float
    text: str


@dataclass(frozen=True)
class HeadDrift:
    """One head of two models. `changed`: whether another class is predicted, or other labels hold.

    It is False for numbers, which only differ, and None where it cannot be told, because the second model lacks the
    class or all labels. `difference`: of the entry that A answers with (the class, the most probable label, the first
    number), second − first; `largest`: the largest difference of any common entry, without its sign. None: no such
    entry in both.
    """

    head: str
    kind: str
    first: ShownAnswer
    second: ShownAnswer
    changed: bool | None
    difference: float | None
    largest: float | None

    def to_json(self) -> dict[str, Any]:
        """Plain data without NaN."""
        return {
            "head": self.head,
            "kind": self.kind,
            "first": {"label": self.first.label, "score": json_number(self.first.score)},
            "second": {"label": self.second.label, "score": json_number(self.second.score)},
            "changed": self.changed,
            "score_difference": _finite(self.difference),
            "largest_difference": _finite(self.largest),
        }


def has_compared_kind(answer: Answer) -> TypeGuard[ComparedAnswer]:
    """Whether answers of this kind are compared."""
    return isinstance(answer, Classes | Labels | Values)


def answered_entry(answer: Answer) -> int:
    """The entry that is explained without a target: the best class, the most probable label, the first number."""
    return int(answer.scores.argmax()) if isinstance(answer, Classes | Labels) else 0


def head_drift(first: ComparedAnswer, second: ComparedAnswer, shared: Mapping[int, int]) -> HeadDrift:
    """Compare two answers of one kind. `shared`: entry of the first head → the same entry of the second."""
    ours, theirs = _numbers(first), _numbers(second)
    entry = answered_entry(first)
    difference = float(theirs[shared[entry]] - ours[entry]) if entry in shared else None
    largest = None
    if shared:
        largest = float(np.abs(theirs[list(shared.values())] - ours[list(shared.keys())]).max())
    changed = _changed(first, second, shared)
    return HeadDrift(
        first.head.name, first.head.kind, in_few_words(first), in_few_words(second), changed, difference, largest
    )


def in_few_words(answer: ComparedAnswer) -> ShownAnswer:
    """The answer in a few words."""
    score = float(_numbers(answer)[answered_entry(answer)])
    if isinstance(answer, Values):
        unit = f" {answer.unit}" if answer.unit else ""
        numbers = [f"{number:.4g}{unit}" for number in answer.numbers[:_MOST_NUMBERS].tolist()]
        text = ", ".join(numbers) + (", …" if len(answer.numbers) > _MOST_NUMBERS else "")
        return ShownAnswer(answer.head.label(0), score, text)
    if isinstance(answer, Labels):
        above = answer.above()
        label = ", ".join(each.label for each in above) or "none"
        if len(answer.scores) == 1 and not answer.head.labels:
            label = answer.head.name if above else "none"
    else:
        label = answer.head.label(answered_entry(answer))
    return ShownAnswer(label, score, f"{label} {score:.2f}")


def _changed(first: ComparedAnswer, second: ComparedAnswer, shared: Mapping[int, int]) -> bool | None:
    if isinstance(first, Values) or isinstance(second, Values):
        return False if shared else None
    if isinstance(first, Labels) and isinstance(second, Labels):
        ours = {shared[each.index] for each in first.above() if each.index in shared}
        theirs = {each.index for each in second.above()} & set(shared.values())
        return ours != theirs if shared else None
    entry = answered_entry(first)
    return shared[entry] != answered_entry(second) if entry in shared else None


def _numbers(answer: ComparedAnswer) -> FloatArray:
    return answer.numbers if isinstance(answer, Values) else answer.scores


def _finite(value: float | None) -> float | None:
    return None if value is None else json_number(value)
