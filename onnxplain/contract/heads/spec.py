"""A head: one answer of a model, what kind it is, and which outputs hold it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from onnxplain.contract.choices import BoxFormat, BoxUnits, check_choice
from onnxplain.errors import ModelError, OnnxplainError

HeadKind = Literal["classes", "labels", "values", "box", "embedding", "mask"]
EvidenceKind = Literal["metadata", "stated", "read", "graph", "assumed"]

BOX_COORDINATES = 4
"""Number of values that a box head returns per image."""


@dataclass(frozen=True)
class BoxSpec:
    """What the four values of a box head mean. Coordinates refer to the model's input image."""

    format: BoxFormat = "cxcywh"
    units: BoxUnits = "normalized"

    def __post_init__(self) -> None:
        check_choice("box format", self.format, BoxFormat)
        check_choice("box units", self.units, BoxUnits)


@dataclass(frozen=True)
class Evidence:
    """How the kind of a head was told.

    `kind`: "metadata" of onnxplain, "stated" by the user, "read" from another tool, told by the end of the "graph", or
    "assumed". `source`: the operator or the tool that says it, such as ``Softmax`` or ``config.json``.
    """

    kind: EvidenceKind
    source: str | None = None

    def __post_init__(self) -> None:
        check_choice("evidence", self.kind, EvidenceKind)


@dataclass(frozen=True)
class ScoreForm:
    """How an output of the model stores its scores: ``score = exp(output) / factor`` if `log`, else output / factor.

    `factor` is 100 for percentages. `channels_last`: a mask [N, h, w, C].
    """

    factor: float = 1.0
    log: bool = False
    channels_last: bool = False


@dataclass(frozen=True)
class HeadSpec:
    """One head of a model.

    `kind` and `size`, the number of values per image: C classes, L labels, K values, 4 box coordinates, D numbers of an
    embedding, C classes of a mask.

    `logits` is the output that is differentiated, float32 [N, size], or [N, C, h, w] for a mask: the logits before
    Softmax or Sigmoid, the values, the box, the embedding. None in a plain file without such an output. `scores` is
    the model's own output with probabilities, stored in `score_form`; None without one.

    `labels`: one per entry of classes, labels, values or a mask, or none. `unit`: the unit of values. `box`: for the
    kind "box" only. `map_size_hw`: height and width of a mask. `sigmoid`: a mask whose classes are independent.
    """

    name: str
    kind: HeadKind
    size: int
    logits: str | None = None
    scores: str | None = None
    score_form: ScoreForm = field(default_factory=ScoreForm)
    labels: tuple[str, ...] = ()
    unit: str | None = None
    box: BoxSpec | None = None
    map_size_hw: tuple[int, int] | None = None
    sigmoid: bool = False
    evidence: Evidence = field(default_factory=lambda: Evidence("metadata"))

    def __post_init__(self) -> None:
        check_choice("head kind", self.kind, HeadKind)
        if self.map_size_hw is not None:
            object.__setattr__(self, "map_size_hw", tuple(int(side) for side in self.map_size_hw))
        if self.logits is None and self.scores is None:
            raise ModelError(
                f"head {self.name}: found neither a logits nor a scores output, expected one: instrument the original "
                "file again"
            )
        if self.size < 1 or (self.kind == "box" and self.size != BOX_COORDINATES):
            raise ModelError(f"head {self.name}: found {self.size} entries, expected 1 or more (4 for a box)")
        if (self.kind == "box") != (self.box is not None) or (self.kind == "mask") != (self.map_size_hw is not None):
            raise ModelError(
                f"head {self.name}: found the kind {self.kind} without what belongs to it (or with what does not), "
                "expected a box format for box, a map size for mask: instrument the original file again"
            )
        if self.labels and (self.kind in ("box", "embedding") or len(self.labels) != self.size):
            owner = _OWNERS[self.kind].format(name=self.name, size=self.size)
            raise OnnxplainError(f"labels: found {len(self.labels)}, but the {owner}: give one label per class")

    @property
    def entries(self) -> int:
        """Number of scalars that can be explained: an embedding has one, its cosine with a reference."""
        return 1 if self.kind == "embedding" else self.size

    def label(self, entry: int) -> str:
        """The label of an entry, or its index as text if there are no labels."""
        return self.labels[entry] if self.labels else str(entry)


_OWNERS = {
    "classes": "model has {size} classes",
    "labels": "head {name} has {size} labels",
    "values": "head {name} has {size} values",
    "mask": "head {name} has {size} classes",
    "box": "head {name} is a box, which takes none",
    "embedding": "head {name} is an embedding, which takes none",
}
