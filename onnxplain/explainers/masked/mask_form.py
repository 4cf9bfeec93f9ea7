"""What kinds of masks share: a form, the same for every mask of an image, and draws, with one entry per mask."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Generic, Self, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from onnxplain.runtime.arrays import FloatArray
from onnxplain.runtime.sessions.batches import fill_up


@dataclass(frozen=True, eq=False)
class Draw:
    """What differs between n masks: arrays with one entry per mask each."""

    def __len__(self) -> int:
        return len(next(iter(vars(self).values())))

    def part(self, start: int, stop: int) -> Self:
        """The masks start … stop − 1."""
        return self._each(lambda array: array[start:stop])

    def padded(self, size: int) -> Self:
        """The draw with its last mask repeated, up to a multiple of `size` masks."""
        return self._each(lambda array: fill_up(array, size))

    def _each(self, change: Callable[[npt.NDArray[Any]], npt.NDArray[Any]]) -> Self:
        return type(self)(*(change(getattr(self, each.name)) for each in fields(self)))


AnyDraw = TypeVar("AnyDraw", bound=Draw)

# A draw → its masks one after the other, float32 (H, W). The next one may overwrite the last.
Brush: TypeAlias = Callable[[AnyDraw], Iterator[FloatArray]]
# The same masks as uint8 (H, W), 255 where a pixel shows and 0 where it is hidden; None if one shows in part.
Cutter: TypeAlias = Callable[[AnyDraw], Iterator[npt.NDArray[np.uint8]] | None]


class MaskForm(ABC, Generic[AnyDraw]):
    """How draws become masks over a model's input, on the host and in a graph on the device.

    `multiplies`: whether a mask is a product of matrices.
    """

    multiplies: ClassVar[bool] = False

    @property
    @abstractmethod
    def graph(self) -> str:
        """What the files of its graphs are called in mask_graphs/, before the type."""

    @abstractmethod
    def brush(self) -> Brush[AnyDraw]:
        """A brush for one thread."""

    def cutter(self) -> Cutter[AnyDraw]:
        """A cutter for one thread. Masks that only show or hide are cut out of two images, which is faster."""
        return lambda _draw: None

    @abstractmethod
    def constants(self, repeated: int) -> Mapping[str, npt.NDArray[Any]]:
        """The inputs of the graph that stay. Each column of a mask stands `repeated` times in a line of the image."""

    @abstractmethod
    def arrays(self, draw: AnyDraw) -> Mapping[str, npt.NDArray[Any]]:
        """The inputs of the graph that a draw gives."""
