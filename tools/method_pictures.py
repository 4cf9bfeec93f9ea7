"""Draw docs/images/methods/: the heatmaps of the methods on the same three photos, by the shipped localizer.

Methods of attention have none: the localizer is a ConvNet.

Run `python -m tools.method_pictures` after a change of a method or of the pictures. The photos are those of
`onnxplain demo`, and what is explained is the digit that the model predicts.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from onnxplain.demo import IMAGES, MODEL
from onnxplain.explainers import METHODS, build
from onnxplain.explainers.needs import OF_ATTENTION
from onnxplain.exporters import instrument
from onnxplain.runtime import Engine, load_image

FOLDER = Path(__file__).parents[1] / "docs" / "images" / "methods"
PHOTOS = ("2-on-coffee.png", "4-on-grass.png", "6-on-chelsea.png")
SIDE, GAP, WHITE = 200, 8, 255
Picture = npt.NDArray[np.uint8]


def write_strip(name: str, pictures: Sequence[Picture]) -> None:
    """The pictures side by side, as docs/images/methods/NAME.jpg."""
    gap = np.full((SIDE, GAP, 3), WHITE, np.uint8)
    parts = [part for picture in pictures for part in (gap, _shrink(picture))]
    strip = np.concatenate(parts[1:], axis=1)
    cv2.imwrite(str(FOLDER / f"{name}.jpg"), strip[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])


def _shrink(picture: Picture) -> Picture:
    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = picture[top : top + side, left : left + side]
    return np.asarray(cv2.resize(square, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8)


def main() -> None:
    """Write a picture per method, and one of the photos alone."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    photos = [load_image(IMAGES / name) for name in PHOTOS]
    write_strip("photos", photos)
    with tempfile.TemporaryDirectory() as name:
        # The shipped file has no tail file and no gradient at the input, which some methods need.
        path = Path(name) / "digits.onnx"
        instrument(MODEL, path, layers=["input", "auto"])
        engine = Engine(path)
        for method, row in METHODS.own.items():
            if row.needs in OF_ATTENTION:
                # A ConvNet has none.
                continue
            explainer = build(method, engine)
            write_strip(method, [explainer(photo).overlay(photo) for photo in photos])


if __name__ == "__main__":
    main()
