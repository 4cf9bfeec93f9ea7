"""What was read from other tools' metadata and files, each fact with its source."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Generic, TypeVar

from onnxplain.contract import HeadKind, Layout, PreprocessingParts
from onnxplain.sidecars.problem import SidecarProblem, UnusableError

_Value = TypeVar("_Value")


@dataclass(frozen=True)
class Sourced(Generic[_Value]):
    """A value, and the name of the file or the metadata that says it."""

    value: _Value
    source: str


@dataclass(frozen=True)
class SidecarFacts:
    """What other tools say about a model; None for each fact that no tool says.

    `parts` come from one source alone, because numbers of two tools do not belong together. `input_size_hw` is in
    pixels, `channels` the number of the input's channels. `layout` is the layout that the tool always writes. `task` is
    the tool's own word, such as ``classify``; `model_type` that of Hugging Face, such as ``yolos``. `kind` is the kind
    of the model's answer. `problems` are what was found and not used.
    """

    labels: Sourced[tuple[str, ...]] | None = None
    parts: Sourced[PreprocessingParts] | None = None
    input_size_hw: Sourced[tuple[int, int]] | None = None
    channels: Sourced[int] | None = None
    layout: Sourced[Layout] | None = None
    task: Sourced[str] | None = None
    kind: Sourced[HeadKind] | None = None
    model_type: Sourced[str] | None = None
    problems: tuple[SidecarProblem, ...] = ()

    def over(self, others: SidecarFacts) -> SidecarFacts:
        """These facts, and those of `others` where these say nothing. Where both speak and differ, a problem."""
        values, problems = {}, [*self.problems, *others.problems]
        for name in _FACTS:
            mine, other = getattr(self, name), getattr(others, name)
            values[name] = mine or other
            if mine is not None and other is not None and mine.value != other.value:
                words = _WORDS[name]
                problems.append(SidecarProblem(other.source, f"other {words}", f"the {words} of {mine.source}"))
        return SidecarFacts(**values, problems=tuple(problems))

    def beside(self, *, labels: object, parts: PreprocessingParts, size: object) -> SidecarFacts:
        """These facts without those that the user states: labels and size that are not empty or None, known parts."""
        left = PreprocessingParts() if self.parts is None else self.parts.value.beside(parts)
        return replace(
            self,
            labels=None if labels else self.labels,
            parts=Sourced(left, self.parts.source) if self.parts is not None and left.known else None,
            input_size_hw=None if size else self.input_size_hw,
        )


_FACTS = tuple(fact.name for fact in fields(SidecarFacts) if fact.name != "problems")
_WORDS = {
    "labels": "labels",
    "parts": "preprocessing",
    "input_size_hw": "size of the input",
    "channels": "number of channels",
    "layout": "layout",
    "task": "task",
    "kind": "kind of answer",
    "model_type": "type of model",
}


def unless_unusable(source: str, read: Callable[[], SidecarFacts]) -> SidecarFacts:
    """The facts that `read` returns; a problem of `source` where it raises `UnusableError`."""
    try:
        return read()
    except UnusableError as error:
        return SidecarFacts(problems=(error.at(source),))
