"""A detector whose answers are known (each cell of 16 pixels is a box, its score is its brightness), and data sets."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from onnxplain import Engine
from tests.detectors.seeing import SIZE_HW, boxes_of_cells, open_ordering

LABELS = ("none", "left", "right")
Truth = tuple[str, list[float]]


def open_cells(path: Path) -> Engine:
    """Cells of the left half are of class `left`, the others of class `right`; the image is not resized."""
    engine = open_ordering(path)
    return Engine(path, preprocessing=engine.spec.input.preprocessing, detector="end2end", labels=LABELS)


def photo_of(cells: Mapping[int, float]) -> np.ndarray:
    """Black, but for these cells with their brightness."""
    photo = np.zeros((*SIZE_HW, 3), np.uint8)
    for cell, brightness in cells.items():
        x1, y1, x2, y2 = boxes_of_cells()[cell].astype(int)
        photo[y1:y2, x1:x2] = round(255 * brightness)
    return photo


def box_of(cell: int) -> list[float]:
    return [float(side) for side in boxes_of_cells()[cell]]


def write_coco(folder: Path, images: Sequence[tuple[Mapping[int, float], Sequence[Truth]]]) -> Path:
    """Photos of cells, each with its true boxes (label, xyxy), as a COCO file."""
    listed, annotations = [], []
    for number, (cells, truths) in enumerate(images):
        name = f"{number}.png"
        write_photo(folder / name, cells)
        listed.append({"id": number, "file_name": name, "width": SIZE_HW[1], "height": SIZE_HW[0]})
        for label, (x1, y1, x2, y2) in truths:
            annotations.append(
                {
                    "id": len(annotations),
                    "image_id": number,
                    "category_id": LABELS.index(label),
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                }
            )
    categories = [{"id": number, "name": label} for number, label in enumerate(LABELS) if label != "none"]
    path = folder / "coco.json"
    path.write_text(json.dumps({"images": listed, "annotations": annotations, "categories": categories}))
    return path


def write_voc(folder: Path, images: Sequence[tuple[Mapping[int, float], Sequence[Truth]]]) -> Path:
    """The same as Pascal VOC files: pixels counted from 1, the last one included."""
    for number, (cells, truths) in enumerate(images):
        write_photo(folder / f"{number}.png", cells)
        objects = "".join(
            f"<object><name>{label}</name><bndbox><xmin>{x1 + 1:.0f}</xmin><ymin>{y1 + 1:.0f}</ymin>"
            f"<xmax>{x2:.0f}</xmax><ymax>{y2:.0f}</ymax></bndbox></object>"
            for label, (x1, y1, x2, y2) in truths
        )
        text = f"<annotation><filename>{number}.png</filename>{objects}</annotation>"
        (folder / f"{number}.xml").write_text(text)
    return folder


def write_yolo(folder: Path, images: Sequence[tuple[Mapping[int, float], Sequence[Truth]]]) -> Path:
    """The same in YOLO's form: centre, width and height as shares of the image."""
    (folder / "labels").mkdir(parents=True, exist_ok=True)
    (folder / "classes.txt").write_text("\n".join(LABELS))
    height, width = SIZE_HW
    for number, (cells, truths) in enumerate(images):
        write_photo(folder / "images" / f"{number}.png", cells)
        lines = [
            f"{LABELS.index(label)} {(x1 + x2) / 2 / width} {(y1 + y2) / 2 / height} "
            f"{(x2 - x1) / width} {(y2 - y1) / height}"
            for label, (x1, y1, x2, y2) in truths
        ]
        (folder / "labels" / f"{number}.txt").write_text("\n".join(lines))
    return folder


def write_photo(path: Path, cells: Mapping[int, float]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(photo_of(cells)).save(path)
