"""Detectors that are refused by name, each with what to export instead."""

from __future__ import annotations

from collections.abc import Mapping

_WITHOUT_NMS = (
    "export the model without it, with raw boxes and scores (YOLOv7: without --end2end; Ultralytics: format=onnx)"
)

CUSTOM_OPERATORS: Mapping[str, str] = {
    "EfficientNMS_TRT": _WITHOUT_NMS,
    "EfficientNMS_ONNX_TRT": _WITHOUT_NMS,
    "EfficientNMSX_TRT": _WITHOUT_NMS,
    "EfficientRotatedNMS_TRT": _WITHOUT_NMS,
    "BatchedNMS_TRT": _WITHOUT_NMS,
    "BatchedNMSDynamic_TRT": _WITHOUT_NMS,
    "YOLO_NMS_TRT": _WITHOUT_NMS,
    "TRTBatchedNMS": "export the model with the backend onnxruntime",
    "TFLite_Detection_PostProcess": "convert the model up to the raw boxes and scores (tf2onnx --outputs)",
}
"""Operators that suppress overlapping boxes in other runtimes, and what to export instead."""


def custom_operator_advice(text: str) -> str | None:
    """What was found and what to do, if the text (an operator or a message of ONNX Runtime) names such an operator."""
    names = [name for name in CUSTOM_OPERATORS if name in text]
    if not names:
        return None
    name = max(names, key=len)
    advice = CUSTOM_OPERATORS[name]
    return f"found the operator {name}, which ONNX Runtime does not have, expected a standard graph: {advice}"
