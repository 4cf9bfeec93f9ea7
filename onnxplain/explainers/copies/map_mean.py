"""The mean of the maps of several copies of one image, and what is known of its error."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from onnxplain.explainers.copies.copies_report import CopiesReport
from onnxplain.explainers.copies.moved_copy import MovedCopy, PlacedGrid
from onnxplain.explainers.explanation import Explanation
from onnxplain.explainers.heatmap import Status, minus_min_over_range, relu_over_max
from onnxplain.explainers.method_report import MethodReport
from onnxplain.runtime.arrays import FloatArray


class MapMean:
    """``mean_k T_k⁻¹ raw_k`` in each cell of a grid over the image, over the copies that show it, of one target.

    `first`: the explanation of the image itself. `planned`: how many copies there will be. `fine`: the grid is that of
    the pixels of the model's input; else that of the image's own map. The result of a copy that Ctrl-C interrupted is
    left out, unless it is the first.
    """

    def __init__(self, first: Explanation, planned: int, *, fine: bool) -> None:
        self.first, self._planned = first, planned
        size_hw: tuple[int, ...] = first.frame.input_size_hw if fine else first.raw.shape
        self._grid = PlacedGrid(size_hw, first.frame, None if fine else first.map_frame)
        self._names: list[str] = []
        self._reports: list[MethodReport | None] = []
        self._statuses: set[Status] = set()
        self._finite, self.interrupted = True, False
        self._variance: float | None = 0.0
        self._evaluations = 0
        self._total, self._count = np.zeros(size_hw, np.float32), np.zeros(size_hw, np.float32)
        self.add(MovedCopy.of(first.frame.image_size_hw), first)

    def add(self, copy: MovedCopy, found: Explanation) -> None:
        """Take in the explanation of a copy."""
        self._evaluations += found.evaluations
        self.interrupted = found.report is not None and found.report.interrupted
        if self.interrupted and self._names:
            return
        self._names.append(copy.name)
        self._reports.append(found.report)
        self._statuses.add(found.status)
        if not np.isfinite(found.raw).all():
            self._finite = False
            return
        map_hw, seen = copy.bring_back(found.raw, PlacedGrid(found.raw.shape, found.frame, found.map_frame), self._grid)
        self._total += map_hw
        self._count += seen
        error = None if found.report is None else found.report.map_error
        if error is None or self._variance is None:
            self._variance = None
        else:
            self._variance += (error * float(found.raw.std(dtype=np.float64))) ** 2

    def explanation(self) -> Explanation:
        """The explanation of the image by the mean map."""
        raw = np.asarray(self._total / np.maximum(self._count, 1), np.float32)
        raw = raw if self._finite else np.full_like(raw, np.nan)
        normalise = relu_over_max if self.first.heat_from_zero else minus_min_over_range
        heatmap, status = normalise(raw, self.first.frame, self._grid.map_frame)
        if self._statuses == {"constant"}:
            heatmap, status = np.zeros_like(heatmap), "constant"
        report = CopiesReport(
            tuple(self._names), self._planned, tuple(self._reports), self._error_of(raw), self.interrupted
        )
        return replace(
            self.first,
            heatmap=heatmap,
            raw=raw,
            status=status,
            map_frame=self._grid.map_frame,
            evaluations=self._evaluations,
            report=report,
        )

    def _error_of(self, raw: FloatArray) -> float | None:
        """``√(Σ SE_k²) / n`` over the standard deviation of the mean map; None where one of them is not known."""
        spread = float(raw.std(dtype=np.float64)) if self._finite else 0.0
        if self._variance is None or spread == 0:
            return None
        return float(np.sqrt(self._variance) / len(self._names) / spread)
