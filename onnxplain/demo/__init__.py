"""The demo that ships with the package: a localizer and a detector of digits, and sample images with their true boxes.

`MODEL` is the localizer; `IMAGES` holds images of one digit. `DETECTOR` is the detector; `DETECTOR_IMAGES` holds images
of several digits, with COCO annotations.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnxplain.data.record import Record

MODEL = Path(__file__).with_name("digits.onnx")
IMAGES = Path(__file__).with_name("images")
DETECTOR = Path(__file__).with_name("detector.onnx")
DETECTOR_IMAGES = Path(__file__).with_name("detector_images")


def read_samples(folder: Path = IMAGES) -> list[Record]:
    """The sample images as records: each has a path, a label and one box, xyxy in pixels."""
    import numpy as np

    from onnxplain.data.record import Record

    annotations = json.loads((folder / "annotations.json").read_text(encoding="utf-8"))
    return [
        Record(folder / entry["file"], entry["label"], np.array([entry["box_xyxy"]], np.float32))
        for entry in annotations
    ]


def detector_samples() -> list[Path]:
    """The sample images of the detector, by name."""
    return sorted(DETECTOR_IMAGES.glob("*.png"))
