"""An explanation, or the lack of one, as a row of the table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from onnxplain.batch.reader import ReadImage
from onnxplain.batch.schema import FAILED
from onnxplain.explanations.answer_tree import TOP_ENTRIES
from onnxplain.explanations.json_number import json_number
from onnxplain.runtime.answers import Answer, BoxAnswer, Classes, Embedding, Labels, Mask, ScoredLabel, Values

if TYPE_CHECKING:
    from onnxplain.contract import MapFrame
    from onnxplain.explainers.explanation import Explanation
    from onnxplain.runtime.geometry import Frame

_MAP_FRAME_VALUES = ("scale", "offset", "seen_start", "seen_stop")


def error_row(image: ReadImage, error: str) -> dict[str, Any]:
    """The only row of an image that could not be read or explained."""
    size_hw = (None, None) if image.prepared is None else image.prepared.frame.image_size_hw
    size = dict(zip(("height", "width"), size_hw, strict=True))
    return {"image": image.name, "image_sha256": image.sha256, **size, "status": FAILED, "error": error}


def explanation_row(
    image: ReadImage, explanation: Explanation, answers: Sequence[Answer], seed: int | None
) -> dict[str, Any]:
    """The row of an image, a method and a target."""
    regions, frame, raw = explanation.boxes(), explanation.frame, explanation.raw
    height, width = frame.image_size_hw
    peak = float(np.abs(raw).max(initial=0.0, where=np.isfinite(raw)))
    report = explanation.report
    return {
        "image": image.name,
        "image_sha256": image.sha256,
        "height": height,
        "width": width,
        "answers": [answer_entry(answer) for answer in answers],
        "method": explanation.method,
        "layer": explanation.layer,
        "target": explanation.target,
        "target_name": explanation.target_name,
        "label": explanation.label,
        "score": json_number(explanation.score),
        "status": explanation.status,
        "relative_error": None if report is None else report.map_error,
        "evaluations": explanation.evaluations,
        "seed": seed,
        # As a share of the peak no value leaves the range of float16, however small the gradients are.
        "heat": (raw / (np.float32(peak) or np.float32(1))).astype(np.float16).reshape(-1),
        "heat_height": raw.shape[0],
        "heat_width": raw.shape[1],
        "heat_peak": peak,
        "frame": _frame_entry(frame),
        "map_frame": None if explanation.map_frame is None else _map_frame_entry(explanation.map_frame),
        "boxes": [
            {**dict(zip(("x1", "y1", "x2", "y2"), map(float, xyxy), strict=True)), "score": score, "area": int(area)}
            for xyxy, score, area in zip(regions.xyxy, map(float, regions.score), regions.area, strict=True)
        ],
        "level": regions.level,
    }


def answer_entry(answer: Answer) -> dict[str, Any]:
    """The answer of one head. Of classes, the five best; of labels, also all others that are at least 0.5."""
    entry: dict[str, Any] = {"head": answer.head.name, "kind": answer.head.kind, "unit": answer.head.unit}
    if isinstance(answer, BoxAnswer):
        return {**entry, "xyxy": [json_number(side) for side in answer.xyxy]}
    if isinstance(answer, Embedding):
        return {**entry, "vector": [json_number(number) for number in answer.vector.tolist()]}
    return {**entry, "entries": [_scored(each) for each in _entries(answer)]}


def _entries(answer: Classes | Labels | Values | Mask) -> Sequence[ScoredLabel]:
    if isinstance(answer, Classes):
        return answer.top(TOP_ENTRIES)
    if isinstance(answer, Labels):
        return answer.top(max(TOP_ENTRIES, len(answer.above())))
    numbers = answer.numbers if isinstance(answer, Values) else answer.shares
    return [ScoredLabel(index, answer.head.label(index), value) for index, value in enumerate(numbers.tolist())]


def _scored(entry: ScoredLabel) -> dict[str, Any]:
    return {"index": entry.index, "label": entry.label, "score": json_number(entry.score)}


def _frame_entry(frame: Frame) -> dict[str, Any]:
    (input_height, input_width), (scale_x, scale_y), (offset_x, offset_y) = (
        frame.input_size_hw,
        frame.scale_xy,
        frame.offset_xy,
    )
    return {
        "input_height": input_height,
        "input_width": input_width,
        "scale_x": scale_x,
        "scale_y": scale_y,
        "offset_x": offset_x,
        "offset_y": offset_y,
    }


def _map_frame_entry(frame: MapFrame) -> dict[str, Any]:
    entry: dict[str, float] = {}
    for position, axis in enumerate(("y", "x")):
        start, stop = frame.seen_hw[position]
        values = (frame.scale_hw[position], frame.offset_hw[position], start, stop)
        entry |= {f"{name}_{axis}": value for name, value in zip(_MAP_FRAME_VALUES, values, strict=True)}
    return entry
