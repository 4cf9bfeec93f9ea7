"""Run many rows through a session in batches. If the file fixes the batch size, batches are padded to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from onnxplain.runtime.arrays import AnyArray

IMAGES_AT_ONCE = 8
"""Larger batches of images cost memory and are hardly faster on a CPU."""

FEATURES_AT_ONCE = 16
"""The same limit for the tail of a model. More copies of large feature maps do not fit into the caches."""

Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(frozen=True)
class Batches:
    """How many rows a session takes: exactly `fixed`, or up to `most` if `fixed` is None."""

    fixed: int | None
    most: int

    @property
    def size(self) -> int:
        """Rows of a full batch."""
        return self.fixed or self.most

    def slices(self, count: int) -> Iterator[slice]:
        """The slices that split `count` rows into batches, in order. The last one may be smaller."""
        for start in range(0, count, self.size):
            yield slice(start, min(start + self.size, count))

    def run(self, compute: Callable[..., Sequence[AnyArray]], *arrays: npt.NDArray[Any]) -> list[AnyArray]:
        """Call `compute` on all rows of `arrays` in batches and concatenate its outputs.

        All arrays have the same length ≥ 1. A batch of fixed size is padded with the last row; the outputs of the
        padding are dropped.
        """
        parts = []
        for rows in self.slices(len(arrays[0])):
            batch = [array[rows] for array in arrays]
            if self.fixed is not None:
                batch = [fill_up(array, self.fixed) for array in batch]
            count = rows.stop - rows.start
            is_padded = len(batch[0]) > count
            # Some outputs of detectors have a row per detection, not per image.
            parts.append([output[:count] if is_padded else output for output in compute(*batch)])
        return [np.concatenate(outputs) if len(outputs) > 1 else outputs[0] for outputs in zip(*parts, strict=True)]


def fill_up(array: npt.NDArray[Scalar], size: int) -> npt.NDArray[Scalar]:
    """The array with its last row repeated, up to a multiple of `size` rows."""
    missing = -len(array) % size
    return np.concatenate([array, *[array[-1:]] * missing]) if missing else array
