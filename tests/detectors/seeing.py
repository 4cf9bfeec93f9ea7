"""Small detectors that look at the image: every cell of 16 × 16 pixels is a box whose score is its brightness."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from onnxplain import Engine
from onnxplain.contract import Preprocessing
from tests.detectors.files import save

CELL, SIZE_HW, CELLS_HW = 16, (64, 96), (4, 6)
COUNT = CELLS_HW[0] * CELLS_HW[1]
UNIT = Preprocessing("rgb", 1 / 255, resize="stretch")
# Cell → brightness. Cells of the left half are of class 1, the others of class 2.
BLOBS = {7: 0.9, 12: 0.6, 4: 0.8}


def boxes_of_cells() -> np.ndarray:
    rows, columns = np.divmod(np.arange(COUNT), CELLS_HW[1])
    return np.stack([columns, rows, columns + 1, rows + 1], axis=1).astype(np.float32) * CELL


def classes_of_cells() -> np.ndarray:
    return np.where(boxes_of_cells()[:, 0] < SIZE_HW[1] / 2, 1, 2)


def photo_of_blobs() -> np.ndarray:
    """Black, but for the cells of `BLOBS`."""
    photo = np.zeros((*SIZE_HW, 3), np.uint8)
    for cell, brightness in BLOBS.items():
        x1, y1, x2, y2 = boxes_of_cells()[cell].astype(int)
        photo[y1:y2, x1:x2] = round(255 * brightness)
    return photo


def open_suppressing(path: Path) -> Engine:
    """torchvision's outputs, no batch axis: NonMaxSuppression drops cells of score 0, TopK orders the rest."""
    node = helper.make_node
    nodes = [
        *_brightness(batched=False),
        node("NonMaxSuppression", ["all_boxes", "cell_scores", "most", "overlap", "lowest"], ["kept"]),
        node("Gather", ["kept", "two"], ["rows"], axis=1),
        node("Reshape", ["cell_scores", "flat"], ["flat_scores"]),
        node("Gather", ["flat_scores", "rows"], ["kept_scores"]),
        node("Shape", ["kept_scores"], ["count"]),
        node("TopK", ["kept_scores", "count"], ["scores", "order"]),
        node("Gather", ["rows", "order"], ["best"]),
        node("Gather", ["flat_boxes", "best"], ["boxes"]),
        node("Gather", ["classes", "best"], ["labels"]),
    ]
    constants = {
        "all_boxes": boxes_of_cells()[None],
        "flat_boxes": boxes_of_cells(),
        "classes": classes_of_cells() + 1,
        "most": np.array([COUNT]),
        "overlap": np.array([0.5], np.float32),
        "lowest": np.array([0], np.float32),
        "two": np.array(2),
        "flat": np.array([-1]),
    }
    outputs = [("boxes", TensorProto.FLOAT, ["n", 4]), ("labels", TensorProto.INT64, ["n"])]
    return _open(path, nodes, constants, [3, *SIZE_HW], [*outputs, ("scores", TensorProto.FLOAT, ["n"])], "torchvision")


def open_ordering(path: Path, batch: int | str = "N") -> Engine:
    """YOLOv10's output: TopK orders all cells."""
    node = helper.make_node
    nodes = [
        *_brightness(batched=True),
        node("Reshape", ["cell_scores", "rows"], ["flat_scores"]),
        node("TopK", ["flat_scores", "count"], ["scores", "best"]),
        node("Gather", ["flat_boxes", "best"], ["boxes"]),
        node("Gather", ["classes", "best"], ["labels"]),
        node("Unsqueeze", ["scores", "last"], ["score_column"]),
        node("Unsqueeze", ["labels", "last"], ["label_column"]),
        node("Concat", ["boxes", "score_column", "label_column"], ["output0"], axis=2),
    ]
    constants = {
        "flat_boxes": boxes_of_cells(),
        "classes": classes_of_cells().astype(np.float32),
        "count": np.array([COUNT]),
        "rows": np.array([-1, COUNT]),
        "last": np.array([2]),
    }
    outputs = [("output0", TensorProto.FLOAT, [batch, COUNT, 6])]
    return _open(path, nodes, constants, [batch, 3, *SIZE_HW], outputs, "end2end")


def open_dense(path: Path, classes: int = 3, seed: int = 0, batch: int | str = "N") -> Engine:
    """YOLOv8's output at 64 × 64: boxes and class scores are random functions of the mean colours of 84 cells."""
    node, rng = helper.make_node, np.random.default_rng(seed)
    nodes, levels = [], []
    for stride in (8, 16, 32):
        pool = {"kernel_shape": [stride, stride], "strides": [stride, stride]}
        nodes.append(node("AveragePool", ["image"], [f"pooled{stride}"], **pool))
        nodes.append(node("Reshape", [f"pooled{stride}", "rows"], [f"level{stride}"]))
        levels.append(f"level{stride}")
    nodes += [
        node("Concat", levels, ["colours"], axis=2),
        node("MatMul", ["to_boxes", "colours"], ["moves"]),
        node("Add", ["anchors", "moves"], ["moved"]),
        node("Mul", ["moved", "side"], ["boxes"]),
        node("MatMul", ["to_classes", "colours"], ["logits"]),
        node("Sigmoid", ["logits"], ["scores"]),
        node("Concat", ["boxes", "scores"], ["output0"], axis=1),
    ]
    centres = [(np.stack(np.mgrid[: 64 // s, : 64 // s][::-1]).reshape(2, -1) + 0.5) * s / 64 for s in (8, 16, 32)]
    sides = np.concatenate([np.full((2, (64 // s) ** 2), 1.5 * s / 64) for s in (8, 16, 32)], axis=1)
    constants = {
        "rows": np.array([0, 3, -1]),
        "anchors": np.concatenate([np.concatenate(centres, axis=1), sides])[None].astype(np.float32),
        "to_boxes": rng.normal(0, 0.05, (1, 4, 3)).astype(np.float32),
        "to_classes": rng.normal(0, 3, (1, classes, 3)).astype(np.float32),
        "side": np.float32(64),
    }
    outputs = [("output0", TensorProto.FLOAT, [batch, 4 + classes, 84])]
    return _open(path, nodes, constants, [batch, 3, 64, 64], outputs, "yolo-dense")


def _brightness(*, batched: bool) -> list[onnx.NodeProto]:
    """The mean of each cell, [N, 1, 24]."""
    node = helper.make_node
    pool = {"kernel_shape": [CELL, CELL], "strides": [CELL, CELL]}
    images = [] if batched else [node("Unsqueeze", ["image", "front"], ["images"])]
    return [
        *images,
        node("AveragePool", ["image" if batched else "images"], ["colours"], **pool),
        node("ReduceMean", ["colours"], ["gray"], axes=[1], keepdims=1),
        node("Reshape", ["gray", "cells"], ["cell_scores"]),
    ]


def _open(path: Path, nodes, constants, input_shape, outputs, layout: str) -> Engine:
    constants = {"front": np.array([0]), "cells": np.array([-1, 1, COUNT]), **constants}
    value = helper.make_tensor_value_info
    save(
        path,
        nodes,
        [value("image", TensorProto.FLOAT, input_shape)],
        [value(*output) for output in outputs],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    return Engine(path, preprocessing=UNIT, detector=layout)
