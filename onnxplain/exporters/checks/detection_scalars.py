"""The scalars of a detector that the checks differentiate: class scores and corners of a few candidates.

The decode is written again here, in float64 and from the papers' formulas, so that it shares nothing with the
derivatives in gradient/corner_slopes.py. The sources of the formulas: runtime/detection/box_codes.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from onnxplain.contract.detectors.layout import BoxCode, ColumnPart
from onnxplain.exporters.anatomy.detector_ends import DetectorEnd, DetectorEnds, logits_of
from onnxplain.exporters.checks.scalars import KindOfHead
from onnxplain.exporters.graph.values import name_of


@dataclass(frozen=True, eq=False)
class DetectionScalar:
    """A class score (`column` below the number of classes) or a corner of a candidate, as a target.

    `logit`: where the score stands before the activation: the name of that value, and its flat index for each image.
    None for corners, and where scores are read from the outputs.
    """

    ends: DetectorEnds
    candidate: int
    column: int
    logit: tuple[str, tuple[int, ...]] | None = None

    @property
    def target(self) -> int:
        """Its number as a target."""
        return self.ends.spec.target(self.candidate, self.column)

    @property
    def corner(self) -> int | None:
        """0 to 3; None for a class score."""
        corner = self.column - (self.ends.spec.class_columns or 1)
        return None if corner < 0 else corner

    @property
    def needs(self) -> set[str]:
        """The values that it is computed from."""
        if self.logit is not None:
            return {self.logit[0]}
        wanted: set[ColumnPart] = {"box"} if self.corner is not None else {"classes", "score", "objectness"}
        return {
            name_of(end.value)
            for end in self.ends.ends
            if wanted.intersection(end.columns) and end.first <= self.candidate < end.first + (end.count or 10**9)
        }

    def read(self, heads: Sequence[KindOfHead], values: Sequence[np.ndarray]) -> np.ndarray:
        """y of each image, [N]."""
        named = dict(zip((head.output for head in heads), values, strict=True))
        if self.logit is not None:
            name, places = self.logit
            rows = named[name].reshape(len(places), -1)
            return np.asarray(rows[np.arange(len(places)), list(places)])
        if self.corner is not None:
            return self._corners(candidate_columns(self.ends, named, "box", self.candidate))[:, self.corner]
        layout = self.ends.spec.layout
        score = self.score(named)
        if layout.activation != "none":
            return score
        if not self.ends.has_objectness:
            return np.asarray(np.log(score / (1 - score)))
        objectness = candidate_columns(self.ends, named, "objectness", self.candidate)[:, 0]
        return np.asarray(layout.powers[0] * np.log(objectness) + layout.powers[1] * np.log(score))

    def score(self, named: Mapping[str, np.ndarray]) -> np.ndarray:
        """The number in the column of the class, [N]."""
        layout = self.ends.spec.layout
        if layout.carries_class:
            return candidate_columns(self.ends, named, "score", self.candidate)[:, 0]
        before = 1 if layout.background == "first" else 0
        return candidate_columns(self.ends, named, "classes", self.candidate)[:, before + self.column]

    def _corners(self, numbers: np.ndarray) -> np.ndarray:
        """x1, y1, x2, y2 in pixels of the input, [N, 4], from coded numbers [N, W]."""
        ends = self.ends
        layout, (height, width) = ends.spec.layout, ends.size_hw
        cell = _cell(ends, self.candidate) if ends.spec.strides else _Cell(0, 0, 1, 1, 1)
        corners = _DECODED[layout.box](numbers, cell, layout.cell_centre)
        return corners * np.array([width, height, width, height]) if layout.normalized else corners


def candidate_columns(
    ends: DetectorEnds, named: Mapping[str, np.ndarray], part: ColumnPart, candidate: int
) -> np.ndarray:
    """The columns of a part of one candidate, [N, columns], from values by name."""
    levels = [end for end in ends.ends if part in end.columns]
    end = [each for each in levels if each.first <= candidate][-1]
    start, stop = end.columns[part]
    return _row(end, named[name_of(end.value)], candidate - end.first)[:, start:stop]


def places_of(
    ends: DetectorEnds, named: Mapping[str, np.ndarray], scalar: DetectionScalar
) -> tuple[str, tuple[int, ...]] | None:
    """Where a class score stands among the values before the activations; None if equal scores leave that open.

    `named`: values of a run by name, the outputs of the activations among them.
    """
    for activation in ends.activations:
        scores = scalar.score(named)
        rows = named[name_of(activation)].reshape(len(scores), -1)
        found = [np.flatnonzero(row == score) for row, score in zip(rows, scores, strict=True)]
        if all(len(each) == 1 for each in found):
            return name_of(logits_of(activation)), tuple(int(each[0]) for each in found)
    return None


def _row(end: DetectorEnd, value: np.ndarray, index: int) -> np.ndarray:
    """The columns of a candidate, [N, K]."""
    if end.axes == "NKhw":
        value = value.reshape(*value.shape[:2], -1)
    if end.axes in ("NKM", "NKhw"):
        return value[:, :, index]
    if end.axes == "NMK":
        return value[:, index]
    if end.axes == "NM":
        return value[:, index, None]
    return value[None, index] if end.axes == "MK" else value[None, index, None]


@dataclass(frozen=True)
class _Cell:
    column: int
    row: int
    stride: int
    across: int
    down: int


def _cell(ends: DetectorEnds, candidate: int) -> _Cell:
    layout, strides = ends.spec.layout, ends.spec.strides
    for position, stride in enumerate(strides):
        down, across = (-(-side // stride) for side in ends.size_hw)
        per_cell = layout.per_cell[position] if len(layout.per_cell) == len(strides) else layout.per_cell[0]
        if candidate < per_cell * down * across:
            row, column = divmod(candidate // per_cell, across)
            return _Cell(column, row, stride, across, down)
        candidate -= per_cell * down * across
    raise IndexError(candidate)


def _boxes(cx: np.ndarray, cy: np.ndarray, w: np.ndarray, h: np.ndarray) -> np.ndarray:
    return np.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], axis=1)


def _grid_exp(t: np.ndarray, cell: _Cell, centre: float) -> np.ndarray:
    s = cell.stride
    return _boxes((t[:, 0] + cell.column) * s, (t[:, 1] + cell.row) * s, np.exp(t[:, 2]) * s, np.exp(t[:, 3]) * s)


def _bins(t: np.ndarray, cell: _Cell, centre: float) -> np.ndarray:
    bins = t.reshape(len(t), 4, -1)
    shares = np.exp(bins) / np.exp(bins).sum(axis=2, keepdims=True)
    left, top, right, bottom = (shares * np.arange(bins.shape[2])).sum(axis=2).T
    x, y = cell.column + centre, cell.row + centre
    return np.stack([x - left, y - top, x + right, y + bottom], axis=1) * cell.stride


def _tanh_grid(t: np.ndarray, cell: _Cell, centre: float) -> np.ndarray:
    x, y = (np.tanh(t[:, 0]) + cell.column) / cell.across, (np.tanh(t[:, 1]) + cell.row) / cell.down
    return _boxes(x, y, 1 / (1 + np.exp(-t[:, 2])), 1 / (1 + np.exp(-t[:, 3])))


def _anchor_offset(t: np.ndarray, cell: _Cell, centre: float) -> np.ndarray:
    x, y = (cell.column + centre) * cell.stride, (cell.row + centre) * cell.stride
    return _boxes(t[:, 0] + x, t[:, 1] + y, t[:, 2], t[:, 3])


_DECODED: Mapping[BoxCode, Callable[[np.ndarray, _Cell, float], np.ndarray]] = {
    "xyxy": lambda t, cell, centre: t,
    "yxyx": lambda t, cell, centre: t[:, [1, 0, 3, 2]],
    "cxcywh": lambda t, cell, centre: _boxes(t[:, 0], t[:, 1], t[:, 2], t[:, 3]),
    "grid-exp": _grid_exp,
    "ltrb-bins": _bins,
    "tanh-grid": _tanh_grid,
    "anchor-offset": _anchor_offset,
}
