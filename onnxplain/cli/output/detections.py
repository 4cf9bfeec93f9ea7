"""Detections as JSON, as rows of a table, and the warnings about them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from onnxplain.cli.output.tables import box_text, print_table
from onnxplain.explanations.json_number import json_number

if TYPE_CHECKING:
    from onnxplain.contract.detectors import DetectorSpec
    from onnxplain.runtime import Detections


# Steps of a quantized score that a threshold can no longer tell apart.
_COARSE = 0.05


def detections_tree(found: Detections) -> dict[str, Any]:
    """The keys of an image's JSON: `detections`, best first, and the best score of any candidate."""
    return {
        "detections": [found[index].as_json() for index in range(len(found))],
        "best_score": json_number(found.best_score),
        "unusable": found.unusable,
    }


def detection_warnings(found: Detections, detector: DetectorSpec) -> Iterator[str]:
    """What a user should know of an image's candidates beside its detections."""
    if found.unusable:
        yield (
            f"{found.unusable} candidates were left out: their numbers are not finite, or their boxes have no area in "
            "the image"
        )
    advice = "scores that share a scale with boxes are lost in eight bits, so export them as two outputs, or in float"
    if found.best_score == 0 and not detector.layout.carries_class:
        yield f"all scores are exactly 0: {advice}"
    elif found.score_step > _COARSE:
        yield f"the file rounds scores to steps of {found.score_step:.2g}: {advice}"


def unread_columns(detector: DetectorSpec) -> str | None:
    """What to say of columns that are not read, in layouts that usually have none: masks, points, angles."""
    usual = any(output.rest for output in detector.layout.outputs)
    if not detector.rest or usual:
        return None
    return f"{detector.rest} more columns per candidate are not read: masks, points, or the angle of the box"


def print_detections(entries: list[dict[str, Any]]) -> None:
    """One row per detection; an image without one has a row that says its best score."""
    rows = []
    for entry in entries:
        first = entry["image"]
        for each in entry["detections"]:
            rows.append((first, each["label"], f"{each['score']:.3f}", box_text(each["xyxy"])))
            first = ""
        if not entry["detections"]:
            best = entry["best_score"]
            below = "no candidate" if best is None else f"none, the best candidate has {best:.3f}"
            rows.append((first, below, "", "–"))
    if rows:
        print_table(("image", "label", "score", "box x1,y1,x2,y2"), rows, numbers=("score",))
