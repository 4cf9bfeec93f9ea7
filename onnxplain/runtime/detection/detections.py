"""The answer of a detector for one image: a frozen value whose shapes are checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from onnxplain.errors import OnnxplainError
from onnxplain.runtime.arrays import FloatArray
from onnxplain.runtime.box import Corners

if TYPE_CHECKING:
    import supervision

BoxSide = Literal["x1", "y1", "x2", "y2"]

DEFAULT_MIN_SCORE, DEFAULT_MAX_IOU = 0.25, 0.45
"""The score that a detection needs, and the overlap with a better one of its class that it may have."""


@dataclass(frozen=True)
class Detection:
    """One detection of an image, as plain data.

    `xyxy`: x1, y1, x2, y2 in pixels of the original image. `candidate`: which of the model's candidates it is. `rank`:
    1 for the best detection of its class in the image, 2 for the second. `side`: as a target, the coordinate of the box
    that is explained, in pixels of the model's input; None: the score.
    """

    xyxy: Corners
    score: float
    class_id: int
    label: str
    candidate: int
    rank: int = 1
    side: BoxSide | None = None

    @property
    def name(self) -> str:
        """The target that stands for it: ``dog#2``, ``dog#2:x1``."""
        return f"{self.label}#{self.rank}" if self.side is None else f"{self.label}#{self.rank}:{self.side}"

    def as_json(self) -> dict[str, Any]:
        """The fields without rank and side, for a JSON file."""
        return {
            "xyxy": list(self.xyxy),
            "score": self.score,
            "class_id": self.class_id,
            "label": self.label,
            "candidate": self.candidate,
        }


def read_detection(tree: Mapping[str, Any], name: str) -> Detection:
    """The detection that `Detection.as_json` wrote, with the rank and the side that its `name` says."""
    x1, y1, x2, y2 = (float(side) for side in tree["xyxy"])
    rank, _, said = name.rpartition("#")[2].partition(":")
    side = next((each for each in get_args(BoxSide) if each == said), None)
    return Detection(
        (x1, y1, x2, y2), tree["score"], tree["class_id"], tree["label"], tree["candidate"], int(rank), side
    )


@dataclass(frozen=True, eq=False)
class Detections:
    """The detections of one image, M of them, best first.

    `xyxy`: float32 (M, 4), x1, y1, x2, y2 in pixels of the original image, clipped to it. `confidence`: float32 (M,).
    `class_id`: int64 (M,), from 0, the background not counted. `candidate`: int64 (M,), which of the model's
    candidates it is: row, query or cell in the order of its outputs. `labels`: the names of all classes, empty if they
    are not known. `best_score`: the largest score of any candidate, also of those below the threshold; NaN if there is
    none. `unusable`: candidates that were left out because a number was not finite or the box had no area in the image.
    `score_step`: to which steps a file of eight bits rounds its scores; 0 for others.
    """

    xyxy: FloatArray
    confidence: FloatArray
    class_id: npt.NDArray[np.int64]
    candidate: npt.NDArray[np.int64]
    labels: tuple[str, ...] = ()
    best_score: float = float("nan")
    unusable: int = 0
    score_step: float = 0.0

    def __post_init__(self) -> None:
        count = len(self.xyxy)
        for name, shape in (
            ("xyxy", (count, 4)),
            ("confidence", (count,)),
            ("class_id", (count,)),
            ("candidate", (count,)),
        ):
            found = getattr(self, name).shape
            if found != shape:
                raise OnnxplainError(f"detections {name}: found shape {found}, expected {shape}")

    def __len__(self) -> int:
        return len(self.xyxy)

    def __repr__(self) -> str:
        shown = ", ".join(f"{self.label(index)} {self.confidence[index]:.2f}" for index in range(min(len(self), 3)))
        return f"Detections({len(self)}: {shown}{', …' if len(self) > 3 else ''})" if len(self) else "Detections(0)"

    def __getitem__(self, index: int) -> Detection:
        x1, y1, x2, y2 = (float(side) for side in self.xyxy[index])
        return Detection(
            xyxy=(x1, y1, x2, y2),
            score=float(self.confidence[index]),
            class_id=int(self.class_id[index]),
            label=self.label(index),
            candidate=int(self.candidate[index]),
            rank=1 + int(np.count_nonzero(self.class_id[: index % len(self)] == self.class_id[index])),
        )

    def label(self, index: int) -> str:
        """The label of a detection's class, or the class's index as text if there is no label for it."""
        class_id = int(self.class_id[index])
        return self.labels[class_id] if class_id < len(self.labels) else str(class_id)

    def to_supervision(self) -> supervision.Detections:
        """The same for Roboflow's supervision; `data` holds ``class_name`` and ``candidate``.

        Raises OnnxplainError if that package is not installed.
        """
        try:
            import supervision
        except ImportError as error:
            raise OnnxplainError(
                "supervision: found no such package, expected it for to_supervision(): run pip install supervision"
            ) from error
        names = np.array([self.label(index) for index in range(len(self))], np.str_)
        return supervision.Detections(
            xyxy=self.xyxy,
            confidence=self.confidence,
            class_id=self.class_id,
            data={"class_name": names, "candidate": self.candidate},
        )
