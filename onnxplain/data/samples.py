"""The sample images that ship with the demo, drawn from the test split: ``python -m onnxplain.data.samples DIR``."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from onnxplain.data.digits import draw_scene

ANNOTATIONS = "annotations.json"


@dataclass(frozen=True)
class Sample:
    """One demo image: the scene that it shows, its texture and its size."""

    index: int
    texture: str
    size_hw: tuple[int, int]


SAMPLES = (
    Sample(0, "brick", (120, 160)),
    Sample(1, "chelsea", (144, 120)),
    Sample(2, "coffee", (120, 160)),
    Sample(3, "grass", (144, 120)),
    Sample(4, "gravel", (120, 160)),
    Sample(5, "rocket", (144, 120)),
)
"""Chosen by eye for a legible digit; all sizes differ from the square that the model takes."""


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
    (folder / ANNOTATIONS).write_text(json.dumps(annotations, indent=2) + "\n", encoding="utf-8")
    return paths


if __name__ == "__main__":
    for written in write_samples(Path(sys.argv[1])):
        print(written)
