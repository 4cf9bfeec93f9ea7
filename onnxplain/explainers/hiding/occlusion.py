"""Occlusion (Zeiler & Fergus 2014): how far the score drops when a window, or a player, is hidden."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from onnxplain.errors import OnnxplainError
from onnxplain.explainers.hiding.hiding_explainer import HiddenMap, HidingExplainer, HidingTask
from onnxplain.explainers.hiding.hiding_report import HidingReport
from onnxplain.explainers.masked.cell_masks import CellDraw, CellMasks
from onnxplain.explainers.masked.players import (
    Players,
    check_players,
    is_kind,
    place_players,
    seen_window,
    wanted_players,
)
from onnxplain.explainers.masked.window_masks import WindowDraw, WindowMasks
from onnxplain.runtime.arrays import FloatArray

Spans = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Occlusion(HidingExplainer):
    """``raw(x) = mean over the windows w that cover x of f(image) − f(image without w)``.

    Zeiler & Fergus, Visualizing and Understanding Convolutional Networks, ECCV 2014, section 4.2, who draw the score
    itself. Windows are squares of the model's input that slide over the part that shows the image; the last one of a
    line ends at its edge. `window`: their side, a share of the shorter side of that part. `stride`: from one to the
    next, the same share; None: half a window, or more where `evaluations` ask for fewer windows.
    `players`: hide players instead, one at a time, as for `KernelSHAP`; `raw` is then f(image) − f(image without the
    player). `cells`: how many of them.

    The method draws nothing by chance, so it has no seed and no error. Ctrl-C ends it without a map: it would show a
    part of the image only.
    """

    window: float = 0.2
    stride: float | None = None
    players: Players | None = None
    cells: int = 64

    name: ClassVar[str] = "occlusion"
    unit: ClassVar[str] = "drop of the score"

    @property
    def forward_passes(self) -> int:
        """Forward passes for one target of one image, the unmasked image included, before the image is known."""
        height, width = self._black_box().input_size_hw
        if self.players is None:
            return 1 + len(self._slide(slice(0, height), slice(0, width)))
        return 1 + wanted_players(self.players, self.cells, (height, width))

    def _check_options(self) -> None:
        for name, share in (("window", self.window), ("stride", self.stride)):
            if share is not None and not 0 < share <= 1:
                raise OnnxplainError(f"{name}: found {share}, expected a share of the side, above 0 and at most 1")
        if self.stride is not None and self.stride > self.window:
            raise OnnxplainError(
                f"stride: found {self.stride} for windows of {self.window}, expected at most the window: pixels "
                "between two windows would never be hidden"
            )
        if self.players is not None:
            if self.window != Occlusion.window or self.stride is not None:
                raise OnnxplainError(
                    "window, stride: found one of them beside players, expected one of the two: players are hidden "
                    "instead of windows; leave out players, or window and stride"
                )
            check_players(self.players, self.cells)
            if is_kind(self.players):
                self._require(self.forward_passes)
        else:
            height, width = self._black_box().input_size_hw
            self._slide(slice(0, height), slice(0, width))

    def _require(self, least: int) -> None:
        if self.evaluations is not None and self.evaluations < least:
            raise OnnxplainError(
                f"evaluations: found {self.evaluations}, expected at least {least} for occlusion: give more, a larger "
                "window, or fewer cells"
            )

    def _slide(self, rows: slice, columns: slice) -> Spans:
        """The windows over a part of the input, int64 (n, 4): top, bottom, left, right."""
        shorter = min(rows.stop - rows.start, columns.stop - columns.start)
        side = max(1, round(self.window * shorter))
        stated = self.window / 2 if self.stride is None else self.stride
        step = max(1, min(side, round(stated * shorter)))
        self._require(1 + len(_windows(rows, columns, side, side if self.stride is None else step)))
        while self.evaluations is not None and 1 + len(_windows(rows, columns, side, step)) > self.evaluations:
            step += 1
        return _windows(rows, columns, side, step)

    def _map(self, task: HidingTask) -> list[HiddenMap]:
        return self._slide_over(task) if self.players is None else self._hide_each(self.players, task)

    def _slide_over(self, task: HidingTask) -> list[HiddenMap]:
        rows, columns = seen_window(task.view.frame)
        size_hw = task.black_box.input_size_hw
        spans = self._slide(rows, columns)
        trials = task.trials(WindowMasks(size_hw), len(spans))
        scores = trials(WindowDraw(spans))
        drops = trials.unmasked - scores
        sums = np.zeros((drops.shape[1], *size_hw))
        covered = np.zeros(size_hw)
        for (top, bottom, left, right), row in zip(spans.tolist(), drops, strict=False):
            sums[:, top:bottom, left:right] += row[:, None, None]
            covered[top:bottom, left:right] += 1
        raws = (sums / np.maximum(covered, 1)).astype(np.float32)
        side = spans[0, 1] - spans[0, 0]
        report = HidingReport(
            f"windows of {side} × {side}",
            copies=trials.done,
            planned=len(spans),
            explain_output=task.black_box.explains,
            stopped_early=trials.interrupted,
        )
        return [
            HiddenMap(raw, changed, report, finite)
            for raw, changed, finite in zip(raws, trials.changed, trials.finite.tolist(), strict=True)
        ]

    def _hide_each(self, players: Players, task: HidingTask) -> list[HiddenMap]:
        placed = place_players(players, self.cells, task.view)
        self._require(1 + placed.count)
        trials = task.trials(placed.masks, placed.count)
        scores = np.concatenate([trials(draw) for draw in _each_hidden(placed.masks)])
        drops = np.zeros((placed.count, scores.shape[1]))
        drops[: len(scores)] = trials.unmasked - scores
        raws: FloatArray = placed.masks.paint_values(drops.T)
        return [
            HiddenMap(
                raw,
                changed,
                HidingReport(
                    placed.name,
                    copies=trials.done,
                    planned=placed.count,
                    values=values,
                    explain_output=task.black_box.explains,
                    stopped_early=trials.interrupted,
                ),
                finite,
            )
            for raw, values, changed, finite in zip(raws, drops.T, trials.changed, trials.finite.tolist(), strict=True)
        ]


# Players whose masks are drawn together.
_AT_ONCE = 256


def _each_hidden(masks: CellMasks) -> Iterator[CellDraw]:
    for start in range(0, masks.count, _AT_ONCE):
        numbers = np.arange(start, min(start + _AT_ONCE, masks.count))
        yield masks.draw(numbers[:, None] != np.arange(masks.count))


def _windows(rows: slice, columns: slice, side: int, step: int) -> Spans:
    tops, lefts = (_starts(each.start, each.stop, side, step) for each in (rows, columns))
    top, left = (each.ravel() for each in np.meshgrid(tops, lefts, indexing="ij"))
    return np.stack([top, top + side, left, left + side], axis=1)


def _starts(start: int, stop: int, side: int, step: int) -> npt.NDArray[np.int64]:
    """Where windows begin: every step, and the last one at the edge."""
    last = max(start, stop - side)
    return np.unique(np.append(np.arange(start, last, step), last))
