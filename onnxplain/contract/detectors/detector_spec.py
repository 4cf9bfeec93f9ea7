"""What is known of one detector: its layout, and which of its outputs holds what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from onnxplain.contract.detectors.layout import DetectorLayout
from onnxplain.contract.detectors.table import LAYOUTS
from onnxplain.contract.heads.spec import BOX_COORDINATES
from onnxplain.errors import ModelError, OnnxplainError

LayoutEvidenceKind = Literal[
    "metadata", "stated", "Ultralytics", "Hugging Face", "names", "shapes", "operators", "labels"
]


@dataclass(frozen=True)
class LayoutEvidence:
    """One reason for a layout: its kind, and what was found."""

    kind: LayoutEvidenceKind
    found: str = ""

    def __str__(self) -> str:
        return f"{self.kind}: {self.found}" if self.found else self.kind


@dataclass(frozen=True)
class DetectorSpec:
    """A detector: the name of its layout, and the names of the outputs of each entry of the layout's outputs.

    An entry has one name, or one per level, or none where an optional output is missing. `classes`: number of classes
    without the background; None where each candidate carries its own class, or where it is not known. `candidates`:
    number of candidates per image; None if it is open. `strides`: of the levels, empty where the layout has none.
    `rest`: columns that are not read. `ignored`: outputs that are not read. `labels`: of the classes without the
    background, or none. Raises OnnxplainError for another number of labels than `classes`.
    """

    layout_name: str
    outputs: tuple[tuple[str, ...], ...]
    classes: int | None = None
    candidates: int | None = None
    strides: tuple[int, ...] = ()
    rest: int = 0
    ignored: tuple[str, ...] = ()
    evidence: tuple[LayoutEvidence, ...] = ()
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.layout_name not in LAYOUTS:
            raise ModelError(
                f"detector: found the layout {self.layout_name!r}, expected one of {', '.join(LAYOUTS)}: "
                "use a newer onnxplain"
            )
        levels = len(self.strides)
        for output, names in zip(self.layout.outputs, self.outputs, strict=False):
            expected = levels if output.per_level else 1
            if len(names) != expected and not (output.optional and not names):
                raise ModelError(
                    f"detector: found {len(names)} outputs for {'/'.join(output.columns)}, expected {expected}: "
                    "export the model again"
                )
        if len(self.outputs) != len(self.layout.outputs):
            raise ModelError(
                f"detector: found {len(self.outputs)} groups of outputs, expected the {len(self.layout.outputs)} of "
                f"{self.layout_name}: export the model again"
            )
        if self.labels and self.classes not in (None, len(self.labels)):
            raise OnnxplainError(
                f"labels: found {len(self.labels)}, but the model has {self.classes} classes: give one label per class"
            )

    @property
    def layout(self) -> DetectorLayout:
        """The row of the table."""
        return LAYOUTS[self.layout_name]

    @property
    def no_heads(self) -> str:
        """The line for whoever needs a head of this model."""
        return (
            f"found a detector (layout {self.layout_name}), expected a model with classes: use `onnxplain predict` or "
            "Engine.detect(), which return its boxes"
        )

    @property
    def class_columns(self) -> int | None:
        """C in the numbering of targets: 1 where each candidate carries its own class; None if it is not known."""
        return 1 if self.layout.carries_class else self.classes

    def target(self, candidate: int, column: int) -> int:
        """The number of a scalar: ``candidate · (C + 4) + column``.

        Columns 0 to C − 1 are the classes of the candidate, C to C + 3 its corners x1, y1, x2, y2. Raises ModelError
        if C is not known.
        """
        return candidate * self._columns + column

    def candidate_of(self, target: int) -> tuple[int, int]:
        """The candidate and the column of a target of 0 or more."""
        return divmod(target, self._columns)

    @property
    def _columns(self) -> int:
        if self.class_columns is None:
            raise ModelError(
                "detector: found an open number of classes, expected a number: export the model with fixed sizes"
            )
        return self.class_columns + BOX_COORDINATES

    def label(self, class_id: int) -> str:
        """The label of a class, or its index as text if there is no label for it."""
        return self.labels[class_id] if class_id < len(self.labels) else str(class_id)

    @property
    def output_names(self) -> tuple[str, ...]:
        """The outputs that are read, each once, in the order of the layout."""
        return tuple(dict.fromkeys(name for names in self.outputs for name in names))

    @classmethod
    def of_tree(cls, tree: Mapping[str, Any], labels: Sequence[str]) -> DetectorSpec:
        """From the JSON of the metadata, whose values were checked (`METADATA`)."""
        whole = {name: None if tree.get(name) is None else int(tree[name]) for name in ("classes", "candidates")}
        return cls(
            layout_name=str(tree["layout_name"]),
            outputs=tuple(tuple(map(str, names)) for names in tree["outputs"]),
            strides=tuple(int(stride) for stride in tree.get("strides", ())),
            rest=int(tree.get("rest", 0)),
            ignored=tuple(map(str, tree.get("ignored", ()))),
            evidence=(LayoutEvidence("metadata"),),
            labels=tuple(labels),
            **whole,
        )
