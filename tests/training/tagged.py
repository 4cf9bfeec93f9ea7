"""A data set of labels and numbers on disk: coloured squares, shown or not, and a grey bar as bright as a number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from tests.training.shapes import COLOURS, NAMES

LOWEST, HIGHEST = 20.0, 80.0


def write_tagged(folder: Path, count: int = 12) -> Path:
    """`count` photos and a CSV of their labels and of a number `age`.

    The second photo shows no square, the third has no number.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = ["file,labels,age"]
    for number in range(count):
        rng = np.random.default_rng(number)
        image_hwc = rng.integers(0, 40, (48, 64, 3), np.uint8)
        shown = [name for position, name in enumerate(NAMES) if (number + 3) >> position & 1 and number != 1]
        for name in shown:
            left = 4 if name == NAMES[0] else 28
            image_hwc[8:28, left : left + 20] = COLOURS[name]
        share = rng.random()
        image_hwc[:, 52:60] = round(255 * share)
        age = "" if number == 2 else f"{LOWEST + share * (HIGHEST - LOWEST):.3f}"
        Image.fromarray(image_hwc).save(folder / f"{number:02}.png")
        rows.append(f"{number:02}.png,{';'.join(shown)},{age}")
    (folder / "tagged.csv").write_text("\n".join(rows) + "\n")
    return folder / "tagged.csv"
