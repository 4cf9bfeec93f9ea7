"""What is asked of every image: each method with each target, checked before the first image is read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from onnxplain.explanations.unique import unique_names

if TYPE_CHECKING:
    from onnxplain.explainers import Explainer
    from onnxplain.runtime import Engine


@dataclass(frozen=True)
class Question:
    """One heatmap of each image.

    `target` is the index to explain, None for the class that the model predicts. `suffix` stands between an
    image's stem and ``.png``, `title` over the picture on a sheet.
    """

    method: str
    explainer: Explainer
    target: int | None
    suffix: str
    title: str


def plan_questions(
    engine: Engine, methods: Sequence[str], targets: Sequence[str], options: Mapping[str, Any]
) -> tuple[Question, ...]:
    """Every method with every target, target by target.

    `options` go to the methods that take them; None leaves a method its default. Raises OnnxplainError for
    methods, targets and layers that do not exist or do not go together.
    """
    from onnxplain.explainers import METHODS, build

    explainers = {}
    for name in dict.fromkeys(methods):
        taken = METHODS[name].options if name in METHODS else ()
        given = {option: value for option, value in options.items() if option in taken and value is not None}
        explainers[name] = build(name, engine, **given)
    asked: dict[int | None, str] = {}
    for text in targets:
        asked.setdefault(engine.resolve_target(text), text)
    for index in asked:
        if index is not None and index >= engine.spec.classes:
            _check_box_target(explainers.values(), index)
    parts = unique_names([_file_part(text) for text in asked.values()])
    several = len(asked) > 1
    questions = []
    for position, (index, text) in enumerate(asked.items() or [(None, "")]):
        for name, explainer in explainers.items():
            suffix = f".{name}.{parts[position]}" if several else f".{name}"
            questions.append(Question(name, explainer, index, suffix, f"{name}: {text}" if several else name))
    return tuple(questions)


def _check_box_target(explainers: Iterable[Explainer], index: int) -> None:
    """Raise what a method that knows classes only has against a box coordinate; the model is not run."""
    for explainer in explainers:
        explainer.check_target(index)


def _file_part(text: str) -> str:
    return re.sub(r"[^\w+-]+", "-", text).strip("-") or "target"
