"""Mosaics: four images in a 2 × 2 grid, with one class to find.

Objects in photographs are usually in the middle, so a constant box scores well on them. In a mosaic the asked class is
in one of four cells, so a localizer has to look at the image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np
import numpy.typing as npt

from onnxplain.contract.arguments import checked
from onnxplain.data.dataset import DataSet, image_key
from onnxplain.data.loading import load_pixels
from onnxplain.data.record import Record
from onnxplain.data.subset import Subset
from onnxplain.errors import OnnxplainError
from onnxplain.runtime.geometry import make_frame
from onnxplain.runtime.preprocess import warp_image

CELLS = 4


class Mosaics(Sequence[Record]):
    """`count` mosaics of `size_hw` from the images of `dataset`. Mosaic i depends only on (seed, i) and is drawn on
    access.

    Raises OnnxplainError for a size under 2 × 2, negative numbers, a data set without boxes, and a class with fewer
    than three images that do not show it. Access to a mosaic raises ProblemError if one of its images cannot be read.
    """

    def __init__(self, dataset: DataSet, count: int, seed: int, size_hw: tuple[int, int]) -> None:
        if count < 0 or seed < 0 or min(size_hw) < 2:
            raise OnnxplainError(
                f"mosaics: found count {count}, seed {seed}, size {size_hw[0]}x{size_hw[1]}, expected numbers of at "
                "least 0 and sides of at least 2 pixels"
            )
        self.dataset, self.length, self.seed, self.size_hw = dataset, count, seed, size_hw
        labels_of: dict[object, set[str]] = {}
        places: dict[object, int] = {}
        self._asked: dict[str, list[int]] = {}
        for index, record in enumerate(dataset.records):
            labels_of.setdefault(image_key(record), set()).add(record.label)
            places.setdefault(image_key(record), index)
            if len(record.boxes_xyxy):
                self._asked.setdefault(record.label, []).append(index)
        self._labels = [label for label in dataset.labels if label in self._asked]
        self._others = {
            label: [places[key] for key, shown in labels_of.items() if label not in shown] for label in self._labels
        }
        if not self._labels:
            raise OnnxplainError(f"mosaics: found no box in {dataset.name}, expected a data set with boxes")
        for label, others in self._others.items():
            if len(others) < CELLS - 1:
                raise OnnxplainError(
                    f"mosaics: found {len(others)} images without {label!r}, expected at least {CELLS - 1} for the "
                    "other cells"
                )

    def __len__(self) -> int:
        return self.length

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> Subset: ...
    def __getitem__(self, index: int | slice) -> Record | Subset:
        if isinstance(index, slice):
            return Subset(self, range(self.length)[index])
        return self._draw(range(self.length)[index])

    def __iter__(self) -> Iterator[Record]:
        return (self[index] for index in range(self.length))

    def _draw(self, number: int) -> Record:
        rng = np.random.default_rng([self.seed, number])
        label = self._labels[rng.integers(len(self._labels))]
        asked = self.dataset.records[self._asked[label][rng.integers(len(self._asked[label]))]]
        others = rng.choice(self._others[label], CELLS - 1, replace=False)
        cells = rng.permutation(CELLS)
        mosaic_hwc = np.empty((*self.size_hw, 3), np.uint8)
        boxes_xyxy = self._lay(mosaic_hwc, asked, int(cells[0]))
        for index, cell in zip(others, cells[1:], strict=True):
            self._lay(mosaic_hwc, self.dataset.records[index], int(cell))
        return Record(mosaic_hwc, label, boxes_xyxy, name=f"mosaic-{self.seed}-{number}")

    def _lay(self, mosaic_hwc: npt.NDArray[np.uint8], record: Record, cell: int) -> npt.NDArray[np.float32]:
        """Stretch an image over one cell; its boxes, float32 (M, 4), in pixels of the mosaic."""
        (top, bottom), (left, right) = (
            (0, side // 2) if place == 0 else (side // 2, side)
            for side, place in zip(self.size_hw, divmod(cell, 2), strict=True)
        )
        image_hwc = load_pixels(record)
        frame = make_frame(image_hwc.shape[:2], (bottom - top, right - left), "stretch")
        mosaic_hwc[top:bottom, left:right] = warp_image(image_hwc, frame)
        return frame.boxes_to_input(record.boxes_xyxy) + np.array([left, top] * 2, np.float32)


@checked
def mosaics(dataset: DataSet, count: int, seed: int = 0, size_hw: tuple[int, int] = (448, 448)) -> DataSet:
    """`count` mosaics of `size_hw` pixels: a record has the asked class as its label, and only the boxes of that class.

    The asked class is drawn from the classes with boxes, all with the same probability. The three other images are
    drawn from those that do not show it. Each image is stretched over its cell: half the mosaic's height and width.
    """
    name = f"{count} mosaics of {dataset.name}"
    return DataSet(name, dataset.labels, Mosaics(dataset, count, seed, size_hw))
