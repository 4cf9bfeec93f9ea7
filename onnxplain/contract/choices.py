"""The allowed values of each setting of the contract, and the check of a value."""

from __future__ import annotations

from typing import Any, Literal, get_args

from onnxplain.errors import OnnxplainError

Layout = Literal["nchw", "nhwc"]
Channels = Literal["rgb", "bgr", "gray"]
Resize = Literal["crop", "stretch", "letterbox"]
BoxFormat = Literal["cxcywh", "xywh", "xyxy"]
BoxUnits = Literal["normalized", "pixels"]
BatchChoice = Literal["auto", "dynamic", "fixed"]
Task = Literal["classification", "localization"]


def check_choice(name: str, value: object, choices: Any) -> None:
    """Raise OnnxplainError unless `value` is one of the values of the Literal `choices`; the message says `name`."""
    allowed = get_args(choices)
    if value not in allowed:
        raise OnnxplainError(f"{name}: found {value!r}, expected one of {', '.join(allowed)}")
