"""The seeds of a detector's gradients: for each target the derivative of its scalar with respect to the outputs.

Target ``candidate · (C + 4) + column``. The scalar y that is differentiated:

    column < C, raw scores              the score itself, a logit
    column < C, behind an activation    the logit before the Sigmoid or Softmax
    column < C, with objectness         log(objectness^p · class^q)
    column < C, anything else           log(s / (1 − s)) of the score s
    column ≥ C                          the corner x1, y1, x2 or y2 in pixels of the model's input

The decode is not in the graph: only the rows of the asked candidates are read, and their derivatives put back there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxplain.contract import BOX_COORDINATES
from onnxplain.contract.detectors.layout import ColumnPart
from onnxplain.exporters.anatomy.detector_ends import SCORE_PARTS, DetectorEnd, DetectorEnds, logits_of
from onnxplain.exporters.gradient.corner_slopes import CodedBoxes, corner_slopes
from onnxplain.exporters.gradient.differentiate import differentiate
from onnxplain.exporters.graph.branch import Branch
from onnxplain.exporters.graph.path import path_between
from onnxplain.exporters.graph.values import int_attribute, producer_of
from onnxplain.exporters.writing.seeds import spread_over

_SMALLEST = 1e-30
# How the axes of an output become [N, M, K]; [N, K, h, w] is flattened before.
_AXES_ADDED = {"MK": [0], "NM": [2], "M": [0, 2]}


def detector_seeds(
    branch: Branch, ends: DetectorEnds, target: ir.Value, layer: ir.Value, many: bool = False
) -> dict[ir.Value, ir.Value]:
    """The values at which the gradients start, with their cotangents; row i belongs to image i, or target i if `many`.

    Only values that `layer` leads to. Gather raises an error if a target is out of range.
    """
    return _Seeds(branch, ends, target, many).of(layer)


@dataclass(frozen=True)
class _Place:
    """Where the targets lie in one output: [T, M] is 1 at their candidate, `here` [T, 1] is 1 if it is in there."""

    one_hot: ir.Value
    here: ir.Value


class _Seeds:
    def __init__(self, branch: Branch, ends: DetectorEnds, target: ir.Value, many: bool) -> None:
        self._branch, self._ends = branch, ends
        self._layout = ends.spec.layout
        self._classes = ends.spec.class_columns or 1
        self._rows = {end.value: _as_rows(branch, end) for end in ends.ends}
        batch = branch.Shape(self._rows[ends.ends[0].value], start=0, end=1)
        spread = spread_over(branch, target, batch, many)
        chosen = branch.Where(branch.Less(target, 0), self._best(), spread)
        width = self._classes + BOX_COORDINATES
        self._batch = batch
        # Gather fails for a candidate that does not exist; without it, the gradient would be zero.
        self._candidate = branch.Gather(branch.Range(0, self._count(), 1), branch.Div(chosen, width), axis=0)
        column = branch.Mod(chosen, width)
        self._class = branch.Min(column, self._classes - 1)
        self._corner = branch.Max(branch.Sub(column, self._classes), 0)
        self._is_class = branch.Less(branch.Unsqueeze(column, [1]), self._classes)
        self._of_class = branch.Cast(self._is_class, to=ir.DataType.FLOAT)
        self._places = {end.value: self._place(end) for end in ends.ends}

    def of(self, layer: ir.Value) -> dict[ir.Value, ir.Value]:
        """The seeds of a layer."""
        box = self._of_boxes()
        scores = self._of_scores()
        seeds: dict[ir.Value, ir.Value] = {}
        for end in self._ends.ends:
            parts: dict[ColumnPart, ir.Value] = {}
            if "box" in end.columns:
                parts["box"] = box
            if not self._ends.activations:
                parts |= {part: row for part, row in scores.items() if part in end.columns}
            if parts and _leads(layer, end.value):
                seeds[end.value] = self._spread(end, parts)
        for activation in self._ends.activations:
            logits = logits_of(activation)
            if layer is not logits and not _leads(layer, logits):
                continue
            # The outputs only move the scores, so walking back to the activation finds where the targets lie there.
            moved = {
                end.value: self._spread(end, {part: row for part, row in scores.items() if part in end.columns})
                for end in self._ends.ends
                if not SCORE_PARTS.isdisjoint(end.columns)
                and (end.value is activation or _leads(activation, end.value))
            }
            seed = moved.pop(activation, None)
            walked = differentiate(self._branch, moved, activation) if moved else None
            seed = walked if seed is None else seed if walked is None else self._branch.Add(seed, walked)
            assert seed is not None
            if self._ends.has_objectness:
                seed = self._of_logarithm(activation, seed)
            seeds[logits] = self._branch.Add(seeds[logits], seed) if logits in seeds else seed
        return seeds

    def _count(self) -> ir.Value:
        """The number of candidates of an image, an int64 scalar."""
        branch = self._branch
        counts = [branch.Shape(self._rows[end.value], start=1, end=2) for end in self._with("box")]
        return branch.ReduceSum(branch.Concat(*counts, axis=0), [0], keepdims=0)

    def _of_boxes(self) -> ir.Value:
        """∂corner / ∂numbers, float32 [T, W]; 0 for targets that are classes."""
        branch, spec = self._branch, self._ends.spec
        stride = None
        if spec.strides:
            counts = [end.count or 0 for end in self._ends.ends if "box" in end.columns]
            strides = self._strides(sum(counts))
            stride = branch.Unsqueeze(branch.Gather(strides, self._candidate, axis=0), [1])
        boxes = CodedBoxes(self._row("box"), stride, self._ends.size_hw, spec.strides[0] if spec.strides else 1)
        # Not a product with 0: an exponential that overflows would make it NaN.
        return branch.Where(self._is_class, 0.0, corner_slopes(branch, self._layout, boxes, self._corner))

    def _strides(self, total: int) -> np.ndarray:
        """The stride of each candidate's cell, float32 [M]."""
        layout, strides = self._layout, self._ends.spec.strides
        per_cell = layout.per_cell if len(layout.per_cell) == len(strides) else layout.per_cell * len(strides)
        height, width = self._ends.size_hw
        counts = [
            count * -(-height // stride) * -(-width // stride) for stride, count in zip(strides, per_cell, strict=True)
        ]
        assert sum(counts) == total or not total
        return np.repeat(np.array(strides, np.float32), counts)

    def _of_scores(self) -> dict[ColumnPart, ir.Value]:
        """∂y / ∂part for class targets, by part: [T, columns of the part]; 0 for targets that are corners."""
        branch, layout = self._branch, self._layout
        part: ColumnPart = "score" if layout.carries_class else "classes"
        start, stop = next(end.columns[part] for end in self._ends.ends if part in end.columns)
        first = 1 if layout.background == "first" and part == "classes" else 0
        one_hot = np.eye(stop - start, dtype=np.float32)[first : first + self._classes]
        columns = branch.Mul(branch.Gather(one_hot, self._class, axis=0), self._of_class)
        of_objectness, of_class = layout.powers
        if self._ends.activations and self._ends.has_objectness:
            return {part: branch.Mul(of_class, columns), "objectness": branch.Mul(of_objectness, self._of_class)}
        if self._ends.activations or layout.activation != "none":
            return {part: columns}
        score = self._row(part)
        if not self._ends.has_objectness:
            # d log(s / (1 − s)) / ds.
            return {part: branch.Div(columns, _at_least(branch, branch.Mul(score, branch.Sub(1.0, score))))}
        objectness = branch.Mul(branch.Div(of_objectness, _at_least(branch, self._row("objectness"))), self._of_class)
        return {part: branch.Mul(branch.Div(of_class, _at_least(branch, score)), columns), "objectness": objectness}

    def _of_logarithm(self, activation: ir.Value, cotangent: ir.Value) -> ir.Value:
        """∂ Σ c log(s) / ∂z with s the Sigmoid or Softmax of z, and c the cotangent.

        Not through s: it is 0 or 1 in float32 where its logarithm still has a slope.
        """
        branch = self._branch
        node, logits = producer_of(activation), branch.forward(logits_of(activation))
        assert node is not None
        if node.op_type == "Sigmoid":
            # 1 − s = 1 / (1 + exp(z)).
            return branch.Mul(cotangent, branch.Reciprocal(branch.Add(1.0, branch.Exp(logits))))
        axis = int_attribute(node, "axis", -1)
        total = branch.ReduceSum(cotangent, [axis], keepdims=1)
        return branch.Sub(cotangent, branch.Mul(total, branch.Softmax(logits, axis=axis)))

    def _best(self) -> ir.Value:
        """The best class of the best candidate of each image, as a target, int64 [N]."""
        branch, layout, count = self._branch, self._layout, self._classes
        part: ColumnPart = "score" if layout.carries_class else "classes"
        scores = self._all("score" if layout.carries_class else "classes")
        if layout.activation == "softmax":
            scores = branch.Softmax(scores, axis=2)
        if layout.background is not None and part == "classes":
            first = 1 if layout.background == "first" else 0
            scores = branch.Slice(scores, [first], [first + count], [2])
        if self._ends.has_objectness:
            powers = zip(layout.powers, (self._all("objectness"), scores), strict=True)
            weighted = [each if power == 1 else branch.Pow(branch.Max(each, 0.0), power) for power, each in powers]
            scores = branch.Mul(*weighted)
        best = branch.ArgMax(branch.Flatten(scores, axis=1), axis=1, keepdims=0)
        candidate = branch.Div(best, count)
        return branch.Add(best, branch.Mul(candidate, BOX_COORDINATES))

    def _all(self, part: ColumnPart) -> ir.Value:
        """A part of all candidates, float32 [N, M, columns]."""
        branch = self._branch
        levels = [
            branch.Slice(self._rows[end.value], [end.columns[part][0]], [end.columns[part][1]], [2])
            for end in self._with(part)
        ]
        return levels[0] if len(levels) == 1 else branch.Concat(*levels, axis=1)

    def _row(self, part: ColumnPart) -> ir.Value:
        """A part of the asked candidates, float32 [T, columns]. Raises an error at run time for a wrong candidate."""
        branch, found = self._branch, None
        levels = self._with(part)
        for position, end in enumerate(levels):
            local = branch.Max(branch.Sub(self._candidate, end.first) if end.first else self._candidate, 0)
            if position + 1 < len(levels):
                local = branch.Min(local, (end.count or 1) - 1)
            # One row per image, or several of one image.
            index = branch.Reshape(local, branch.Concat(self._batch, [-1, 1], axis=0))
            columns = branch.Slice(self._rows[end.value], [end.columns[part][0]], [end.columns[part][1]], [2])
            width = end.columns[part][1] - end.columns[part][0]
            row = branch.Reshape(branch.GatherND(columns, index, batch_dims=1), [-1, width])
            here = branch.Greater(self._places[end.value].here, 0.0)
            found = row if found is None else branch.Where(here, row, found)
        assert found is not None
        return found

    def _with(self, part: ColumnPart) -> Sequence[DetectorEnd]:
        return [end for end in self._ends.ends if part in end.columns]

    def _place(self, end: DetectorEnd) -> _Place:
        branch = self._branch
        count = branch.Squeeze(branch.Shape(self._rows[end.value], start=1, end=2), [0])
        local = branch.Sub(self._candidate, end.first) if end.first else self._candidate
        is_there = branch.Equal(branch.Unsqueeze(local, [1]), branch.Range(0, count, 1))
        one_hot = branch.Cast(is_there, to=ir.DataType.FLOAT)
        return _Place(one_hot, branch.ReduceSum(one_hot, [1], keepdims=1))

    def _spread(self, end: DetectorEnd, parts: dict[ColumnPart, ir.Value]) -> ir.Value:
        """Derivatives of the asked rows, put where the rows lie in the output: its shape, with a row per target."""
        branch, one_hot = self._branch, self._places[end.value].one_hot
        columns = []
        for part, (start, stop) in end.columns.items():
            nothing = np.zeros((1, stop - start), np.float32)
            columns.append(parts[part] if part in parts else branch.Mul(nothing, self._of_class))
        row = columns[0] if len(columns) == 1 else branch.Concat(*columns, axis=1)
        if end.axes in ("NKM", "NKhw"):
            seed = branch.Mul(branch.Unsqueeze(one_hot, [1]), branch.Unsqueeze(row, [2]))
            if end.axes == "NKhw":
                map_size = branch.Shape(self._branch.forward(end.value), start=1)
                seed = branch.Reshape(seed, branch.Concat([-1], map_size, axis=0))
            return seed
        seed = branch.Mul(branch.Unsqueeze(one_hot, [2]), branch.Unsqueeze(row, [1]))
        added = _AXES_ADDED.get(end.axes)
        return seed if added is None else branch.Squeeze(seed, added)


def _as_rows(branch: Branch, end: DetectorEnd) -> ir.Value:
    """An output as float32 [N, M, K]."""
    value = branch.forward(end.value)
    if end.axes == "NKhw":
        total = max(stop for _, stop in end.columns.values())
        value = branch.Reshape(value, [0, total, -1])
    if end.axes in ("NKM", "NKhw"):
        return branch.Transpose(value, perm=[0, 2, 1])
    added = _AXES_ADDED.get(end.axes)
    return value if added is None else branch.Unsqueeze(value, added)


def _at_least(branch: Branch, value: ir.Value) -> ir.Value:
    """A number that can be divided by; of a score that is rounded to 0 or 1, the derivative behind it is 0 anyway."""
    return branch.Max(value, _SMALLEST)


def _leads(layer: ir.Value, value: ir.Value) -> bool:
    """Whether a value depends on another one."""
    return bool(path_between(layer, [value]))
