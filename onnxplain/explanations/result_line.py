"""A line of explanations.jsonl, as plain data. The keys are documented in docs/provenance.md."""

from __future__ import annotations

import io
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from onnxplain.explanations.answer_tree import TOP_ENTRIES
from onnxplain.explanations.json_number import json_number

if TYPE_CHECKING:
    from onnxplain.explainers import Explanation, Regions
    from onnxplain.explainers.drawing.explained import DrawnBox
    from onnxplain.runtime.arrays import AnyArray


def describe_explanation(explanation: Explanation, regions: Regions, box: DrawnBox | None) -> dict[str, Any]:
    """What is explained, where the map lies in the image, and the boxes. `box`: the one in the picture."""
    prediction, frame = explanation.prediction, explanation.frame
    return {
        "image_size_hw": list(frame.image_size_hw),
        "method": explanation.method,
        "target": explanation.target_name if is_named(explanation) else explanation.target,
        "target_name": explanation.target_name,
        "head": explanation.head,
        "label": explanation.label,
        "score": json_number(explanation.score),
        "status": explanation.status,
        "predicted": None if prediction is None else prediction.class_id,
        "top": []
        if prediction is None
        else [
            {"class_id": class_id, "label": label, "score": json_number(score)}
            for class_id, label, score in prediction.top(TOP_ENTRIES)
        ],
        "boxes": [
            {"xyxy": [float(side) for side in xyxy], "score": float(score), "area": int(area)}
            for xyxy, score, area in zip(regions.xyxy, regions.score, regions.area, strict=True)
        ],
        "level": regions.level,
        "box": None if box is None else {"xyxy": list(box.xyxy), "source": box.origin, "doubt": box.doubt or None},
        "evaluations": explanation.evaluations,
        "layer": explanation.layer,
        "frame": asdict(frame),
        "map_frame": None if explanation.map_frame is None else asdict(explanation.map_frame),
        "unit": explanation.unit,
        "uses_target": explanation.uses_target,
        "heat_from_zero": explanation.heat_from_zero,
        "detection": None if explanation.detection is None else explanation.detection.as_json(),
    }


def is_named(explanation: Explanation) -> bool:
    """Whether the target's name says more than its number."""
    return explanation.detection is not None or is_box_target(explanation)


def is_box_target(explanation: Explanation) -> bool:
    """Whether a coordinate of the box head is explained."""
    heads = {answer.head.name: answer.head.kind for answer in explanation.answers or ()}
    return explanation.head is not None and heads.get(explanation.head) == "box"


def npy_bytes(array: AnyArray) -> bytes:
    """The bytes of a NumPy file."""
    import numpy as np

    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()
