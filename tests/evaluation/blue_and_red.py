"""A data set of blue and red rectangles, and a localizer that sees them: small enough to know every answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from onnxplain import Engine
from onnxplain.data import DataSet, open_dataset
from tests.explainers.tiny_model import make_tiny_model
from tests.training.shapes import write_shapes

LABELS = ("blue", "red", "green", "gold")


def write_model(path: Path, *, box: bool = True, labels: tuple[str, ...] = LABELS, power: int = 2) -> Engine:
    """Channel 0 is blue minus red, channel 1 red minus blue; the classes green and gold get what is left over."""
    kernel = np.zeros((2, 3, 4, 4), np.float32)
    kernel[0, 2] = kernel[1, 0] = 1 / 16
    kernel[0, 0] = kernel[1, 2] = -1 / 16
    weights = np.array([[9, 0], [0, 9], [1, 0], [0, 1]], np.float32)
    return make_tiny_model(path, power=power, box=box, labels=labels, kernel=kernel, weights=weights).engine


def write_data(folder: Path, count: int = 12) -> DataSet:
    """`count` photos, none of them square, each with one box."""
    return open_dataset(write_shapes(folder, count))
