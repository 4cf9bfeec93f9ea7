"""The shape of an output, read as one place of a layout: how many classes and candidates it holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from onnxplain.contract.detectors.graph_outputs import FLOAT_OUTPUTS, GraphOutput
from onnxplain.contract.detectors.lack import Lack, LackKind
from onnxplain.contract.detectors.layout import ColumnPart, DetectorLayout, LayoutOutput
from onnxplain.contract.image_input import Dim

_EIGHT_BITS = ("uint8", "int8")
_INTEGERS = ("int64", "int32", *_EIGHT_BITS)
_WHOLE_PARTS: frozenset[ColumnPart] = frozenset({"class_id", "count", "image"})


@dataclass(frozen=True)
class Circumstances:
    """What is known beside the outputs.

    `size_hw`: of the input, None if it is open. `classes`: the number of classes, where no other is possible.
    `more_columns`: how many columns a candidate has that are not read, as metadata and other outputs tell; None: any
    number. `lenient`: the user
    states the layout, so names and operators need not fit. `by_name`: names decide between outputs that
    fit the same place.
    """

    size_hw: tuple[int, int] | None = None
    classes: int | None = None
    more_columns: int | None = 0
    lenient: bool = False
    by_name: bool = True


@dataclass(frozen=True)
class ReadShape:
    """`classes`, `candidates`: None where dimensions are open or hold none. `rest`: columns that are not read."""

    classes: int | None = None
    candidates: int | None = None
    rest: int = 0


def cell_counts(layout: DetectorLayout, size_hw: tuple[int, int], strides: Sequence[int]) -> list[int]:
    """The number of candidates at each level."""
    per_cell = layout.per_cell if len(layout.per_cell) == len(strides) else layout.per_cell * len(strides)
    return [
        count * -(-size_hw[0] // stride) * -(-size_hw[1] // stride)
        for stride, count in zip(strides, per_cell, strict=True)
    ]


def read_shape(
    layout: DetectorLayout, wanted: LayoutOutput, output: GraphOutput, known: Circumstances, count: int | None
) -> ReadShape | Lack:
    """The shape of an output that stands for `wanted`; `count`: the candidates that the input's size gives."""
    text = output.shape_text
    allowed = (
        (*FLOAT_OUTPUTS, *_INTEGERS) if _WHOLE_PARTS.intersection(wanted.columns) else (*FLOAT_OUTPUTS, *_EIGHT_BITS)
    )
    if output.dtype not in allowed:
        return Lack(LackKind.TYPE, f"{text} {output.dtype}", "float")
    if output.dims is None:
        return ReadShape()
    lacks = [Lack(LackKind.AXES, text, " or ".join(str(len(axes)) for axes in wanted.axes))]
    for axes in wanted.axes:
        if len(axes) != len(output.dims) or not _has_ones(axes, output.dims):
            continue
        sides = dict(zip(axes, output.dims, strict=True))
        found = _count_columns(layout, wanted, sides.get("K", 1), known)
        candidates = _count_candidates(sides)
        if isinstance(found, Lack):
            lacks.append(replace(found, found=text))
        elif "h" in sides and known.size_hw is not None and not _is_grid(layout, sides, known.size_hw):
            lacks.append(Lack(LackKind.COUNT, text, f"a cell per {layout.strides[0][0]} pixels as"))
        elif count is not None and candidates not in (count, None):
            lacks.append(Lack(LackKind.COUNT, text, str(count)))
        elif axes.startswith("1") and candidates == 1:
            lacks.append(Lack(LackKind.COUNT, text, "several"))
        else:
            return replace(found, candidates=candidates)
    return max(lacks, key=lambda lack: lack.nearness)


def _has_ones(axes: str, dims: Sequence[Dim]) -> bool:
    """Whether the axes of length 1 have it, or are open."""
    ones = [side for letter, side in zip(axes, dims, strict=True) if letter == "1"]
    return all(side == 1 or not isinstance(side, int) for side in ones)


def _count_columns(layout: DetectorLayout, wanted: LayoutOutput, side: Dim, known: Circumstances) -> ReadShape | Lack:
    """Classes, and columns that are not read; else the expected number of columns."""
    has_classes, has_rest = "classes" in wanted.columns, "rest" in wanted.columns
    if not isinstance(side, int):
        return ReadShape()
    fixed = sum(layout.width(part) or 0 for part in wanted.columns)
    left = side - fixed - (layout.backgrounds if has_classes else 0)
    more = wanted.rest or known.more_columns if has_rest else 0
    classes = None
    if has_classes:
        classes = known.classes or max(1, left - (more or 0))
    rest = left - (classes or 0)
    if rest == more or (more is None and rest >= 0):
        return ReadShape(classes, rest=rest)
    return Lack(LackKind.COLUMNS, expected=f"{side - rest + (more or 0)}{' or more' if classes == 1 else ''}")


def _count_candidates(sides: Mapping[str, Dim]) -> int | None:
    if "h" in sides:
        height, width = sides["h"], sides["w"]
        return height * width if isinstance(height, int) and isinstance(width, int) else None
    count = sides.get("M")
    return count if isinstance(count, int) else None


def _is_grid(layout: DetectorLayout, sides: Mapping[str, Dim], size_hw: tuple[int, int]) -> bool:
    """Whether a map of cells has the sides that the input's size gives."""
    expected = [-(-side // layout.strides[0][0]) for side in size_hw]
    found = [sides["h"], sides["w"]]
    return all(side == wanted or not isinstance(side, int) for side, wanted in zip(found, expected, strict=True))
