"""Which heads two models have in common, and which entries of them: classes, labels, numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from onnxplain.comparison.head_drift import COMPARED_KINDS
from onnxplain.contract import HeadSpec, ModelSpec


def shared_entries(first: HeadSpec, second: HeadSpec) -> dict[int, int]:
    """Entry of the first head → the same entry of the second.

    Entries are the same if their labels are; without labels in one of the heads, if both have as many entries and the
    index is the same. A label that a head has twice is compared only if all labels are equal.
    """
    equal = first.entries == second.entries and (not first.labels or not second.labels)
    if equal or (first.labels and first.labels == second.labels):
        return {index: index for index in range(first.entries)}
    once = _unique(second.labels)
    return {index: once[label] for label, index in _unique(first.labels).items() if label in once}


def shared_heads(first: ModelSpec, second: ModelSpec) -> dict[str, HeadSpec]:
    """Name of a head of the first model → the same head of the second, for the kinds that are compared.

    The default heads are the same if their kinds are; others also have the same name.
    """
    found = {}
    if first.head.kind == second.head.kind and first.head.kind in COMPARED_KINDS:
        found[first.head.name] = second.head
    others = {head.name: head for head in second.heads[1:]}
    for head in first.heads[1:]:
        other = others.get(head.name)
        if other is not None and other.kind == head.kind and head.kind in COMPARED_KINDS:
            found[head.name] = other
    return found


def same_target(first: ModelSpec, second: ModelSpec, target: int) -> int | None:
    """The same entry, or coordinate of the box, in the second model; None if it has none."""
    entry = first.numbering.entry(target)
    if entry.head.kind == "box":
        boxes = first.box_head, second.box_head
        return (
            None if boxes[1] is None or entry.head is not boxes[0] else second.numbering.target(boxes[1], entry.index)
        )
    other = shared_heads(first, second).get(entry.head.name)
    index = None if other is None else shared_entries(entry.head, other).get(entry.index)
    return None if other is None or index is None else second.numbering.target(other, index)


def _unique(labels: tuple[str, ...]) -> Mapping[str, int]:
    counts = Counter(labels)
    return {label: index for index, label in enumerate(labels) if counts[label] == 1}
