"""Data sets as records: readers of common formats, splits, mosaics, and generated digits."""

from __future__ import annotations

from onnxplain.data.dataset import DataSet
from onnxplain.data.formats.table import FORMATS, Format
from onnxplain.data.loading import load_images
from onnxplain.data.mosaic import mosaics
from onnxplain.data.open import open_dataset
from onnxplain.data.problem import Problem
from onnxplain.data.record import Record
from onnxplain.data.splits import split, split_by_lists, write_lists

__all__ = [
    "FORMATS",
    "DataSet",
    "Format",
    "Problem",
    "Record",
    "load_images",
    "mosaics",
    "open_dataset",
    "split",
    "split_by_lists",
    "write_lists",
]
