"""The answer of a head as the page shows it: one row per kind of head."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Tree = Mapping[str, Any]


@dataclass(frozen=True)
class ShortAnswer:
    """The model's answer in a word, its score, and the score as text."""

    label: str
    score: float | None
    score_text: str


def short_answer(line: Tree) -> ShortAnswer:
    """Of the default head: the class, all labels that hold, or the best detection; else what is explained."""
    default = next(iter(line["answers"]), None)
    if default is not None and default["kind"] == "detections" and default["detections"]:
        first = default["detections"][0]
        return ShortAnswer(str(first["label"]), first["score"], _score(first["score"]))
    if default is None or default["kind"] not in ("classes", "labels"):
        return ShortAnswer(str(line["label"]), line["score"], shown_score(line))
    best = default["top"][0]
    labels = [str(best["label"])]
    if default["kind"] == "labels":
        labels = [_name(default, default["top"], each) for each in default["top"] if each["above"]]
    return ShortAnswer(", ".join(labels) or "none", best["score"], _score(best["score"]))


def shown_answer(answer: Tree) -> dict[str, Any]:
    """Name, kind and rows of a head, from its entry in a line's ``answers``. A row is its name and its value as text.

    Raises KeyError or TypeError for an answer that was changed.
    """
    rows = _ROWS[answer["kind"]](answer)
    return {"head": str(answer["head"]), "kind": answer["kind"], "rows": [[str(name), text] for name, text in rows]}


def shown_score(line: Tree) -> str:
    """The score of what is explained: a number of a head of values with its unit, else two decimals."""
    answer = next((each for each in line["answers"] if each["head"] == line["head"]), None)
    if answer is not None and answer["kind"] == "values":
        return _number(line["score"], answer["unit"])
    return _score(line["score"])


def _score(score: float | None) -> str:
    if score is None:
        return "–"
    return "<0.01" if 0 < score < 0.005 else f"{score:.2f}"


def _number(number: float | None, unit: str | None) -> str:
    return "–" if number is None else f"{number:.4g} {unit}" if unit else f"{number:.4g}"


def _name(answer: Tree, entries: list[Tree], entry: Tree) -> str:
    """The label; of a head of one entry without a label, the head's name."""
    unnamed = len(entries) == 1 and entry["label"] == str(entry["index"])
    return str(answer["head"] if unnamed else entry["label"])


def _classes(answer: Tree) -> list[tuple[str, str]]:
    return [(each["label"], _score(each["score"])) for each in answer["top"]]


def _labels(answer: Tree) -> list[tuple[str, str]]:
    below = f" (below {answer['min_score']:g})"
    return [
        (_name(answer, answer["top"], each) + ("" if each["above"] else below), _score(each["score"]))
        for each in answer["top"]
    ]


def _values(answer: Tree) -> list[tuple[str, str]]:
    values = answer["values"]
    return [(_name(answer, values, each), _number(each["value"], answer["unit"])) for each in values]


def _box(answer: Tree) -> list[tuple[str, str]]:
    return [("x1, y1, x2, y2", ", ".join("–" if side is None else f"{side:.0f}" for side in answer["xyxy"]))]


def _embedding(answer: Tree) -> list[tuple[str, str]]:
    first = ", ".join(_number(number, None) for number in answer["first"])
    return [
        ("numbers", str(answer["size"])),
        ("norm", _number(answer["norm"], None)),
        ("first", first if len(answer["first"]) == answer["size"] else f"{first}, …"),
    ]


def _mask(answer: Tree) -> list[tuple[str, str]]:
    taken = [(each["label"], f"{each['share']:.1%}") for each in answer["shares"]]
    return taken or [("no class", f"of {answer['classes']}")]


def _detections(answer: Tree) -> list[tuple[str, str]]:
    """Each with its rank among those of its class, as a target names it."""
    seen: Counter[str] = Counter()
    rows = []
    for each in answer["detections"]:
        seen[each["label"]] += 1
        sides = ", ".join(f"{side:.0f}" for side in each["xyxy"])
        rows.append((f"{each['label']}#{seen[each['label']]}", f"{_score(each['score'])} at {sides}"))
    return rows


_ROWS: Mapping[str, Callable[[Tree], list[tuple[str, str]]]] = {
    "classes": _classes,
    "labels": _labels,
    "values": _values,
    "box": _box,
    "embedding": _embedding,
    "mask": _mask,
    "detections": _detections,
}
