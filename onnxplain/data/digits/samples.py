"""The sample images that ship with the demo, drawn from the test split.

python -m onnxplain.data.digits.samples DIR
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from onnxplain.data.digits.scenes import draw_scene

ANNOTATIONS = "annotations.json"


@dataclass(frozen=True)
class DemoImage:
    """One demo image: index of its scene, texture and size."""

    index: int
    texture: str
    size_hw: tuple[int, int]


SAMPLES = (
    DemoImage(1010, "brick", (120, 160)),
    DemoImage(1014, "chelsea", (144, 120)),
    DemoImage(1018, "coffee", (120, 160)),
    DemoImage(1006, "grass", (144, 120)),
    DemoImage(1003, "gravel", (120, 160)),
    DemoImage(1017, "rocket", (144, 120)),
)
"""Chosen by eye for a legible digit. None is among the first thousand scenes, on which the model is scored. No image is
square, but the model's input is."""


def write_samples(folder: Path) -> list[Path]:
    """Write the six images and ``annotations.json``: a list of file, label and box_xyxy in pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    annotations, paths = [], []
    for sample in SAMPLES:
        record = draw_scene("test", sample.index, size_hw=sample.size_hw, texture=sample.texture).record
        path = folder / f"{record.label}-on-{sample.texture}.png"
        Image.fromarray(record.load()).save(path, optimize=True)
        annotations.append({"file": path.name, "label": record.label, "box_xyxy": record.boxes_xyxy[0].tolist()})
        paths.append(path)
    rows = ",\n  ".join(json.dumps(annotation) for annotation in annotations)
    (folder / ANNOTATIONS).write_text(f"[\n  {rows}\n]\n", encoding="utf-8")
    return paths


if __name__ == "__main__":
    for written in write_samples(Path(sys.argv[1])):
        print(written)
