"""Targets of detectors: which of an image's detections to explain, from the text that a user gives."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import get_args

import numpy as np

from onnxplain.contract import ModelSpec
from onnxplain.errors import OnnxplainError, UnsupportedError
from onnxplain.runtime.detection.detections import BoxSide, Detection, Detections
from onnxplain.runtime.heads.aim import Aim
from onnxplain.runtime.heads.target_text import Target, near_labels

ALL_DETECTIONS = "all"
FORMS = "LABEL, INDEX, LABEL#2, #3, X,Y, LABEL#1:x1 or all"

_SIDE = re.compile(rf"(?P<rest>.+):(?P<side>{'|'.join(get_args(BoxSide))})")
_RANK = re.compile(r"(?P<rest>.*)#(?P<rank>\d+)")
_POINT = re.compile(r"(?P<x>\d+(?:\.\d*)?),\s*(?P<y>\d+(?:\.\d*)?)")
# Detections that an error lists at most.
_LISTED = 10


@dataclass(frozen=True)
class DetectionTarget:
    """A request for detections, before an image is seen.

    `rank`: the first, second … by score, of `class_id` or, if that is None, of all. `point_xy`: the smallest box around
    this pixel of the image. `every`: all detections. `side`: one coordinate of the box, instead of the score. `text`:
    what the user gave.
    """

    text: str = ""
    class_id: int | None = None
    rank: int = 1
    point_xy: tuple[float, float] | None = None
    every: bool = False
    side: BoxSide | None = None

    def find(self, found: Detections) -> list[Detection]:
        """The detections of an image that are asked for; one, unless `every` is set.

        Raises OnnxplainError if there are none. The message lists what was found in the image.
        """
        if not len(found):
            raise OnnxplainError(_none_found(found))
        if self.every:
            return [found[index] for index in range(len(found))]
        if self.point_xy is not None:
            rows = _around(found, self.point_xy)[:1]
        else:
            chosen = range(len(found)) if self.class_id is None else np.flatnonzero(found.class_id == self.class_id)
            rows = [int(index) for index in chosen][self.rank - 1 : self.rank]
        if not rows:
            raise OnnxplainError(f"target: found {self.text!r}, expected one of {_list(found)}")
        return [replace(found[rows[0]], side=self.side)]


def parse_detection_target(spec: ModelSpec, target: Target) -> DetectionTarget | Detection:
    """The request that a target stands for; a `Detection` stands for itself.

    None: the best detection. A label (an exact match wins over any syntax) or class index: the best of this class.
    ``dog#2``: its second by score. ``#3``: the third of all. ``120,85``: the smallest box around this pixel. ``all``:
    every detection. ``dog#1:x1``: a coordinate of a box. Raises OnnxplainError for anything else.
    """
    if isinstance(target, Aim):
        if target.is_bare:
            return parse_detection_target(spec, target.target)
        raise UnsupportedError(
            "target: found against, like or region for a detector, expected a detection alone: leave it out"
        )
    if target is None or isinstance(target, Detection):
        return DetectionTarget() if target is None else target
    if isinstance(target, bool | np.bool_) or not isinstance(target, int | np.integer | str):
        raise OnnxplainError(f"target: found {target!r}, expected {FORMS}, or a Detection")
    if not isinstance(target, str):
        return DetectionTarget(str(target), _class_at(spec, int(target)))
    text = target
    if text in spec.labels:
        return DetectionTarget(text, _class_of(spec, text))
    if text == ALL_DETECTIONS:
        return DetectionTarget(text, every=True)
    if match := _SIDE.fullmatch(text):
        whole = parse_detection_target(spec, match["rest"])
        assert isinstance(whole, DetectionTarget)
        if whole.every:
            raise OnnxplainError(f"target: found {text!r}, expected the coordinate of one detection: give LABEL#1:x1")
        side: BoxSide = next(each for each in get_args(BoxSide) if each == match["side"])
        return replace(whole, text=text, side=side)
    if match := _POINT.fullmatch(text):
        return DetectionTarget(text, point_xy=(float(match["x"]), float(match["y"])))
    if match := _RANK.fullmatch(text):
        rank = int(match["rank"])
        if rank < 1:
            raise OnnxplainError(f"target: found {text!r}, expected a number from 1: #1 is the best detection")
        return DetectionTarget(text, _class_of(spec, match["rest"]) if match["rest"] else None, rank)
    return DetectionTarget(text, _class_of(spec, text))


def _class_of(spec: ModelSpec, text: str) -> int:
    """The index of a class from its label or its index."""
    same = [index for index, label in enumerate(spec.labels) if label == text]
    if len(same) > 1:
        indices = ", ".join(map(str, same))
        raise OnnxplainError(
            f"target: found {text!r}, the label of several classes, expected one: give index {indices}"
        )
    if same:
        return same[0]
    if text.isdecimal():
        return _class_at(spec, int(text))
    near = near_labels(spec, text)
    hint = f"; similar labels: {'; '.join(near)}" if near else ""
    hint = hint if spec.labels else "; the classes have no names, so give an INDEX, or names with --labels"
    raise OnnxplainError(f"target: found {text!r}, expected {FORMS}{hint}")


def _class_at(spec: ModelSpec, index: int) -> int:
    """The index itself, if there may be such a class. The number of classes is not known of every detector."""
    if index < 0 or (spec.classes and index >= spec.classes):
        most = f" to {spec.classes - 1}" if spec.classes else " up"
        raise OnnxplainError(f"target: found {index}, expected a class index from 0{most}, or {FORMS}")
    return index


def _around(found: Detections, point_xy: tuple[float, float]) -> list[int]:
    """The detections whose box holds a pixel, the smallest box first."""
    x, y = point_xy
    x1, y1, x2, y2 = found.xyxy.T
    around = np.flatnonzero((x1 <= x) & (x < x2) & (y1 <= y) & (y < y2))
    areas = (x2 - x1)[around] * (y2 - y1)[around]
    return [int(index) for index in around[np.argsort(areas, kind="stable")]]


def _list(found: Detections) -> str:
    """Each detection: its number, its name, its score and its box."""
    lines = []
    for index in range(min(len(found), _LISTED)):
        each = found[index]
        box = ",".join(f"{side:.0f}" for side in each.xyxy)
        lines.append(f"#{index + 1} {each.name} ({each.score:.2f} at {box})")
    more = len(found) - len(lines)
    return "; ".join(lines) + (f"; and {more} more" if more else "")


def _none_found(found: Detections) -> str:
    if np.isnan(found.best_score):
        return "found no candidate in the image, expected at least one detection to explain"
    if found.unusable:
        return (
            f"found no detection, the best candidate has {found.best_score:.3f}, and {found.unusable} candidates were "
            "left out (numbers that are not finite, or boxes without an area in the image), expected at least one to "
            "explain: look at the outputs of the model, or lower --min-score"
        )
    if found.best_score == 0:
        return (
            "found no detection, all scores are exactly 0, expected at least one to explain: if the file is quantized, "
            "export scores and boxes as two outputs, or in float, because a shared scale loses the scores"
        )
    return (
        f"found no detection, the best candidate has {found.best_score:.3f}, expected at least one to explain: lower "
        "--min-score (in Python, give a Detection of Engine.detect(…, min_score=…))"
    )
