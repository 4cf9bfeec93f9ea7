"""Which classes two models have in common, and what else of the two differs so that it cannot be compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from onnxplain.contract import ModelSpec

Aspect = Literal["classes", "box", "layer", "method", "input size", "preprocessing"]


@dataclass(frozen=True)
class Unlike:
    """Something that is not the same in both models. `first`, `second`: what each has, in a few words.

    `compared`: whether the comparison takes it into account (two input sizes do not prevent one), or leaves it out.
    """

    aspect: Aspect
    first: str
    second: str
    compared: bool


def shared_classes(first: ModelSpec, second: ModelSpec) -> dict[int, int]:
    """Class of the first model → the same class of the second.

    Classes are the same if their labels are; without labels in one of the models, if both have as many classes and the
    index is the same. A label that a model has twice is compared only if all labels are equal.
    """
    equal = first.classes == second.classes and (not first.labels or not second.labels)
    if equal or (first.labels and first.labels == second.labels):
        return {index: index for index in range(first.classes)}
    once = _unique(second.labels)
    return {index: once[label] for label, index in _unique(first.labels).items() if label in once}


def unlike(first: ModelSpec, second: ModelSpec) -> tuple[Unlike, ...]:
    """What differs between the descriptions of two models."""
    found = []
    shared = shared_classes(first, second)
    if len(shared) < max(first.classes, second.classes):
        both = f"{len(shared)} in common"
        found.append(Unlike("classes", f"{first.classes}, {both}", f"{second.classes}, {both}", False))
    elif bool(first.labels) != bool(second.labels):
        named = {True: "labels", False: "no labels, compared by number"}
        found.append(Unlike("classes", named[bool(first.labels)], named[bool(second.labels)], True))
    if (first.box is None) != (second.box is None):
        has = {True: "none", False: "a box head"}
        found.append(Unlike("box", has[first.box is None], has[second.box is None], False))
    (height, width), (other_height, other_width) = first.input.size_hw, second.input.size_hw
    if (height, width) != (other_height, other_width):
        found.append(Unlike("input size", f"{height}x{width}", f"{other_height}x{other_width}", True))
    parts, others = vars(first.input.preprocessing), vars(second.input.preprocessing)
    for name, value in parts.items():
        if value != others[name]:
            found.append(Unlike("preprocessing", f"{name} {_text(value)}", f"{name} {_text(others[name])}", True))
    return tuple(found)


def _text(value: Any) -> str:
    """A part of the preprocessing; numbers without the zeros of their type."""
    if isinstance(value, tuple):
        return ",".join(_text(each) for each in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _unique(labels: tuple[str, ...]) -> Mapping[str, int]:
    counts = Counter(labels)
    return {label: index for index, label in enumerate(labels) if counts[label] == 1}
