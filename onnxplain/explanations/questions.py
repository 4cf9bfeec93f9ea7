"""The questions for every image: each method with each target, checked before the first image is read."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from onnxplain.errors import UnsupportedError
from onnxplain.explanations.unique import shortened, unique_names

if TYPE_CHECKING:
    from onnxplain.explainers import Explainer
    from onnxplain.runtime import Detection, Engine
    from onnxplain.runtime.heads.aim import Aim

# Of a label in the name of a file.
_LONGEST_PART = 80


@dataclass(frozen=True)
class Question:
    """A request for one heatmap of each image, as plain data: it can be pickled, hashed and sent to another process.

    `target`: the index to explain; None: the predicted class; an `Aim` for a target that says more; of a detector, the
    detection once the image is known (`ask_detections`). `target_text`: the target as the user gave it, empty for
    None. `options`: the method's options by name, without callbacks. `suffix`: the part of the file name between the
    image's stem and ``.png``. `title`: the title of the picture on a sheet.
    """

    method: str
    target: int | Aim | Detection | None
    target_text: str
    options: tuple[tuple[str, Any], ...]
    suffix: str
    title: str

    @property
    def explainer_key(self) -> Hashable:
        """Equal for questions that differ only in the target. One explainer answers them all."""
        return self.method, self.options

    def build(self, engine: Engine, progress: Callable[[int, int], None] | None = None) -> Explainer:
        """The explainer that answers the question with this engine. `progress` is passed on if the method takes it.

        Raises OnnxplainError for options that do not fit the method, UnsupportedError if the file lacks what the method
        needs.
        """
        from onnxplain.explainers import build

        callbacks = {"progress": progress} if progress is not None and "progress" in _taken(self.method) else {}
        return build(self.method, engine, **dict(self.options), **callbacks)


def plan_questions(
    engine: Engine,
    methods: Sequence[str],
    targets: Sequence[str],
    options: Mapping[str, Any],
    beside: Aim | None = None,
) -> tuple[Question, ...]:
    """A question for every method and every target, ordered by target.

    `beside`: what stands beside every target, an aim without a target of its own. `options` are passed to the methods
    that take them; None means the method's default. Raises OnnxplainError for methods, targets and layers that do not
    exist or do not fit together, and for an option that no method takes.
    """
    from onnxplain.explainers import build
    from onnxplain.explainers.method_options import divide_options

    chosen = {name: _hashable(given) for name, given in divide_options(methods, options).items()}
    explainers = [build(name, engine, **dict(given)) for name, given in chosen.items()]
    if engine.detector is not None:
        if beside is not None:
            raise UnsupportedError(
                "--against, --like, --region: found one of them for a detector, expected a target alone: leave it out"
            )
        # Which detection a text means depends on the image.
        for text in targets:
            for explainer in explainers:
                explainer.check_target(text)
        return name_questions(chosen, [(None, text) for text in dict.fromkeys(targets)])
    asked: dict[int | Aim | None, str] = {}
    unnamed: list[str | None] = [] if beside is None else [None]
    for asked_text in [*targets] or unnamed:
        asked.setdefault(_target_of(engine, asked_text, beside), asked_text or "")
    for target in asked or [None]:
        for explainer in explainers:
            explainer.check_target(target)
    return name_questions(chosen, list(asked.items()))


def name_questions(
    methods: Mapping[str, tuple[tuple[str, Any], ...]],
    targets: Sequence[tuple[int | Aim | Detection | None, str]],
    *,
    several: bool = False,
) -> tuple[Question, ...]:
    """A question for every method (name and options) and every target (what to explain, and its text).

    With more than one target, or if `several` says that there may be more, the target is a part of file name and title.
    """
    parts = unique_names([_file_part(text) for _, text in targets])
    named = several or len(targets) > 1
    questions = []
    for position, (target, text) in enumerate(targets or [(None, "")]):
        for name, given in methods.items():
            suffix = f".{name}.{parts[position]}" if named else f".{name}"
            questions.append(Question(name, target, text, given, suffix, f"{name}: {text}" if named else name))
    return tuple(questions)


def _target_of(engine: Engine, text: str | None, beside: Aim | None) -> int | Aim:
    """The index that a text means, or an aim where an index does not say everything."""
    from onnxplain.runtime.heads.aim import Aim

    aim = Aim(text) if beside is None else replace(beside, target=text)
    found = engine.parse_target(aim)
    return found.index if found.is_plain else aim


def _hashable(options: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """The options as pairs. Lists become tuples, so that a question is hashable."""
    return tuple((name, tuple(value) if isinstance(value, list) else value) for name, value in options.items())


def _taken(method: str) -> tuple[str, ...]:
    """The options that a method takes. Raises OnnxplainError for an unknown method."""
    from onnxplain.explainers.registry import find_method

    return find_method(method).options


def _file_part(text: str) -> str:
    return shortened(re.sub(r"[^\w+-]+", "-", text).strip("-"), _LONGEST_PART) or "target"
