"""Targets as users write them: a label, an index, a head and its entry, and what may stand around them.

    LABEL  INDEX  HEAD:LABEL  HEAD:INDEX  HEAD  box:0 … box:3  not:TARGET  LABEL@X,Y

An exact label wins over any syntax. INDEX counts over all heads, ``HEAD:INDEX`` within one. HEAD alone is enough for a
head of one entry.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from onnxplain.contract import BOX_COORDINATES, PREDICTED, HeadSpec, ModelSpec
from onnxplain.errors import OnnxplainError
from onnxplain.runtime.box import Corners
from onnxplain.runtime.detection.detections import Detection
from onnxplain.runtime.heads.aim import Aim
from onnxplain.runtime.heads.target_names import BOX_PREFIX, describe_targets, target_count

if TYPE_CHECKING:
    from onnxplain.runtime.image import ImageLike

Target = int | str | Aim | Detection | None
NOT_PREFIX, PIXEL_MARK = "not:", "@"
_MOST_SIMILAR = 5


@dataclass(frozen=True)
class ResolvedTarget:
    """What is explained.

    `index`: an entry of the numbering, or −1, the default head's best entry. `sign`: −1 for ``not:``, which explains
    −y. `against`: the entry whose y is subtracted; None for none. `pixel_xy`: for a mask, the pixel of the original
    image whose connected region is explained; None: the whole mask, or a region that is given beside the target.
    `head`: the head of the entry.
    """

    index: int
    head: HeadSpec
    sign: int = 1
    against: int | None = None
    pixel_xy: tuple[float, float] | None = None
    like: ImageLike | None = None
    region: Corners | None = None

    @property
    def needs_reference(self) -> bool:
        """Whether it is a cosine with a reference."""
        return self.head.kind == "embedding"

    @property
    def takes_region(self) -> bool:
        """Whether it is a mean over a region."""
        return self.head.kind == "mask"

    @property
    def is_plain(self) -> bool:
        """Whether the index alone says everything."""
        return self.is_single and self.pixel_xy is None and self.like is None and self.region is None

    @property
    def is_single(self) -> bool:
        """Whether it is one entry, neither negated nor compared with another."""
        return self.sign == 1 and self.against is None


def parse_target(spec: ModelSpec, target: Target, against: int | str | None = None) -> ResolvedTarget:
    """The target that a user means. `against`: the entry to compare with, of the same head; None: none.

    Raises OnnxplainError for what does not exist, for two entries that cannot be compared, and for a reference image or
    a region beside an entry of another kind. The message lists similar labels.
    """
    if not isinstance(target, Aim):
        return _compared(spec, _parse(spec, target), against)
    if against is not None:
        raise OnnxplainError("against: found it beside an Aim, expected it in the Aim")
    found = _parse(spec, target.target if target.target is not None else _meant_head(spec, target))
    if target.like is not None and not found.needs_reference:
        raise OnnxplainError(
            f"like: found it for {_kind_of(found)}, expected an embedding: {_of_kind(spec, 'embedding')}"
        )
    if target.region is not None and not found.takes_region:
        raise OnnxplainError(
            f"region: found it for {_kind_of(found)}, expected a class of a mask: {_of_kind(spec, 'mask')}"
        )
    if target.region is not None and found.pixel_xy is not None:
        raise OnnxplainError(f"region: found it beside {target.target!r}, expected one of the two: leave out @X,Y")
    found = _compared(spec, found, target.against)
    return replace(found, like=target.like, region=target.region)


def _meant_head(spec: ModelSpec, aim: Aim) -> str | None:
    """The head that a reference image is for, if it is the only embedding; else None, the default head."""
    embeddings = [head.name for head in spec.heads if head.kind == "embedding"]
    return embeddings[0] if aim.like is not None and len(embeddings) == 1 else None


def _kind_of(found: ResolvedTarget) -> str:
    return f"an entry of the head {found.head.name} ({found.head.kind})"


def _of_kind(spec: ModelSpec, kind: str) -> str:
    names = [head.name for head in spec.heads if head.kind == kind]
    if not names:
        return "the model has none, leave it out"
    return f"name the target, {'HEAD' if kind == 'embedding' else 'HEAD:LABEL'} with HEAD {' or '.join(names)}"


def _compared(spec: ModelSpec, found: ResolvedTarget, against: int | str | None) -> ResolvedTarget:
    if against is None:
        return found
    other = _parse(spec, against)
    if not other.is_plain or other.index == PREDICTED:
        raise OnnxplainError(f"against: found {against!r}, expected a label or an index: leave out not: and @")
    if other.head is not found.head:
        raise OnnxplainError(
            f"against: found {against!r} of head {other.head.name}, expected an entry of {found.head.name}, the head "
            "of the target"
        )
    if other.index == found.index:
        raise OnnxplainError(f"against: found {against!r}, the target itself, expected another entry")
    return replace(found, against=other.index)


def _parse(spec: ModelSpec, target: int | str | Detection | None) -> ResolvedTarget:
    if target is None:
        return _indexed(spec, PREDICTED)
    if isinstance(target, str):
        return _parse_text(spec, target)
    if isinstance(target, bool | np.bool_) or not isinstance(target, int | np.integer):
        raise OnnxplainError(f"target: found {target!r}, expected a class index, a label or box:0 … box:3")
    return _indexed(spec, int(target))


def _indexed(spec: ModelSpec, index: int) -> ResolvedTarget:
    if index == PREDICTED and spec.head.kind == "box":
        raise OnnxplainError("target: found none, expected box:0 … box:3: the model's answer is a box")
    if not PREDICTED <= index < target_count(spec):
        raise OnnxplainError(f"target: found {index}, expected {describe_targets(spec)}")
    return ResolvedTarget(index, spec.head if index == PREDICTED else spec.numbering.entry(index).head)


def _parse_text(spec: ModelSpec, text: str) -> ResolvedTarget:
    found = _labelled(spec, text)
    if found is None and spec.box_head is not None and text.startswith(BOX_PREFIX):
        found = _box_coordinate(spec, spec.box_head, text)
    if found is None:
        found = _of_named_head(spec, text)
    if found is not None:
        return _indexed(spec, found)
    if text.startswith(BOX_PREFIX):
        what = "a class" if spec.head.kind == "classes" else "another target"
        raise OnnxplainError(f"target: found {text!r}, expected {what}: the model has no box head")
    if text.startswith(NOT_PREFIX):
        inner = _parse_text(spec, text.removeprefix(NOT_PREFIX))
        if inner.sign < 0:
            raise OnnxplainError(f"target: found {text!r}, expected {NOT_PREFIX} once")
        return replace(inner, sign=-1)
    if PIXEL_MARK in text:
        return _at_pixel(spec, text)
    try:
        index = int(text)
    except ValueError:
        near = near_labels(spec, text)
        hint = f"; similar labels: {'; '.join(near)}" if near else ""
        raise OnnxplainError(f"target: found {text!r}, expected {describe_targets(spec)}{hint}") from None
    return _indexed(spec, index)


def _labelled(spec: ModelSpec, text: str) -> int | None:
    """The entry with this label: of the default head, else of the only other head that has it."""
    found = [(head, _entries_of(head, text)) for head in spec.heads]
    found = [(head, entries) for head, entries in found if entries]
    if not found:
        return None
    own = [(head, entries) for head, entries in found if head is spec.head] or found
    if len(own) > 1:
        options = ", ".join(f"{head.name}:{text}" for head, _ in own)
        raise OnnxplainError(f"target: found {text!r}, a label of several heads, expected one: give {options}")
    ((head, entries),) = own
    return _only(spec, head, text, entries)


def _only(spec: ModelSpec, head: HeadSpec, text: str, entries: Sequence[int]) -> int:
    if len(entries) > 1:
        indices = ", ".join(str(spec.numbering.target(head, entry)) for entry in entries)
        what = "classes" if head.kind in ("classes", "mask") else head.kind
        raise OnnxplainError(f"target: found {text!r}, the label of several {what}, expected one: give index {indices}")
    return spec.numbering.target(head, entries[0])


def _entries_of(head: HeadSpec, label: str) -> list[int]:
    return [entry for entry, each in enumerate(head.labels) if each == label]


def _of_named_head(spec: ModelSpec, text: str) -> int | None:
    """``HEAD``, ``HEAD:LABEL`` or ``HEAD:INDEX``; None where the text does not begin with the name of a head."""
    for head in sorted(spec.heads, key=lambda each: -len(each.name)):
        if text == head.name:
            if head.entries > 1:
                last = head.entries - 1
                raise OnnxplainError(
                    f"target: found {text!r}, a head of {head.entries} entries, expected one of them: give "
                    f"{head.name}:0 … {head.name}:{last}{' or a label' if head.labels else ''}"
                )
            return spec.numbering.target(head, 0)
        if text.startswith(f"{head.name}:"):
            rest = text.removeprefix(f"{head.name}:").partition(PIXEL_MARK)
            if rest[1] and not _entries_of(head, "".join(rest)):
                continue
            return _entry_in(spec, head, "".join(rest))
    return None


def _entry_in(spec: ModelSpec, head: HeadSpec, text: str) -> int:
    entries = _entries_of(head, text)
    if entries:
        return _only(spec, head, text, entries)
    if text.isdecimal() and int(text) < head.entries:
        return spec.numbering.target(head, int(text))
    near = _near(head.labels, text)
    hint = f"; similar labels: {'; '.join(near)}" if near else ""
    label = "a label of it or " if head.labels else ""
    raise OnnxplainError(
        f"target: found {text!r} of head {head.name}, expected {label}an index from 0 to {head.entries - 1}{hint}"
    )


def _box_coordinate(spec: ModelSpec, head: HeadSpec, text: str) -> int:
    coordinate = text.removeprefix(BOX_PREFIX)
    if coordinate not in {str(number) for number in range(BOX_COORDINATES)}:
        raise OnnxplainError(f"target: found {text!r}, expected box:0, box:1, box:2 or box:3")
    return spec.numbering.target(head, int(coordinate))


def _at_pixel(spec: ModelSpec, text: str) -> ResolvedTarget:
    label, _, place = text.rpartition(PIXEL_MARK)
    try:
        x, y = (float(number) for number in place.split(","))
    except ValueError:
        x = y = math.nan
    if not (math.isfinite(x) and math.isfinite(y)):
        raise OnnxplainError(f"target: found {text!r}, expected LABEL@X,Y with a pixel of the image")
    inner = _parse_text(spec, label)
    if inner.head.kind != "mask" or inner.pixel_xy is not None or inner.index == PREDICTED:
        masks = ", ".join(head.name for head in spec.heads if head.kind == "mask")
        which = f"a class of the mask {masks}" if masks else "a target without @: the model has no mask"
        raise OnnxplainError(f"target: found {text!r}, expected {which}")
    return replace(inner, pixel_xy=(x, y))


def near_labels(spec: ModelSpec, text: str) -> list[str]:
    """Similar labels: of the default head or a detector as they are, of others with the name of their head."""
    own = _near(spec.labels, text)
    others = [f"{head.name}:{label}" for head in spec.heads[1:] for label in _near(head.labels, text)]
    return [*own, *others][:_MOST_SIMILAR]


def _near(labels: Sequence[str], text: str) -> list[str]:
    lowered = {label.lower(): label for label in labels}
    contains = [label for low, label in lowered.items() if text.lower() in low]
    close = [lowered[low] for low in difflib.get_close_matches(text.lower(), lowered)]
    return list(dict.fromkeys(contains + close))[:_MOST_SIMILAR]
