"""The allowed values of each setting of the contract, and the check of a value."""

from __future__ import annotations

from typing import Any, Literal, get_args

from onnxplain.contract.expected import MOST_CHANNELS, shown
from onnxplain.errors import OnnxplainError

Layout = Literal["nchw", "nhwc", "chw", "hwc"]
ColourOrder = Literal["rgb", "bgr", "gray"]
Channels = ColourOrder | int
PixelValues = Literal["bytes", "native"]
Resize = Literal["crop", "stretch", "letterbox", "letterbox-corner"]
BoxFormat = Literal["cxcywh", "xywh", "xyxy"]
BoxUnits = Literal["normalized", "pixels"]
BatchChoice = Literal["auto", "dynamic", "fixed"]
Task = Literal["classification", "localization", "detection"]

# How images of so many channels are stored in a photo.
COLOUR_COUNTS: dict[int, ColourOrder] = {1: "gray", 3: "rgb"}


def check_choice(name: str, value: object, choices: Any) -> None:
    """Raise OnnxplainError unless `value` is one of the values of the Literal `choices`; the message says `name`."""
    allowed = get_args(choices)
    if not isinstance(value, str) or value not in allowed:
        raise OnnxplainError(f"{name}: found {shown(value)}, expected one of {', '.join(allowed)}")


def check_channels(value: Channels) -> Channels:
    """The colour order, or a number of channels; 1 becomes ``gray`` and 3 ``rgb``. Raises OnnxplainError."""
    if isinstance(value, bool) or not isinstance(value, int):
        check_choice("channels", value, ColourOrder)
        return value
    if not 1 <= value <= MOST_CHANNELS:
        raise OnnxplainError(
            f"channels: found {shown(value)}, expected rgb, bgr, gray or a number from 1 to {MOST_CHANNELS:,}"
        )
    return COLOUR_COUNTS.get(value, value)


def count_channels(channels: Channels) -> int:
    """The number of channels."""
    if isinstance(channels, int):
        return channels
    return 1 if channels == "gray" else 3
