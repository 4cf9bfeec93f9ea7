"""Many rows through a session, a batch at a time; a batch that the file fixes is filled up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from onnxplain.runtime.arrays import AnyArray

IMAGES_AT_ONCE = 8
"""More images at once cost memory and gain nothing: on a CPU, throughput hardly grows past this."""

FEATURES_AT_ONCE = 16
"""The same for the tail of a model. Copies of large feature maps no longer fit the caches past this."""

Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(frozen=True)
class Batches:
    """How many rows a session takes: exactly `fixed`, or where that is None up to `most`."""

    fixed: int | None
    most: int

    @property
    def size(self) -> int:
        """Rows of a full batch."""
        return self.fixed or self.most

    def slices(self, count: int) -> Iterator[slice]:
        """Where the batches of `count` rows lie, in order; the last one may be smaller."""
        for start in range(0, count, self.size):
            yield slice(start, min(start + self.size, count))

    def run(self, compute: Callable[..., Sequence[AnyArray]], *arrays: npt.NDArray[Any]) -> list[AnyArray]:
        """All rows of `arrays`, which have one length ≥ 1, through `compute`: its outputs, joined row after row.

        A fixed batch is filled up with the last row; the outputs of what fills it are dropped.
        """
        parts = []
        for rows in self.slices(len(arrays[0])):
            batch = [array[rows] for array in arrays]
            if self.fixed is not None:
                batch = [fill_up(array, self.fixed) for array in batch]
            parts.append([output[: rows.stop - rows.start] for output in compute(*batch)])
        return [np.concatenate(outputs) if len(outputs) > 1 else outputs[0] for outputs in zip(*parts, strict=True)]


def fill_up(array: npt.NDArray[Scalar], size: int) -> npt.NDArray[Scalar]:
    """The array with its last row repeated, up to a multiple of `size` rows."""
    missing = -len(array) % size
    return np.concatenate([array, *[array[-1:]] * missing]) if missing else array
