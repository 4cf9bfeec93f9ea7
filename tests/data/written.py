"""One small data set, written by hand in every format: the same two images, the same four boxes."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

SIZES_WH = {"a": (40, 32), "b": (16, 48)}
TRUTH = {
    ("a", "cat"): [[4, 8, 20, 24]],
    ("a", "dog"): [[0, 0, 40, 32]],
    ("b", "cat"): [[2, 3, 10, 27], [8, 30, 16, 48]],
}

Files = dict[str, str | bytes]

VOC_A = """<annotation>
  <folder>photos</folder>
  <filename>a.png</filename>
  <size><width>40</width><height>32</height><depth>3</depth></size>
  <object><name>cat</name><bndbox><xmin>5</xmin><ymin>9</ymin><xmax>20</xmax><ymax>24</ymax></bndbox></object>
  <object>
    <name>dog</name>
    <part><name>head</name><bndbox><xmin>2</xmin><ymin>2</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></part>
    <bndbox><ymin>1</ymin><xmin>1</xmin><ymax>32</ymax><xmax>40</xmax></bndbox>
  </object>
</annotation>
"""
VOC_B = """<?xml version="1.0" encoding="UTF-8"?>
<annotation>
  <filename>b.png</filename>
  <object><name>cat</name><bndbox><xmin>3</xmin><ymin>4</ymin><xmax>10</xmax><ymax>27</ymax></bndbox></object>
  <object><name>cat</name><bndbox><xmin>9</xmin><ymin>31</ymin><xmax>16</xmax><ymax>48</ymax></bndbox></object>
</annotation>
"""
COCO = """{
  "images": [
    {"id": 7, "file_name": "a.png", "width": 40, "height": 32},
    {"id": 9, "file_name": "b.png", "width": 16, "height": 48}
  ],
  "categories": [{"id": 18, "name": "dog"}, {"id": 17, "name": "cat"}],
  "annotations": [
    {"id": 1, "image_id": 7, "category_id": 17, "bbox": [4, 8, 16, 16], "iscrowd": 0},
    {"id": 2, "image_id": 7, "category_id": 18, "bbox": [0, 0, 40.0, 32]},
    {"id": 3, "image_id": 9, "category_id": 17, "bbox": [2, 3, 8, 24]},
    {"id": 4, "image_id": 9, "category_id": 17, "bbox": [8, 30, 8, 18]}
  ]
}
"""
CSV = """file,label,width,height,xmin,ymin,xmax,ymax
a.png,cat,40,32,4,8,20,24
a.png,dog,40,32,0,0,40,32
b.png,cat,16,48,2,3,10,27
b.png,cat,16,48,8,30,16,48
"""


def label_map(name: str, areas: dict[int, tuple[int, int, int, int]]) -> bytes:
    """A mask of an image, as PNG: rectangles x1, y1, x2, y2 of each index, on background."""
    labels = np.zeros(SIZES_WH[name][::-1], np.uint8)
    for index, (x1, y1, x2, y2) in areas.items():
        labels[y1:y2, x1:x2] = index
    return png(labels)


def png(pixels: np.ndarray) -> bytes:
    """Pixels as the content of a PNG file."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "png")
    return stream.getvalue()


FORMATS: dict[str, Files] = {
    "voc": {"a.xml": VOC_A, "b.xml": VOC_B},
    "coco": {"instances.json": COCO},
    "yolo": {
        "data.yaml": "nc: 2\nnames:\n  - cat\n  - dog\n",
        "labels/a.txt": "0 0.3 0.5 0.4 0.5\n1 0.5 0.5 1 1\n",
        "labels/b.txt": "0 0.375 0.3125 0.5 0.5\n\n0 0.75 0.8125 0.5 0.375\n",
    },
    "csv": {"boxes.csv": CSV},
    "csv-labels": {"labels.csv": "file,labels,age\na.png,cat;dog,3\nb.png,cat,4.5\n"},
    "wsol": {
        "image_ids.txt": "a.png\nb.png\n",
        "class_labels.txt": "a.png,3\nb.png,12\n",
        "localization.txt": "a.png,4,8,19,23\nb.png,2,3,9,26\nb.png,8,30,15,47\n",
        "image_sizes.txt": "a.png,40,32\nb.png,16,48\n",
    },
    "masks": {
        "masks/a.png": label_map("a", {1: (4, 8, 20, 24), 2: (30, 0, 40, 10), 255: (0, 30, 40, 32)}),
        "masks/b.png": label_map("b", {1: (2, 3, 10, 27)}),
        "classes.txt": "background\ncat\ndog\nbird\n",
    },
}
"""Every file of each format except the images, which `write` puts into `images`."""


def write(folder: Path, files: Files, images: str = "images") -> Path:
    """Write the files, and the two images into the subfolder `images`; the folder."""
    for name, (width, height) in SIZES_WH.items():
        paint(folder / images / f"{name}.png", (width, height))
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def paint(path: Path, size_wh: tuple[int, int] = (8, 6), colour: tuple[int, int, int] = (90, 120, 30)) -> Path:
    """Write an image of one colour; the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size_wh[::-1], 3), colour, np.uint8)).save(path)
    return path
