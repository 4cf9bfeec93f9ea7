"""One labelled image of a data set: readers give records, training and evaluation use them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxplain.contract.arguments import FilePath
from onnxplain.contract.expected import refuse
from onnxplain.data.class_mask import ClassMask
from onnxplain.errors import OnnxplainError
from onnxplain.runtime.image import load_image


@dataclass(frozen=True, eq=False)
class Record:
    """An image, one class that it shows, and the boxes of that class.

    `image`: a path, or the pixels themselves, uint8 (H, W, 3) RGB. `label`: the class's name. `boxes_xyxy`:
    float32 (M, 4), pixels of the image, one row per object *of that class*; M may be 0 if a data set has
    labels only. An image that shows several classes gives several records; one that shows none has one record with an
    empty label. `name`: the image's name in reports; by default the path's stem. `numbers`: what the data set measured
    of the image, by column. `mask`: the pixels that show the class, of the image's size; None if they are not known.
    Raises OnnxplainError for anything else.
    """

    image: Path | npt.NDArray[np.uint8]
    label: str
    boxes_xyxy: npt.NDArray[np.float32]
    name: str = ""
    numbers: Mapping[str, float] = field(default_factory=dict)
    mask: ClassMask | None = None

    def __post_init__(self) -> None:
        if isinstance(self.image, np.ndarray):
            if self.image.dtype != np.uint8 or self.image.ndim != 3 or self.image.shape[2] != 3:
                raise OnnxplainError(
                    f"record {self.name}: image is {self.image.dtype} {self.image.shape}, expected uint8 (H, W, 3) RGB"
                )
        else:
            FilePath().check("image", self.image)
        if not isinstance(self.label, str):
            refuse("label", self.label, "text")
        if not isinstance(self.name, str):
            refuse("name", self.name, "text")
        if not isinstance(self.numbers, Mapping):
            refuse("numbers", self.numbers, "a mapping from columns to numbers")
        if self.mask is not None and not isinstance(self.mask, ClassMask):
            refuse("mask", self.mask, "a ClassMask")
        if not isinstance(self.image, np.ndarray) and not self.name:
            object.__setattr__(self, "name", Path(self.image).stem)
        try:
            boxes = np.asarray(self.boxes_xyxy, np.float32)
        except (TypeError, ValueError, OverflowError):
            refuse("boxes_xyxy", self.boxes_xyxy, "float32 (M, 4)")
        if boxes.size == 0:
            boxes = boxes.reshape(0, 4)
        if boxes.ndim != 2 or boxes.shape[1] != 4:
            raise OnnxplainError(f"record {self.name}: boxes_xyxy has shape {boxes.shape}, expected (M, 4)")
        if not (np.isfinite(boxes).all() and (boxes[:, 2:] > boxes[:, :2]).all()):
            raise OnnxplainError(
                f"record {self.name}: boxes_xyxy {boxes.tolist()}, expected finite rows (x1, y1, x2, y2) "
                "with x1 < x2 and y1 < y2"
            )
        object.__setattr__(self, "boxes_xyxy", boxes)

    def load(self, read: Callable[[Path], npt.NDArray[Any]] = load_image) -> npt.NDArray[Any]:
        """The pixels, uint8 (H, W, 3) RGB, or a file's as `read` gives them; raises ImageError if it cannot be read."""
        return self.image if isinstance(self.image, np.ndarray) else read(self.image)


def check_records(records: Sequence[Record]) -> None:
    """Raise OnnxplainError unless it is a sequence; its entries are checked where they are used, one by one."""
    if isinstance(records, str | bytes) or not isinstance(records, Sequence):
        refuse("records", records, "a sequence of records")


def check_record(record: object) -> None:
    """Raise OnnxplainError unless it is a record."""
    if not isinstance(record, Record):
        refuse("records", record, "a Record")
