"""A selection of records, in any order, without copying them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

from onnxplain.data.record import Record


class Subset(Sequence[Record]):
    """The records at `indices` of `base`; generated records are still drawn on access."""

    def __init__(self, base: Sequence[Record], indices: Sequence[int]) -> None:
        self.base, self.indices = base, indices

    def __len__(self) -> int:
        return len(self.indices)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> Subset: ...
    def __getitem__(self, index: int | slice) -> Record | Subset:
        return Subset(self.base, self.indices[index]) if isinstance(index, slice) else self.base[self.indices[index]]

    def __iter__(self) -> Iterator[Record]:
        return (self.base[index] for index in self.indices)
