"""Which copies of an image a map is averaged over, as a user writes them: ``flips,scales`` or ``flips,0.75,1.5``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from onnxplain.contract.arguments import checked
from onnxplain.errors import OnnxplainError

# A text, or its parts one by one; numbers are scales.
TestTime: TypeAlias = str | float | Sequence[str | float]

FLIPS, SCALES = "flips", "scales"
USUAL_SCALES = (0.8, 1.25)
"""What ``scales`` stands for."""
LEAST_SCALE, MOST_SCALE = 0.5, 2.0


@checked
def parse_test_time(test_time: TestTime) -> tuple[bool, tuple[float, ...]]:
    """Whether the image is mirrored, and the scales beside 1. Raises OnnxplainError for anything else, and for none."""
    listed = [test_time] if isinstance(test_time, str | float | int) else list(test_time)
    parts = [part for each in listed for part in (each.split(",") if isinstance(each, str) else [each])]
    flips, scales = False, list[float]()
    for part in parts:
        if part == FLIPS:
            flips = True
        elif part == SCALES:
            scales += USUAL_SCALES
        else:
            scales.append(_scale_of(part))
    if not flips and not scales:
        raise _unknown(test_time)
    return flips, check_scales(scales)


def check_scales(scales: Sequence[float]) -> tuple[float, ...]:
    """The scales, each once. Raises OnnxplainError for one out of range, and for 1, the image itself."""
    for scale in scales:
        if not LEAST_SCALE <= scale <= MOST_SCALE or scale == 1:
            raise OnnxplainError(
                f"test_time: found the scale {scale:g}, expected {LEAST_SCALE:g} to {MOST_SCALE:g} and not 1: the "
                "image itself is always one of the copies"
            )
    return tuple(dict.fromkeys(map(float, scales)))


def _scale_of(part: str | float) -> float:
    try:
        return float(part)
    except (TypeError, ValueError, OverflowError):
        raise _unknown(part) from None


def _unknown(found: object) -> OnnxplainError:
    return OnnxplainError(
        f"test_time: found {found!r}, expected {FLIPS}, {SCALES} ({USUAL_SCALES[0]:g} and {USUAL_SCALES[1]:g}) or a "
        f"scale such as 0.75, with commas between, for example {FLIPS},{SCALES}"
    )
