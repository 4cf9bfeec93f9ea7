"""The parts of a data set that a training needs: to learn from, to choose the best epoch by, to be tested on."""

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

VALIDATION_SHARES = (0.85, 0.15)
"""Of the images that are not for testing."""


@dataclass(frozen=True, eq=False)
class Parts:
    """Data sets that share no image; `test` is None where there is nothing to test on.

    `problems`: what was left out when they were read. `left_out`: how many images of the training part cannot be
    learnt from as they are, by reason.
    """

    train: DataSet
    validation: DataSet
    test: DataSet | None
    problems: tuple[Problem, ...]
    left_out: tuple[tuple[int, str], ...] = ()

    def usable(self, supervision: Supervision) -> Parts:
        """The images that a training can use.

        With boxes: to learn from, those that show one object; to score, those that show one class, with any number of
        boxes. With labels alone: those that show one class. Raises OnnxplainError where a part has none.
        """
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


def open_parts(
    source: str | os.PathLike[str],
    *,
    images: str | os.PathLike[str] | None = None,
    lists: Sequence[str | os.PathLike[str]] = (),
    seed: int = 0,
    strict: bool = False,
) -> Parts:
    """Open a data set (see `open_dataset`) and divide it by image.

    `lists`: two or three text files of image names, to learn from, to choose by, and perhaps to test on. Without
    them a data set's own parts hold; where it has none, and for a part that is missing, ``test`` is the side of that
    name of ``open_dataset(…, seed=seed)``, and VALIDATION_SHARES divide the rest. Raises OnnxplainError as those do.
    """
    if len(lists) not in (0, 2, 3):
        raise OnnxplainError(f"split: found {len(lists)} lists, expected two (train, validation) or three (and test)")
    if lists:
        whole = open_dataset(source, images=images, strict=strict)
        train, validation, *rest = split_by_lists(whole, lists, strict=strict)
        test = rest[0] if rest else None
        problems = [whole.problems, train.problems, validation.problems, () if test is None else test.problems]
        return Parts(train, validation, test, _unique(problems))
    own = _own_parts(Path(source))
    names: tuple[Part, ...] = ("train", "validation", "test")
    opened = {
        name: open_dataset(source, images=images, split=name, seed=seed, strict=strict)
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
    """The parts that a data set comes in, by its folders."""
    folder = source.parent if source.suffix in (".yaml", ".yml") else source
    return {*part_folders(folder).values(), *part_folders(folder / "labels").values()}


def _with_one_box(dataset: DataSet) -> tuple[DataSet, tuple[tuple[int, str], ...]]:
    several, none = dataset.images_with_several_boxes, dataset.images_without_boxes
    if not any(len(record.boxes_xyxy) for record in dataset.records):
        raise OnnxplainError(f"{dataset.name}: found labels and no box, expected boxes: learn from labels alone")
    return dataset.single_box(), ((several, "with several boxes"), (none, "without a box"))


def _of_one_class(dataset: DataSet, *, with_box: bool = False) -> tuple[DataSet, tuple[tuple[int, str], ...]]:
    classes = Counter(image_key(record) for record in dataset.records)
    kept = [
        index
        for index, record in enumerate(dataset.records)
        if classes[image_key(record)] == 1 and (len(record.boxes_xyxy) or not with_box)
    ]
    left_out = sum(count > 1 for count in classes.values())
    return replace(dataset, records=Subset(dataset.records, kept)), ((left_out, "of several classes"),)


def _unique(problems: Sequence[Sequence[Problem]]) -> tuple[Problem, ...]:
    return tuple(dict.fromkeys(problem for part in problems for problem in part))
