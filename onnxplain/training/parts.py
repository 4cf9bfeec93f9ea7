"""The parts of a data set for a training: train, validation (chooses the best epoch) and test."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from onnxplain.data import DataSet, Problem, open_dataset, split, split_by_lists
from onnxplain.data.dataset import image_key
from onnxplain.data.formats.parts import Part, part_folders
from onnxplain.data.subset import Subset
from onnxplain.errors import OnnxplainError
from onnxplain.training.options import Supervision
from onnxplain.training.truths import choose_column, one_per_image, with_number

VALIDATION_SHARES = (0.85, 0.15)
"""Shares of train and validation among the images that are not for testing."""


@dataclass(frozen=True, eq=False)
class Parts:
    """Data sets that share no image; `test` is None if there are no test images.

    `problems`: what was left out when they were read. `left_out`: how many images of the training part cannot be used
    for training, with the reason.
    """

    train: DataSet
    validation: DataSet
    test: DataSet | None
    problems: tuple[Problem, ...]
    left_out: tuple[tuple[int, str], ...] = ()

    def usable(self, supervision: Supervision, column: str | None = None) -> Parts:
        """Only the images that a training can use.

        With boxes: for training, images that show one object; for scoring, images that show one class, with any number
        of boxes. With labels only: images that show one class. With several labels: every image. With a number: images
        that have one in `column`, by default the only column. Raises OnnxplainError if a part has none.
        """
        if column is not None and supervision != "number":
            raise OnnxplainError(f"column: found {column!r} for supervision {supervision}, expected it only for number")
        if supervision == "multi-label":
            if not self.train.labels:
                raise OnnxplainError(f"{self.train.name}: found no labels, expected at least one: learn a number")
            return self
        if supervision == "number":
            return self._with_number(choose_column(self.train, column))
        if not self.train.labels:
            raise OnnxplainError(f"{self.train.name}: found numbers but no labels: learn a number (supervision number)")
        if supervision == "boxes":
            train, left_out = _with_one_box(self.train)
        else:
            train, left_out = _of_one_class(self.train)
            if len(train.labels) < 2:
                raise OnnxplainError(
                    f"{train.name}: found 1 class, {train.labels[0]!r}, expected at least 2 to learn from labels alone"
                )
        scored = [
            None if part is None else _of_one_class(part, with_box=supervision == "boxes")[0]
            for part in (self.validation, self.test)
        ]
        assert scored[0] is not None
        return replace(self, train=train, validation=scored[0], test=scored[1], left_out=left_out)

    def _with_number(self, column: str) -> Parts:
        train = with_number(self.train, column)
        left_out = len(one_per_image(self.train).records) - len(train.records)
        return replace(
            self,
            train=train,
            validation=with_number(self.validation, column),
            test=None if self.test is None else with_number(self.test, column),
            left_out=((left_out, f"without a number in {column}"),),
        )


def open_parts(
    source: str | os.PathLike[str],
    *,
    images: str | os.PathLike[str] | None = None,
    lists: Sequence[str | os.PathLike[str]] = (),
    seed: int = 0,
    strict: bool = False,
    allow_outside: bool = False,
) -> Parts:
    """Open a data set (see `open_dataset`) and divide it by image.

    `lists`: two or three text files of image names: train, validation, and optionally test. Without lists, the data
    set's own parts are used. If it has none, ``test`` is the side of that name from ``open_dataset(…, seed=seed)``. If
    it has no validation part, VALIDATION_SHARES divide the training images. Raises OnnxplainError as `open_dataset`,
    `split` and `split_by_lists` do.
    """
    if len(lists) not in (0, 2, 3):
        raise OnnxplainError(f"split: found {len(lists)} lists, expected two or three: train, validation, test")
    if lists:
        whole = open_dataset(source, images=images, strict=strict, allow_outside=allow_outside)
        train, validation, *rest = split_by_lists(whole, lists, strict=strict)
        test = rest[0] if rest else None
        problems = [whole.problems, train.problems, validation.problems, () if test is None else test.problems]
        return Parts(train, validation, test, _unique(problems))
    own = _own_parts(Path(source))
    names: tuple[Part, ...] = ("train", "validation", "test")
    opened = {
        name: open_dataset(source, images=images, split=name, seed=seed, strict=strict, allow_outside=allow_outside)
        for name in names
        if name in own or (not own and name != "validation")
    }
    if "train" not in opened:
        raise OnnxplainError(f"{source}: found the parts {', '.join(sorted(own))}, expected train among them")
    problems = [part.problems for part in opened.values()]
    if "validation" not in opened:
        opened["train"], opened["validation"] = split(opened["train"], VALIDATION_SHARES, seed)
    return Parts(opened["train"], opened["validation"], opened.get("test"), _unique(problems))


def _own_parts(source: Path) -> set[Part]:
    """The data set's own parts, by its folders."""
    folder = source.parent if source.suffix in (".yaml", ".yml") else source
    return {*part_folders(folder).values(), *part_folders(folder / "labels").values()}


def _with_one_box(dataset: DataSet) -> tuple[DataSet, tuple[tuple[int, str], ...]]:
    several, none = dataset.images_with_several_boxes, dataset.images_without_boxes
    if not any(len(record.boxes_xyxy) for record in dataset.records):
        raise OnnxplainError(f"{dataset.name}: found labels but no boxes, expected boxes: learn from labels alone")
    return dataset.single_box(), ((several, "with several boxes"), (none, "without a box"))


def _of_one_class(dataset: DataSet, *, with_box: bool = False) -> tuple[DataSet, tuple[tuple[int, str], ...]]:
    classes = Counter(image_key(record) for record in dataset.records)
    kept = [
        index
        for index, record in enumerate(dataset.records)
        if record.label and classes[image_key(record)] == 1 and (len(record.boxes_xyxy) or not with_box)
    ]
    left_out = sum(count > 1 for count in classes.values())
    unlabelled = sum(not record.label for record in dataset.records)
    reasons = ((left_out, "of several classes"), (unlabelled, "without a label"))
    return replace(dataset, records=Subset(dataset.records, kept)), reasons


def _unique(problems: Sequence[Sequence[Problem]]) -> tuple[Problem, ...]:
    return tuple(dict.fromkeys(problem for part in problems for problem in part))
