"""One Grad-CAM, the mean and the maximum of 100, and their super-resolution, side by side.

    python -m benchmarks.studies.augmented_sheet MODEL.onnx IMAGE... [-o runs/augmented]

writes a JPEG per image; MODEL is an instrumented classifier. With `--docs FILE` it draws the picture for
the documentation instead: two of the demo's images with the shipped localizer, scikit-image's own photos with MODEL.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from skimage import data

from benchmarks.studies.wsol import explain_all
from onnxplain import Engine, load_image
from onnxplain.demo import MODEL, read_samples
from onnxplain.explainers import GradCAM
from onnxplain.explainers.drawing.colours import blend
from onnxplain.explainers.drawing.sheet import make_sheet
from onnxplain.explainers.heatmap import visible_window

COLUMNS = {"single": "Grad-CAM", "mean": "mean of 100", "max": "maximum of 100", "super-resolution": "super-resolution"}
TILE, DOCS_WIDTH, JPEG_QUALITY = 320, 1400, 80


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("images", type=Path, nargs="*")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/augmented"))
    parser.add_argument("--docs", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    engine = Engine(arguments.model)
    if arguments.docs is not None:
        demo = Engine(MODEL)
        rows = [draw_row(demo, load_image(sample.image)) for sample in read_samples()[:2]]
        rows += [draw_row(engine, photo) for photo in (data.astronaut(), data.chelsea(), data.coffee())]
        save(arguments.docs, make_sheets(rows), DOCS_WIDTH)
    arguments.output.mkdir(parents=True, exist_ok=True)
    for path in arguments.images:
        save(arguments.output / f"{path.stem}.jpg", make_sheets([draw_row(engine, load_image(path))]))
        print(arguments.output / f"{path.stem}.jpg", flush=True)


def draw_row(engine: Engine, image_hwc: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """The part of the photo that the model sees, then each heatmap over it, as square tiles with titles."""
    explanation = GradCAM(engine)(image_hwc)
    window = visible_window(explanation.frame)
    row = [(explanation.label.split(",")[0], image_hwc[window])]
    for name, heatmap in explain_all(engine, image_hwc, None).items():
        if name in COLUMNS:
            row.append((COLUMNS[name], blend(image_hwc, heatmap)[window]))
    order = [row[0][0], *COLUMNS.values()]
    tiles = [(title, cv2.resize(tile, (TILE, TILE), interpolation=cv2.INTER_AREA)) for title, tile in row]
    return sorted(tiles, key=lambda entry: order.index(entry[0]))


def make_sheets(rows: list[list[tuple[str, np.ndarray]]]) -> np.ndarray:
    titles, tiles = zip(*[entry for row in rows for entry in row], strict=True)
    return make_sheet(tiles, titles, columns=len(rows[0]))


def save(path: Path, sheet_hwc: np.ndarray, width: int | None = None) -> None:
    picture = Image.fromarray(sheet_hwc)
    if width is not None:
        picture = picture.resize((width, round(picture.height * width / picture.width)), Image.Resampling.LANCZOS)
    picture.save(path, quality=JPEG_QUALITY, optimize=True)


if __name__ == "__main__":
    main()
