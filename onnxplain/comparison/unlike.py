"""What differs between the descriptions of two models, and what of it cannot be compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from onnxplain.comparison.shared_heads import shared_entries, shared_heads
from onnxplain.contract import HeadSpec, ModelSpec

Aspect = Literal["classes", "labels", "values", "unit", "head", "box", "layer", "method", "input size", "preprocessing"]


_ASPECTS: Mapping[str, Aspect] = {"classes": "classes", "labels": "labels", "values": "values"}


@dataclass(frozen=True)
class Unlike:
    """Something that is not the same in both models. `first`, `second`: what each has, in a few words.

    `compared`: whether the comparison takes it into account (two input sizes do not prevent one), or leaves it out.
    """

    aspect: Aspect
    first: str
    second: str
    compared: bool


def unlike(first: ModelSpec, second: ModelSpec) -> tuple[Unlike, ...]:
    """What differs between the descriptions of two models."""
    found: list[Unlike] = []
    shared = shared_heads(first, second)
    for head in first.heads:
        if head.name in shared:
            found += _unlike_heads(head, shared[head.name], "" if head is first.head else f"{head.name}: ")
    ours = [_described(head) for head in first.heads if head.name not in shared and head.kind != "box"]
    taken = [id(head) for head in shared.values()]
    theirs = [_described(head) for head in second.heads if id(head) not in taken and head.kind != "box"]
    if ours or theirs:
        found.append(Unlike("head", ", ".join(ours) or "none", ", ".join(theirs) or "none", False))
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


def _unlike_heads(first: HeadSpec, second: HeadSpec, name: str) -> Iterator[Unlike]:
    """What differs between two heads of one kind. `name`: stands in front, except for the default head."""
    aspect = _ASPECTS[first.kind]
    common = len(shared_entries(first, second))
    if common < max(first.entries, second.entries):
        both = f"{common} in common"
        yield Unlike(aspect, f"{name}{first.entries}, {both}", f"{name}{second.entries}, {both}", False)
    elif bool(first.labels) != bool(second.labels):
        named = {True: "labels", False: "no labels, compared by number"}
        yield Unlike(aspect, f"{name}{named[bool(first.labels)]}", f"{name}{named[bool(second.labels)]}", True)
    if first.unit != second.unit:
        yield Unlike("unit", f"{name}{first.unit or 'none'}", f"{name}{second.unit or 'none'}", True)


def _described(head: HeadSpec) -> str:
    return f"{head.name}:{head.kind}"


def _text(value: Any) -> str:
    """A part of the preprocessing; numbers without the zeros of their type."""
    if isinstance(value, tuple):
        return ",".join(_text(each) for each in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)
