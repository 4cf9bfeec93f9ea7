"""Facts that fit a model. What contradicts it becomes a problem and is not used."""

from __future__ import annotations

from dataclasses import replace

from onnxplain.contract import PreprocessingParts
from onnxplain.sidecars.facts import SidecarFacts, Sourced
from onnxplain.sidecars.problem import SidecarProblem


def size_for(facts: SidecarFacts, declared_hw: tuple[int | None, int | None]) -> tuple[int, int] | None:
    """The input's size that was read, if the graph leaves a side open (None) and fixes no side otherwise."""
    if facts.input_size_hw is None or None not in declared_hw:
        return None
    size_hw = facts.input_size_hw.value
    return size_hw if _agree(declared_hw, size_hw) else None


def fit_input(
    facts: SidecarFacts, channels: int | None, declared_hw: tuple[int | None, int | None], *, takes_bytes: bool
) -> SidecarFacts:
    """The facts that fit an input of this many channels and this size, None where the graph leaves it open.

    `takes_bytes`: the input is uint8, so that its values are pixels and nothing normalises them before.
    """
    problems = list(facts.problems)
    size, counted, parts = facts.input_size_hw, facts.channels, facts.parts
    if size is not None and not _agree(declared_hw, size.value):
        fixed = "x".join("?" if side is None else str(side) for side in declared_hw)
        problems.append(_contradiction(size.source, f"a size of {size.value[0]}x{size.value[1]}", f"{fixed}"))
        size = None
    if counted is not None and channels not in (None, counted.value):
        problems.append(_contradiction(counted.source, f"{counted.value} channels", f"{channels}"))
        counted = None
    if parts is not None:
        fault = _fault(parts, channels, takes_bytes=takes_bytes)
        if fault is not None:
            problems.append(fault)
            parts = None
    return replace(facts, input_size_hw=size, channels=counted, parts=parts, problems=tuple(problems))


def fit_classes(facts: SidecarFacts, classes: int) -> SidecarFacts:
    """The facts that fit a model of so many classes."""
    if facts.labels is None or len(facts.labels.value) == classes:
        return facts
    found = f"{len(facts.labels.value)} labels"
    problem = _contradiction(facts.labels.source, found, f"{classes}, one per class")
    return replace(facts, labels=None, problems=(*facts.problems, problem))


def _fault(parts: Sourced[PreprocessingParts], channels: int | None, *, takes_bytes: bool) -> SidecarProblem | None:
    """Why the preprocessing does not fit the input."""
    said = parts.value
    count = None if said.channels is None else 1 if said.channels == "gray" else 3
    if count is not None and channels not in (None, count):
        return _contradiction(parts.source, f"{said.channels} images", f"{channels} channels")
    numbers = max(len(said.mean or ()), len(said.std or ()))
    if numbers > 1 and channels not in (None, numbers):
        return _contradiction(parts.source, f"mean and std of {numbers} channels", f"{channels} channels")
    neutral = said.scale in (None, 1.0) and not any(said.mean or ()) and all(value == 1 for value in said.std or ())
    if takes_bytes and not neutral:
        return _contradiction(parts.source, "normalised pixels", "pixels 0–255 in uint8")
    return None


def _agree(declared_hw: tuple[int | None, int | None], size_hw: tuple[int, int]) -> bool:
    return all(side in (None, wanted) for side, wanted in zip(declared_hw, size_hw, strict=True))


def _contradiction(source: str, found: str, expected: str) -> SidecarProblem:
    return SidecarProblem(source, found, f"{expected}, as the model has it")
