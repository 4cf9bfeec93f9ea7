"""What the methods share that give a number to each player, a part of the image that is shown or hidden as a whole."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from onnxplain.errors import OnnxplainError, UnexplainedImageError
from onnxplain.explainers.hiding.hiding_explainer import HiddenMap, HidingExplainer, HidingTask
from onnxplain.explainers.hiding.hiding_report import HidingReport
from onnxplain.explainers.hiding.jackknife import error_share
from onnxplain.explainers.hiding.trials import Trials
from onnxplain.explainers.masked.cell_masks import CellDraw, CellMasks
from onnxplain.explainers.masked.players import Players, check_players, is_kind, place_players, wanted_players
from onnxplain.runtime.arrays import DoubleArray


@dataclass(frozen=True, eq=False)
class PlayerValues:
    """A number per player, float64 (T, P), with its standard error where it is known.

    `measured`: per target further numbers by name.
    """

    values: DoubleArray
    standard_error: DoubleArray | None = None
    measured: Sequence[Mapping[str, float]] = field(default_factory=list)


@dataclass(frozen=True)
class PlayerExplainer(HidingExplainer):
    """Base of the methods of players.

    `players`: "grid": cells of equal sides over what the model sees of the image. "superpixels": regions of similar
    colour (SLIC of scikit-image, extra `methods`; a grid where that is not installed, and the report says so).
    "quadtree": rectangles, small where there is detail. Or a label map in the size of the image, one label per player:
    an array of whole numbers (H, W), or a file, .npy or an image of one channel. `cells`: how many are wanted; a grid
    takes the nearest square. `seed`: the result depends on it and on nothing else by chance.

    `raw`: float32 (H, W) at the model's input size, the player's number at each of its pixels.
    """

    players: Players = "grid"
    cells: int = 64
    seed: int = 0

    stoppable: ClassVar[bool] = True
    # More would take gigabytes, or minutes beside the model's own runs.
    most_players: ClassVar[int] = 20_000

    @abstractmethod
    def _copies_for(self, players: int) -> int:
        """Masked copies for this many players.

        Raises OnnxplainError if `evaluations` is less than the method needs, and for too many players (`_require`).
        """

    @abstractmethod
    def _value(self, trials: Trials[CellDraw], masks: CellMasks, copies: int) -> PlayerValues | None:
        """The numbers of all players; None where too few copies were scored before the work was interrupted."""

    @property
    def forward_passes(self) -> int:
        """Forward passes for one target of one image, the unmasked image included, before the image is known."""
        return 1 + self._copies_for(self._wanted_players)

    @property
    def _wanted_players(self) -> int:
        return wanted_players(self.players, self.cells, self._black_box().input_size_hw)

    def _check_options(self) -> None:
        check_players(self.players, self.cells)
        if not 0 <= self.seed < 2**64:
            raise OnnxplainError(f"seed: found {self.seed}, expected 0 to 2**64 - 1")
        if is_kind(self.players):
            self._copies_for(self._wanted_players)

    def _require(self, least: int, players: int) -> None:
        """Raise OnnxplainError for more than `most_players`, and for fewer `evaluations` than so many players need."""
        if players > self.most_players:
            raise OnnxplainError(
                f"cells: found {players} players, expected at most {self.most_players} for {self.name}: take fewer "
                "cells, or occlusion, which hides each player once"
            )
        if self.evaluations is not None and self.evaluations < least:
            raise OnnxplainError(
                f"evaluations: found {self.evaluations}, expected at least {least} for {self.name} with {players} "
                "players: give more, or take fewer cells"
            )

    def _map(self, task: HidingTask) -> list[HiddenMap]:
        placed = place_players(self.players, self.cells, task.view)
        try:
            copies = self._copies_for(placed.count)
        except OnnxplainError as too_many:
            if not is_kind(self.players):
                raise
            # SLIC finds more superpixels in one image than in another.
            raise UnexplainedImageError(str(too_many)) from too_many
        trials = task.trials(placed.masks, copies)
        found = self._value(trials, placed.masks, copies)
        nothing = PlayerValues(np.zeros((len(task.placed), placed.count)))
        values = nothing if found is None else found
        raws = placed.masks.paint_values(values.values)
        maps = []
        for target, (raw, changed) in enumerate(zip(raws, trials.changed, strict=True)):
            error = None if values.standard_error is None else values.standard_error[target]
            report = HidingReport(
                hidden=placed.name,
                copies=trials.done,
                planned=copies,
                seed=self.seed,
                values=values.values[target],
                standard_error=error,
                relative_error=error_share(values.values[target], error) if changed and trials.finite[target] else None,
                measured=values.measured[target] if values.measured else {},
                explain_output=task.black_box.explains,
                stopped_early=trials.interrupted,
            )
            maps.append(HiddenMap(raw, changed and found is not None, report, bool(trials.finite[target])))
        return maps
