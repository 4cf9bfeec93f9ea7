"""The images that `evaluate` was asked for: which data set, which part of it, whether as mosaics."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeGuard, get_args

import click

from onnxplain.errors import OnnxplainError

if TYPE_CHECKING:
    from onnxplain.data import DataSet
    from onnxplain.data.formats.parts import Part

    PartOrAll: TypeAlias = Part | Literal["all"]


@dataclass(frozen=True)
class AskedData:
    """What the flags say of the data set. `split`, `train_split`: a part, ``all``, or a file of names."""

    source: str
    images: Path | None = None
    format: str | None = None
    split: str | None = None
    train_split: str | None = None
    mosaics: int | None = None
    limit: int | None = None
    seed: int = 0
    strict: bool = False

    def open(self) -> tuple[DataSet, DataSet | None]:
        """The data set to evaluate on, and the one whose mean box is a baseline.

        Raises OnnxplainError where they share an image, and as `open_dataset` does.
        """
        from onnxplain.data import mosaics

        dataset, train = self._open_sides()
        if train is not None:
            _require_disjoint(dataset, train)
        if self.mosaics is not None:
            dataset = mosaics(dataset, self.mosaics, self.seed)
            train = None if train is None else mosaics(train, self.mosaics, self.seed)
        return dataset if self.limit is None else _draw(dataset, self.limit, self.seed), train

    def _open_sides(self) -> tuple[DataSet, DataSet | None]:
        from onnxplain.data import split_by_lists

        asked = [self.split] if self.train_split is None else [self.split, self.train_split]
        lists = [Path(each) for each in asked if each is not None and not _is_part(each)]
        listed: list[DataSet] = []
        if lists:
            whole = self._open(None)
            sides = split_by_lists(whole, lists, strict=self.strict)
            listed = [replace(side, problems=(*whole.problems, *side.problems)) for side in sides]
        opened = [self._open(each) if each is None or _is_part(each) else listed.pop(0) for each in asked]
        return opened[0], opened[1] if len(opened) > 1 else None

    def _open(self, part: PartOrAll | None) -> DataSet:
        from onnxplain.data import open_dataset

        return open_dataset(
            self.source,
            images=self.images,
            format=self.format,
            split=part,
            seed=self.seed,
            strict=self.strict,
        )


def _is_part(text: str) -> TypeGuard[PartOrAll]:
    """Whether a split is named as a part; anything else is a file. Raises click.UsageError where there is no such."""
    from onnxplain.data.formats.parts import Part

    if text in (*get_args(Part), "all"):
        return True
    if not Path(text).is_file():
        raise click.UsageError(
            f"split: found {text!r}, expected {', '.join(get_args(Part))}, all, or a text file of image names"
        )
    return False


def _require_disjoint(dataset: DataSet, train: DataSet) -> None:
    from onnxplain.data.dataset import image_key
    from onnxplain.data.digits.scenes import DigitScenes

    if isinstance(dataset.records, DigitScenes):
        if dataset.name == train.name:
            raise OnnxplainError(f"{dataset.name}: found the same digits as --train-split, expected others")
        return
    shared = {image_key(record) for record in dataset.records} & {image_key(record) for record in train.records}
    if shared:
        raise OnnxplainError(
            f"{dataset.name}: found {len(shared)} images that are also in --train-split, expected none: evaluate on "
            "others, such as --split test"
        )


def _draw(dataset: DataSet, count: int, seed: int) -> DataSet:
    """So many of the records at random, in their order; all where there are no more."""
    import numpy as np

    from onnxplain.data.subset import Subset

    total = len(dataset.records)
    if count >= total:
        return dataset
    indices = np.sort(np.random.default_rng(seed).choice(total, count, replace=False))
    return replace(dataset, name=f"{count} of {dataset.name}", records=Subset(dataset.records, indices.tolist()))
