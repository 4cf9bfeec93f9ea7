"""The row type of the table of metrics: how one image is measured, and how a data set is summed up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from onnxplain.data.record import Record
from onnxplain.evaluation.metrics.statistic import MEAN, Statistic
from onnxplain.runtime.arrays import DoubleArray

Kind = Literal["prediction", "box", "heatmap"]
"""What is measured: the predicted class, one box, or one heatmap."""
Group = Literal["localization", "faithfulness", "sanity", "masks"]
Measured: TypeAlias = float | bool | npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Facts:
    """What is known about an evaluation before its first image.

    `labels`: whether labels are compared with the model's classes; `classes`: how many the model has; `box_head`,
    `sanity`: whether there is a box head, a model with shuffled weights; `explained`: whether the heatmap is made here,
    so that its model is known; `training_split`: whether one was given. `one_class`: whether the model answers with one
    class, and not with any number of labels.
    """

    labels: bool
    classes: int
    box_head: bool
    sanity: bool = False
    explained: bool = False
    training_split: bool = False
    one_class: bool = True


@dataclass(frozen=True)
class Requirement:
    """What a metric needs.

    `met`: whether it is there; `otherwise`: the reason for a null if it is not. `of_record`: whether an image has it;
    images without it do not count. `of_box`: the same for the map of one box of a detector (`BoxMap`).
    """

    met: Callable[[Facts], bool]
    otherwise: str
    of_record: Callable[[Record], bool] | None = None
    of_box: Callable[[Any], bool] | None = None


LABELS = Requirement(lambda facts: facts.labels, "the predicted class was asked for, labels are not compared")
ONE_CLASS = Requirement(
    lambda facts: facts.one_class, "the model answers with independent labels or a mask, not with one class"
)
MORE_THAN_FIVE = Requirement(lambda facts: facts.classes > 5, "the model has no more than five classes")
BOX_HEAD = Requirement(lambda facts: facts.box_head, "the model has no box head")
SANITY = Requirement(lambda facts: facts.sanity, "no file with shuffled weights was given")
EXPLAINED = Requirement(lambda facts: facts.explained, "the heatmap does not come from this model")
TRAINING_SPLIT = Requirement(lambda facts: facts.training_split, "no training split was named")
BOXES = Requirement(lambda facts: True, "no image has a true box", lambda record: len(record.boxes_xyxy) > 0)
MASKS = Requirement(lambda facts: True, "no image has a true mask", lambda record: record.mask is not None)


@dataclass(frozen=True)
class Metric:
    """A row of the table.

    `name`: in summaries and in --json; `title`: in the table on the terminal. `definition`: of the number, in one line.
    `measure`: the value for one image, a number, or for statistics over levels a bool array; its argument depends on
    `kind` (`Sample`, `BoxSample`, `HeatmapSample`). `column`: name of the value of one image, by default `name`.
    `groups`: the values of --metrics that include it. `of_predicted`: whether it uses the heatmap of the predicted
    class instead of the label's. `curve`: the curve under which the number is the area, float64 (S + 1,).
    """

    name: str
    title: str
    kind: Kind
    groups: tuple[Group, ...]
    better: Literal["higher", "lower"]
    definition: str
    measure: Callable[[Any], Measured]
    unit: Literal["%", ""] = "%"
    needs: tuple[Requirement, ...] = ()
    statistic: Statistic = MEAN
    column: str = ""
    of_predicted: bool = False
    curve: Callable[[Any], DoubleArray] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "column", self.column or self.name)

    @property
    def curve_column(self) -> str:
        """Name of the curve of one image."""
        return f"{self.column}_curve"

    def unmet(self, facts: Facts) -> Requirement | None:
        """The first requirement that is not met; None if the metric can be measured."""
        return next((need for need in self.needs if not need.met(facts)), None)
