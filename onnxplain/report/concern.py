"""What speaks against an answer or a map, so that the page can show doubtful images first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from onnxplain.explainers.drawing.explained import LARGEST_ERROR
from onnxplain.runtime.box import paired_iou

Concern = Literal[
    "unreadable", "model changed", "photo changed", "photo missing", "map missing", "no heat", "map uncertain",
    "box and map disagree", "covers nearly everything", "models disagree", "low score", "wrong answer",
    "map misses the object", "target not found", "not explained",
]  # fmt: skip

WEIGHTS: Mapping[Concern, float] = {
    "unreadable": 8,
    "model changed": 8,
    "photo changed": 8,
    "map missing": 6,
    "models disagree": 5,
    "wrong answer": 5,
    "target not found": 4,
    "not explained": 4,
    "map misses the object": 3,
    "no heat": 4,
    "map uncertain": 3,
    "box and map disagree": 3,
    "covers nearly everything": 2,
    "low score": 2,
    "photo missing": 1,
}
"""How much each speaks against an image: images with the largest sum stand first."""

LOW_SCORE = 0.5
# As in the metrics of boxes: below this intersection over union, two boxes do not show the same object.
LOW_AGREEMENT = 0.5


def agreement_of(line: Mapping[str, Any]) -> float | None:
    """IoU of the model's box with the map's largest region; None for a model without boxes, 0 without a region."""
    box = line["box"]
    if box is None or box["source"] == "heat" or line["status"] != "ok":
        return None
    if not line["boxes"]:
        return 0.0
    pair = (np.asarray([each["xyxy"]], np.float32) for each in (box, line["boxes"][0]))
    return float(paired_iou(*pair)[0])


def error_of(line: Mapping[str, Any]) -> float | None:
    """The standard error of the map that is shown over its standard deviation, where the method knows it."""
    error = line.get("relative_error") if line.get("shrunk_error") is None else line["shrunk_error"]
    return None if error is None else float(error)


def concerns_of(lines: Sequence[Mapping[str, Any]]) -> tuple[Concern, ...]:
    """What the lines of one image say against it, each once."""
    found: dict[Concern, None] = {}
    for line in lines:
        if line["status"] != "ok":
            found["no heat"] = None
        if (error := error_of(line)) is not None and error > LARGEST_ERROR:
            found["map uncertain"] = None
        if (agreement := agreement_of(line)) is not None and agreement < LOW_AGREEMENT:
            found["box and map disagree"] = None
        if line["box"] is not None and line["box"]["doubt"] == "covers nearly everything":
            found["covers nearly everything"] = None
        scored = line["top"][0] if line["top"] else _best_detection(line)
        if scored is not None and (scored["score"] or 0) < LOW_SCORE:
            found["low score"] = None
    return tuple(found)


def _best_detection(line: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The best detection of the image, whichever is explained: others may well be doubtful."""
    answers = [answer for answer in line["answers"] if answer["kind"] == "detections"]
    found: list[Mapping[str, Any]] = [each for answer in answers for each in answer["detections"]]
    return found[0] if found else line["detection"]


def weight_of(concerns: Iterable[Concern]) -> float:
    """The sum of their weights."""
    return sum(WEIGHTS[concern] for concern in concerns)
