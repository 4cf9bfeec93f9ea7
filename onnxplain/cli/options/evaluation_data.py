"""The images that `evaluate` uses: the data set, its part, mosaics of it, a random choice of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeGuard, get_args

import click

from onnxplain.cli.options.dataset import allow_outside_option, image_folder_option
from onnxplain.cli.options.gather import stack
from onnxplain.errors import OnnxplainError

if TYPE_CHECKING:
    from onnxplain.data import DataSet
    from onnxplain.data.formats.parts import Part

    PartOrAll: TypeAlias = Part | Literal["all"]


data_options = stack(
    image_folder_option,
    allow_outside_option,
    click.option(
        "--format",
        "format_name",
        metavar="NAME",
        help="Format of DATASET, such as voc, coco, yolo or csv. Default: detected.",
    ),
    click.option(
        "--split",
        metavar="PART|FILE",
        help="Images to evaluate on: train, validation, test, all, or a text file of image names. Default: all; for "
        "digits, test.",
    ),
    click.option(
        "--train-split",
        metavar="PART|FILE",
        help="Training images, named like those of --split. Their mean box becomes a baseline. Default: none.",
    ),
    click.option(
        "--mosaics",
        type=click.IntRange(min=1),
        metavar="N",
        help="Evaluate on N mosaics instead. Each shows four images, and the class of one of them is the label. "
        "Default: the images as they are.",
    ),
    click.option(
        "--limit",
        type=click.IntRange(min=1),
        metavar="N",
        help="Use only N of the images or mosaics, drawn at random. Default: all.",
    ),
    click.option(
        "--column",
        metavar="NAME",
        help="For a model that answers with a number: the column of the CSV file with the true numbers. Default: the "
        "only one.",
    ),
)


@dataclass(frozen=True)
class DataArguments:
    """What the options say about the data set. `split`, `train_split`: a part, ``all``, or a file of image names."""

    dataset: str
    images: Path | None
    allow_outside: bool
    format_name: str | None
    split: str | None
    train_split: str | None
    mosaics: int | None
    limit: int | None
    column: str | None
    strict: bool

    def open(self, seed: int) -> tuple[DataSet, DataSet | None]:
        """The data set to evaluate on, and the one whose mean box is a baseline (None without --train-split).

        `seed` draws digits, parts, mosaics and --limit. Raises OnnxplainError if both share an image, and as
        `open_dataset` does.
        """
        from onnxplain.data import mosaics

        dataset, train = self._open_sides(seed)
        if train is not None:
            _require_disjoint(dataset, train)
        if self.mosaics is not None:
            dataset = mosaics(dataset, self.mosaics, seed)
            train = None if train is None else mosaics(train, self.mosaics, seed)
        return dataset if self.limit is None else _draw(dataset, self.limit, seed), train

    def _open_sides(self, seed: int) -> tuple[DataSet, DataSet | None]:
        from onnxplain.data import split_by_lists

        asked = [self.split] if self.train_split is None else [self.split, self.train_split]
        lists = [Path(each) for each in asked if each is not None and not _is_part(each)]
        listed: list[DataSet] = []
        if lists:
            whole = self._open(None, seed)
            sides = split_by_lists(whole, lists, strict=self.strict)
            listed = [replace(side, problems=(*whole.problems, *side.problems)) for side in sides]
        opened = [self._open(each, seed) if each is None or _is_part(each) else listed.pop(0) for each in asked]
        return opened[0], opened[1] if len(opened) > 1 else None

    def _open(self, part: PartOrAll | None, seed: int) -> DataSet:
        from onnxplain.data import open_dataset

        return open_dataset(
            self.dataset,
            images=self.images,
            format=self.format_name,
            split=part,
            seed=seed,
            strict=self.strict,
            allow_outside=self.allow_outside,
        )


def _is_part(text: str) -> TypeGuard[PartOrAll]:
    """Whether a split names a part; otherwise it is a file. Raises click.UsageError if there is no such file."""
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
            raise OnnxplainError(
                f"{dataset.name}: found the same digits as in --train-split, expected others: change --split"
            )
        return
    shared = {image_key(record) for record in dataset.records} & {image_key(record) for record in train.records}
    if shared:
        raise OnnxplainError(
            f"{dataset.name}: found {len(shared)} images that are also in --train-split, expected none: evaluate on "
            "other images, such as --split test"
        )


def _draw(dataset: DataSet, count: int, seed: int) -> DataSet:
    """`count` records drawn at random, in their original order; all records if there are not more."""
    import numpy as np

    from onnxplain.data.subset import Subset

    total = len(dataset.records)
    if count >= total:
        return dataset
    indices = np.sort(np.random.default_rng(seed).choice(total, count, replace=False))
    return replace(dataset, name=f"{count} of {dataset.name}", records=Subset(dataset.records, indices.tolist()))
