"""What a layout of detectors says: which outputs it has, what their columns are, and how numbers become boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from onnxplain.contract.preprocessing import Preprocessing

# What a column of an output holds. `rest`: further columns, which are not read (points, coefficients of masks).
ColumnPart = Literal["box", "objectness", "classes", "score", "class_id", "image", "count", "rest"]
# How the numbers of a box become corners: one function of runtime/detection/box_codes.py each.
BoxCode = Literal["xyxy", "cxcywh", "yxyx", "grid-exp", "ltrb-bins", "tanh-grid", "anchor-offset"]
# What is left to do with class numbers until they are probabilities.
ClassActivation = Literal["none", "sigmoid", "softmax"]
Background = Literal["first", "last"]

FIXED_WIDTHS: dict[ColumnPart, int] = {"objectness": 1, "score": 1, "class_id": 1, "image": 1, "count": 1}
"""Columns of each part that has a fixed number of them."""


@dataclass(frozen=True)
class OperatorRule:
    """Operators that must stand, or must not stand, at the end of an output.

    The end is the operator that computes the values: casts, quantization and what only moves values is looked through,
    and so is Concat, of which every part has an end. `all_of`: each of them is among the ends. `none_of`: none is.
    `only`: no other is. `first`: the end of the first part is one of them.
    """

    all_of: tuple[str, ...] = ()
    none_of: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    first: tuple[str, ...] = ()

    def is_met(self, ends: Sequence[str]) -> bool:
        """Whether the ends of an output, in order, are as the rule says."""
        found = set(ends)
        return (
            found.issuperset(self.all_of)
            and not found.intersection(self.none_of)
            and (not self.only or found <= set(self.only))
            and (not self.first or bool(set(ends[:1]).intersection(self.first)))
        )

    @property
    def expected(self) -> str:
        """``Sigmoid, no Conv``."""
        first = [f"{' or '.join(self.first)} first"] if self.first else []
        return ", ".join([*first, *self.all_of, *self.only, *(f"no {name}" for name in self.none_of)])


@dataclass(frozen=True)
class LayoutOutput:
    """An output of a layout.

    `columns`: its parts, in order. `axes`: the possible orders of its axes, one letter each: N batch, M candidates,
    K columns, h and w rows and columns of a map of cells, 1 an axis of length 1; without K it has one column. `names`:
    a regular expression of the names under which it is exported; empty where names say nothing. `named`: the output
    must have such a name. `rest`: how many columns the part of that name has; 0: as many as metadata or other outputs
    tell. `per_level`: one output per stride. `optional`: it may be missing. `ends`: the operators.
    """

    columns: tuple[ColumnPart, ...]
    axes: tuple[str, ...]
    names: str = ""
    named: bool = False
    rest: int = 0
    per_level: bool = False
    optional: bool = False
    ends: OperatorRule = OperatorRule()


@dataclass(frozen=True)
class DetectorLayout:
    """How the outputs of a family of detectors are laid out: one row of `LAYOUTS`.

    `families`: who exports it, for people. `box`, `normalized`, `box_columns`: the code of a box, whether its numbers
    are shares of the input's size, how many numbers it has. `activation`, `background`, `powers`: a score is
    ``objectness ** powers[0] · class ** powers[1]`` after the activation; the column of the background is left out.
    `strides`: the possible strides of the levels; candidates are the cells of all levels, `per_cell` of them at each
    cell of a level. `any_count`: the number of candidates is not that of the cells. `nms`: whether overlapping boxes
    are left in. `first_class`: the number of the first class where a candidate carries its own class. `one_image`:
    without a batch axis, so one image runs at a time. `graph_holds`, `graph_lacks`: operators of which one must be, or
    none may be, anywhere in the graph. `ultralytics`: exported by Ultralytics. `model_types`: Hugging Face's names.
    `preprocessing`, `labels`: the family's, used where nobody states them. `gradients`: whether exporters differentiate
    a candidate's score and corners.
    """

    name: str
    families: str
    outputs: tuple[LayoutOutput, ...]
    preprocessing: Preprocessing
    box: BoxCode
    normalized: bool = False
    box_columns: int = 4
    activation: ClassActivation = "none"
    background: Background | None = None
    powers: tuple[float, float] = (1.0, 1.0)
    strides: tuple[tuple[int, ...], ...] = ()
    per_cell: tuple[int, ...] = (1,)
    cell_centre: float = 0.0
    any_count: bool = False
    nms: bool = True
    first_class: int = 0
    one_image: bool = False
    graph_holds: tuple[str, ...] = ()
    graph_lacks: tuple[str, ...] = ()
    ultralytics: bool = False
    model_types: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    gradients: bool = True

    @property
    def carries_class(self) -> bool:
        """Whether each candidate has its own class and score, instead of a score per class."""
        return any("class_id" in output.columns for output in self.outputs)

    @property
    def is_named(self) -> bool:
        """Whether names alone tell it from others."""
        return any(output.named for output in self.outputs)

    def width(self, part: ColumnPart) -> int | None:
        """The number of columns of a part; None for classes and the rest, whose number differs between models."""
        return self.box_columns if part == "box" else FIXED_WIDTHS.get(part)

    @property
    def backgrounds(self) -> int:
        """The number of class columns that are no class."""
        return 0 if self.background is None else 1
