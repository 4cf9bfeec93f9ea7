"""What the images of a data set teach: a class, labels, or a number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from onnxplain.data import DataSet, Record
from onnxplain.data.dataset import image_key
from onnxplain.data.subset import Subset
from onnxplain.errors import OnnxplainError
from onnxplain.training.options import Supervision

Truths = npt.NDArray[np.int64] | npt.NDArray[np.float32]
"""Class ids int64 (N,); labels float32 (N, L), 1 where the image shows one; or numbers float32 (N, 1)."""


def told_supervision(dataset: DataSet) -> Supervision:
    """What a data set says that it is for: ``number`` if it has numbers and no labels, ``multi-label`` if it has no
    boxes, and an image of several labels or of none; else ``boxes``."""
    if not dataset.labels:
        return "number"
    records = dataset.records
    several = dataset.images_with_several_labels or not all(record.label for record in records)
    return "multi-label" if several and not any(len(record.boxes_xyxy) for record in records) else "boxes"


def choose_column(dataset: DataSet, column: str | None) -> str:
    """The column of numbers to learn: the one that is named, else the only one. Raises OnnxplainError otherwise."""
    found = dataset.columns
    if column is None and len(found) == 1:
        return found[0]
    if column is None or column not in found:
        listed = ", ".join(found) or "none"
        asked = "" if column is None else f" and not {column!r}"
        raise OnnxplainError(
            f"{dataset.name}: found the columns of numbers {listed}{asked}, expected one to learn: name one (--column)"
        )
    return column


def one_per_image(dataset: DataSet) -> DataSet:
    """The first record of each image."""
    first: dict[object, int] = {}
    for index, record in enumerate(dataset.records):
        first.setdefault(image_key(record), index)
    return replace(dataset, records=Subset(dataset.records, list(first.values())))


def with_number(dataset: DataSet, column: str) -> DataSet:
    """One record for each image that has this number; `labels` is the column's name. Raises OnnxplainError for none."""
    images = one_per_image(dataset)
    kept = [index for index, record in enumerate(images.records) if column in record.numbers]
    if not kept:
        raise OnnxplainError(f"{dataset.name}: found no image with a number in {column!r}, expected at least one")
    return replace(images, labels=(column,), records=Subset(images.records, kept))


def read_truths(dataset: DataSet, records: Sequence[Record], supervision: Supervision) -> Truths:
    """The truth of each of `records`, which are among those of `dataset`.

    For ``number``, `dataset` is what `with_number` returned.
    """
    if supervision == "number":
        (column,) = dataset.labels
        return np.array([[record.numbers[column]] for record in records], np.float32)
    if supervision != "multi-label":
        return np.array([dataset.labels.index(record.label) for record in records], np.int64)
    shown: dict[object, set[str]] = {}
    for record in dataset.records:
        shown.setdefault(image_key(record), set()).add(record.label)
    rows = [[label in shown[image_key(record)] for label in dataset.labels] for record in records]
    return np.array(rows, np.float32).reshape(len(records), len(dataset.labels))
