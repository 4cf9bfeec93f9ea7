"""A data set on disk: bright rectangles on dark photos that are not square, one colour per class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {"blue": (60, 80, 250), "red": (250, 70, 60)}
NAMES = tuple(COLOURS)


def write_shapes(folder: Path, count: int = 8, *, boxes: int = 1) -> Path:
    """`count` photos and a CSV of their boxes; the classes take turns. The first image has `boxes` boxes."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = ["file,label,xmin,ymin,xmax,ymax"]
    for number in range(count):
        rng = np.random.default_rng(number)
        height, width = (48, 80) if number % 3 else (90, 60)
        image_hwc = rng.integers(0, 60, (height, width, 3), np.uint8)
        label = NAMES[number % 2]
        for _ in range(boxes if number == 0 else 1):
            box_w, box_h = (int(side * rng.uniform(0.3, 0.6)) for side in (width, height))
            left, top = int(rng.integers(width - box_w)), int(rng.integers(height - box_h))
            image_hwc[top : top + box_h, left : left + box_w] = COLOURS[label]
            rows.append(f"{number:02}.png,{label},{left},{top},{left + box_w},{top + box_h}")
        Image.fromarray(image_hwc).save(folder / f"{number:02}.png")
    (folder / "boxes.csv").write_text("\n".join(rows) + "\n")
    return folder / "boxes.csv"
