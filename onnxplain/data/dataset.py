"""A data set: records, their classes, and the problems of what was left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from onnxplain.contract.expected import Listed, Text, refuse
from onnxplain.data.problem import Problem
from onnxplain.data.record import Record, check_records
from onnxplain.data.subset import Subset
from onnxplain.errors import OnnxplainError

_LONGEST_LABEL, _MOST_LABELS = 10**6, 10**7


@dataclass(frozen=True, eq=False)
class DataSet:
    """Labelled images, and the problems of those that cannot be used.

    `name`: the name in reports. `labels`: the class names; a class's id is its position, even if no record shows the
    class. `records`: one per image and class; an image is read or drawn when its record is used. `problems`: one for
    everything that was left out when the data set was read. Raises OnnxplainError if there is no record, for records
    with neither label nor numbers, and for a label that is given twice.
    """

    name: str
    labels: tuple[str, ...]
    records: Sequence[Record]
    problems: tuple[Problem, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            refuse("name", self.name, "text")
        Listed(Text(_LONGEST_LABEL), _MOST_LABELS).check("labels", self.labels)
        check_records(self.records)
        if not isinstance(self.problems, tuple | list):
            refuse("problems", self.problems, "a tuple of problems")
        if not len(self.records):
            first = f", the first: {self.problems[0]}" if self.problems else ""
            raise OnnxplainError(
                f"{self.name}: found no usable image ({len(self.problems)} problems{first}), expected at least one"
            )
        twice = [label for label, count in Counter(self.labels).items() if count > 1]
        if twice or (not len(self.labels) and not self.columns):
            raise OnnxplainError(f"{self.name}: found labels {list(self.labels)}, expected at least one, each once")

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the numbers that the images have, sorted."""
        return tuple(sorted({name for record in self.records for name in record.numbers}))

    @property
    def images(self) -> int:
        """How many images there are."""
        return len({image_key(record) for record in self.records})

    @property
    def images_with_several_labels(self) -> int:
        """How many images show objects of more than one class."""
        return sum(count > 1 for count in Counter(map(image_key, self.records)).values())

    @property
    def skipped(self) -> int:
        """How many images, objects and files were left out: one per problem."""
        return len(self.problems)

    @property
    def images_with_several_boxes(self) -> int:
        """How many images show more than one object, of one class or of several; `single_box` leaves them out."""
        return sum(count > 1 for count in self._boxes_per_image().values())

    @property
    def images_without_boxes(self) -> int:
        """How many images have a label but no box; `single_box` leaves them out too."""
        return sum(count == 0 for count in self._boxes_per_image().values())

    def single_box(self) -> DataSet:
        """Only the images that show exactly one object, for a model with one box.

        Raises OnnxplainError if there is none.
        """
        boxes = self._boxes_per_image()
        return self._keep([index for index, record in enumerate(self.records) if boxes[image_key(record)] == 1])

    def select(self, labels: Sequence[str]) -> DataSet:
        """Only the records of these classes; `labels` is the new order of the classes.

        Raises OnnxplainError for a label that the data set does not have, and if no record is left.
        """
        unknown = [label for label in labels if label not in self.labels]
        if unknown:
            raise OnnxplainError(f"{self.name}: found no class {unknown[0]!r}, expected some of {list(self.labels)}")
        kept = [index for index, record in enumerate(self.records) if record.label in labels]
        return replace(self._keep(kept), labels=tuple(labels))

    def _keep(self, indices: Sequence[int]) -> DataSet:
        return replace(self, records=Subset(self.records, indices))

    def _boxes_per_image(self) -> Counter[Path | str]:
        boxes: Counter[Path | str] = Counter()
        for record in self.records:
            boxes[image_key(record)] += len(record.boxes_xyxy)
        return boxes


def image_key(record: Record) -> Path | str:
    """A key that all records of one image share: the path, or the name if the image has no path."""
    return record.image if isinstance(record.image, Path) else record.name
